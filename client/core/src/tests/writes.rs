//! Writes, and what becomes of them while drives fail.

use core::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use weft_layout::DriveState;
use weft_types::Timestamp;
use weft_wire::meta::{AttributeChanges, MetaOp, TimeChange};

use super::*;
use crate::{FsError, Unwritten};

#[tokio::test(start_paused = true)]
async fn a_write_answers_from_memory_and_is_committed_within_five_seconds() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let calls = fake.calls();
    assert_eq!(core.try_write(handle, 0, b"hello"), None, "the room is not known yet");
    core.write(handle, 0, b"hello").await.expect("writes");
    assert_eq!(core.try_write(handle, 5, b" world"), Some(Ok(6)));
    assert_eq!(core.attributes(attributes.inode).await.expect("known").size, 11);
    assert_eq!(core.try_read(handle, 0, 100).expect("memory answers").expect("reads"), "hello world");
    assert_eq!(core.counts().dirty_bytes, 11);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    let committed = fake.state().owner.calls[calls..].iter().any(|call| matches!(call.op, MetaOp::Commit(_)));
    assert!(committed);
    let other = mount_as(&fake, true);
    assert_eq!(get_file(&other, attributes.inode, 100).await.expect("reads"), b"hello world");
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_nothing_and_fsync_for_everything() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(5 << 20, 1)).await.expect("writes");
    let calls = fake.calls();
    core.flush(handle).expect("nothing failed");
    assert!(core.counts().dirty_bytes > 0 && fake.calls() == calls);
    core.fsync(handle).await.expect("commits");
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn all_files_are_committed_at_once() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, one) = create(&core, "one").await;
    let (_, closed) = create(&core, "closed").await;
    core.write(one, 0, &pattern(5 << 20, 1)).await.expect("writes");
    core.write(closed, 0, b"x").await.expect("writes");
    core.release(closed);
    assert!(core.counts().dirty_bytes > 0);
    core.sync_all().await.expect("commits");
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_sync_write_is_committed_when_answered() {
    let fake = Fake::new();
    let core = mount(&fake);
    let mode = OpenMode { sync: true, ..READ_WRITE };
    let (_, handle) = core.create(caller(), ROOT, name("a"), 0o600, 0, mode).await.expect("creates");
    core.write(handle, 0, b"x").await.expect("writes");
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn appends_go_to_the_end_whatever_their_offset() {
    let fake = Fake::new();
    let core = mount(&fake);
    let mode = OpenMode { append: true, ..READ_WRITE };
    let (attributes, handle) = core.create(caller(), ROOT, name("a"), 0o600, 0, mode).await.expect("creates");
    for part in [b"one", b"two"] {
        core.write(handle, 0, part).await.expect("writes");
        core.fsync(handle).await.expect("commits");
    }
    core.write(handle, 0, b"!").await.expect("writes");
    assert_eq!(get_file(&core, attributes.inode, 100).await.expect("reads"), b"onetwo!");
}

#[tokio::test(start_paused = true)]
async fn puts_that_break_off_are_repeated_with_the_same_bytes() {
    let fake = Fake::new();
    let core = mount(&fake);
    let bytes = pattern(3 << 20, 2);
    fake.fault(0, Fault::BreaksOff(3));
    fake.fault(5, Fault::BreaksOff(1));
    let inode = put_file(&core, "a", &bytes).await;
    let core = mount(&fake);
    assert!(get_file(&core, inode, 1 << 20).await.expect("reads") == bytes);
    let state = fake.state();
    let shards: usize = state.drives.values().map(|drive| drive.shards.len()).sum();
    assert_eq!(shards, 6, "one extent, under one id");
}

#[tokio::test(start_paused = true)]
async fn a_dead_drive_is_written_around_when_another_group_is_whole() {
    let fake = Fake::of(8);
    let core = mount(&fake);
    // Group 2 is drives 2 to 7.
    fake.fault(1, Fault::Hanging);
    let bytes = pattern(9 << 20, 2);
    let begun = Instant::now();
    let inode = put_file(&core, "a", &bytes).await;
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    fake.report(1, DriveState::Down);
    sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    put_file(&core, "b", &bytes).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "a drive that is down is not waited for");
    let core = mount(&fake);
    assert!(get_file(&core, inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_commit_under_an_old_membership_is_written_again_under_the_new_one() {
    let fake = Fake::new();
    let core = mount(&fake);
    {
        let mut state = fake.state();
        state.map.version = state.map.version.next();
        state.map.groups.iter_mut().for_each(|group| group.epoch = group.epoch.next());
        let floors: Vec<_> = state.map.groups.iter().map(|group| (group.id, group.epoch)).collect();
        state.owner.floors.extend(floors);
    }
    let bytes = pattern(100_000, 1);
    let inode = put_file(&core, "a", &bytes).await;
    assert!(get_file(&mount(&fake), inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn what_full_drives_refuse_is_kept_told_once_and_written_later() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"precious").await.expect("writes");
    fake.fault_all(Fault::Full);
    assert_eq!(core.fsync(handle).await, Err(FsError::NoSpace));
    assert_eq!(core.write(handle, 8, b"more").await, Err(FsError::NoSpace));
    assert_eq!(get_file(&core, attributes.inode, 100).await.expect("memory has it"), b"precious");
    fake.fault_all(Fault::None);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(core.counts().dirty_bytes, 0, "it was tried again");
    // What failed in between is told by the next call, once.
    let _ = core.flush(handle);
    assert_eq!(core.flush(handle), Ok(()));
    core.write(handle, 8, b"more").await.expect("there is room");
    core.fsync(handle).await.expect("commits");
    assert_eq!(get_file(&mount(&fake), attributes.inode, 100).await.expect("reads"), b"preciousmore");
}

#[tokio::test(start_paused = true)]
async fn fsync_gives_up_after_a_while_and_the_bytes_stay() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    core.write(handle, 0, b"precious").await.expect("writes");
    fake.fault_all(Fault::Hanging);
    let begun = Instant::now();
    let error = core.fsync(handle).await.expect_err("nobody answers");
    assert_eq!(error, FsError::TimedOut);
    assert!(begun.elapsed() <= Duration::from_secs(61));
    assert_eq!(core.counts().dirty_bytes, 8);
    fake.fault_all(Fault::None);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_while_too_much_is_unwritten() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    fake.fault_all(Fault::Hanging);
    let most = MEMORY_MIN.get() / 16 * 3;
    let writer = tokio::spawn({
        let core = Arc::clone(&core);
        async move {
            for index in 0..40_u64 {
                core.write(handle, index << 20, &pattern(1 << 20, index)).await.expect("writes");
            }
        }
    });
    sleep(Duration::from_secs(5)).await;
    assert_eq!(core.counts().dirty_bytes, most);
    assert!(!writer.is_finished());
    fake.fault_all(Fault::None);
    timeout(Duration::from_secs(120), writer).await.expect("goes on").expect("writes all");
    core.fsync(handle).await.map_or_else(|_| (), |()| ());
    core.fsync(handle).await.expect("commits");
    let read = get_file(&mount(&fake), attributes.inode, 1 << 20).await.expect("reads");
    let expected: Vec<u8> = (0..40).flat_map(|index| pattern(1 << 20, index)).collect();
    assert!(read == expected);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_was_set_outlives_the_commit_of_earlier_bytes() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"x").await.expect("writes");
    let set = Timestamp { seconds: 77, nanos: 8 };
    let changes = AttributeChanges { modified: Some(TimeChange::At(set)), ..AttributeChanges::default() };
    let answered = core.set_attributes(caller(), attributes.inode, changes).await.expect("sets");
    assert_eq!((answered.modified, answered.size), (set, 1));
    core.fsync(handle).await.expect("commits");
    assert_eq!(core.attributes(attributes.inode).await.expect("known").modified, set);
    core.write(handle, 0, b"y").await.expect("writes");
    assert!(core.attributes(attributes.inode).await.expect("known").modified > set);
    core.fsync(handle).await.expect("commits");
    let other = mount_as(&fake, true);
    assert!(other.attributes(attributes.inode).await.expect("known").modified > set);
}

#[tokio::test(start_paused = true)]
async fn a_truncation_waits_for_the_commit_under_way() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(300_000, 1)).await.expect("writes");
    fake.fault(0, Fault::BreaksOff(2));
    core.flush(handle).expect("nothing failed");
    let changes = AttributeChanges { size: Some(10), ..AttributeChanges::default() };
    let answered = core.set_attributes(caller(), attributes.inode, changes).await.expect("truncates");
    assert_eq!(answered.size, 10);
    core.fsync(handle).await.expect("commits");
    for core in [&core, &mount_as(&fake, false)] {
        assert_eq!(get_file(core, attributes.inode, 100).await.expect("reads"), pattern(10, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn unmounting_writes_everything_or_says_what_is_lost() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"last words").await.expect("writes");
    core.unmount(Duration::from_secs(60)).await.expect("all is written");
    assert!(fake.state().closed);
    assert_eq!(core.read(handle, 0, 1).await, Err(FsError::BadHandle));
    assert_eq!(core.attributes(attributes.inode).await, Err(FsError::SessionEnded));
    let core = mount(&fake);
    assert_eq!(get_file(&core, attributes.inode, 100).await.expect("reads"), b"last words");
    let (_, handle) = create(&core, "b").await;
    core.write(handle, 0, b"unheard").await.expect("writes");
    fake.fault_all(Fault::Full);
    let lost = core.unmount(Duration::from_secs(3)).await.expect_err("drives are full");
    assert_eq!(lost, Unwritten { files: 1, bytes: 7, cause: Some(FsError::NoSpace) });
}

#[tokio::test(start_paused = true)]
async fn fsync_of_bytes_that_are_cut_off_meanwhile_has_nothing_to_wait_for() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(100_000, 1)).await.expect("writes");
    // The truncation is first in line: what fsync wants to send is gone when its turn comes.
    let changes = AttributeChanges { size: Some(0), ..AttributeChanges::default() };
    let truncate = core.set_attributes(caller(), attributes.inode, changes);
    fake.state().lost_requests = 3;
    let fsync = async {
        tokio::task::yield_now().await;
        core.fsync(handle).await
    };
    let begun = Instant::now();
    let (truncated, synced) = tokio::join!(truncate, fsync);
    assert_eq!(truncated.expect("truncates").size, 0);
    synced.expect("nothing is left to be written");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_file_that_nobody_can_reach_are_not_missed() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"a temporary file").await.expect("writes");
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    core.forget(attributes.inode, 1);
    core.release(handle);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    core.unmount(Duration::from_secs(60)).await.expect("nothing that anyone could read is lost");
}

#[tokio::test(start_paused = true)]
async fn what_full_drives_still_took_is_committed_and_the_rest_goes_on_when_there_is_room() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let bytes = pattern(20 << 20, 5);
    // Two extents of four fit.
    fake.fault_all(Fault::RoomFor(2));
    for (index, chunk) in bytes.chunks(1 << 20).enumerate() {
        core.write(handle, (index << 20) as u64, chunk).await.expect("there is room in memory");
    }
    assert_eq!(core.fsync(handle).await, Err(FsError::NoSpace));
    let stored = |fake: &Fake| fake.state().drives.values().map(|drive| drive.shards.len()).sum::<usize>();
    assert_eq!((stored(&fake), core.counts().dirty_bytes), (2 * 6, 12 << 20), "no room is taken for nothing");
    assert!(get_file(&core, attributes.inode, 1 << 20).await.expect("reads") == bytes);
    // Each time somebody makes room for one extent, one more is safe.
    for left in [8, 4, 0_u64] {
        fake.fault_all(Fault::RoomFor(1));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(core.counts().dirty_bytes, left << 20);
    }
    assert_eq!(stored(&fake), 5 * 6);
    assert!(get_file(&mount(&fake), attributes.inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_write_does_not_wait_for_ever_when_nothing_can_be_written() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    fake.fault(2, Fault::Dead);
    let refused = loop {
        let bytes = pattern(1 << 20, 1);
        let write = core.write(handle, core.counts().dirty_bytes, &bytes);
        match timeout(Duration::from_secs(600), write).await.expect("it says something") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refused, FsError::TimedOut);
    assert_eq!(core.counts().dirty_bytes, MEMORY_MIN.get() / 16 * 3, "all that was answered is kept");
    fake.fault(2, Fault::None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_after_a_truncation_that_seemed_to_fail_is_not_cut_off_by_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(100_000, 1)).await.expect("writes");
    core.fsync(handle).await.expect("commits");
    fake.state().lost_requests = u32::MAX;
    let cut = AttributeChanges { size: Some(10), ..AttributeChanges::default() };
    let cut = core.set_attributes(caller(), attributes.inode, cut).await;
    assert_eq!(cut.map(|_| ()), Err(FsError::TimedOut));
    // The owner has not been heard of: the truncation may still be done at any time.
    let written = pattern(500, 2);
    assert!(core.try_write(handle, 50_000, &written).is_none());
    let late = {
        let (core, written) = (Arc::clone(&core), written.clone());
        tokio::spawn(async move { core.write(handle, 50_000, &written).await })
    };
    sleep(Duration::from_secs(20)).await;
    assert!(!late.is_finished());
    fake.state().lost_requests = 0;
    late.await.expect("ends").expect("writes");
    core.fsync(handle).await.expect("commits");
    let mut expected = pattern(100_000, 1);
    expected.truncate(10);
    expected.resize(50_000, 0);
    expected.extend(&written);
    for core in [&core, &mount_as(&fake, false)] {
        assert!(get_file(core, attributes.inode, 1 << 20).await.expect("reads") == expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncation_that_was_given_up_before_it_was_begun_never_happens() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let bytes = pattern(100_000, 1);
    core.write(handle, 0, &bytes).await.expect("writes");
    core.fsync(handle).await.expect("commits");
    // As while bytes are on their way that do not land.
    let file = core.files.find(attributes.inode).expect("is open");
    let order = file.order.lock().await;
    let cut = AttributeChanges { size: Some(0), ..AttributeChanges::default() };
    let cut = core.set_attributes(caller(), attributes.inode, cut).await;
    assert_eq!(cut.map(|_| ()), Err(FsError::TimedOut));
    drop(order);
    sleep(Duration::from_secs(60)).await;
    assert!(get_file(&core, attributes.inode, 1 << 20).await.expect("reads") == bytes);
}
