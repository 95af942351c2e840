//! The real table of locks behind the seam, with answers that get lost and owners that are replaced.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use weft_layout::Region;
use weft_locks::{Asked, Holder, LockServer, Place, Reclaims};
use weft_types::{Epoch, SessionId};
use weft_wire::locks::{HeldLock, Lock, LockRefusal, Locked, Reclaim, Reclaimed};

use crate::LockRequest;
use crate::backend::{Answer, Failure};

const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct State {
    server: LockServer,
    reclaims: Reclaims,
    /// Calls that are lost on their way.
    pub(super) lost_requests: u32,
    /// Answers that are lost on their way.
    pub(super) lost_replies: u32,
    /// Every request that arrived, in order.
    pub(super) calls: Vec<Lock>,
    /// What was told to owners.
    pub(super) told: Vec<HeldLock>,
}

#[derive(Debug)]
pub(super) struct Locks {
    state: Mutex<State>,
    changed: Notify,
}

impl Default for Locks {
    fn default() -> Self {
        let state = State {
            server: LockServer::default(),
            reclaims: Reclaims::new(Epoch::new(1), []),
            lost_requests: 0,
            lost_replies: 0,
            calls: Vec::new(),
            told: Vec::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl Locks {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many locks are held, by all.
    pub(super) fn held(&self) -> usize {
        self.state().server.table().locks()
    }

    /// What a session's holder has of a file.
    pub(super) fn held_by(&self, session: SessionId, of: &LockRequest) -> Vec<Region> {
        let place = Place { inode: of.inode, kind: of.kind };
        let holder = Holder { session, owner: of.owner };
        self.state().server.table().held(place, holder).collect()
    }

    /// Another owner begins, which knows of no lock, and of these sessions.
    pub(super) fn take_over(&self, open: impl IntoIterator<Item = SessionId>) {
        let mut state = self.state();
        state.server = LockServer::default();
        state.reclaims =
            Reclaims::new(state.reclaims.epoch().next(), open.into_iter().collect::<BTreeSet<_>>());
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn standing(&self, session: SessionId) -> (Epoch, bool) {
        let state = self.state();
        (state.reclaims.epoch(), state.reclaims.awaits(session))
    }

    pub(super) fn end(&self, session: SessionId) {
        let mut state = self.state();
        state.server.end_session(session);
        state.reclaims.settle(session);
        drop(state);
        self.changed.notify_waiters();
    }

    /// A request; it is carried out when it is sent, as one that a network took along.
    pub(super) fn lock(self: Arc<Self>, call: Lock) -> Answer<Locked, LockRefusal> {
        {
            let mut state = self.state();
            if state.lost_requests > 0 {
                state.lost_requests -= 1;
                return Box::pin(async { Err(Failure::Unreachable) });
            }
            state.calls.push(call);
            if state.lost_replies > 0 {
                state.lost_replies -= 1;
                let State { server, reclaims, .. } = &mut *state;
                server.ask(&call, reclaims);
                drop(state);
                self.changed.notify_waiters();
                return Box::pin(async { Err(Failure::Unreachable) });
            }
        }
        Box::pin(async move {
            tokio::task::yield_now().await;
            let until = Instant::now() + PATIENCE;
            loop {
                let changed = self.changed.notified();
                let (asked, waiting) = {
                    let mut state = self.state();
                    let State { server, reclaims, .. } = &mut *state;
                    let asked = server.ask(&call, reclaims);
                    let waiting = server.waiting();
                    if !server.take_woken().is_empty() {
                        self.changed.notify_waiters();
                    }
                    (asked, waiting)
                };
                match asked {
                    Asked::Answer(answer) => return Ok(answer),
                    Asked::Refused(refusal) => return Err(Failure::Refused(refusal)),
                    Asked::Waits | Asked::TooEarly => {}
                }
                if timeout_at(until, changed).await.is_err() {
                    return Ok(waiting);
                }
            }
        })
    }

    pub(super) fn reclaim(&self, call: &Reclaim) -> Result<Reclaimed, Failure<LockRefusal>> {
        let mut state = self.state();
        let epoch = state.reclaims.epoch();
        if call.epoch != epoch {
            return Err(Failure::Refused(LockRefusal::ReclaimFirst { epoch }));
        }
        let mut refused = Vec::new();
        if state.reclaims.awaits(call.session) {
            state.told.extend(&call.locks);
            refused = state.server.reclaim(call.session, &call.locks);
        }
        if call.last && state.reclaims.settle(call.session) {
            self.changed.notify_waiters();
        }
        Ok(Reclaimed { refused })
    }
}
