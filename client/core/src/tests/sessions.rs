//! The lease, and calls that get lost.

use core::time::Duration;

use tokio::time::sleep;
use weft_wire::meta::MetaError;

use super::*;
use crate::FsError;

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_the_effect_is_one() {
    let fake = Fake::new();
    let core = mount(&fake);
    for (requests, replies) in [(0, 2), (2, 0), (1, 1)] {
        {
            let mut state = fake.state();
            (state.lost_requests, state.lost_replies) = (requests, replies);
        }
        let text = format!("f{requests}{replies}");
        let (_, handle) = create(&core, &text).await;
        fake.state().lost_replies = replies;
        core.write(handle, 0, b"x").await.expect("writes");
        core.fsync(handle).await.expect("commits");
        fake.state().lost_replies = replies;
        core.unlink(caller(), ROOT, name(&text)).await.expect("unlinks once");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_given_up_still_happens_and_is_known() {
    let fake = Fake::new();
    let core = mount(&fake);
    fake.state().owner_silent = true;
    let given_up = core.create(caller(), ROOT, name("a"), 0o644, 0, READ_WRITE);
    assert!(tokio::time::timeout(Duration::from_secs(1), given_up).await.is_err());
    fake.state().owner_silent = false;
    sleep(Duration::from_secs(10)).await;
    let found = core.try_lookup(ROOT, &name("a")).expect("it is known");
    assert!(found.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_memory_answers_nothing_and_a_renewal_brings_it_back() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"x").await.expect("writes");
    assert!(core.cache_ttl() > Duration::from_secs(4));
    fake.state().owner_silent = true;
    sleep(fake::LEASE + Duration::from_secs(1)).await;
    assert_eq!(core.cache_ttl(), Duration::ZERO);
    assert_eq!(core.try_attributes(attributes.inode), None);
    assert_eq!(core.try_lookup(ROOT, &name("a")), None);
    assert_eq!(core.try_read(handle, 0, 1), None);
    assert_eq!(core.attributes(attributes.inode).await, Err(FsError::TimedOut));
    fake.state().owner_silent = false;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(core.attributes(attributes.inode).await.expect("served again").size, 1);
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn after_its_end_a_session_serves_nothing_and_says_what_was_lost() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    fake.fault_all(Fault::Dead);
    core.write(handle, 0, b"lost").await.expect("writes");
    fake.state().ended = true;
    core.ended().await;
    assert_eq!(core.attributes(attributes.inode).await, Err(FsError::SessionEnded));
    assert_eq!(core.write(handle, 0, b"x").await, Err(FsError::SessionEnded));
    assert!(core.fsync(handle).await.is_err());
    let lost = core.unmount(Duration::from_secs(60)).await.expect_err("bytes are lost");
    assert_eq!((lost.files, lost.bytes), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_reader_sees_what_a_writer_committed_a_second_later() {
    let fake = Fake::new();
    let writer = mount(&fake);
    let reader = mount_as(&fake, true);
    let inode = put_file(&writer, "a", b"first").await;
    assert_eq!(get_file(&reader, inode, 100).await.expect("reads"), b"first");
    let handle = writer.open(inode, READ_WRITE).await.expect("opens");
    writer.write(handle, 0, b"2nd, longer").await.expect("writes");
    writer.fsync(handle).await.expect("commits");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(get_file(&reader, inode, 100).await.expect("reads"), b"2nd, longer");
    assert_eq!(reader.open(inode, READ_WRITE).await, Err(MetaError::ReadOnly.into()));
    assert!(reader.cache_ttl() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_tell_the_counters_and_bring_the_map() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    core.write(handle, 0, b"xyz").await.expect("writes");
    fake.report(3, weft_layout::DriveState::Down);
    sleep(Duration::from_millis(2500)).await;
    let last = fake.state().reports.last().cloned().expect("reported");
    assert_eq!((last.filesystem.as_str(), last.mount.as_str(), last.dirty.get()), ("default", "/mnt", 3));
    assert_eq!(core.cluster.view().version(), fake.map().version);
}
