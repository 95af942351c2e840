//! Attributes that travel with the bytes of their file.

use core::time::Duration;

use tokio::time::sleep;
use weft_types::Timestamp;
use weft_wire::meta::{AttributeChanges, MetaOp, RenameMode, TimeChange};

use super::*;

const fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn mode(mode: u16) -> AttributeChanges {
    AttributeChanges { mode: Some(mode), ..AttributeChanges::default() }
}

fn owner(uid: u32) -> AttributeChanges {
    AttributeChanges { uid: Some(uid), gid: Some(uid), ..AttributeChanges::default() }
}

fn modified(seconds: i64) -> AttributeChanges {
    let time = Some(TimeChange::At(at(seconds)));
    AttributeChanges { modified: time, ..AttributeChanges::default() }
}

async fn set(core: &Arc<Core>, inode: Inode, changes: AttributeChanges) {
    core.set_attributes(caller(), inode, changes).await.expect("changes");
}

/// How often the owner was asked to change attributes.
fn asked(fake: &Fake) -> usize {
    let state = fake.state();
    state.owner.calls.iter().filter(|call| matches!(call.op, MetaOp::SetAttributes { .. })).count()
}

/// Mode, owner and modification time, as a mount sees them that has nothing in memory.
fn elsewhere(fake: &Arc<Fake>, inode: Inode) -> (u16, u32, Timestamp) {
    let shown = fake.attributes(inode);
    (shown.mode, shown.uid, shown.modified)
}

#[tokio::test(start_paused = true)]
async fn what_is_unpacked_asks_for_nothing_but_its_names_and_commits() {
    let fake = Fake::new();
    let core = mount(&fake);
    let mut inodes = Vec::new();
    for number in 0..50 {
        let (attributes, handle) = create(&core, &format!("f{number}")).await;
        let inode = attributes.inode;
        core.write(handle, 0, &pattern(4096, number)).await.expect("writes");
        set(&core, inode, modified(7)).await;
        set(&core, inode, owner(3)).await;
        set(&core, inode, mode(0o600)).await;
        core.release(handle);
        let shown = core.attributes(inode).await.expect("known");
        assert_eq!((shown.mode, shown.uid, shown.gid, shown.modified), (0o600, 3, 3, at(7)));
        inodes.push(inode);
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!((asked(&fake), core.counts().dirty_bytes), (0, 0));
    for inode in inodes {
        assert_eq!(elsewhere(&fake, inode), (0o600, 3, at(7)));
    }
}

#[tokio::test(start_paused = true)]
async fn fsync_and_rename_wait_for_the_attributes_too() {
    let fake = Fake::new();
    let core = mount(&fake);
    for (number, renames) in [(1, false), (2, true)] {
        let text = format!("f{number}");
        let (attributes, handle) = create(&core, &text).await;
        core.write(handle, 0, b"bytes").await.expect("writes");
        set(&core, attributes.inode, mode(0o400)).await;
        if renames {
            let moved = core.rename(caller(), (ROOT, name(&text)), (ROOT, name("g")), RenameMode::Replace);
            moved.await.expect("renames");
        } else {
            core.fsync(handle).await.expect("commits");
        }
        assert_eq!(elsewhere(&fake, attributes.inode).0, 0o400);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_several_changes_counts_however_it_goes() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let inode = attributes.inode;
    core.write(handle, 0, b"bytes").await.expect("writes");
    set(&core, inode, mode(0o600)).await;
    // Set-id bits do not wait, and nothing from before may come after them.
    set(&core, inode, mode(0o4755)).await;
    let written = core.attributes(inode).await.expect("known").modified;
    assert!(written > attributes.modified);
    core.fsync(handle).await.expect("commits");
    let committed = elsewhere(&fake, inode);
    assert_eq!((committed.0, committed.2), (0o4755, written), "a mode says nothing of the time of the write");
    // Of a file with such bits the owner does not wait either.
    core.write(handle, 0, b"more").await.expect("writes");
    set(&core, inode, owner(9)).await;
    assert_eq!(elsewhere(&fake, inode).0, 0o755);
    set(&core, inode, modified(7)).await;
    core.write(handle, 0, b"even more").await.expect("writes");
    core.fsync(handle).await.expect("commits");
    assert_ne!(elsewhere(&fake, inode).2, at(7), "the write came later");
}

#[tokio::test(start_paused = true)]
async fn a_change_behind_bytes_on_their_way_is_not_overtaken_by_them() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"bytes").await.expect("writes");
    set(&core, attributes.inode, mode(0o644)).await;
    fake.fault_all(Fault::Late(Duration::from_secs(2)));
    let syncing = tokio::spawn({
        let core = Arc::clone(&core);
        async move { core.fsync(handle).await }
    });
    // It departs, and is on its way.
    sleep(Duration::from_secs(1)).await;
    set(&core, attributes.inode, mode(0o600)).await;
    syncing.await.expect("ends").expect("commits");
    assert_eq!(core.attributes(attributes.inode).await.expect("known").mode, 0o600);
    assert_eq!(elsewhere(&fake, attributes.inode).0, 0o600);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_was_set_outlasts_flights_that_fail_and_what_is_set_after_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let inode = attributes.inode;
    fake.fault_all(Fault::Dead);
    core.write(handle, 0, &pattern(9 << 20, 1)).await.expect("writes");
    // A part of it departs; the rest is written, and the time set, while that is on its way.
    sleep(Duration::from_secs(1)).await;
    core.write(handle, 9 << 20, &pattern(1 << 20, 2)).await.expect("writes");
    set(&core, inode, modified(7)).await;
    for _ in 0..3 {
        core.fsync(handle).await.expect_err("no drive takes it");
        assert_eq!(core.attributes(inode).await.expect("known").modified, at(7));
    }
    set(&core, inode, owner(3)).await;
    assert_eq!(core.attributes(inode).await.expect("known").modified, at(7));
    fake.fault_all(Fault::None);
    core.fsync(handle).await.expect("commits");
    assert_eq!(elsewhere(&fake, inode), (0o644, 3, at(7)));
    fake.fault_all(Fault::Dead);
    core.write(handle, 0, b"later").await.expect("writes");
    core.fsync(handle).await.expect_err("no drive takes it");
    fake.fault_all(Fault::None);
    core.fsync(handle).await.expect("commits");
    assert_ne!(elsewhere(&fake, inode).2, at(7));
}

#[tokio::test(start_paused = true)]
async fn a_length_takes_what_is_held_back_along() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let inode = attributes.inode;
    core.write(handle, 0, b"bytes").await.expect("writes");
    for changes in [mode(0o600), owner(3), modified(7)] {
        set(&core, inode, changes).await;
    }
    set(&core, inode, AttributeChanges { size: Some(2), ..AttributeChanges::default() }).await;
    assert_eq!(asked(&fake), 1, "by one operation, which may use the room that is kept for it");
    let shown = elsewhere(&fake, inode);
    assert_eq!((shown.0, shown.1), (0o600, 3));
    assert_ne!(shown.2, at(7), "the length was changed later");
    core.fsync(handle).await.expect("commits");
    assert_eq!(get_file(&core, inode, 100).await.expect("reads"), b"by");
}

#[tokio::test(start_paused = true)]
async fn who_may_read_what_is_committed_is_said_at_once() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"bytes").await.expect("writes");
    core.fsync(handle).await.expect("commits");
    core.write(handle, 5, b" more").await.expect("writes");
    set(&core, attributes.inode, modified(7)).await;
    assert_eq!(asked(&fake), 0);
    set(&core, attributes.inode, mode(0o600)).await;
    assert_eq!(elsewhere(&fake, attributes.inode).0, 0o600);
}

#[tokio::test(start_paused = true)]
async fn attributes_wait_with_bytes_that_came_back() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"bytes").await.expect("writes");
    set(&core, attributes.inode, mode(0o400)).await;
    set(&core, attributes.inode, modified(7)).await;
    fake.fault_all(Fault::Dead);
    core.fsync(handle).await.expect_err("no drive takes it");
    let shown = core.attributes(attributes.inode).await.expect("known");
    assert_eq!((shown.mode, shown.modified), (0o400, at(7)));
    fake.fault_all(Fault::None);
    core.fsync(handle).await.expect("commits");
    assert_eq!(elsewhere(&fake, attributes.inode), (0o400, 1, at(7)));
}
