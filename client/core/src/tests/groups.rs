//! Small files that are written back together.

use core::time::Duration;

use tokio::time::{Instant, sleep};
use weft_layout::DriveState;
use weft_wire::meta::{MetaOp, RenameMode};

use super::*;

/// Files of one block, closed, with bytes of their own; nothing is committed yet.
async fn write_files(core: &Arc<Core>, count: u64) -> Vec<(Inode, Vec<u8>)> {
    let mut files = Vec::new();
    for number in 0..count {
        let (attributes, handle) = create(core, &format!("f{number}")).await;
        let bytes = pattern(4096 + number as usize % 5 * 1000, number + 1);
        core.write(handle, 0, &bytes).await.expect("writes");
        core.flush(handle).expect("nothing failed");
        core.release(handle);
        files.push((attributes.inode, bytes));
    }
    files
}

async fn check(fake: &Arc<Fake>, files: &[(Inode, Vec<u8>)]) {
    fake.end_leases();
    let core = mount_as(fake, true);
    for (inode, bytes) in files {
        assert!(get_file(&core, *inode, 1 << 17).await.expect("reads") == *bytes);
    }
}

/// How many operations committed several files, and how many a single one.
fn commits(fake: &Fake) -> (usize, usize) {
    let state = fake.state();
    let calls = || state.owner.calls.iter();
    let several = calls().filter(|call| matches!(call.op, MetaOp::CommitFiles(_))).count();
    (several, calls().filter(|call| matches!(call.op, MetaOp::Commit(_))).count())
}

#[tokio::test(start_paused = true)]
async fn many_small_files_are_committed_by_few_operations_soon_after_they_were_closed() {
    let fake = Fake::new();
    let core = mount(&fake);
    let files = write_files(&core, 400).await;
    assert_eq!(commits(&fake), (0, 0), "closing waits for nothing");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    let (several, single) = commits(&fake);
    assert!(several <= 4 && single <= 2, "{several} and {single} operations");
    check(&fake, &files).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_to_files_that_stay_open_is_committed_within_five_seconds() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (a, first) = create(&core, "a").await;
    let (b, second) = create(&core, "b").await;
    let begun = Instant::now();
    core.write(first, 0, b"one").await.expect("writes");
    core.write(second, 0, b"two").await.expect("writes");
    while core.counts().dirty_bytes > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(5), "{took:?}");
    check(&fake, &[(a.inode, b"one".to_vec()), (b.inode, b"two".to_vec())]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rename_comes_after_the_commit_of_what_was_written_before() {
    let fake = Fake::new();
    let core = mount(&fake);
    let files = write_files(&core, 3).await;
    let moved = core.rename(caller(), (ROOT, name("f1")), (ROOT, name("new")), RenameMode::Replace);
    moved.await.expect("renames");
    let calls: Vec<_> = fake.state().owner.calls.iter().map(|call| call.op.clone()).collect();
    let at = |wanted: &dyn Fn(&MetaOp) -> bool| calls.iter().position(wanted).expect("was asked for");
    let committed = at(&|op| matches!(op, MetaOp::Commit(commit) if commit.inode == files[1].0));
    assert!(committed < at(&|op| matches!(op, MetaOp::Rename(_))));
}

#[tokio::test(start_paused = true)]
async fn a_link_waits_for_a_group_that_has_departed() {
    let fake = Fake::new();
    let core = mount(&fake);
    for drive in 0..6 {
        fake.fault(drive, Fault::Late(Duration::from_millis(300)));
    }
    let files = write_files(&core, 20).await;
    while !fake.state().trace.iter().any(|_| true) {
        sleep(Duration::from_millis(10)).await;
    }
    core.link(caller(), files[3].0, ROOT, name("other")).await.expect("links");
    assert!(!fake.runs(files[3].0).is_empty(), "its bytes were committed before");
    sleep(Duration::from_secs(5)).await;
    check(&fake, &files).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_call_does_not_bring_home_goes_shard_by_shard() {
    for fault in [Fault::BreaksOff(3), Fault::Late(Duration::from_secs(2)), Fault::RoomFor(10)] {
        let fake = Fake::new();
        let core = mount(&fake);
        let files = write_files(&core, 50).await;
        fake.fault(2, fault);
        sleep(Duration::from_secs(4)).await;
        fake.fault(2, Fault::None);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(core.counts().dirty_bytes, 0, "{fault:?}");
        check(&fake, &files).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_of_files_is_written_around_a_drive_that_is_down() {
    let fake = Fake::of(8);
    let core = mount(&fake);
    let files = write_files(&core, 50).await;
    fake.fault(1, Fault::Hanging);
    sleep(Duration::from_secs(3)).await;
    fake.report(1, DriveState::Down);
    fake.replace(1, |_| 7);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    check(&fake, &files).await;
}

#[tokio::test(start_paused = true)]
async fn files_that_wait_for_their_group_are_not_sent_alone() {
    let fake = Fake::new();
    let core = mount(&fake);
    for drive in 0..6 {
        fake.fault(drive, Fault::Late(Duration::from_millis(900)));
    }
    let files = write_files(&core, 2000).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    let (several, single) = commits(&fake);
    assert!(several <= 12 && single <= 4, "{several} and {single} operations");
    check(&fake, &files).await;
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_takes_nothing_holds_up_a_large_group_once() {
    let fake = Fake::new();
    let core = mount(&fake);
    let files = write_files(&core, 250).await;
    fake.fault(1, Fault::Hanging);
    sleep(Duration::from_millis(1700)).await;
    let begun = Instant::now();
    let last = core.open(files[249].0, READ_WRITE).await.expect("opens");
    core.fsync(last).await.expect("its own shards are with other drives");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(45), "not one extent after the other: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_takes_no_other_with_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    let files = write_files(&core, 10).await;
    // Behind its back: the owner does not know one of the files any more.
    let reaped = core.session.meta(caller(), MetaOp::Unlink { parent: ROOT, name: name("f4") }).await;
    reaped.expect("unlinks");
    core.session.meta(caller(), MetaOp::Reap { inodes: vec![files[4].0] }).await.expect("reaps");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    let others: Vec<_> = files.iter().filter(|(inode, _)| *inode != files[4].0).cloned().collect();
    check(&fake, &others).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_commit_of_many_files_is_asked_for_again() {
    let fake = Fake::new();
    let core = mount(&fake);
    let files = write_files(&core, 10).await;
    sleep(Duration::from_millis(600)).await;
    fake.state().lost_replies = 3;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
    assert_eq!(commits(&fake).0, 1, "it was carried out once");
    check(&fake, &files).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_mount_dies_what_was_fsynced_is_there_and_the_rest_is_whole_or_absent() {
    let fake = Fake::new();
    let core = mount(&fake);
    let bytes = pattern(10_000, 7);
    let safe = put_file(&core, "safe", &bytes).await;
    let files = write_files(&core, 20).await;
    core.session.end_for_good(None);
    drop(core);
    check(&fake, &[(safe, bytes)]).await;
    fake.end_leases();
    let other = mount_as(&fake, true);
    for (inode, bytes) in &files {
        let found = get_file(&other, *inode, 1 << 17).await.expect("reads");
        assert!(found.is_empty() || found == *bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn names_in_a_directory_that_was_made_here_are_not_asked_for() {
    let fake = Fake::new();
    let core = mount(&fake);
    let made = core.make_node(caller(), ROOT, name("d"), weft_wire::meta::NewNode::Directory, 0o755, 0).await;
    let directory = made.expect("makes").inode;
    let calls = fake.calls();
    let missing = core.try_lookup(directory, &name("x")).expect("memory knows");
    assert!(missing.is_err());
    core.create(caller(), directory, name("x"), 0o644, 0, READ_WRITE).await.expect("creates");
    assert!(core.try_lookup(directory, &name("x")).expect("memory knows").is_ok());
    core.unlink(caller(), directory, name("x")).await.expect("unlinks");
    assert!(core.try_lookup(directory, &name("x")).expect("memory knows").is_err());
    assert_eq!(fake.calls() - calls, 2);
    // A refused removal leaves the name where it is.
    let inner = core.make_node(caller(), directory, name("y"), weft_wire::meta::NewNode::Directory, 0o755, 0);
    let inner = inner.await.expect("makes").inode;
    core.create(caller(), inner, name("z"), 0o644, 0, READ_WRITE).await.expect("creates");
    core.remove_directory(caller(), directory, name("y")).await.expect_err("it is not empty");
    assert_eq!(core.lookup(directory, &name("y")).await.expect("it is there").inode, inner);
}
