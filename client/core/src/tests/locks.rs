//! Locks of two mounts, over a network that loses calls and owners that are replaced.

use core::time::Duration;
use std::collections::BTreeMap;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use weft_types::{LockKind, LockMode, LockOwner, LockRange};
use weft_wire::locks::{HeldLock, LockOp};

use super::*;
use crate::{FsError, LockRequest};

const SECOND: Duration = Duration::from_secs(1);
const INODE: Inode = Inode::new(77);
const ME: LockOwner = LockOwner::new(0xa);

fn range(start: u64, end: u64) -> LockRange {
    LockRange::new(start, end).expect("a range")
}

fn exclusive(start: u64, end: u64) -> LockRequest {
    let (kind, mode) = (LockKind::Posix, LockMode::Exclusive);
    LockRequest { inode: INODE, kind, owner: ME, pid: 9, range: range(start, end), mode }
}

fn shared(start: u64, end: u64) -> LockRequest {
    LockRequest { mode: LockMode::Shared, ..exclusive(start, end) }
}

fn flock(mode: LockMode) -> LockRequest {
    LockRequest { kind: LockKind::Flock, range: LockRange::WHOLE, mode, ..exclusive(0, 0) }
}

async fn unlock(core: &Arc<Core>, start: u64, end: u64) -> Result<(), FsError> {
    core.unlock(INODE, LockKind::Posix, ME, range(start, end)).await
}

async fn release(core: &Arc<Core>) -> Result<(), FsError> {
    core.release_locks(INODE, LockKind::Posix, ME).await
}

/// Two mounts that have heard of the owner.
async fn two() -> (Arc<Fake>, Arc<Core>, Arc<Core>) {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    sleep(SECOND).await;
    (fake, a, b)
}

fn in_background(core: &Arc<Core>, request: LockRequest) -> JoinHandle<Result<(), FsError>> {
    let core = Arc::clone(core);
    tokio::spawn(async move { core.set_lock(request, true).await })
}

fn calls(fake: &Fake) -> usize {
    fake.state().locks.state().calls.len()
}

#[tokio::test(start_paused = true)]
async fn what_one_mount_has_the_other_waits_for() {
    let (_fake, a, b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    assert_eq!(b.set_lock(shared(5, 20), false).await, Err(FsError::WouldBlock));
    let conflict = b.test_lock(shared(5, 20)).await.expect("asks").expect("in the way");
    assert_eq!((conflict.range, conflict.pid, conflict.session), (range(0, 9), 9, a.session()));
    let waits = in_background(&b, shared(5, 20));
    sleep(20 * SECOND).await;
    assert!(!waits.is_finished());
    unlock(&a, 5, 9).await.expect("lets go");
    timeout(SECOND, waits).await.expect("soon").expect("runs").expect("granted");
    assert_eq!(b.test_lock(exclusive(5, 9)).await, Ok(None), "nobody else is there");
    assert_eq!(a.set_lock(exclusive(5, 9), false).await, Err(FsError::WouldBlock));
}

#[tokio::test(start_paused = true)]
async fn a_deadlock_between_mounts_is_told_to_who_closes_it() {
    let (_fake, a, b) = two().await;
    a.set_lock(exclusive(0, 0), false).await.expect("free");
    b.set_lock(exclusive(1, 1), false).await.expect("free");
    let waits = in_background(&a, exclusive(1, 1));
    sleep(SECOND).await;
    assert_eq!(b.set_lock(exclusive(0, 0), true).await, Err(FsError::Deadlock));
    release(&b).await.expect("lets go");
    timeout(SECOND, waits).await.expect("soon").expect("runs").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn who_holds_nothing_asks_nobody_when_it_closes() {
    let (fake, a, _b) = two().await;
    let before = calls(&fake);
    release(&a).await.expect("nothing is held");
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    unlock(&a, 0, 9).await.expect("lets go");
    release(&a).await.expect("nothing is held");
    assert_eq!(calls(&fake), before + 2);
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    release(&a).await.expect("lets go");
    assert_eq!((calls(&fake), fake.state().locks.held()), (before + 4, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_and_answers_that_are_lost_change_nothing() {
    let (fake, a, b) = two().await;
    let lose = |requests, replies| {
        let fake = fake.state();
        let mut state = fake.locks.state();
        (state.lost_requests, state.lost_replies) = (requests, replies);
    };
    for (requests, replies) in [(0, 2), (2, 0), (1, 1)] {
        lose(requests, replies);
        a.set_lock(exclusive(0, 9), false).await.expect("free");
        assert_eq!(b.set_lock(exclusive(0, 9), false).await, Err(FsError::WouldBlock));
        lose(requests, replies);
        unlock(&a, 0, 4).await.expect("lets go");
        assert_eq!(fake.state().locks.held(), 1);
        lose(requests, replies);
        release(&a).await.expect("lets go");
        assert_eq!(fake.state().locks.held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let (fake, a, b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    assert!(timeout(SECOND, b.set_lock(exclusive(0, 9), true)).await.is_err());
    unlock(&a, 0, 9).await.expect("lets go");
    release(&b).await.expect("waits for what is taken back");
    assert_eq!(fake.state().locks.held(), 0);
    a.set_lock(exclusive(0, 9), false).await.expect("free");
}

/// What a mount has of the file, as the owner of the metadata has it.
fn held(fake: &Fake, core: &Core) -> Vec<(LockRange, LockMode)> {
    let regions = fake.state().locks.held_by(core.session(), &exclusive(0, 0));
    regions.iter().map(|region| (region.range, region.mode)).collect()
}

/// What a mount has asked for, each request once.
fn asked(fake: &Fake, core: &Core) -> Vec<LockOp> {
    let state = fake.state();
    let calls = &state.locks.state().calls;
    let mine = calls.iter().filter(|call| call.session == core.session());
    let by_turn: BTreeMap<_, _> = mine.map(|call| ((call.slot, call.seq), call.op)).collect();
    by_turn.into_values().collect()
}

fn lose_replies(fake: &Fake, replies: u32) {
    fake.state().locks.state().lost_replies = replies;
}

/// The owner has granted it, and the answer is not there when the process is killed.
#[tokio::test(start_paused = true)]
async fn a_lock_that_was_granted_when_it_was_given_up_is_as_it_was_before() {
    let (fake, a, b) = two().await;
    b.set_lock(shared(0, 4), false).await.expect("free");
    b.set_lock(exclusive(7, 7), false).await.expect("free");
    let before = held(&fake, &b);
    assert_eq!(before, [(range(0, 4), LockMode::Shared), (range(7, 7), LockMode::Exclusive)]);
    lose_replies(&fake, u32::MAX);
    assert!(timeout(SECOND, b.set_lock(exclusive(0, 9), true)).await.is_err());
    assert_eq!(held(&fake, &b), [(range(0, 9), LockMode::Exclusive)], "it was granted");
    lose_replies(&fake, 0);
    // Whoever asks next, of the same owner, waits until it is undone.
    assert_eq!(b.test_lock(exclusive(0, 9)).await, Ok(None));
    assert_eq!(held(&fake, &b), before);
    a.set_lock(exclusive(8, 9), false).await.expect("free again");
    a.set_lock(shared(0, 4), false).await.expect("shared again");
    assert_eq!(a.set_lock(exclusive(0, 4), false).await, Err(FsError::WouldBlock), "and kept");
    assert_eq!(a.set_lock(shared(7, 7), false).await, Err(FsError::WouldBlock), "and kept");
    assert!(!b.has_lost_locks());
    release(&b).await.expect("lets go");
    assert_eq!(held(&fake, &b), []);
}

/// What was held is never let go of, so that none who waits for it comes between.
#[tokio::test(start_paused = true)]
async fn who_gives_up_more_keeps_what_it_had_though_another_waits_for_it() {
    let (fake, a, b) = two().await;
    b.set_lock(shared(2, 4), false).await.expect("free");
    lose_replies(&fake, u32::MAX);
    let gives_up = tokio::spawn({
        let b = Arc::clone(&b);
        async move { timeout(3 * SECOND, b.set_lock(exclusive(0, 9), true)).await.is_err() }
    });
    sleep(SECOND).await;
    assert_eq!(held(&fake, &b), [(range(0, 9), LockMode::Exclusive)], "it was granted");
    // It is in the queue, whatever becomes of the answer.
    let waits = in_background(&a, exclusive(2, 4));
    assert!(gives_up.await.expect("runs"));
    lose_replies(&fake, 0);
    sleep(20 * SECOND).await;
    assert!(!waits.is_finished(), "another one had what was to be kept");
    assert_eq!(held(&fake, &b), [(range(2, 4), LockMode::Shared)]);
    a.set_lock(exclusive(0, 1), false).await.expect("free again");
    a.set_lock(exclusive(5, 9), false).await.expect("free again");
    unlock(&b, 0, 9).await.expect("lets go");
    timeout(SECOND, waits).await.expect("soon").expect("runs").expect("granted");
}

/// It asked for less than it had, and another one has come in when it gives that up.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_set_back_is_lost_and_said_so() {
    let (fake, a, b) = two().await;
    b.set_lock(exclusive(0, 9), false).await.expect("free");
    lose_replies(&fake, u32::MAX);
    let gives_up = tokio::spawn({
        let b = Arc::clone(&b);
        async move { timeout(3 * SECOND, b.set_lock(shared(0, 9), true)).await.is_err() }
    });
    sleep(SECOND).await;
    let comes_in = in_background(&a, shared(3, 3));
    assert!(gives_up.await.expect("runs"));
    lose_replies(&fake, 0);
    comes_in.await.expect("runs").expect("granted");
    sleep(SECOND).await;
    assert!(b.is_lock_lost(INODE, LockKind::Posix, ME) && !a.has_lost_locks());
    unlock(&b, 0, 9).await.expect("lets go");
    assert!(!b.has_lost_locks() && held(&fake, &b).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_closes_a_file_does_not_wait_for_an_owner_that_does_not_answer() {
    let (fake, a, b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    let others = |owner| LockRequest { owner: LockOwner::new(owner), ..exclusive(2 * owner, 2 * owner) };
    for owner in 100..150 {
        a.set_lock(others(owner), false).await.expect("free");
    }
    fake.state().owner_silent = true;
    let begun = Instant::now();
    let mut closing = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let a = Arc::clone(&a);
        closing.spawn(async move { release(&a).await });
    }
    assert_eq!(closing.join_all().await, vec![Err(FsError::TimedOut); 100]);
    assert!(begun.elapsed() < SECOND);
    // A process that is killed closes one after the other.
    for owner in 100..150 {
        let released = a.release_locks(INODE, LockKind::Posix, LockOwner::new(owner)).await;
        assert_eq!(released, Err(FsError::TimedOut));
    }
    assert!(begun.elapsed() < SECOND);
    sleep(3 * SECOND).await;
    assert_eq!(fake.state().locks.held(), 51);
    fake.state().owner_silent = false;
    b.set_lock(exclusive(0, 9), true).await.expect("it goes, though nobody waits for that");
    sleep(10 * SECOND).await;
    assert_eq!(fake.state().locks.held(), 1);
    let releases = asked(&fake, &a).iter().filter(|op| **op == LockOp::Release {}).count();
    assert!((51..=52).contains(&releases), "one for all that closed by one owner: {releases}");
    let begun = Instant::now();
    a.set_lock(others(100), false).await.expect("free");
    lose_replies(&fake, 1);
    a.release_locks(INODE, LockKind::Posix, LockOwner::new(100)).await.expect("waits again");
    assert!(begun.elapsed() < SECOND && fake.state().locks.held() == 1);
}

#[tokio::test(start_paused = true)]
async fn locks_outlast_a_cut_that_is_shorter_than_the_session() {
    let (fake, a, b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    let waits = in_background(&b, exclusive(0, 9));
    sleep(SECOND).await;
    fake.state().owner_silent = true;
    let (unlocked, ()) = tokio::join!(unlock(&a, 0, 9), async {
        sleep(8 * SECOND).await;
        fake.state().owner_silent = false;
    });
    unlocked.expect("lets go when it can");
    timeout(20 * SECOND, waits).await.expect("soon").expect("runs").expect("granted");
    assert!(!b.is_lock_lost(INODE, LockKind::Posix, ME));
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_is_told_and_grants_nobody_what_is_held() {
    let (fake, a, b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    a.set_lock(shared(20, 29), false).await.expect("free");
    a.set_lock(flock(LockMode::Exclusive), false).await.expect("free");
    let waits = in_background(&b, exclusive(0, 3));
    sleep(SECOND).await;
    fake.state().locks.take_over([a.session(), b.session()]);
    assert_eq!(b.set_lock(flock(LockMode::Shared), false).await, Err(FsError::WouldBlock), "at once");
    assert_eq!(fake.state().locks.state().told.len(), 3);
    let conflict = b.test_lock(exclusive(20, 40)).await.expect("asks").expect("in the way");
    assert_eq!((conflict.range, conflict.mode), (range(20, 29), LockMode::Shared));
    sleep(10 * SECOND).await;
    assert!(!waits.is_finished());
    unlock(&a, 0, 9).await.expect("lets go");
    timeout(SECOND, waits).await.expect("soon").expect("runs").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn who_is_idle_tells_the_next_owner_within_a_second_or_so() {
    let (fake, a, _b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    fake.state().locks.take_over([a.session()]);
    sleep(SECOND + SECOND / 10).await;
    assert!(!fake.state().locks.standing(a.session()).1);
    assert_eq!(fake.state().locks.held(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_locks_are_told_in_parts() {
    let (fake, a, _b) = two().await;
    for at in 0..3000 {
        a.set_lock(exclusive(2 * at, 2 * at), false).await.expect("free");
    }
    fake.state().locks.take_over([a.session()]);
    sleep(2 * SECOND).await;
    assert_eq!(fake.state().locks.held(), 3000);
    release(&a).await.expect("lets go");
    assert_eq!(fake.state().locks.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_another_one_claimed_first_is_lost_and_said_so() {
    let (fake, a, b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    a.set_lock(exclusive(20, 29), false).await.expect("free");
    let locks = Arc::clone(&fake.state().locks);
    locks.take_over([a.session(), b.session()]);
    let (epoch, _) = locks.standing(b.session());
    let (kind, mode) = (LockKind::Posix, LockMode::Shared);
    let claimed = HeldLock { inode: INODE, kind, owner: ME, range: range(5, 5), mode, pid: 1 };
    let call = weft_wire::locks::Reclaim {
        filesystem: b.filesystem(),
        session: b.session(),
        epoch,
        last: false,
        locks: vec![claimed],
    };
    locks.reclaim(&call).expect("taken in");
    sleep(2 * SECOND).await;
    assert!(a.is_lock_lost(INODE, kind, ME) && !b.is_lock_lost(INODE, kind, ME));
    assert!(!a.is_lock_lost(INODE, LockKind::Flock, ME) && !a.is_lock_lost(ROOT, kind, ME));
    unlock(&a, 15, 29).await.expect("lets go of what it has");
    assert!(a.is_lock_lost(INODE, kind, ME), "of the other it does not know");
    unlock(&a, 0, 4).await.expect("nothing is held");
    assert!(a.is_lock_lost(INODE, kind, ME));
    unlock(&a, 5, 9).await.expect("nothing is held");
    assert!(!a.is_lock_lost(INODE, kind, ME) && !a.has_lost_locks());
}

#[tokio::test(start_paused = true)]
async fn with_the_session_its_locks_are_lost() {
    let (fake, a, _b) = two().await;
    a.set_lock(exclusive(0, 9), false).await.expect("free");
    fake.state().ended = true;
    a.ended().await;
    sleep(SECOND).await;
    assert!(a.is_lock_lost(INODE, LockKind::Posix, ME));
    assert!(!a.is_lock_lost(INODE, LockKind::Flock, ME));
    assert_eq!(a.set_lock(exclusive(0, 9), true).await, Err(FsError::SessionEnded));
    assert_eq!(release(&a).await, Err(FsError::SessionEnded));
    assert!(!a.is_lock_lost(INODE, LockKind::Posix, ME), "whoever closes it knows");
}

#[tokio::test(start_paused = true)]
async fn a_whole_file_is_converted_as_on_linux() {
    let (fake, a, b) = two().await;
    a.set_lock(flock(LockMode::Shared), false).await.expect("free");
    b.set_lock(flock(LockMode::Shared), false).await.expect("shared");
    assert_eq!(a.set_lock(flock(LockMode::Exclusive), false).await, Err(FsError::WouldBlock));
    assert_eq!(fake.state().locks.held(), 1, "what cannot be converted is lost");
    let before = calls(&fake);
    a.release_locks(INODE, LockKind::Flock, ME).await.expect("nothing is held");
    assert_eq!(calls(&fake), before);
    a.set_lock(flock(LockMode::Shared), false).await.expect("shared");
    let waits = in_background(&a, flock(LockMode::Exclusive));
    sleep(4 * SECOND).await;
    b.set_lock(flock(LockMode::Exclusive), true).await.expect("the other one let go while it waits");
    b.release_locks(INODE, LockKind::Flock, ME).await.expect("lets go");
    timeout(SECOND, waits).await.expect("soon").expect("runs").expect("granted");
    assert_eq!(fake.state().locks.held(), 1);
}

/// While one thread waits, others of its process lock and unlock; the next owner is told exactly what is held.
#[tokio::test(start_paused = true)]
async fn threads_of_one_process_do_not_confuse_what_is_known() {
    let (fake, a, b) = two().await;
    b.set_lock(exclusive(100, 109), false).await.expect("free");
    let waits = in_background(&a, exclusive(95, 105));
    sleep(SECOND).await;
    for round in 0..50 {
        a.set_lock(exclusive(0, 99), false).await.expect("free");
        unlock(&a, round, 120).await.expect("lets go");
    }
    release(&b).await.expect("lets go");
    unlock(&a, 0, 100).await.expect("lets go");
    waits.await.expect("runs").expect("granted");
    fake.state().locks.take_over([a.session(), b.session()]);
    sleep(2 * SECOND).await;
    let told: Vec<_> = fake.state().locks.state().told.iter().map(|lock| lock.range).collect();
    assert!(told == [range(101, 105)] || told == [range(95, 105)], "{told:?}");
}
