//! What the filesystem has room for.

use core::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::FsError;

const MIB: u64 = 1 << 20;

#[tokio::test(start_paused = true)]
async fn a_write_beyond_the_room_of_the_filesystem_is_refused_at_once() {
    let fake = Fake::new();
    fake.state().owner.free = 2 * MIB;
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    core.write(handle, 0, &pattern(MIB as usize, 1)).await.expect("there is room");
    let begun = Instant::now();
    assert_eq!(core.write(handle, MIB, &pattern(MIB as usize, 1)).await, Err(FsError::NoSpace));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    fake.state().owner.free = 4 * MIB;
    core.write(handle, MIB, &pattern(MIB as usize, 2)).await.expect("room was made");
    core.fsync(handle).await.expect("what was taken is written");
}

#[tokio::test(start_paused = true)]
async fn a_long_write_that_does_not_fit_is_short() {
    let fake = Fake::new();
    fake.state().owner.free = 6 * MIB;
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    assert_eq!(core.write(handle, 0, &pattern(9 << 20, 1)).await, Ok(4 << 20));
    assert_eq!(core.write(handle, 4 * MIB, &pattern(5 << 20, 1)).await, Err(FsError::NoSpace));
}

#[tokio::test(start_paused = true)]
async fn small_extents_take_what_their_copies_take() {
    let fake = Fake::new();
    fake.state().owner.free = MIB;
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    let mut written = 0_u64;
    // Every other block: each will be an extent with three copies, two of which are parity.
    while core.write(handle, written * 8192, &[7; 4096]).await.is_ok() {
        written += 1;
    }
    assert!((60..128).contains(&written), "{written}");
    core.fsync(handle).await.expect("what was taken is written");
    let stored: usize = {
        let state = fake.state();
        let shards = state.drives.values().flat_map(|drive| drive.shards.values());
        shards.map(|(_, bytes)| bytes.len()).sum()
    };
    assert!(stored as u64 * 4 / 6 <= MIB, "{stored}");
}

#[tokio::test(start_paused = true)]
async fn the_room_is_told_true_while_the_owner_lags_behind() {
    let fake = Fake::new();
    fake.state().owner.free = 100 * MIB;
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    for index in 0..16 {
        core.write(handle, index * MIB, &pattern(MIB as usize, index)).await.expect("there is room");
    }
    let is_true = |free: u64| (80 * MIB..=84 * MIB).contains(&free);
    let free = core.space().await.expect("told").free.get();
    assert!(is_true(free), "{free}: what is dirty counts");
    core.fsync(handle).await.expect("commits");
    let free = core.space().await.expect("told").free.get();
    assert!(is_true(free), "{free}: the drives' accounts come later");
    sleep(Duration::from_secs(1)).await;
    fake.state().owner.free = 84 * MIB - 300_000;
    sleep(Duration::from_secs(4)).await;
    let free = core.space().await.expect("told").free.get();
    assert!(is_true(free), "{free}: and then they are all there is");
}

#[tokio::test(start_paused = true)]
async fn near_the_limit_a_write_waits_until_the_owner_has_counted() {
    let fake = Fake::new();
    fake.state().owner.free = 10 * MIB;
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    let bytes = pattern(4 * MIB as usize, 1);
    core.write(handle, 0, &bytes).await.expect("there is room");
    core.fsync(handle).await.expect("commits");
    // The drives' accounts come a second later; until then nobody knows whether they are in what the owner says.
    fake.state().owner.free = 6 * MIB - 100_000;
    let begun = Instant::now();
    core.write(handle, 4 * MIB, &bytes).await.expect("there is room, as is known a moment later");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    core.fsync(handle).await.expect("commits");
    fake.state().owner.free = 2 * MIB - 200_000;
    assert_eq!(core.write(handle, 8 * MIB, &bytes).await, Err(FsError::NoSpace));
    let (removed, begun) = (core.unlink(caller(), ROOT, name("a")).await, Instant::now());
    removed.expect("deletes work on a full filesystem");
    fake.state().owner.free = 10 * MIB;
    let (_, handle) = create(&core, "b").await;
    core.write(handle, 0, &bytes).await.expect("deletes make room");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_full_group_is_not_a_full_filesystem() {
    let fake = Fake::of(8);
    let core = mount(&fake);
    // Only group 2 is without these two drives.
    fake.fault(0, Fault::Full);
    fake.fault(1, Fault::Full);
    let bytes = pattern(9 << 20, 1);
    let inode = put_file(&core, "a", &bytes).await;
    assert!(get_file(&mount(&fake), inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_writer_hears_that_the_drives_are_full_while_a_commit_waits_for_room_too() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    core.write(handle, 0, b"x").await.expect("writes");
    core.fsync(handle).await.expect("commits");
    // One extent still fits, and its commit is not answered: the log has no room either.
    fake.fault_all(Fault::RoomFor(1));
    fake.state().owner_silent = true;
    let begun = Instant::now();
    let bytes = pattern(200 << 20, 1);
    let refused = core.write(handle, 0, &bytes[..]).await;
    let short = refused.as_ref().is_ok_and(|written| (*written as usize) < bytes.len());
    assert!(refused == Err(FsError::NoSpace) || short, "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
