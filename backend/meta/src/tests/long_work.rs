//! What touches very many rows is done in many transactions.

use std::collections::BTreeMap;

use weft_types::{FileOffset, Inode};
use weft_wire::meta::{
    Allocate, AllocateMode, AttributeChanges, Attributes, MetaOp, MetaReply, SetXattr, XattrMode,
};

use super::invariants;
use super::memory::Memory;
use super::world::{World, attributes_of};
use crate::{Progress, limits};

const RUNS: u64 = 3000;

/// A file of 3000 runs of one byte, two bytes apart.
fn world() -> (World, Inode) {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    let parts: Vec<_> = (0..RUNS).map(|i| (i * 2, 1)).collect();
    world.commit(file, &parts).expect("commits");
    (world, file)
}

fn resize(world: &mut World, inode: Inode, size: u64) -> Attributes {
    let changes = AttributeChanges { size: Some(size), ..AttributeChanges::default() };
    attributes_of(world.run(&MetaOp::SetAttributes { inode, changes }).expect("resizes"))
}

fn changed(before: &Memory, after: &Memory) -> usize {
    let differs = |a: &BTreeMap<Vec<u8>, Vec<u8>>, b: &BTreeMap<Vec<u8>, Vec<u8>>| {
        a.iter().filter(|(key, value)| b.get(*key) != Some(*value)).count()
    };
    differs(&before.rows, &after.rows) + differs(&after.rows, &before.rows)
}

/// Works until nothing is left; no transaction changes more than a few rows for each of the budget.
fn finish(world: &mut World, budget: usize) -> usize {
    for rounds in 1.. {
        let before = world.rows.clone();
        let progress = world.work(budget);
        assert!(changed(&before, &world.rows) <= 4 * budget + 8, "a transaction is bounded");
        invariants::check(&world.rows, world.names);
        if progress == Progress::Done {
            return rounds;
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_long_truncation_is_seen_at_once_and_done_bit_by_bit() {
    let (mut world, file) = world();
    let before = world.rows.clone();
    let attributes = resize(&mut world, file, 11);
    assert!(changed(&before, &world.rows) <= 4 * limits::INLINE_ROWS + 8);
    assert_eq!(attributes.size, 11);
    assert_eq!(attributes.allocated.get(), RUNS - 1 - limits::INLINE_ROWS as u64, "the rest is to be done");
    assert_eq!(world.map(file, 100).len(), 6, "what is beyond is not shown");
    invariants::check(&world.rows, world.names);
    assert!(finish(&mut world, 500) > 3);
    assert_eq!(world.attributes(file).allocated.get(), 6);
    assert_eq!(resize(&mut world, file, 9000).allocated.get(), 6);
    assert_eq!(world.map(file, 100).len(), 6);
}

#[test]
fn a_file_grows_again_only_without_its_old_bytes() {
    for grow_by_commit in [false, true] {
        let (mut world, file) = world();
        resize(&mut world, file, 11);
        resize(&mut world, file, 3);
        if grow_by_commit {
            world.commit(file, &[(5000, 1)]).expect("commits");
            assert_eq!(world.map(file, 100).len(), 3);
        } else {
            assert_eq!(resize(&mut world, file, 9000).allocated.get(), 2);
            assert_eq!(world.map(file, 100).len(), 2);
        }
        invariants::check(&world.rows, world.names);
        assert_eq!(world.work(1), Progress::Done);
    }
}

#[test]
fn a_commit_within_the_new_length_waits_for_nothing() {
    let (mut world, file) = world();
    resize(&mut world, file, 11);
    world.commit(file, &[(0, 11)]).expect("commits");
    assert_eq!(world.map(file, 9), [(0, 11, RUNS + 1, 0)]);
    invariants::check(&world.rows, world.names);
    finish(&mut world, 700);
    assert_eq!(world.attributes(file).allocated.get(), 11);
}

#[test]
fn a_large_file_is_reaped_bit_by_bit() {
    let (mut world, file) = world();
    for i in 0..50 {
        let op = SetXattr {
            inode: file,
            name: format!("user.{i}").into_bytes().into(),
            value: vec![1].into(),
            mode: XattrMode::Any,
            kill_set_group_id: false,
        };
        world.run(&MetaOp::SetXattr(op)).expect("sets");
    }
    world.unlink(Inode::ROOT, "f").expect("unlinks");
    resize(&mut world, file, 5000);
    resize(&mut world, file, 11);
    let before = world.rows.clone();
    world.run(&MetaOp::Reap { inodes: vec![file] }).expect("reaps");
    assert!(changed(&before, &world.rows) <= 4 * limits::INLINE_ROWS + 8);
    invariants::check(&world.rows, world.names);
    assert!(finish(&mut world, 20) > 10);
    let kinds: Vec<_> = world.rows.rows.keys().map(|key| key[0]).collect();
    assert!(kinds.iter().all(|kind| [1, 2, 9, 11].contains(kind)), "nothing of it is left: {kinds:?}");
}

#[test]
fn an_ended_sessions_orphans_are_reaped_bit_by_bit() {
    let (mut world, _) = world();
    for i in 0..60 {
        let file = world.file(Inode::ROOT, &format!("f{i}"));
        world.commit(file, &[(0, 10)]).expect("commits");
        world.unlink(Inode::ROOT, &format!("f{i}")).expect("unlinks");
    }
    world.unlink(Inode::ROOT, "f").expect("unlinks");
    assert_eq!(crate::session::end(&mut world.rows, world.session, super::world::at(9)), Ok(true));
    invariants::check(&world.rows, world.names);
    assert!(finish(&mut world, 50) > 50);
    let kinds: Vec<_> = world.rows.rows.keys().map(|key| key[0]).collect();
    assert!(kinds.iter().all(|kind| [1, 2, 9, 16].contains(kind)), "nothing of it is left: {kinds:?}");
}

#[test]
fn a_long_range_is_emptied_as_far_as_one_operation_may() {
    let (mut world, file) = world();
    let (mut start, end) = (1, 2 * RUNS - 2);
    let mut rounds = 0;
    while start < end {
        let (mode, offset) = (AllocateMode::PunchHole, FileOffset::new(start));
        let before = world.rows.clone();
        let op = MetaOp::Allocate(Allocate { inode: file, mode, offset, len: end - start });
        let Ok(MetaReply::Covered(covered)) = world.run(&op) else { panic!("punches") };
        assert!(changed(&before, &world.rows) <= 4 * limits::INLINE_ROWS + 8);
        invariants::check(&world.rows, world.names);
        start += covered.len;
        rounds += 1;
    }
    assert_eq!((start, rounds), (end, 3));
    let left: Vec<u64> = world.map(file, 100).into_iter().map(|(offset, ..)| offset).collect();
    assert_eq!(left, [0, 2 * RUNS - 2]);
}
