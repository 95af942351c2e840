//! A mount that was cut off for too long goes on with another session, and loses only what it says.

use core::time::Duration;

use tokio::time::sleep;
use weft_types::SessionId;
use weft_wire::meta::MetaError;

use super::*;
use crate::{FsError, LockKind, LockMode, LockOwner, LockRange, LockRequest};

/// Two mounts; the first one's session is what the tests end.
fn two() -> (Arc<Fake>, Arc<Core>, Arc<Core>) {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    (fake, a, b)
}

/// The session of a mount is ended behind its back.
fn expire(fake: &Fake, core: &Core) -> SessionId {
    let before = core.session();
    fake.expire(before);
    before
}

/// Waits until a mount has another session.
async fn goes_on(core: &Core, before: SessionId) {
    while core.session() == before || core.session.follows_another() {
        sleep(Duration::from_millis(10)).await;
    }
}

async fn read(core: &Arc<Core>, handle: HandleId) -> Result<Vec<u8>, FsError> {
    core.read(handle, 0, 100).await.map(|bytes| bytes.to_vec())
}

#[tokio::test(start_paused = true)]
async fn what_was_remembered_is_asked_for_anew_and_handles_go_on() {
    let (fake, a, b) = two();
    let inode = put_file(&b, "f", b"before").await;
    let handle = a.open(inode, READ_WRITE).await.expect("opens");
    assert_eq!(read(&a, handle).await.expect("reads"), b"before");
    let before = expire(&fake, &a);
    let other = b.open(inode, READ_WRITE).await.expect("opens");
    b.write(other, 0, b"behind its back").await.expect("writes");
    b.fsync(other).await.expect("commits");
    b.rename(caller(), (ROOT, name("f")), (ROOT, name("g")), crate::RenameMode::Replace)
        .await
        .expect("renames");
    goes_on(&a, before).await;
    assert_eq!(read(&a, handle).await.expect("reads"), b"behind its back");
    assert_eq!(a.attributes(inode).await.expect("is there").size, 15);
    assert_eq!(a.lookup(ROOT, &name("f")).await, Err(FsError::Refused(MetaError::NotFound)));
    assert_eq!(a.lookup(ROOT, &name("g")).await.expect("is there").inode, inode);
    a.write(handle, 0, b"IN FRONT OF IT!").await.expect("writes");
    assert_eq!(read(&b, other).await.expect("reads"), b"IN FRONT OF IT!");
    assert!(!a.has_ended() && a.refused().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_open_is_kept_when_another_mount_removes_it_afterwards() {
    let (fake, a, b) = two();
    let inode = put_file(&b, "f", b"bytes").await;
    let handle = a.open(inode, READ_ONLY).await.expect("opens");
    let before = expire(&fake, &a);
    goes_on(&a, before).await;
    b.unlink(caller(), ROOT, name("f")).await.expect("unlinks");
    b.forget(inode, 1);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(read(&a, handle).await.expect("reads"), b"bytes");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_kept_when_nobody_changed_the_file() {
    for alone in [true, false] {
        let fake = Fake::new();
        let a = mount(&fake);
        let b = (!alone).then(|| mount_as(&fake, false));
        let (attributes, handle) = create(&a, "f").await;
        a.write(handle, 0, b"first").await.expect("writes");
        a.fsync(handle).await.expect("commits");
        a.write(handle, 5, b" and second").await.expect("writes");
        let before = expire(&fake, &a);
        if let Some(b) = &b {
            assert_eq!(get_file(b, attributes.inode, 100).await.expect("reads"), b"first", "{alone}");
        }
        goes_on(&a, before).await;
        a.fsync(handle).await.expect("commits under the next session");
        assert_eq!(read(&a, handle).await.expect("reads"), b"first and second");
        let now = a.session();
        assert!(fake.runs(attributes.inode).iter().any(|run| run.extent.session == now));
        if let Some(b) = &b {
            assert_eq!(get_file(b, attributes.inode, 100).await.expect("reads"), b"first and second");
        }
        a.unmount(Duration::from_secs(60)).await.expect("nothing is lost");
    }
}

#[tokio::test(start_paused = true)]
async fn extents_that_were_put_and_not_committed_are_sealed_anew() {
    let (fake, a, _b) = two();
    let (attributes, handle) = create(&a, "f").await;
    let bytes = pattern(9 << 20, 5);
    for (index, chunk) in bytes.chunks(1 << 20).enumerate() {
        a.write(handle, (index as u64) << 20, chunk).await.expect("writes");
    }
    fake.state().lost_requests = u32::MAX;
    let synced = {
        let a = Arc::clone(&a);
        tokio::spawn(async move { a.fsync(handle).await })
    };
    sleep(Duration::from_secs(1)).await;
    let before = expire(&fake, &a);
    assert!(fake.state().trace.iter().any(|(_, key)| key.extent.session == before));
    fake.state().lost_requests = 0;
    synced.await.expect("runs").expect("nothing is lost");
    let now = a.session();
    assert!(now != before && fake.runs(attributes.inode).iter().all(|run| run.extent.session == now));
    assert_eq!(get_file(&a, attributes.inode, 1 << 20).await.expect("reads"), bytes);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_lost_when_another_mount_changed_the_file_and_each_handle_is_told_once() {
    let (fake, a, b) = two();
    let inode = put_file(&b, "f", b"before").await;
    let syncs = a.open(inode, READ_WRITE).await.expect("opens");
    let writes = a.open(inode, READ_WRITE).await.expect("opens");
    let closes = a.open(inode, READ_ONLY).await.expect("opens");
    a.write(syncs, 0, b"in vain, and longer").await.expect("writes");
    let before = expire(&fake, &a);
    let other = b.open(inode, READ_WRITE).await.expect("opens");
    b.write(other, 0, b"behind").await.expect("writes");
    b.fsync(other).await.expect("commits");
    goes_on(&a, before).await;
    assert_eq!(a.fsync(syncs).await, Err(FsError::Lost));
    assert_eq!(a.fsync(syncs).await, Ok(()));
    assert_eq!(a.write(writes, 0, b"x").await, Err(FsError::Lost));
    assert_eq!(a.flush(closes), Err(FsError::Lost));
    assert_eq!(read(&a, syncs).await.expect("reads"), b"behind");
    a.write(writes, 6, b" and on").await.expect("goes on");
    a.fsync(writes).await.expect("commits");
    assert_eq!(read(&b, other).await.expect("reads"), b"behind and on");
    assert_eq!(a.counts().dirty_bytes, 0);
    a.unmount(Duration::from_secs(60)).await.expect("all were told");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_be_told_of_is_told_to_who_unmounts() {
    let (fake, a, b) = two();
    let inode = put_file(&b, "f", b"before").await;
    let handle = a.open(inode, READ_WRITE).await.expect("opens");
    a.write(handle, 0, b"in vain").await.expect("writes");
    a.release(handle);
    let before = expire(&fake, &a);
    let changes = crate::AttributeChanges { mode: Some(0o600), ..Default::default() };
    b.set_attributes(caller(), inode, changes).await.expect("changes");
    goes_on(&a, before).await;
    let lost = a.unmount(Duration::from_secs(60)).await.expect_err("bytes are lost");
    assert_eq!((lost.files, lost.bytes, lost.cause), (1, 7, Some(FsError::Lost)));
}

#[tokio::test(start_paused = true)]
async fn a_file_without_a_name_goes_with_the_session() {
    let (fake, a, b) = two();
    let inode = put_file(&a, "f", b"bytes").await;
    let handle = a.open(inode, READ_WRITE).await.expect("opens");
    let other = put_file(&a, "g", b"other").await;
    let reader = a.open(other, READ_ONLY).await.expect("opens");
    a.unlink(caller(), ROOT, name("f")).await.expect("unlinks");
    a.write(handle, 0, b"in vain").await.expect("writes");
    let before = expire(&fake, &a);
    b.unlink(caller(), ROOT, name("g")).await.expect("unlinks");
    b.forget(other, 1);
    goes_on(&a, before).await;
    assert_eq!(read(&a, handle).await, Err(FsError::Stale));
    assert_eq!(a.write(handle, 0, b"x").await, Err(FsError::Stale));
    assert_eq!(a.fsync(handle).await, Err(FsError::Stale));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(read(&a, reader).await, Err(FsError::Stale), "another mount has removed it meanwhile");
    a.release(handle);
    a.release(reader);
    let (_, handle) = create(&a, "f").await;
    a.write(handle, 0, b"anew").await.expect("goes on");
    a.fsync(handle).await.expect("commits");
    assert_eq!(a.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_yet_waits_for_the_next_session_and_what_may_have_been_done_is_not_done_twice() {
    let (fake, a, _b) = two();
    put_file(&a, "f", b"bytes").await;
    fake.state().lost_replies = 1;
    let core = Arc::clone(&a);
    let asked = tokio::spawn(async move {
        core.rename(caller(), (ROOT, name("f")), (ROOT, name("g")), crate::RenameMode::Replace).await
    });
    sleep(Duration::from_millis(5)).await;
    let before = expire(&fake, &a);
    assert_eq!(asked.await.expect("runs"), Err(FsError::SessionEnded), "it was done, and nobody said so");
    fake.state().owner_silent = true;
    let core = Arc::clone(&a);
    let waits = tokio::spawn(async move {
        core.make_node(caller(), ROOT, name("d"), crate::NewNode::Directory, 0o755, 0).await
    });
    sleep(Duration::from_secs(5)).await;
    assert!(!waits.is_finished());
    fake.state().owner_silent = false;
    waits.await.expect("runs").expect("is made under the next session");
    assert!(a.session() != before);
    assert_eq!(a.lookup(ROOT, &name("f")).await, Err(FsError::Refused(MetaError::NotFound)));
    a.lookup(ROOT, &name("g")).await.expect("it was renamed");
}

#[tokio::test(start_paused = true)]
async fn locks_go_with_their_session_and_others_are_granted() {
    let (fake, a, b) = two();
    let inode = put_file(&a, "f", b"bytes").await;
    let (kind, owner) = (LockKind::Posix, LockOwner::new(7));
    let request =
        LockRequest { inode, kind, owner, pid: 1, range: LockRange::WHOLE, mode: LockMode::Exclusive };
    a.set_lock(request, false).await.expect("free");
    let before = expire(&fake, &a);
    b.set_lock(request, false).await.expect("free by now");
    goes_on(&a, before).await;
    assert!(a.is_lock_lost(inode, kind, owner));
    assert_eq!(a.set_lock(request, false).await, Err(FsError::WouldBlock));
    a.release_locks(inode, kind, owner).await.expect("lets go");
    b.release_locks(inode, kind, owner).await.expect("lets go");
    assert!(!a.is_lock_lost(inode, kind, owner));
    a.set_lock(request, false).await.expect("free");
}

#[tokio::test(start_paused = true)]
async fn a_mount_whose_filesystem_is_deleted_ends() {
    let (fake, a, _b) = two();
    fake.state().ended = true;
    a.ended().await;
    assert_eq!(a.refused(), Some(weft_wire::compute::OpenRefusal::Deleting));
    assert_eq!(a.lookup(ROOT, &name("f")).await, Err(FsError::SessionEnded));
}
