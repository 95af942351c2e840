//! Until when an owner may answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weft_wire::Fault;
use weft_wire::ownership::Held;

/// The lease of one ownership, on this process's own monotonic clock.
///
/// An owner answers, reads included, only within it. It may commit beyond it: whether that counts is decided at the
/// drives.
#[derive(Debug)]
pub struct Lease {
    held: Held,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// An earlier owner may answer until then.
    serve_after: Instant,
    until: Instant,
    /// It never answers again.
    ended: bool,
    /// Because another ownership has begun.
    deposed: bool,
}

impl Lease {
    /// The lease of an ownership that was asked for at `asked` and given at `given`: it lasts `lease` from the former
    /// moment on, and nothing is answered for `after` from the latter.
    pub fn new(held: Held, asked: Instant, lease: Duration, given: Instant, after: Duration) -> Self {
        let state = State { serve_after: given + after, until: asked + lease, ended: false, deposed: false };
        Self { held, state: Mutex::new(state) }
    }

    /// Which ownership.
    pub const fn held(&self) -> Held {
        self.held
    }

    /// Whether an answer may be given at a moment.
    ///
    /// # Errors
    /// [`Fault::NotServing`]
    pub fn check(&self, at: Instant) -> Result<(), Fault> {
        let state = self.state();
        let serves = !state.ended && state.serve_after <= at && at < state.until;
        if serves { Ok(()) } else { Err(Fault::NotServing) }
    }

    /// It was renewed by a call that was sent at `asked`, for `lease` from then on. A renewal that was sent earlier than
    /// another changes nothing.
    pub fn renew(&self, asked: Instant, lease: Duration) {
        let mut state = self.state();
        state.until = state.until.max(asked + lease);
    }

    /// Nothing is answered any more, whatever is renewed.
    pub fn end(&self) {
        self.state().ended = true;
    }

    /// Whether nothing is answered any more.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Another ownership has begun: nothing is answered any more.
    pub fn depose(&self) {
        let mut state = self.state();
        (state.ended, state.deposed) = (true, true);
    }

    /// Whether another ownership has begun.
    pub fn is_deposed(&self) -> bool {
        self.state().deposed
    }

    /// From when on it may answer: an earlier owner answers no more.
    pub fn serves_after(&self) -> Instant {
        self.state().serve_after
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_types::{Epoch, FilesystemId, MetadataShard};

    const LEASE: Duration = Duration::from_secs(10);
    const HELD: Held = Held {
        filesystem: FilesystemId::from_bytes([1; 16]),
        shard: MetadataShard::new(0),
        epoch: Epoch::new(3),
    };

    #[test]
    fn it_counts_from_before_it_was_asked_for_and_begins_after_the_earlier_owner_s() {
        let asked = Instant::now();
        let given = asked + Duration::from_secs(1);
        let lease = Lease::new(HELD, asked, LEASE, given, Duration::from_secs(4));
        let at = |seconds: u64| lease.check(asked + Duration::from_secs(seconds));
        assert_eq!(at(4), Err(Fault::NotServing), "the earlier owner may still answer");
        assert_eq!(at(5), Ok(()));
        assert_eq!(at(9), Ok(()));
        assert_eq!(at(10), Err(Fault::NotServing));
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent_and_none_shortens_it() {
        let asked = Instant::now();
        let lease = Lease::new(HELD, asked, LEASE, asked, Duration::ZERO);
        let second = Duration::from_secs(1);
        lease.renew(asked + 5 * second, LEASE);
        lease.renew(asked + 2 * second, LEASE);
        assert_eq!(lease.check(asked + 14 * second), Ok(()));
        assert_eq!(lease.check(asked + 15 * second), Err(Fault::NotServing));
        lease.renew(asked + 20 * second, LEASE);
        assert_eq!(lease.check(asked + 20 * second), Ok(()), "management gave it to nobody else meanwhile");
    }

    #[test]
    fn who_is_deposed_answers_no_more() {
        let asked = Instant::now();
        let lease = Lease::new(HELD, asked, LEASE, asked, Duration::ZERO);
        lease.depose();
        lease.renew(asked, LEASE);
        assert_eq!((lease.check(asked), lease.is_deposed()), (Err(Fault::NotServing), true));
    }
}
