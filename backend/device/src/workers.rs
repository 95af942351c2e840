//! Threads that wait for a host's page cache, so that callers wait no longer than they want to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ReadDone;
use crate::counters::Counters;

mod watch;

use watch::{Pending, Watch};

/// Threads of one device.
const THREADS: usize = 4;

/// Jobs that may wait for a thread.
const WAITING: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run one job after another; they end when this is dropped and their jobs are done.
#[derive(Debug)]
pub(crate) struct Workers {
    jobs: mpsc::SyncSender<Job>,
    watch: Watch,
    counters: Arc<Counters>,
    stall_after: Duration,
}

impl Workers {
    /// # Errors
    /// The host's when it gives no thread.
    pub(crate) fn start(name: &str, stall_after: Duration, counters: Arc<Counters>) -> io::Result<Self> {
        let (jobs, receiver) = mpsc::sync_channel::<Job>(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new().name(format!("io-{name}")).spawn(move || {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    // A caller's fault is not everybody's.
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                        tracing::error!("the receiver of an IO panicked");
                    }
                }
            })?;
        }
        Ok(Self { jobs, watch: Watch::start(name)?, counters, stall_after })
    }

    /// Runs `job` on a thread and waits for it, but not for ever: one that is given up and has not begun is left
    /// out, one that has begun goes on by itself.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, outcome) = mpsc::sync_channel(1);
        // Whoever comes first, the caller that gives up or the thread that begins.
        let decided = Arc::new(AtomicBool::new(false));
        let (begins, counters) = (Arc::clone(&decided), Arc::clone(&self.counters));
        let task = Box::new(move || {
            if begins.swap(true, Relaxed) {
                return;
            }
            if sender.send(job()).is_err() {
                counters.came_back();
            }
        });
        if self.jobs.try_send(task).is_err() {
            self.counters.failed();
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let done = outcome.recv_timeout(self.stall_after).unwrap_or_else(|_| {
            self.counters.stalled();
            if decided.swap(true, Relaxed) {
                self.counters.stuck();
            }
            Err(io::ErrorKind::TimedOut.into())
        });
        if done.is_err() {
            self.counters.failed();
        }
        done
    }

    /// Runs `read` on a thread and gives its outcome to `done`, or `TimedOut` when that takes too long. The caller does
    /// not wait.
    pub(crate) fn read(&self, read: impl FnOnce() -> io::Result<Bytes> + Send + 'static, done: ReadDone) {
        let pending = Pending::new(done, &self.counters);
        let theirs = Arc::clone(&pending);
        let job = Box::new(move || {
            if theirs.begin() {
                theirs.finish(read());
            }
        });
        if self.jobs.try_send(job).is_ok() {
            self.watch.add(Instant::now() + self.stall_after, pending);
        } else {
            pending.finish(Err(io::ErrorKind::ResourceBusy.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IoCounters;

    fn workers() -> (Workers, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let workers = Workers::start("test", Duration::from_millis(20), Arc::clone(&counters));
        (workers.expect("threads"), counters)
    }

    #[test]
    fn a_job_that_takes_too_long_is_given_up_and_counted_until_it_is_back() {
        let (workers, counters) = workers();
        let (go, gone) = mpsc::channel::<()>();
        let error = workers.run(move || gone.recv().map_err(io::Error::other)).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(counters.read(), IoCounters { errors: 1, stalls: 1, stuck: 1 });
        assert_eq!(workers.run(|| Ok(7)).expect("another thread"), 7);
        go.send(()).expect("it waits");
        while counters.read().stuck > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_job_that_was_given_up_before_it_began_is_left_out() {
        let (workers, counters) = workers();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        for _ in 0..THREADS {
            let gone = Arc::clone(&gone);
            let wait = move || gone.lock().expect("lock").recv().map_err(io::Error::other);
            workers.run(wait).expect_err("too long");
        }
        let ran = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&ran);
        workers
            .run(move || {
                mark.store(true, Relaxed);
                Ok(())
            })
            .expect_err("no thread is free");
        for _ in 0..THREADS {
            go.send(()).expect("it waits");
        }
        while counters.read().stuck > 0 {
            thread::yield_now();
        }
        workers.run(|| Ok(())).expect("free again, and behind the one that was given up");
        assert!(!ran.load(Relaxed));
    }

    #[test]
    fn a_read_that_takes_too_long_is_told_once_and_counted_until_it_is_back() {
        let (workers, counters) = workers();
        let (go, gone) = mpsc::channel::<()>();
        let (told, outcomes) = mpsc::channel();
        let tell = |told: &mpsc::Sender<_>| {
            let told = told.clone();
            Box::new(move |read: io::Result<Bytes>| told.send(read.map_err(|e| e.kind())).expect("waits"))
        };
        let slow = move || gone.recv().map(|()| Bytes::from_static(b"late")).map_err(io::Error::other);
        workers.read(slow, tell(&told));
        assert_eq!(outcomes.recv().expect("told"), Err(io::ErrorKind::TimedOut));
        assert_eq!(counters.read(), IoCounters { errors: 1, stalls: 1, stuck: 1 });
        workers.read(|| Ok(Bytes::from_static(b"quick")), tell(&told));
        assert_eq!(outcomes.recv().expect("told"), Ok(Bytes::from_static(b"quick")));
        go.send(()).expect("it waits");
        while counters.read().stuck > 0 {
            thread::yield_now();
        }
        drop((workers, told));
        assert!(outcomes.recv().is_err(), "each was told once");
    }
}
