//! What was asked of a device and has not reached its driver yet.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use crate::counters::Counters;
use crate::pool::PooledBuf;

/// Requests that may wait for the driver.
const WAITING: usize = 4096;

/// Takes the outcome of a read.
pub(super) type Done = Box<dyn FnOnce(io::Result<PooledBuf>) + Send>;

/// What is to be read, who waits for it, and for how long.
pub(super) struct Request {
    pub(super) offset: u64,
    /// As long as what is to be read.
    pub(super) buf: PooledBuf,
    /// `None` once it has been told.
    pub(super) done: Option<Done>,
    pub(super) deadline: Instant,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    /// No more is taken: the device is being closed, or its driver has ended.
    stopped: bool,
}

/// Between the callers of a device and its driver.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is room again.
    room: Condvar,
    /// Wakes the driver.
    pub(super) wake: OwnedFd,
    pub(super) counters: Arc<Counters>,
}

impl Queue {
    pub(super) fn new(counters: Arc<Counters>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), room: Condvar::new(), wake, counters })
    }

    /// Queues a request; where that cannot be, it is told so at once.
    pub(super) fn push(&self, mut request: Request) {
        let mut state = self.lock();
        if state.stopped || state.waiting.len() >= WAITING {
            let kind = if state.stopped { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ResourceBusy };
            drop(state);
            if let Some(done) = request.done.take() {
                done(Err(kind.into()));
            }
            return;
        }
        self.add(&mut state, request);
    }

    /// The same, which waits for room up to the request's deadline.
    pub(super) fn push_patiently(&self, request: Request) -> io::Result<()> {
        let mut state = self.lock();
        while !state.stopped && state.waiting.len() >= WAITING {
            let left = request.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.counters.stalled();
                return Err(io::ErrorKind::TimedOut.into());
            }
            state = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.stopped {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.add(&mut state, request);
        Ok(())
    }

    fn add(&self, state: &mut State, request: Request) {
        state.waiting.push_back(request);
        // While others wait the driver knows, or is full and will look when something completes.
        if state.waiting.len() == 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        // It fails only when its counter is full, and then it is readable as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// The next request that is still of use.
    pub(super) fn pop(&self) -> Option<Request> {
        let next = self.lock().waiting.pop_front();
        if next.is_some() {
            self.room.notify_one();
        }
        next
    }

    /// Takes out what waited too long, and gives the earliest deadline of the rest.
    pub(super) fn expired(&self, now: Instant) -> (Vec<Request>, Option<Instant>) {
        let mut state = self.lock();
        // All are allowed the same time, so they expire in order.
        let late = state.waiting.iter().take_while(|request| request.deadline <= now).count();
        let late = state.waiting.drain(..late).collect();
        (late, state.waiting.front().map(|request| request.deadline))
    }

    /// Takes nothing more; what waits is still done.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
        self.wake();
    }

    /// Nothing more will come.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.lock();
        state.stopped && state.waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}
