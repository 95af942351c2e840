//! Locks: in memory, and reclaimed by sessions after a takeover.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, timeout_at};
use weft_locks::{Asked, LockServer, Reclaims};
use weft_types::{Epoch, NodeId, SessionId, SlotId};
use weft_wire::Fault;
use weft_wire::locks::{HeldLock, LOCK_SLOTS, Lock, LockRefusal, Locked, RECLAIM_MAX, Reclaim, Reclaimed};

use super::Owner;

/// How long a request that waits is kept before it is told so.
const PATIENCE: Duration = Duration::from_secs(3);
/// Requests that are kept while they wait, in all and of one session; others are told at once. Each takes one of the calls
/// that the process has at work, by which other requests, those that let go of locks among them, come too.
const KEPT_MAX: usize = 256;
const KEPT_PER_SESSION_MAX: usize = 48;
/// Who waits and has not asked for so long, or for up to twice that, leaves the queue.
const SWEEP: Duration = Duration::from_secs(10);

/// The locks of a shard, and the sessions that have not told yet what they hold.
#[derive(Debug)]
pub(super) struct Locks {
    state: Mutex<State>,
    /// Everybody has reclaimed.
    reclaimed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    server: LockServer,
    reclaims: Reclaims,
    /// Who waits for the answer of a request.
    wakers: BTreeMap<(SessionId, SlotId), Arc<Notify>>,
    /// Requests that are kept, by session.
    kept: BTreeMap<SessionId, usize>,
    /// No request is kept any more.
    stopping: bool,
    /// What was granted depends on the sessions' ends in this batch and before.
    depends: u64,
    swept: Option<Instant>,
}

/// How a request stands.
enum Step {
    /// It may be answered once this batch is durable.
    Answer(Result<Locked, LockRefusal>, u64),
    /// It waits for this; meanwhile it may be answered so.
    Wait(OwnedNotified, Locked),
}

impl State {
    fn wake(&mut self) {
        for waiting in self.server.take_woken() {
            if let Some(waker) = self.wakers.remove(&waiting) {
                waker.notify_waiters();
            }
        }
    }
}

impl Locks {
    pub(super) fn new(epoch: Epoch) -> Self {
        let state = State {
            server: LockServer::default(),
            reclaims: Reclaims::new(epoch, []),
            wakers: BTreeMap::new(),
            kept: BTreeMap::new(),
            stopping: false,
            depends: 0,
            swept: None,
        };
        Self { state: Mutex::new(state), reclaimed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These sessions are open, and have to tell what they hold. To be called before anybody is served.
    pub(super) fn await_reclaims(&self, open: impl IntoIterator<Item = SessionId>) {
        let mut state = self.state();
        state.reclaims = Reclaims::new(state.reclaims.epoch(), open);
    }

    /// Sessions are over once this batch is durable: what they hold is anybody's.
    pub(super) fn end_sessions(&self, ended: &[SessionId], durable_with: u64) {
        if ended.is_empty() {
            return;
        }
        let mut state = self.state();
        state.depends = state.depends.max(durable_with);
        for session in ended {
            state.server.end_session(*session);
            let of_it = (*session, SlotId::new(0))..=(*session, SlotId::new(u16::MAX));
            let waiting: Vec<_> = state.wakers.range(of_it).map(|(slot, _)| *slot).collect();
            waiting
                .iter()
                .filter_map(|slot| state.wakers.remove(slot))
                .for_each(|waker| waker.notify_waiters());
            if state.reclaims.settle(*session) {
                self.reclaimed.notify_waiters();
            }
        }
        state.wake();
    }

    /// Has those leave their queues who have not asked for long.
    pub(super) fn sweep(&self, at: Instant) {
        let mut state = self.state();
        if state.swept.is_some_and(|swept| at.saturating_duration_since(swept) < SWEEP) {
            return;
        }
        state.swept = Some(at);
        state.server.sweep();
        state.wake();
    }

    fn ask(&self, call: &Lock) -> Step {
        let mut state = self.state();
        let State { server, reclaims, .. } = &mut *state;
        let asked = server.ask(call, reclaims);
        state.wake();
        let waiting = state.server.waiting();
        let depends = state.depends;
        match asked {
            Asked::Answer(answer) => Step::Answer(Ok(answer), depends),
            Asked::Refused(refusal) => Step::Answer(Err(refusal), depends),
            Asked::TooEarly => Step::Wait(Arc::clone(&self.reclaimed).notified_owned(), waiting),
            Asked::Waits => {
                let waker = state.wakers.entry((call.session, call.slot)).or_default();
                Step::Wait(Arc::clone(waker).notified_owned(), waiting)
            }
        }
    }

    /// A place among the requests that are kept while they wait; `None`: there are enough.
    fn keep(&self, session: SessionId) -> Option<Kept<'_>> {
        let mut state = self.state();
        let all: usize = state.kept.values().sum();
        let state = &mut *state;
        let of_it = state.kept.entry(session).or_default();
        if state.stopping || all >= KEPT_MAX || *of_it >= KEPT_PER_SESSION_MAX {
            return None;
        }
        *of_it += 1;
        Some(Kept { locks: self, session })
    }
}

/// A request that is kept while it waits.
struct Kept<'a> {
    locks: &'a Locks,
    session: SessionId,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let mut state = self.locks.state();
        if let Some(kept) = state.kept.get_mut(&self.session) {
            *kept -= 1;
            if *kept == 0 {
                state.kept.remove(&self.session);
            }
        }
    }
}

impl Owner {
    /// Carries out a request for locks. One that waits is answered when it is granted, or after some seconds that it
    /// waits on. What is granted depends on nothing that may not last.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for a slot beyond the bound, [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub async fn lock(&self, node: NodeId, call: &Lock) -> Result<Result<Locked, LockRefusal>, Fault> {
        if call.slot.get() >= LOCK_SLOTS {
            return Err(Fault::Malformed);
        }
        let until = Instant::now() + PATIENCE;
        let mut kept = None;
        loop {
            if !self.has_session(node, call.session, Instant::now())? {
                self.settled().await?;
                return Ok(Err(LockRefusal::SessionEnded));
            }
            let (woken, waiting) = match self.locks.ask(call) {
                Step::Answer(answer, depends) => {
                    self.answerable(depends).await?;
                    return Ok(answer);
                }
                Step::Wait(woken, waiting) => (woken, waiting),
            };
            if kept.is_none() || self.locks.state().stopping {
                kept = self.locks.keep(call.session);
            }
            if kept.is_none() || timeout_at(until, woken).await.is_err() {
                self.answerable(0).await?;
                return Ok(Ok(waiting));
            }
        }
    }

    /// Takes in what a session held under an earlier ownership.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for too many locks at once, or any with the last part; else as [`lock`](Self::lock).
    pub async fn reclaim(
        &self,
        node: NodeId,
        call: &Reclaim,
    ) -> Result<Result<Reclaimed, LockRefusal>, Fault> {
        // A last part that is repeated comes after the end, and nothing is looked at any more.
        if call.locks.len() > RECLAIM_MAX || (call.last && !call.locks.is_empty()) {
            return Err(Fault::Malformed);
        }
        if !self.has_session(node, call.session, Instant::now())? {
            self.settled().await?;
            return Ok(Err(LockRefusal::SessionEnded));
        }
        let epoch = self.held().epoch;
        if call.epoch != epoch {
            return Ok(Err(LockRefusal::ReclaimFirst { epoch }));
        }
        let (refused, depends) = self.take_in(call);
        for lock in &refused {
            let (session, filesystem) = (call.session, self.filesystem());
            tracing::warn!(%session, %filesystem, ?lock, "a lock was reclaimed that another session has, and is lost");
        }
        self.answerable(depends).await?;
        Ok(Ok(Reclaimed { refused }))
    }

    fn take_in(&self, call: &Reclaim) -> (Vec<HeldLock>, u64) {
        let mut state = self.locks.state();
        let mut refused = Vec::new();
        if state.reclaims.awaits(call.session) {
            refused = state.server.reclaim(call.session, &call.locks);
        }
        if call.last && state.reclaims.settle(call.session) {
            tracing::info!(filesystem = %self.filesystem(), "all sessions have told what they hold");
            self.locks.reclaimed.notify_waiters();
        }
        (refused, state.depends)
    }

    /// Answers those that wait, and whoever waits from now on, at once: the process is about to stop.
    pub(crate) fn keep_nobody_waiting(&self) {
        let mut state = self.locks.state();
        state.stopping = true;
        state.wakers.values().for_each(|waker| waker.notify_waiters());
        state.wakers.clear();
        self.locks.reclaimed.notify_waiters();
    }

    /// Whether this session has to tell what it holds before it is granted anything.
    pub fn awaits(&self, session: SessionId) -> bool {
        self.locks.state().reclaims.awaits(session)
    }
}
