//! Giving up reads that nobody waits for and that take too long.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use bytes::Bytes;

use crate::ReadDone;
use crate::counters::Counters;

/// A read that is to be told of exactly once, by whoever comes first: the thread that has read, or the watch.
pub(super) struct Pending {
    state: Mutex<State>,
    counters: Arc<Counters>,
}

struct State {
    done: Option<ReadDone>,
    began: bool,
}

impl Pending {
    pub(super) fn new(done: ReadDone, counters: &Arc<Counters>) -> Arc<Self> {
        let state = State { done: Some(done), began: false };
        Arc::new(Self { state: Mutex::new(state), counters: Arc::clone(counters) })
    }

    /// Whether it is still wanted, as its turn comes.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.lock();
        state.began = state.done.is_some();
        state.began
    }

    /// Tells the outcome, unless it was given up.
    pub(super) fn finish(&self, outcome: io::Result<Bytes>) {
        let Some(done) = self.lock().done.take() else {
            self.counters.came_back();
            return;
        };
        if outcome.is_err() {
            self.counters.failed();
        }
        done(outcome);
    }

    fn give_up(&self) {
        let mut state = self.lock();
        let Some(done) = state.done.take() else { return };
        if state.began {
            self.counters.stuck();
        }
        drop(state);
        self.counters.stalled();
        self.counters.failed();
        done(Err(io::ErrorKind::TimedOut.into()));
    }

    fn is_over(&self) -> bool {
        self.lock().done.is_none()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Watched {
    /// By deadline: all reads are allowed the same time.
    reads: VecDeque<(Instant, Arc<Pending>)>,
    closed: bool,
}

/// A thread that gives up what is over its deadline. It ends when this is dropped and nothing is left.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<(Mutex<Watched>, Condvar)>,
}

impl Watch {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let shared: Arc<(Mutex<Watched>, Condvar)> = Arc::default();
        let watched = Arc::clone(&shared);
        thread::Builder::new().name(format!("io-{name}")).spawn(move || watch(&watched.0, &watched.1))?;
        Ok(Self { shared })
    }

    pub(super) fn add(&self, deadline: Instant, read: Arc<Pending>) {
        let mut watched = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Most end in their order and long before their time: only those at work are kept.
        while watched.reads.front().is_some_and(|(_, read)| read.is_over()) {
            watched.reads.pop_front();
        }
        watched.reads.push_back((deadline, read));
        if watched.reads.len() == 1 {
            self.shared.1.notify_one();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.1.notify_one();
    }
}

fn watch(watched: &Mutex<Watched>, changed: &Condvar) {
    let mut now = watched.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match now.reads.front() {
            None if now.closed => return,
            None => now = changed.wait(now).unwrap_or_else(PoisonError::into_inner),
            Some((_, read)) if read.is_over() => drop(now.reads.pop_front()),
            Some((deadline, _)) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    now = changed.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
                } else if let Some((_, read)) = now.reads.pop_front() {
                    drop(now);
                    read.give_up();
                    now = watched.lock().unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}
