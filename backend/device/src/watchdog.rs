//! Calls that a caller's own thread waits in, and a thread that tells when one of them takes too long.
//!
//! A thread that waits in the kernel cannot be called back. What is won by waiting there all the same is every change
//! of threads between a write and its answer; what is left to do about a stall is to tell of it in time, and to let
//! the call fail when it comes back.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::counters::Counters;

/// Told on a thread of the device that a call takes too long; it must not wait.
pub type OnStall = Box<dyn Fn() + Send + Sync>;

/// Looks that are had at a call before it is over its time.
const LOOKS: u32 = 8;

/// Watches the calls of one device. Its thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    counters: Arc<Counters>,
    stall_after: Duration,
}

#[derive(Default)]
struct State {
    /// Under way, by number.
    calls: BTreeMap<u64, Call>,
    next: u64,
    /// A call began since the last look.
    busy: bool,
    /// The thread waits until it is told of a call.
    asleep: bool,
    closed: bool,
    listeners: Vec<Arc<OnStall>>,
}

struct Call {
    deadline: Instant,
    given_up: bool,
}

impl Watchdog {
    /// # Errors
    /// The host's when it gives no thread.
    pub(crate) fn start(name: &str, stall_after: Duration, counters: Arc<Counters>) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), counters, stall_after });
        let watched = Arc::clone(&shared);
        thread::Builder::new().name(format!("io-{name}")).spawn(move || watched.watch())?;
        Ok(Self { shared })
    }

    /// Has `tell` told, once for each call, from now on.
    pub(crate) fn on_stall(&self, tell: OnStall) {
        self.shared.lock().listeners.push(Arc::new(tell));
    }

    /// Makes a call. One that took too long has failed with `TimedOut`, whatever the host says in the end: others were
    /// told so.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.shared.begin();
        let outcome = call();
        if self.shared.end(number) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if outcome.is_err() {
            self.shared.counters.failed();
        }
        outcome
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn begin(&self) -> u64 {
        let deadline = Instant::now() + self.stall_after;
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.calls.insert(number, Call { deadline, given_up: false });
        state.busy = true;
        // It looks by itself as long as there is something to see: a call costs no wake-up.
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.changed.notify_one();
        }
        number
    }

    /// Says whether the call was given up.
    fn end(&self, number: u64) -> bool {
        let mut state = self.lock();
        let given_up = state.calls.remove(&number).is_some_and(|call| call.given_up);
        if given_up {
            // Under the lock, as it was counted: never before it.
            self.counters.came_back();
        }
        given_up
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            if state.calls.is_empty() && !state.busy {
                state.asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy = false;
            let waited = self.changed.wait_timeout(state, self.stall_after / LOOKS);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let late = state.give_up(Instant::now());
            if late == 0 {
                continue;
            }
            for _ in 0..late {
                self.counters.stalled();
                self.counters.failed();
                self.counters.stuck();
            }
            let listeners = state.listeners.clone();
            drop(state);
            (0..late).for_each(|_| listeners.iter().for_each(|tell| tell()));
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives up what is over its time, and says how many calls those are.
    fn give_up(&mut self, now: Instant) -> usize {
        let mut late = 0;
        for call in self.calls.values_mut().filter(|call| !call.given_up && call.deadline <= now) {
            call.given_up = true;
            late += 1;
        }
        late
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("calls", &self.lock().calls.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::IoCounters;

    fn watchdog(stall_after: Duration) -> (Watchdog, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let watchdog = Watchdog::start("test", stall_after, Arc::clone(&counters)).expect("a thread");
        (watchdog, counters)
    }

    #[test]
    fn a_call_that_takes_too_long_is_told_of_once_while_it_lasts_and_fails_in_the_end() {
        let (watchdog, counters) = watchdog(Duration::from_millis(10));
        let (told, stalls) = mpsc::channel();
        watchdog.on_stall(Box::new(move || told.send(()).expect("waits")));
        for round in 1..3 {
            let error = watchdog
                .call(|| {
                    stalls.recv().expect("told while it lasts");
                    assert_eq!(counters.read(), IoCounters { errors: round, stalls: round, stuck: 1 });
                    Ok(())
                })
                .expect_err("too long");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(counters.read(), IoCounters { errors: round, stalls: round, stuck: 0 });
        }
        drop(watchdog);
        assert!(stalls.recv().is_err(), "each was told once");
    }

    #[test]
    fn one_of_several_is_given_up_and_the_others_are_not() {
        let (watchdog, counters) = watchdog(Duration::from_millis(10));
        let (told, stalls) = mpsc::channel();
        watchdog.on_stall(Box::new(move || told.send(()).expect("waits")));
        let outer = watchdog.call(|| {
            stalls.recv().expect("told");
            watchdog.call(|| Ok(7))
        });
        assert_eq!(outer.expect_err("too long").kind(), io::ErrorKind::TimedOut);
        assert_eq!(watchdog.call(|| Ok(8)).expect("in time"), 8);
        assert_eq!(counters.read(), IoCounters { errors: 1, stalls: 1, stuck: 0 });
    }

    #[test]
    fn an_error_is_the_hosts() {
        let (watchdog, counters) = watchdog(Duration::from_secs(10));
        let error = watchdog.call::<()>(|| Err(io::ErrorKind::StorageFull.into())).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(counters.read(), IoCounters { errors: 1, stalls: 0, stuck: 0 });
    }
}
