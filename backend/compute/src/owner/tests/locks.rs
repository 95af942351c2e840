use weft_types::{LockKind, LockMode, LockOwner, LockRange};
use weft_wire::locks::{
    HeldLock, LOCK_SLOTS, Lock, LockOp, LockOutcome, LockRefusal, Locked, RECLAIM_MAX, Reclaim, Reclaimed,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const RANGE: LockRange = LockRange::new(0, 9).expect("a range");
const UNLOCK: LockOp = LockOp::Unlock { range: RANGE };
const SET: LockOp = LockOp::Set { range: RANGE, mode: LockMode::Exclusive, pid: 4, wait: false };
const WAIT: LockOp = LockOp::Set { range: RANGE, mode: LockMode::Exclusive, pid: 4, wait: true };

/// A mount that has one request under way at a time.
#[derive(Clone, Copy)]
struct Mount {
    session: SessionId,
    epoch: u64,
    seq: u64,
}

impl Mount {
    /// One that only reads: of these there may be many.
    async fn attach(owner: &Owner) -> Self {
        let session = attach(owner, &asked(true)).await.expect("opens");
        Self { session, epoch: owner.held().epoch.get(), seq: 0 }
    }

    fn call(&mut self, op: LockOp) -> Lock {
        self.seq += 1;
        Lock {
            filesystem: FILESYSTEM,
            session: self.session,
            epoch: Epoch::new(self.epoch),
            slot: SlotId::new(0),
            seq: SlotSeq::new(self.seq),
            inode: Inode::new(9),
            kind: LockKind::Posix,
            owner: LockOwner::new(1),
            op,
        }
    }

    async fn ask(&mut self, owner: &Owner, op: LockOp) -> Result<LockOutcome, LockRefusal> {
        outcome(owner.lock(NODE, &self.call(op)).await)
    }

    /// Tells a new owner of these locks, and that they are all.
    async fn reclaim(&mut self, owner: &Owner, locks: Vec<HeldLock>) -> Vec<HeldLock> {
        self.epoch = owner.held().epoch.get();
        let part = |locks, last| Reclaim {
            filesystem: FILESYSTEM,
            session: self.session,
            epoch: owner.held().epoch,
            last,
            locks,
        };
        let (all, end) = (part(locks, false), part(Vec::new(), true));
        let told = owner.reclaim(NODE, &all).await.expect("serves").expect("open");
        assert_eq!(owner.reclaim(NODE, &end).await, Ok(Ok(Reclaimed { refused: Vec::new() })));
        told.refused
    }
}

fn outcome(answer: Result<Result<Locked, LockRefusal>, Fault>) -> Result<LockOutcome, LockRefusal> {
    answer.expect("serves").map(|locked| locked.outcome)
}

const DONE: Result<LockOutcome, LockRefusal> = Ok(LockOutcome::Done {});

fn held_lock() -> HeldLock {
    let (kind, owner, mode) = (LockKind::Posix, LockOwner::new(1), LockMode::Exclusive);
    HeldLock { inode: Inode::new(9), kind, owner, range: RANGE, mode, pid: 4 }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_granted_as_soon_as_the_other_one_lets_go() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    assert_eq!(a.ask(&owner, SET).await, DONE);
    assert_eq!(b.ask(&owner, SET).await, Ok(LockOutcome::WouldBlock {}));
    let begun = Instant::now();
    let lets_go = async {
        tokio::time::sleep(SECOND).await;
        a.ask(&owner, UNLOCK).await
    };
    let (granted, unlocked) = tokio::join!(b.ask(&owner, WAIT), lets_go);
    assert_eq!((granted, unlocked, begun.elapsed()), (DONE, DONE, SECOND));
}

#[tokio::test(start_paused = true)]
async fn who_waits_long_is_told_so_and_keeps_its_place() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    let mut c = Mount::attach(&owner).await;
    a.ask(&owner, SET).await.expect("open");
    let (first, second) = (b.call(WAIT), c.call(WAIT));
    let waiting = Ok(LockOutcome::Waiting {});
    let (told, behind) = tokio::join!(owner.lock(NODE, &first), owner.lock(NODE, &second));
    assert_eq!((outcome(told), outcome(behind)), (waiting, waiting));
    let lets_go = async { a.ask(&owner, UNLOCK).await };
    let (granted, behind, _) = tokio::join!(owner.lock(NODE, &first), owner.lock(NODE, &second), lets_go);
    assert_eq!((outcome(granted), outcome(behind)), (DONE, waiting));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_that_comes_after_the_unlock_does_nothing() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    let set = a.call(SET);
    assert_eq!(outcome(owner.lock(NODE, &set).await), DONE);
    assert_eq!(outcome(owner.lock(NODE, &set).await), DONE, "a retry is answered");
    assert_eq!(a.ask(&owner, UNLOCK).await, DONE);
    assert_eq!(outcome(owner.lock(NODE, &set).await), Err(LockRefusal::Overtaken));
    assert_eq!(b.ask(&owner, SET).await, DONE);
}

#[tokio::test(start_paused = true)]
async fn the_locks_of_a_session_end_with_it_however_that_ends() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut next = Mount::attach(&owner).await;
    for how in 0..3 {
        let mut gone = Mount::attach(&owner).await;
        assert_eq!(owner.renew_session(NODE, next.session, Instant::now()), Ok(true));
        assert_eq!(gone.ask(&owner, SET).await, DONE, "{how}");
        assert_eq!(next.ask(&owner, SET).await, Ok(LockOutcome::WouldBlock {}));
        let ends = async {
            tokio::time::sleep(SECOND).await;
            match how {
                0 => drop(owner.close_session(NODE, gone.session, Instant::now()).expect("closes")),
                1 => {
                    tokio::time::advance(LEASE - 2 * SECOND).await;
                    assert_eq!(owner.renew_session(NODE, next.session, Instant::now()), Ok(true));
                    tokio::time::advance(SECOND).await;
                    owner.expire(Instant::now()).expect("expires");
                }
                _ => {
                    let call = OpenSession { replaces: Some(gone.session), ..asked(true) };
                    attach(&owner, &call).await.expect("opens");
                }
            }
        };
        let mut waiting = next;
        let granted = async {
            let call = waiting.call(WAIT);
            loop {
                match outcome(owner.lock(NODE, &call).await) {
                    Ok(LockOutcome::Waiting {}) => {}
                    other => return other,
                }
            }
        };
        assert_eq!(tokio::join!(granted, ends).0, DONE, "{how}");
        next.seq += 1;
        assert_eq!(next.ask(&owner, UNLOCK).await, DONE);
        assert_eq!(gone.ask(&owner, SET).await, Err(LockRefusal::SessionEnded));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_a_session_s_end_set_free_is_granted_once_that_end_is_durable() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    a.ask(&owner, SET).await.expect("open");
    bench.log.set_gate(false);
    owner.close_session(NODE, a.session, Instant::now()).expect("closes");
    let call = b.call(SET);
    let early = tokio::time::timeout(SECOND, owner.lock(NODE, &call)).await;
    assert!(early.is_err(), "a successor would find the session open, and its lock: {early:?}");
    bench.log.set_gate(true);
    assert_eq!(outcome(owner.lock(NODE, &call).await), DONE);
}

#[tokio::test(start_paused = true)]
async fn after_a_takeover_nobody_is_granted_a_lock_before_all_have_told_what_they_hold() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    a.ask(&owner, SET).await.expect("open");
    let delayed = b.call(SET);
    owner.close().await;
    let owner = bench.open(2).await;
    assert!(owner.awaits(a.session) && owner.awaits(b.session));
    let first = Err(LockRefusal::ReclaimFirst { epoch: Epoch::new(2) });
    assert_eq!((a.ask(&owner, UNLOCK).await, b.ask(&owner, SET).await), (first, first));
    let mut new = Mount::attach(&owner).await;
    assert_eq!(b.reclaim(&owner, Vec::new()).await, []);
    assert_eq!(outcome(owner.lock(NODE, &delayed).await), first, "it was meant for the one before");
    assert_eq!(b.ask(&owner, SET).await, Ok(LockOutcome::Waiting {}));
    assert_eq!(new.ask(&owner, SET).await, Ok(LockOutcome::Waiting {}));
    let call = b.call(SET);
    let tells = async {
        tokio::time::sleep(SECOND).await;
        a.reclaim(&owner, vec![held_lock()]).await
    };
    let (answer, refused) = tokio::join!(owner.lock(NODE, &call), tells);
    assert_eq!((outcome(answer), refused), (Ok(LockOutcome::WouldBlock {}), vec![]));
    assert_eq!(a.ask(&owner, UNLOCK).await, DONE);
    assert_eq!(b.ask(&owner, SET).await, DONE);
    assert_eq!(a.reclaim(&owner, vec![held_lock()]).await, [], "what is told late is not looked at");
    assert_eq!(a.ask(&owner, SET).await, Ok(LockOutcome::WouldBlock {}));
}

#[tokio::test(start_paused = true)]
async fn who_never_tells_is_waited_for_until_its_session_ends() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    owner.close().await;
    let owner = bench.open(2).await;
    let ended = Instant::now() + LEASE;
    b.reclaim(&owner, Vec::new()).await;
    let call = b.call(SET);
    let granted = async {
        loop {
            assert_eq!(owner.renew_session(NODE, b.session, Instant::now()), Ok(true));
            match outcome(owner.lock(NODE, &call).await) {
                Ok(LockOutcome::Waiting {}) => assert!(Instant::now() < ended + 4 * SECOND),
                other => return other,
            }
        }
    };
    let expires = async {
        tokio::time::sleep_until(ended).await;
        assert!(owner.awaits(a.session));
        owner.expire(Instant::now()).expect("expires");
    };
    assert_eq!(tokio::join!(granted, expires).0, DONE);
    assert_eq!(Instant::now(), ended, "at once");
}

#[tokio::test(start_paused = true)]
async fn two_that_claim_one_lock_do_not_both_have_it() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, mut b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    owner.close().await;
    let owner = bench.open(2).await;
    assert_eq!(a.reclaim(&owner, vec![held_lock()]).await, []);
    assert_eq!(b.reclaim(&owner, vec![held_lock()]).await, [held_lock()]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_does_not_take_all_calls_and_is_answered_when_the_process_stops() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let (mut a, b) = (Mount::attach(&owner).await, Mount::attach(&owner).await);
    a.ask(&owner, SET).await.expect("open");
    let waits = |slot: u16| {
        let mut b = b;
        Lock { slot: SlotId::new(slot), owner: LockOwner::new(slot.into()), ..b.call(WAIT) }
    };
    let begun = Instant::now();
    let calls: Vec<_> = (1..=100).map(waits).collect();
    let asked = futures_util::future::join_all(calls.iter().map(|call| async {
        let answer = outcome(owner.lock(NODE, call).await);
        assert_eq!(answer, Ok(LockOutcome::Waiting {}));
        begun.elapsed()
    }));
    let stops = async {
        tokio::time::sleep(SECOND).await;
        owner.keep_nobody_waiting();
    };
    let (times, ()) = tokio::join!(asked, stops);
    let kept: Vec<_> = times.iter().filter(|time| !time.is_zero()).collect();
    assert_eq!(kept.len(), 48);
    assert!(kept.iter().all(|time| **time == SECOND), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_cannot_be_meant_are_refused() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut a = Mount::attach(&owner).await;
    let call = Lock { slot: SlotId::new(LOCK_SLOTS), ..a.call(SET) };
    assert_eq!(owner.lock(NODE, &call).await, Err(Fault::Malformed));
    let other = NodeId::from_bytes([0xee; 16]);
    assert_eq!(owner.lock(other, &a.call(SET)).await, Ok(Err(LockRefusal::SessionEnded)));
    let (session, epoch) = (a.session, Epoch::new(1));
    let reclaim = |locks, last| Reclaim { filesystem: FILESYSTEM, session, epoch, last, locks };
    let too_many = reclaim(vec![held_lock(); RECLAIM_MAX + 1], false);
    assert_eq!(owner.reclaim(NODE, &too_many).await, Err(Fault::Malformed));
    assert_eq!(owner.reclaim(NODE, &reclaim(vec![held_lock()], true)).await, Err(Fault::Malformed));
    assert_eq!(owner.reclaim(other, &reclaim(vec![], true)).await, Ok(Err(LockRefusal::SessionEnded)));
}
