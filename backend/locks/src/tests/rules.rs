//! What a model of bytes does not say: order, bounds, and how long it takes.

use weft_types::{Inode, LockKind, LockMode, LockOwner, LockRange, SessionId};

use crate::{Holder, LOCKS_PER_SESSION_MAX, Place, Table, Ticket, Verdict, WAITS_PER_SESSION_MAX, Want};

const PLACE: Place = Place { inode: Inode::new(5), kind: LockKind::Posix };
const OTHER: Place = Place { inode: Inode::new(6), kind: LockKind::Posix };
const FLOCK: Place = Place { inode: Inode::new(5), kind: LockKind::Flock };

fn holder(session: u8, owner: u64) -> Holder {
    Holder { session: SessionId::from_bytes([session; 16]), owner: LockOwner::new(owner) }
}

fn range(start: u64, end: u64) -> LockRange {
    LockRange::new(start, end).expect("a range")
}

fn shared(start: u64, end: u64) -> Want {
    Want { range: range(start, end), mode: LockMode::Shared, pid: 1 }
}

fn exclusive(start: u64, end: u64) -> Want {
    Want { mode: LockMode::Exclusive, ..shared(start, end) }
}

fn ticket(verdict: Verdict) -> Ticket {
    match verdict {
        Verdict::Waits(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_those_that_wait_who_came_first_is_first() {
    let mut table = Table::default();
    assert_eq!(table.set(PLACE, holder(1, 0), exclusive(0, 9), false), Verdict::Granted);
    let waits: Vec<_> =
        (1..5).map(|n| ticket(table.set(PLACE, holder(2, n), exclusive(3, 5), true))).collect();
    for (n, wait) in waits.iter().enumerate() {
        table.release(PLACE, if n == 0 { holder(1, 0) } else { holder(2, n as u64) });
        assert_eq!(table.take_granted(), [*wait]);
    }
}

#[test]
fn who_meets_no_lock_does_not_stand_behind_one_that_waits() {
    let mut table = Table::default();
    table.set(PLACE, holder(1, 0), shared(0, 9), false);
    let writer = ticket(table.set(PLACE, holder(1, 1), exclusive(0, 9), true));
    assert_eq!(table.set(PLACE, holder(1, 2), shared(0, 9), false), Verdict::Granted, "only locks block");
    table.release(PLACE, holder(1, 0));
    assert!(table.is_waiting(writer));
    table.release(PLACE, holder(1, 2));
    assert_eq!(table.take_granted(), [writer]);
}

#[test]
fn readers_that_wait_are_let_in_together() {
    let mut table = Table::default();
    table.set(PLACE, holder(1, 0), exclusive(0, 9), false);
    let readers: Vec<_> =
        (1..4).map(|n| ticket(table.set(PLACE, holder(1, n), shared(n, 20), true))).collect();
    table.set(PLACE, holder(1, 0), shared(0, 9), false);
    assert_eq!(table.take_granted(), readers, "a lock that becomes shared lets them in");
}

#[test]
fn a_wait_for_oneself_over_files_and_mounts_is_refused() {
    let mut table = Table::default();
    let (a, b, c) = (holder(1, 0), holder(2, 0), holder(3, 0));
    table.set(PLACE, a, exclusive(0, 0), false);
    table.set(PLACE, b, exclusive(1, 1), false);
    table.set(OTHER, c, exclusive(0, 0), false);
    let first = ticket(table.set(PLACE, a, exclusive(1, 1), true));
    ticket(table.set(OTHER, b, shared(0, 5), true));
    assert_eq!(table.set(PLACE, c, shared(0, 0), true), Verdict::Deadlock);
    assert_eq!(table.set(PLACE, c, shared(0, 0), false), Verdict::WouldBlock);
    assert!(table.cancel(first));
    ticket(table.set(PLACE, c, shared(0, 0), true));
    // Files locked as a whole know no deadlocks.
    table.set(FLOCK, a, exclusive(0, 0), false);
    ticket(table.set(FLOCK, c, exclusive(0, 0), true));
}

#[test]
fn two_that_convert_a_whole_file_do_not_wait_for_each_other() {
    let mut table = Table::default();
    let (a, b) = (holder(1, 0), holder(2, 0));
    assert_eq!(table.set(FLOCK, a, shared(0, 0), false), Verdict::Granted);
    assert_eq!(table.set(FLOCK, b, shared(3, 3), false), Verdict::Granted);
    let first = ticket(table.set(FLOCK, a, exclusive(0, 0), true));
    assert_eq!(table.set(FLOCK, b, exclusive(0, 0), true), Verdict::Granted, "the first let go of its own");
    assert!(table.is_waiting(first) && table.held(FLOCK, a).next().is_none());
    table.release(FLOCK, b);
    assert_eq!(table.take_granted(), [first]);
    assert_eq!(table.set(FLOCK, b, shared(0, 0), false), Verdict::WouldBlock);
    assert_eq!(table.set(FLOCK, a, shared(0, 0), false), Verdict::Granted);
    assert_eq!(table.set(FLOCK, b, shared(0, 0), false), Verdict::Granted);
    assert_eq!(table.set(FLOCK, b, exclusive(0, 0), false), Verdict::WouldBlock);
    assert_eq!(table.held(FLOCK, b).count(), 0, "what cannot be converted is lost, as on Linux");
}

#[test]
fn ranges_and_whole_files_do_not_see_each_other() {
    let mut table = Table::default();
    assert_eq!(table.set(PLACE, holder(1, 0), exclusive(0, 9), false), Verdict::Granted);
    assert_eq!(table.set(FLOCK, holder(1, 1), exclusive(0, 9), false), Verdict::Granted);
}

#[test]
fn a_session_has_a_bounded_number_of_locks_and_others_are_not_hindered() {
    let mut table = Table::default();
    let (greedy, other) = (holder(1, 0), holder(2, 0));
    for n in 0..LOCKS_PER_SESSION_MAX as u64 {
        assert_eq!(table.set(PLACE, greedy, shared(2 * n, 2 * n), false), Verdict::Granted);
    }
    assert_eq!(table.locks(), LOCKS_PER_SESSION_MAX);
    assert_eq!(table.set(OTHER, greedy, shared(0, 1000), false), Verdict::TooMany);
    assert_eq!(table.set(PLACE, greedy, shared(1, 1), false), Verdict::Granted, "it joins two into one");
    assert_eq!(table.set(OTHER, greedy, shared(0, 0), false), Verdict::Granted);
    assert_eq!(table.unlock(PLACE, greedy, range(1, 1)), Err(Verdict::TooMany), "it would split one");
    assert_eq!(table.unlock(PLACE, greedy, range(0, 0)), Ok(()));
    assert_eq!(table.set(PLACE, other, shared(0, 1 << 20), false), Verdict::Granted);
}

#[test]
fn a_session_has_a_bounded_number_of_requests_that_wait() {
    let mut table = Table::default();
    table.set(PLACE, holder(1, 0), exclusive(0, 0), false);
    for n in 0..WAITS_PER_SESSION_MAX as u64 {
        ticket(table.set(PLACE, holder(2, n), exclusive(0, 0), true));
    }
    assert_eq!(table.set(PLACE, holder(2, 1 << 40), exclusive(0, 0), true), Verdict::TooMany);
    ticket(table.set(PLACE, holder(3, 0), exclusive(0, 0), true));
}

/// Work is counted, not time: with a scan of all for each this would be 4 x 10^8 steps of more than a nanosecond.
#[test]
fn many_locks_and_many_that_wait_take_no_time_for_each_pair() {
    const MANY: u64 = 20_000;
    let mut table = Table::default();
    for n in 0..MANY {
        assert_eq!(table.set(PLACE, holder(1, n), exclusive(4 * n, 4 * n + 1), false), Verdict::Granted);
        assert_eq!(table.set(OTHER, holder(1, n), shared(0, 9), false), Verdict::Granted);
    }
    for n in 0..4000 {
        ticket(table.set(PLACE, holder(2, n), exclusive(4 * n, 4 * n), true));
    }
    for n in 0..MANY {
        table.release(PLACE, holder(1, n));
        table.release(OTHER, holder(1, n));
    }
    assert_eq!(table.take_granted().len(), 4000);
    assert_eq!(table.locks(), 4000);
}
