//! Extents that several places refer to.

use weft_types::{DataKeyId, ExtentId, FileOffset, Inode};
use weft_wire::meta::{
    AttributeChanges, Compact, CopyRange, Covered, MapEntry, MetaError, MetaOp, MetaReply, NewNode, ReadMap,
};

use super::invariants;
use super::world::World;
use crate::limits;
use crate::reclaim::{self, ExtentState};

fn world() -> (World, Inode, Inode) {
    let mut world = World::new();
    let (a, b) = (world.file(Inode::ROOT, "a"), world.file(Inode::ROOT, "b"));
    (world, a, b)
}

fn copy(world: &mut World, from: (Inode, u64), to: (Inode, u64), len: u64) -> Result<Covered, MetaError> {
    let op = CopyRange {
        from: from.0,
        from_offset: FileOffset::new(from.1),
        to: to.0,
        to_offset: FileOffset::new(to.1),
        len,
    };
    let answer = world.run(&MetaOp::CopyRange(op));
    invariants::check(&world.rows, world.names);
    answer.map(|reply| match reply {
        MetaReply::Covered(covered) => covered,
        other => panic!("not covered: {other:?}"),
    })
}

fn entries(world: &mut World, inode: Inode) -> Vec<MapEntry> {
    let op = MetaOp::ReadMap(ReadMap { inode, from: 0, until: u64::MAX, limit: 4096 });
    let Ok(MetaReply::Map(page)) = world.run(&op) else { panic!("no map") };
    page.entries
}

fn remove(world: &mut World, text: &str, inode: Inode) {
    world.unlink(Inode::ROOT, text).expect("unlinks");
    world.run(&MetaOp::Reap { inodes: vec![inode] }).expect("reaps");
    invariants::check(&world.rows, world.names);
}

fn state(world: &World, extent: ExtentId) -> ExtentState {
    reclaim::state(&world.rows, extent).expect("known")
}

#[test]
fn a_copy_names_the_same_extents_byte_by_byte() {
    let (mut world, a, b) = world();
    world.commit(a, &[(0, 100), (150, 50)]).expect("commits");
    world.commit(b, &[(0, 300)]).expect("commits");
    let covered = copy(&mut world, (a, 30), (b, 7), 1000).expect("copies");
    assert_eq!((covered.len, covered.attributes.inode, covered.attributes.size), (170, b, 300));
    assert_eq!(covered.attributes.allocated.get(), 250, "a hole is copied too");
    let rest = (177, 123, 3, 177);
    assert_eq!(world.map(b, 9), [(0, 7, 3, 0), (7, 70, 1, 30), (127, 50, 2, 0), rest]);
    let covered = copy(&mut world, (b, 0), (b, 300), 10).expect("copies within a file");
    assert_eq!((covered.len, covered.attributes.size), (10, 310));
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let (mut world, a, b) = world();
    world.commit(a, &[(0, 100)]).expect("commits");
    let directory = world.make(Inode::ROOT, "d", NewNode::Directory).expect("makes").inode;
    let far = limits::FILE_BYTES_MAX;
    let rows = [
        ((directory, 0), (b, 0), MetaError::IsDirectory),
        ((a, 0), (directory, 0), MetaError::IsDirectory),
        ((Inode::new(99), 0), (b, 0), MetaError::NotFound),
        ((a, 0), (a, 99), MetaError::Invalid),
        ((a, 50), (a, 10), MetaError::Invalid),
        ((a, 0), (b, far - 99), MetaError::FileTooLarge),
        ((a, 0), (b, u64::MAX), MetaError::FileTooLarge),
    ];
    for (from, to, error) in rows {
        assert_eq!(copy(&mut world, from, to, 1000), Err(error), "{from:?} to {to:?}");
    }
    let before = world.attributes(b);
    assert_eq!(copy(&mut world, (a, 100), (b, 5), 10).expect("nothing to do").len, 0);
    assert_eq!(world.attributes(b), before);
    assert_eq!(copy(&mut world, (a, 0), (b, far - 100), 100).expect("the longest file").len, 100);
}

#[test]
fn an_extent_lives_as_long_as_one_of_its_sharers() {
    let (mut world, a, b) = world();
    world.commit(a, &[(0, 100)]).expect("commits");
    let extent = entries(&mut world, a)[0].extent;
    copy(&mut world, (a, 0), (b, 0), 100).expect("copies");
    remove(&mut world, "a", a);
    assert_eq!(state(&world, extent), ExtentState::InUse);
    let entry = entries(&mut world, b).remove(0);
    assert_eq!(
        (entry.extent, entry.key),
        (extent, DataKeyId::new(1)),
        "with the key of the file that is gone"
    );
    let changes = AttributeChanges { size: Some(10), ..AttributeChanges::default() };
    world.run(&MetaOp::SetAttributes { inode: b, changes }).expect("shortens");
    invariants::check(&world.rows, world.names);
    assert_eq!(state(&world, extent), ExtentState::InUse);
    remove(&mut world, "b", b);
    assert_eq!(state(&world, extent), ExtentState::Dead);
    assert_eq!(world.rows.rows.keys().filter(|key| key[0] == 8).count(), 0, "no data key is left");
}

#[test]
fn a_compaction_of_one_sharer_leaves_the_other_alone() {
    let (mut world, a, b) = world();
    world.commit(a, &[(0, 100)]).expect("commits");
    copy(&mut world, (a, 20), (b, 0), 50).expect("copies");
    let expected = entries(&mut world, b);
    let extents = vec![world.extent(b, 0, 50)];
    let op = Compact { inode: b, start: FileOffset::new(0), len: 50, expected, extents };
    world.run(&MetaOp::Compact(op)).expect("compacts");
    invariants::check(&world.rows, world.names);
    assert_eq!(world.map(b, 9), [(0, 50, 2, 0)]);
    assert_eq!(world.map(a, 9), [(0, 100, 1, 0)]);
    remove(&mut world, "a", a);
    assert_eq!(world.rows.rows.keys().filter(|key| key[0] == 8).count(), 1, "its key goes with it");
}

#[test]
fn very_many_runs_are_copied_a_part_at_a_time() {
    let (mut world, a, b) = world();
    let runs: u64 = 1200;
    let parts: Vec<_> = (0..runs).map(|i| (i * 2, 1)).collect();
    world.commit(a, &parts).expect("commits");
    let others: Vec<_> = (0..runs).map(|i| (i * 3, 1)).collect();
    world.commit(b, &others).expect("commits");
    let (mut done, mut rounds) = (0, 0);
    while done < 2 * runs - 1 {
        let before = world.rows.rows.clone();
        let covered = copy(&mut world, (a, done), (b, done), 2 * runs).expect("copies");
        let changed = world.rows.rows.iter().filter(|(key, value)| before.get(*key) != Some(*value)).count();
        assert!(changed <= 6 * limits::COPIED_RUNS_MAX + 8, "{changed}");
        assert!(covered.len > 0);
        done += covered.len;
        rounds += 1;
    }
    assert_eq!((done, rounds), (2 * runs - 1, 3));
    let found: Vec<_> = world.map(b, 1000).into_iter().map(|(offset, ..)| offset).collect();
    let copied = (0..runs).map(|i| i * 2);
    let left = (0..runs).map(|i| i * 3).filter(|offset| *offset >= 2 * runs - 1);
    assert_eq!(found, copied.chain(left).collect::<Vec<_>>());
}
