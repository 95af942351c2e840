//! The way to one peer: its connections, and when to try again to make them.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::backoff;
use super::channel::{Channel, until};
use super::dial::{Dialer, random};
use super::{Failure, PathReport, WhenDown};
use crate::{DialError, Peer};

/// A peer and the connections to it.
#[derive(Debug)]
pub(super) struct Link {
    peer: Peer,
    dialer: Arc<Dialer>,
    slots: Box<[Arc<Slot>]>,
    turn: AtomicUsize,
    used: Mutex<Instant>,
}

/// A place for one connection.
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Attempts in a row that brought no connection worth the name.
    failures: u32,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Dialing {
        /// Why the attempt before this one failed, when there is no connection since.
        down: Option<Arc<DialError>>,
    },
    Ready(Arc<Channel>),
    Failed {
        error: Arc<DialError>,
        retry_at: Instant,
    },
}

/// What a caller finds.
enum Found {
    Channel(Arc<Channel>),
    Dialing { down: Option<Arc<DialError>> },
    Failed { error: Arc<DialError>, retry_at: Instant },
}

impl Link {
    pub(super) fn new(peer: Peer, dialer: Arc<Dialer>, now: Instant) -> Self {
        let slots = (0..dialer.settings.connections_per_peer.max(1)).map(|_| Arc::default()).collect();
        Self { peer, dialer, slots, turn: AtomicUsize::new(0), used: Mutex::new(now) }
    }

    /// Somebody uses it now.
    pub(super) fn touch(&self, now: Instant) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// How long nobody has used it.
    pub(super) fn idle_since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its open connections.
    pub(super) fn paths(&self) -> Vec<PathReport> {
        let ready = |slot: &Arc<Slot>| match &slot.state().phase {
            Phase::Ready(channel) if channel.is_usable() => Some(channel.report(self.peer)),
            _ => None,
        };
        self.slots.iter().filter_map(ready).collect()
    }

    /// A usable connection; connects when there is none. All callers of a slot share one attempt.
    pub(super) async fn channel(
        &self,
        deadline: Instant,
        when_down: WhenDown,
    ) -> Result<Arc<Channel>, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[turn % self.slots.len()];
        let mut last_error = None;
        loop {
            let changed = slot.changed.notified();
            let wake_at = match self.look(slot) {
                Found::Channel(channel) => return Ok(channel),
                // The peer may be back, but whoever fails fast does not wait to see: the next one will know.
                Found::Dialing { down: Some(error) } if when_down == WhenDown::Fail => {
                    return Err(Failure::Unreachable(error));
                }
                Found::Dialing { .. } => deadline,
                Found::Failed { error, retry_at } => {
                    if when_down == WhenDown::Fail || !error.is_transient() {
                        return Err(Failure::Unreachable(error));
                    }
                    last_error = Some(error);
                    retry_at.min(deadline)
                }
            };
            until(&self.dialer.handle, wake_at, changed).await;
            if Instant::now() >= deadline {
                return Err(last_error.map_or(Failure::TimedOut { sent: false }, Failure::Unreachable));
            }
        }
    }

    /// Looks at a slot, and begins to connect when it is time to.
    fn look(&self, slot: &Arc<Slot>) -> Found {
        let mut state = slot.state();
        let now = Instant::now();
        match &state.phase {
            Phase::Ready(channel) if channel.is_usable() => return Found::Channel(Arc::clone(channel)),
            Phase::Ready(channel) if !channel.is_proven() => {
                let error = Arc::new(DialError::Unproven);
                self.fail(&mut state, error, now);
            }
            Phase::Ready(_) => state.failures = 0,
            Phase::Idle | Phase::Failed { .. } => {}
            Phase::Dialing { down } => return Found::Dialing { down: down.clone() },
        }
        let down = match &state.phase {
            Phase::Failed { error, retry_at } if now < *retry_at => {
                return Found::Failed { error: Arc::clone(error), retry_at: *retry_at };
            }
            Phase::Failed { error, .. } => Some(Arc::clone(error)),
            _ => None,
        };
        state.phase = Phase::Dialing { down: down.clone() };
        self.dial(slot);
        Found::Dialing { down }
    }

    /// Connects in a task of its own, so that a caller who gives up takes nothing from the others.
    fn dial(&self, slot: &Arc<Slot>) {
        let (slot, dialer, peer) = (Arc::clone(slot), Arc::clone(&self.dialer), self.peer);
        self.dialer.handle.spawn(async move {
            let outcome = dialer.dial(peer).await;
            let mut state = slot.state();
            match outcome {
                Ok(channel) => state.phase = Phase::Ready(Arc::new(channel)),
                Err(error) => {
                    tracing::debug!(%peer, error = &error as &dyn core::error::Error, "cannot connect");
                    state.fail(&dialer, Arc::new(error), Instant::now());
                }
            }
            drop(state);
            slot.changed.notify_waiters();
        });
    }

    fn fail(&self, state: &mut State, error: Arc<DialError>, now: Instant) {
        state.fail(&self.dialer, error, now);
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, dialer: &Dialer, error: Arc<DialError>, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let settings = &dialer.settings;
        let pause = backoff::pause(settings.backoff_min, settings.backoff_max, self.failures, random());
        self.phase = Phase::Failed { error, retry_at: now + pause };
    }
}
