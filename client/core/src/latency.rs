//! How long reads of shards take, to know when one is late.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

/// No read is late before this.
const LATE_MIN: Duration = Duration::from_millis(50);
/// Every read is late after this.
const LATE_MAX: Duration = Duration::from_secs(2);
/// Reads longer than this are measured apart.
const SMALL_BYTES: u32 = 64 << 10;
const SAMPLES: usize = 128;

/// The last reads, small and large.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    classes: [Mutex<Window>; 2],
}

/// The last samples and their 95th percentile, computed now and then.
#[derive(Debug, Default)]
struct Window {
    samples: Vec<Duration>,
    next: usize,
    percentile: Option<Duration>,
}

impl Latency {
    /// A shard was read in this time.
    pub(crate) fn record(&self, bytes: u32, took: Duration) {
        let mut window = self.class(bytes).lock().unwrap_or_else(PoisonError::into_inner);
        window.record(took);
    }

    /// After this time the alternative is begun: twice the 95th percentile, within bounds.
    pub(crate) fn late_after(&self, bytes: u32) -> Duration {
        let window = self.class(bytes).lock().unwrap_or_else(PoisonError::into_inner);
        window.percentile.map_or(LATE_MIN * 4, |percentile| (percentile * 2).clamp(LATE_MIN, LATE_MAX))
    }

    fn class(&self, bytes: u32) -> &Mutex<Window> {
        &self.classes[usize::from(bytes > SMALL_BYTES)]
    }
}

impl Window {
    fn record(&mut self, took: Duration) {
        if self.samples.len() < SAMPLES {
            self.samples.push(took);
        } else {
            self.samples[self.next] = took;
        }
        self.next = (self.next + 1) % SAMPLES;
        if self.next.is_multiple_of(16) {
            let mut sorted = self.samples.clone();
            sorted.sort_unstable();
            self.percentile = sorted.get(sorted.len() * 95 / 100).copied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_what_hardly_any_read_takes() {
        let latency = Latency::default();
        for i in 0..1000 {
            latency.record(4096, Duration::from_millis(if i % 50 == 0 { 900 } else { 100 }));
        }
        assert_eq!(latency.late_after(4096), Duration::from_millis(200));
        assert_eq!(latency.late_after(1 << 20), LATE_MIN * 4, "large reads are another matter");
    }

    #[test]
    fn fast_drives_are_given_the_least_time_and_slow_ones_the_most() {
        let latency = Latency::default();
        (0..16).for_each(|_| latency.record(1, Duration::from_micros(100)));
        assert_eq!(latency.late_after(1), LATE_MIN);
        (0..SAMPLES).for_each(|_| latency.record(1, Duration::from_secs(60)));
        assert_eq!(latency.late_after(1), LATE_MAX);
    }
}
