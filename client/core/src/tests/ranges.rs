//! Ranges that are allocated, emptied and sought.

use weft_wire::meta::{AllocateMode, AttributeChanges, MetaError, MetaOp};

use super::*;
use crate::{FsError, SeekWhat};

const MIB: u64 = 1 << 20;

#[tokio::test(start_paused = true)]
async fn a_punched_range_is_a_hole_whatever_was_dirty_in_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(40_000, 1)).await.expect("writes");
    core.fsync(handle).await.expect("commits");
    core.write(handle, 10_000, &pattern(10_000, 2)).await.expect("writes");
    core.allocate(handle, AllocateMode::PunchHole, 5000, 20_000).await.expect("punches");
    let read = core.read(handle, 0, 50_000).await.expect("reads");
    let mut expected = pattern(40_000, 1);
    expected[5000..25_000].fill(0);
    assert!(read[..] == expected[..]);
    assert_eq!(core.seek(handle, 0, SeekWhat::Hole).await, Ok(5000));
    assert_eq!(core.seek(handle, 5000, SeekWhat::Data).await, Ok(25_000));
    assert_eq!(core.seek(handle, 25_000, SeekWhat::Hole).await, Ok(40_000));
    assert_eq!(core.seek(handle, 40_000, SeekWhat::Hole).await, Err(FsError::BeyondEnd));
    assert_eq!(core.attributes(attributes.inode).await.expect("known").allocated.get(), 20_000);
    assert_eq!(fake.runs(attributes.inode).len(), 2, "a mount that has nothing in memory sees the same");
}

#[tokio::test(start_paused = true)]
async fn the_length_follows_the_mode() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, &[7; 100]).await.expect("writes");
    let rows = [
        (AllocateMode::AllocateKeepSize, 100),
        (AllocateMode::PunchHole, 100),
        (AllocateMode::ZeroRangeKeepSize, 100),
        (AllocateMode::Allocate, 150),
        (AllocateMode::ZeroRange, 200),
    ];
    for (mode, size) in rows {
        core.allocate(handle, mode, size - 50, if size == 100 { 100 } else { 50 }).await.expect("allocates");
        let shown = core.attributes(attributes.inode).await.expect("known");
        assert_eq!(shown.size, size, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ranges_are_checked() {
    let fake = Fake::new();
    fake.state().owner.free = 10 * MIB;
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let reads = core.open(attributes.inode, READ_ONLY).await.expect("opens");
    let most = i64::MAX as u64;
    let rows = [
        (reads, 0, 10, FsError::BadHandle),
        (handle, 0, 0, FsError::Refused(MetaError::Invalid)),
        (handle, most, 1, FsError::FileTooLarge),
        (handle, u64::MAX, 2, FsError::FileTooLarge),
        (handle, 0, 100 * MIB, FsError::NoSpace),
    ];
    for (handle, offset, len, error) in rows {
        let answer = core.allocate(handle, AllocateMode::Allocate, offset, len).await;
        assert_eq!(answer, Err(error), "{len} bytes at {offset}");
    }
    core.allocate(handle, AllocateMode::PunchHole, 0, most).await.expect("needs no room");
    core.allocate(handle, AllocateMode::ZeroRange, most - 1, 1).await.expect("the longest file");
    assert_eq!(core.seek(handle, 0, SeekWhat::Data).await, Err(FsError::BeyondEnd));
    assert_eq!(core.seek(handle, 5, SeekWhat::Hole).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn a_range_with_very_many_runs_is_emptied_by_several_operations() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    for i in 0..1500_u64 {
        core.write(handle, i * 3, &[1]).await.expect("writes");
    }
    core.fsync(handle).await.expect("commits");
    core.allocate(handle, AllocateMode::PunchHole, 3, 3 * 1498).await.expect("punches");
    let asked = |call: &&weft_wire::compute::Meta| matches!(call.op, MetaOp::Allocate(_));
    assert!(fake.state().owner.calls.iter().filter(asked).count() > 1);
    assert_eq!(core.seek(handle, 1, SeekWhat::Data).await, Ok(3 * 1499));
    assert_eq!(fake.runs(attributes.inode).len(), 2);
}

/// Whether the first half of a file was punched, when the first answers to that were lost or broken: memory must know what
/// the owner has in any case.
async fn punched(lost_replies: u32, broken_replies: u32) -> Result<(), FsError> {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(10_000, 1)).await.expect("writes");
    core.fsync(handle).await.expect("commits");
    core.read(handle, 0, 10_000).await.expect("reads by a map that is in memory then");
    let calls = fake.calls();
    {
        let mut state = fake.state();
        (state.lost_replies, state.broken_replies) = (lost_replies, broken_replies);
    }
    let answer = core.allocate(handle, AllocateMode::PunchHole, 0, 5000).await;
    assert_eq!(fake.calls() - calls, 1, "it was done once");
    let shown = core.attributes(attributes.inode).await.expect("known");
    assert_eq!((shown.size, shown.allocated.get()), (10_000, 5000));
    assert_eq!(shown, fake.attributes(attributes.inode));
    let expected = [vec![0; 5000], pattern(10_000, 1)[5000..].to_vec()].concat();
    assert!(core.read(handle, 0, 10_000).await.expect("reads")[..] == expected);
    assert_eq!(core.seek(handle, 0, SeekWhat::Data).await, Ok(5000));
    answer
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_punch_leaves_nothing_wrong_in_memory() {
    assert_eq!(punched(0, 0).await, Ok(()));
    assert_eq!(punched(3, 0).await, Ok(()), "a retry gets the answer");
    assert_eq!(punched(0, 1).await, Err(FsError::Protocol), "nobody knows whether it was done");
}

#[tokio::test(start_paused = true)]
async fn holes_are_sought_in_maps_that_are_not_in_memory() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    // More runs than a page of the map has.
    for i in 0..1200_u64 {
        core.write(handle, i * 2, &[1]).await.expect("writes");
    }
    let far = 1 << 50;
    let changes = AttributeChanges { size: Some(far), ..AttributeChanges::default() };
    core.set_attributes(caller(), attributes.inode, changes).await.expect("grows");
    core.write(handle, far - 1, &[1]).await.expect("writes");
    core.unmount(core::time::Duration::from_secs(60)).await.expect("all is written");
    let core = mount(&fake);
    let handle = core.open(attributes.inode, READ_ONLY).await.expect("opens");
    assert_eq!(core.seek(handle, 2397, SeekWhat::Data).await, Ok(2398));
    assert_eq!(core.seek(handle, 2398, SeekWhat::Hole).await, Ok(2399));
    assert_eq!(core.seek(handle, 2399, SeekWhat::Data).await, Ok(far - 1));
    assert_eq!(core.seek(handle, far - 1, SeekWhat::Hole).await, Ok(far));
}

#[tokio::test(start_paused = true)]
async fn a_copied_range_shares_its_extents_until_one_side_is_written() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (a, from) = create(&core, "a").await;
    let (b, to) = create(&core, "b").await;
    let bytes = pattern(100_000, 1);
    core.write(from, 0, &bytes).await.expect("writes");
    core.write(to, 0, &pattern(50_000, 2)).await.expect("writes");
    let gets = fake.gets();
    assert_eq!(core.copy_range(from, 10_001, to, 20_003, 1 << 40).await, Ok(89_999));
    assert_eq!(fake.gets(), gets, "no bytes are read");
    let mut expected = pattern(50_000, 2);
    expected.truncate(20_003);
    expected.extend_from_slice(&bytes[10_001..]);
    assert!(get_file(&core, b.inode, 30_000).await.expect("reads") == expected);
    let extents: Vec<_> = fake.runs(a.inode).iter().map(|run| run.extent).collect();
    assert!(fake.runs(b.inode).iter().any(|run| extents.contains(&run.extent)));
    core.write(from, 0, &pattern(100_000, 3)).await.expect("writes");
    core.fsync(from).await.expect("commits");
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    core.release(from);
    core.forget(a.inode, 1);
    core.unmount(core::time::Duration::from_secs(60)).await.expect("all is written");
    let core = mount(&fake);
    assert!(get_file(&core, b.inode, 30_000).await.expect("reads") == expected, "under the key of a");
    let shown = core.attributes(b.inode).await.expect("known");
    assert_eq!((shown.size, shown.allocated.get()), (110_002, 110_002));
}

#[tokio::test(start_paused = true)]
async fn copies_are_checked() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (a, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(1000, 1)).await.expect("writes");
    let reads = core.open(a.inode, READ_ONLY).await.expect("opens");
    let appends = core.open(a.inode, OpenMode { append: true, ..READ_WRITE }).await.expect("opens");
    let most = i64::MAX as u64;
    let rows = [
        (handle, 0, reads, 2000, FsError::BadHandle),
        (handle, 0, appends, 2000, FsError::BadHandle),
        (handle, 0, handle, 999, FsError::Refused(MetaError::Invalid)),
        (handle, u64::MAX, handle, 0, FsError::FileTooLarge),
        (handle, 0, handle, most - 999, FsError::Refused(MetaError::FileTooLarge)),
    ];
    for (from, at, to, target, error) in rows {
        assert_eq!(core.copy_range(from, at, to, target, 1000).await, Err(error), "{at} to {target}");
    }
    assert_eq!(core.copy_range(reads, 1000, handle, 0, 1000).await, Ok(0), "the end");
    assert_eq!(core.copy_range(reads, 5, handle, 1000, 10).await, Ok(10));
    assert_eq!(core.read(handle, 1000, 99).await.expect("reads")[..], pattern(1000, 1)[5..15]);
}

#[tokio::test(start_paused = true)]
async fn files_end_where_offsets_end() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (a, handle) = create(&core, "a").await;
    let most = i64::MAX as u64;
    for (offset, len) in [(most, 1), (most - 1, 2), (u64::MAX, 1)] {
        assert_eq!(
            core.write(handle, offset, &pattern(len, 1)).await,
            Err(FsError::FileTooLarge),
            "{offset}"
        );
    }
    let longer = AttributeChanges { size: Some(most + 1), ..AttributeChanges::default() };
    let refused = core.set_attributes(caller(), a.inode, longer).await;
    assert_eq!(refused, Err(FsError::Refused(MetaError::FileTooLarge)));
    core.write(handle, most - 1, b"x").await.expect("the last byte");
    core.fsync(handle).await.expect("commits");
    let shown = core.attributes(a.inode).await.expect("known");
    assert_eq!((shown.size, shown.allocated.get()), (most, 1));
    assert_eq!(core.read(handle, most - 2, 9).await.expect("reads")[..], *b"\0x");
    assert_eq!(core.seek(handle, 0, SeekWhat::Data).await, Ok(most - 1));
    let appends = core.open(a.inode, OpenMode { append: true, ..READ_WRITE }).await.expect("opens");
    assert_eq!(core.write(appends, 0, b"y").await, Err(FsError::FileTooLarge));
}
