//! Compaction: the map changes, what the file holds does not.

use proptest::prelude::*;
use weft_types::{Epoch, FileOffset, Inode};
use weft_wire::meta::{
    AttributeChanges, Compact, MapEntry, MetaError, MetaOp, MetaReply, NewExtent, ReadMap,
};

use super::invariants;
use super::world::{World, session_id};
use crate::reclaim::{self, ExtentState};

fn file(parts: &[(u64, u64)]) -> (World, Inode) {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    for part in parts {
        world.commit(file, &[*part]).expect("commits");
    }
    (world, file)
}

fn write(world: &mut World, file: Inode, part: (u64, u64)) {
    world.commit(file, &[part]).expect("commits");
}

/// The runs of a range, cut to it, as a client has them.
fn read(world: &mut World, inode: Inode, start: u64, end: u64) -> Vec<MapEntry> {
    let op = MetaOp::ReadMap(ReadMap { inode, from: start, until: end, limit: 4096 });
    let Ok(MetaReply::Map(page)) = world.run(&op) else { panic!("no map") };
    let cut = |mut entry: MapEntry| {
        let (from, until) = (entry.offset.get(), entry.offset.get() + u64::from(entry.len));
        let (first, last) = (from.max(start), until.min(end));
        entry.offset = FileOffset::new(first);
        entry.extent_offset += (first - from) as u32;
        entry.len = (last - first) as u32;
        entry
    };
    page.entries.into_iter().map(cut).collect()
}

fn compaction(
    world: &mut World,
    inode: Inode,
    (start, end): (u64, u64),
    parts: &[(u64, u64)],
) -> (Compact, Vec<NewExtent>) {
    let expected = read(world, inode, start, end);
    let extents: Vec<_> = parts.iter().map(|(offset, len)| world.extent(inode, *offset, *len)).collect();
    let op = Compact {
        inode,
        start: FileOffset::new(start),
        len: end - start,
        expected,
        extents: extents.clone(),
    };
    (op, extents)
}

#[test]
fn a_compaction_replaces_runs_and_changes_no_attribute() {
    let (mut world, file) = file(&[(0, 100), (10, 10), (30, 10), (50, 50)]);
    let before = world.attributes(file);
    world.now = 50;
    let (op, _) = compaction(&mut world, file, (0, 100), &[(0, 60), (60, 40)]);
    assert_eq!(op.expected.len(), 6);
    assert_eq!(world.run(&MetaOp::Compact(op.clone())), Ok(MetaReply::Done));
    assert_eq!(world.map(file, 9), [(0, 60, 5, 0), (60, 40, 6, 0)]);
    assert_eq!(world.attributes(file), before);
    for extent in op.expected {
        assert_eq!(reclaim::state(&world.rows, extent.extent), Ok(ExtentState::Dead));
    }
    invariants::check(&world.rows, world.names);
}

#[test]
fn a_run_across_the_edge_keeps_what_is_outside() {
    let (mut world, file) = file(&[(0, 100), (40, 5)]);
    let (op, _) = compaction(&mut world, file, (30, 70), &[(30, 40)]);
    world.run(&MetaOp::Compact(op)).expect("compacts");
    assert_eq!(world.map(file, 9), [(0, 30, 1, 0), (30, 40, 3, 0), (70, 30, 1, 70)]);
    invariants::check(&world.rows, world.names);
}

#[test]
fn a_hole_may_be_filled_and_is_counted() {
    let (mut world, file) = file(&[(0, 10), (20, 10)]);
    let (op, _) = compaction(&mut world, file, (0, 30), &[(0, 30)]);
    world.run(&MetaOp::Compact(op)).expect("compacts");
    assert_eq!(world.attributes(file).allocated.get(), 30);
    invariants::check(&world.rows, world.names);
}

#[test]
fn a_compaction_is_refused_once_the_map_is_another() {
    type Change = fn(&mut World, Inode);
    let truncate: Change = |world, inode| {
        let changes = AttributeChanges { size: Some(25), ..AttributeChanges::default() };
        world.run(&MetaOp::SetAttributes { inode, changes }).expect("shortens");
    };
    let rows: [(&str, Change); 5] = [
        ("overwritten", |world, file| write(world, file, (5, 1))),
        ("a hole filled", |world, file| write(world, file, (12, 1))),
        ("shorter", truncate),
        ("written again in the same place", |world, file| write(world, file, (0, 10))),
        ("compacted", |world, file| {
            let (op, _) = compaction(world, file, (0, 30), &[(0, 10), (20, 10)]);
            world.run(&MetaOp::Compact(op)).expect("compacts");
        }),
    ];
    for (what, change) in rows {
        let (mut world, file) = file(&[(0, 10), (20, 10), (40, 10)]);
        let (op, _) = compaction(&mut world, file, (0, 30), &[(0, 10), (20, 10)]);
        change(&mut world, file);
        let before = world.rows.clone();
        assert_eq!(world.run(&MetaOp::Compact(op)), Err(MetaError::MapChanged), "{what}");
        assert_eq!(world.rows, before);
    }
}

#[test]
fn a_write_elsewhere_does_not_matter() {
    let (mut world, file) = file(&[(0, 10), (10, 10), (20, 10)]);
    let (op, _) = compaction(&mut world, file, (0, 20), &[(0, 20)]);
    world.commit(file, &[(20, 10)]).expect("commits");
    world.run(&MetaOp::Compact(op)).expect("compacts");
}

#[test]
fn nothing_that_the_file_holds_can_be_left_out_and_only_own_extents_count() {
    let (mut world, file) = file(&[(0, 10), (10, 10), (20, 10)]);
    let bad = |world: &mut World, parts: &[(u64, u64)]| compaction(world, file, (0, 30), parts).0;
    let mut rows = vec![
        (bad(&mut world, &[(0, 29)]), MetaError::Invalid),
        (bad(&mut world, &[(1, 29)]), MetaError::Invalid),
        (bad(&mut world, &[(0, 10), (11, 19)]), MetaError::Invalid),
        (bad(&mut world, &[]), MetaError::Invalid),
        (bad(&mut world, &[(0, 20), (10, 20)]), MetaError::Invalid),
        (bad(&mut world, &[(0, 31)]), MetaError::Invalid),
    ];
    let mut foreign = bad(&mut world, &[(0, 30)]);
    foreign.extents[0].extent.session = session_id(9);
    rows.push((foreign, MetaError::ForeignExtent));
    let mut stale = bad(&mut world, &[(0, 30)]);
    stale.extents[0].group_epoch = Epoch::new(6);
    rows.push((stale, MetaError::StaleGroup));
    let mut wraps = bad(&mut world, &[(0, 30)]);
    wraps.len = u64::MAX;
    wraps.start = FileOffset::new(1);
    rows.push((wraps, MetaError::Invalid));
    let before = world.rows.clone();
    for (op, error) in rows {
        assert_eq!(world.run(&MetaOp::Compact(op.clone())), Err(error), "{op:?}");
    }
    assert_eq!(world.rows, before);
}

#[test]
fn nothing_appears_beyond_the_end() {
    let (mut world, file) = file(&[(0, 10)]);
    let (op, _) = compaction(&mut world, file, (0, 30), &[(0, 20)]);
    assert_eq!(world.run(&MetaOp::Compact(op)), Err(MetaError::MapChanged));
    let (op, _) = compaction(&mut world, file, (0, 30), &[(0, 10)]);
    assert_eq!(world.run(&MetaOp::Compact(op)), Ok(MetaReply::Done));
    assert_eq!(world.map(file, 9), [(0, 10, 3, 0)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every byte that was in a run is in a new extent at the same place; all other bytes are where they were.
    #[test]
    fn bytes_keep_their_places(
        parts in proptest::collection::vec((0_u64..90, 1_u64..20), 1..12),
        start in 0_u64..80,
        len in 1_u64..80,
    ) {
        let (mut world, file) = file(&parts);
        let before = world.attributes(file);
        let old = world.map(file, 9);
        let end = start + len;
        let holes_kept: Vec<_> = read(&mut world, file, start, end)
            .iter()
            .map(|entry| (entry.offset.get(), u64::from(entry.len)))
            .collect();
        let (op, extents) = compaction(&mut world, file, (start, end), &holes_kept);
        prop_assert_eq!(world.run(&MetaOp::Compact(op)), Ok(MetaReply::Done));
        invariants::check(&world.rows, world.names);
        prop_assert_eq!(world.attributes(file), before);
        let byte = |runs: &[(u64, u32, u64, u32)], at: u64| {
            let run = runs.iter().find(|run| run.0 <= at && at < run.0 + u64::from(run.1));
            run.map(|run| (run.2, u64::from(run.3) + at - run.0))
        };
        let new = world.map(file, 9);
        for at in 0..120 {
            let extent = extents.iter().find(|extent| {
                let from = extent.offset.get();
                from <= at && at < from + extent.geometry.plaintext_bytes().get()
            });
            let expected = match extent {
                Some(extent) => Some((extent.extent.seq.get(), at - extent.offset.get())),
                None => byte(&old, at),
            };
            prop_assert_eq!(byte(&new, at), expected);
        }
    }
}
