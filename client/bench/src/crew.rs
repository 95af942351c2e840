//! Threads that start together.

use core::time::Duration;
use std::sync::Barrier;
use std::time::Instant;

use crate::BenchError;
use crate::statistics::{Latency, nanoseconds};

/// What one measured run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Operations, or requests.
    pub(crate) operations: u64,
    /// Bytes moved by them.
    pub(crate) bytes: u64,
    /// From the first operation to the end of the last.
    pub(crate) elapsed: Duration,
    /// How long single operations took.
    pub(crate) latency: Option<Latency>,
    /// Whether it went around the page cache; `None` where that makes no difference.
    pub(crate) direct: Option<bool>,
}

/// What one thread did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) operations: u64,
    pub(crate) bytes: u64,
    latencies: Vec<u32>,
}

impl Tally {
    /// So many operations at once, of which none is timed by itself.
    pub(crate) fn of(operations: u64) -> Self {
        Self { operations, ..Self::default() }
    }

    /// Does one operation on so many bytes, and keeps how long it took.
    pub(crate) fn time<T>(
        &mut self,
        bytes: usize,
        operation: impl FnOnce() -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let start = Instant::now();
        let value = operation()?;
        self.latencies.push(nanoseconds(start.elapsed()));
        self.operations += 1;
        self.bytes += bytes as u64;
        Ok(value)
    }
}

/// Runs so many threads, each with its number, from one start; then `finish`, which counts into the time.
pub(crate) fn run(
    threads: usize,
    work: impl Fn(usize) -> Result<Tally, BenchError> + Sync,
    finish: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Measured, BenchError> {
    // This thread starts the clock when all are there.
    let ready = Barrier::new(threads + 1);
    let begin = |number| {
        ready.wait();
        work(number)
    };
    let begin = &begin;
    let (start, tallies) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || begin(number))).collect();
        ready.wait();
        let start = Instant::now();
        let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| BenchError::Thread)?);
        (start, joined.collect::<Vec<_>>())
    });
    let mut all = Tally::default();
    for tally in tallies {
        let tally = tally?;
        all.operations += tally.operations;
        all.bytes += tally.bytes;
        all.latencies.extend(tally.latencies);
    }
    finish()?;
    let elapsed = start.elapsed();
    let latency = Latency::of(&mut all.latencies);
    Ok(Measured { operations: all.operations, bytes: all.bytes, elapsed, latency, direct: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_thread_works_and_all_is_summed() {
        let seen = AtomicU64::new(0);
        let work = |number: usize| {
            let mut tally = Tally::default();
            for _ in 0..=number {
                tally.time(10, || Ok(seen.fetch_add(1, Ordering::Relaxed)))?;
            }
            Ok(tally)
        };
        let measured = run(4, work, || Ok(())).expect("done");
        assert_eq!((measured.operations, measured.bytes), (10, 100));
        assert_eq!(seen.into_inner(), 10);
        assert!(measured.latency.is_some() && measured.elapsed > Duration::ZERO);
    }

    #[test]
    fn one_failure_is_that_of_all() {
        let work = |number| if number == 2 { Err(BenchError::Interrupted) } else { Ok(Tally::default()) };
        assert!(matches!(run(3, work, || Ok(())), Err(BenchError::Interrupted)));
        let broken = |_| -> Result<Tally, BenchError> { panic!("a defect") };
        assert!(matches!(run(1, broken, || Ok(())), Err(BenchError::Thread)));
    }
}
