//! Access times.

use core::time::Duration;

use tokio::time::sleep;
use weft_types::Timestamp;
use weft_wire::meta::{AttributeChanges, MetaOp, NewNode, TimeChange};

use super::*;

fn told(fake: &Fake) -> usize {
    let accessed = |call: &&weft_wire::compute::Meta| matches!(call.op, MetaOp::Accessed(_));
    fake.state().owner.calls.iter().filter(accessed).count()
}

#[tokio::test(start_paused = true)]
async fn a_read_shows_at_once_and_is_told_later_once() {
    let fake = Fake::new();
    let core = attach(&fake, false, true);
    let inode = put_file(&core, "a", b"text").await;
    let before = core.attributes(inode).await.expect("known");
    let handle = core.open(inode, READ_ONLY).await.expect("opens");
    for _ in 0..5 {
        core.read(handle, 0, 4).await.expect("reads");
    }
    let shown = core.attributes(inode).await.expect("known");
    assert!(shown.accessed > before.accessed);
    assert_eq!(
        (shown.changed, shown.modified, shown.change),
        (before.changed, before.modified, before.change)
    );
    assert_eq!(told(&fake), 0);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(told(&fake), 1);
    core.read(handle, 0, 4).await.expect("reads");
    sleep(Duration::from_secs(25)).await;
    assert_eq!(told(&fake), 1, "the file is as it was");
    let other = core.open(inode, READ_WRITE).await.expect("opens");
    core.write(other, 0, b"next").await.expect("writes");
    core.fsync(other).await.expect("commits");
    core.unmount(Duration::from_secs(60)).await.expect("all is written");
    let seen = mount(&fake).attributes(inode).await.expect("known");
    assert_eq!(seen.accessed, shown.accessed);
}

#[tokio::test(start_paused = true)]
async fn directories_and_links_are_read_too_and_an_unmount_tells() {
    let fake = Fake::new();
    let core = attach(&fake, false, true);
    let target = NewNode::Symlink { target: b"to".to_vec().into() };
    let link = core.make_node(caller(), ROOT, name("l"), target, 0o777, 0).await.expect("makes").inode;
    let before = [core.attributes(ROOT).await, core.attributes(link).await].map(Result::unwrap);
    core.list_directory(ROOT, 0, 9, false).await.expect("lists");
    core.read_link(link).await.expect("reads");
    core.unmount(Duration::from_secs(60)).await.expect("nothing to write");
    assert_eq!(told(&fake), 1, "both by one call");
    let core = mount(&fake);
    for before in before {
        assert!(core.attributes(before.inode).await.expect("known").accessed > before.accessed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_set_outlasts_a_read_before_it() {
    let fake = Fake::new();
    let core = attach(&fake, false, true);
    let inode = put_file(&core, "a", b"text").await;
    get_file(&core, inode, 4).await.expect("reads");
    let time = Timestamp { seconds: 5, nanos: 0 };
    let changes = AttributeChanges { accessed: Some(TimeChange::At(time)), ..AttributeChanges::default() };
    core.set_attributes(caller(), inode, changes).await.expect("sets");
    sleep(Duration::from_secs(25)).await;
    assert_eq!(core.attributes(inode).await.expect("known").accessed, time);
}

#[tokio::test(start_paused = true)]
async fn without_access_times_and_without_writing_nothing_is_told() {
    let fake = Fake::new();
    let inode = put_file(&mount(&fake), "a", b"text").await;
    for (read_only, access_times) in [(false, false), (true, true)] {
        fake.end_leases();
        let core = attach(&fake, read_only, access_times);
        get_file(&core, inode, 4).await.expect("reads");
        sleep(Duration::from_secs(25)).await;
        assert_eq!(told(&fake), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_keeps_no_times_any_more_tells_of_no_read_after_that() {
    let fake = Fake::new();
    let core = attach(&fake, false, true);
    let inode = put_file(&core, "a", b"text").await;
    core.keep_access_times(false);
    get_file(&core, inode, 4).await.expect("reads");
    sleep(Duration::from_secs(25)).await;
    assert_eq!(told(&fake), 0);
    core.keep_access_times(true);
    get_file(&core, inode, 4).await.expect("reads");
    sleep(Duration::from_secs(25)).await;
    assert_eq!(told(&fake), 1);
}
