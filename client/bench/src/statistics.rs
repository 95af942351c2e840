//! What several runs and many operations come to.

use core::time::Duration;

use serde::Serialize;

/// The run in the middle, and how far the others are from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Of the run in the middle; of an even number the lower of the two.
    pub median: f64,
    /// Of the slowest run.
    pub min: f64,
    /// Of the fastest run.
    pub max: f64,
    /// Which run is the median, from 0.
    pub median_run: usize,
}

impl Spread {
    /// Of these rates; `None` when there are none.
    pub(crate) fn of(rates: &[f64]) -> Option<Self> {
        let mut order: Vec<_> = (0..rates.len()).collect();
        order.sort_by(|a, b| rates[*a].total_cmp(&rates[*b]));
        let (first, last) = (*order.first()?, *order.last()?);
        let median_run = order[(order.len() - 1) / 2];
        Some(Self { median: rates[median_run], min: rates[first], max: rates[last], median_run })
    }
}

/// How long operations took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// Of a hundred, one took longer.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    /// Of operations that took so many nanoseconds; `None` when there were none. Reorders them.
    pub(crate) fn of(nanoseconds: &mut [u32]) -> Option<Self> {
        let max = *nanoseconds.iter().max()?;
        let last = nanoseconds.len() - 1;
        let mut at = |hundredths: usize| {
            let (_, value, _) = nanoseconds.select_nth_unstable(last * hundredths / 100);
            microseconds(*value)
        };
        Some(Self { p50: at(50), p99: at(99), max: microseconds(max) })
    }
}

/// Nanoseconds as they are kept: four bytes an operation, 4.3 s at most.
pub(crate) fn nanoseconds(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_nanos()).unwrap_or(u32::MAX)
}

fn microseconds(nanoseconds: u32) -> f64 {
    f64::from(nanoseconds) / 1000.0
}

/// So many in this time, per second; nothing takes no time.
#[expect(clippy::cast_precision_loss, reason = "a rate has three digits that matter")]
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_run_that_was() {
        let rows: [(&[f64], f64, usize); 4] = [
            (&[3.0], 3.0, 0),
            (&[3.0, 1.0], 1.0, 1),
            (&[3.0, 1.0, 2.0], 2.0, 2),
            (&[4.0, 1.0, 2.0, 3.0], 2.0, 2),
        ];
        for (rates, median, run) in rows {
            let spread = Spread::of(rates).expect("runs");
            assert_eq!((spread.median, spread.median_run), (median, run), "{rates:?}");
            assert!(spread.min <= median && median <= spread.max);
        }
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn percentiles_are_of_the_sorted_order() {
        let mut all: Vec<u32> = (1..=1000).rev().map(|n| n * 1000).collect();
        let latency = Latency::of(&mut all).expect("operations");
        assert_eq!((latency.p50, latency.p99, latency.max), (500.0, 990.0, 1000.0));
        assert_eq!(Latency::of(&mut [7000]), Some(Latency { p50: 7.0, p99: 7.0, max: 7.0 }));
        assert_eq!(Latency::of(&mut []), None);
    }

    #[test]
    fn rates_are_per_second() {
        assert!((per_second(500, Duration::from_millis(250)) - 2000.0).abs() < 1e-6);
        assert!(per_second(1, Duration::ZERO).is_finite());
        assert_eq!(nanoseconds(Duration::from_secs(60)), u32::MAX);
    }
}
