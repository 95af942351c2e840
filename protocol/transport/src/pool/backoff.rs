//! How long to leave a peer alone that cannot be connected to.

use core::time::Duration;

/// The pause after the `failures`-th failed attempt in a row, counted from 1: `min` doubled with each further one, at
/// most `max`, less a part of up to half that `jitter`, any number, picks.
pub(super) fn pause(min: Duration, max: Duration, failures: u32, jitter: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let whole = min.saturating_mul(1 << doublings).min(max);
    let half = u64::try_from(whole.as_nanos() / 2).unwrap_or(u64::MAX);
    whole - Duration::from_nanos(jitter % half.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(2);

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses: Vec<_> = (1..=8).map(|failures| pause(MIN, MAX, failures, 0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    }

    proptest! {
        #[test]
        fn a_pause_is_at_least_half_and_at_most_whole(failures: u32, jitter: u64) {
            let whole = pause(MIN, MAX, failures, 0);
            let some = pause(MIN, MAX, failures, jitter);
            prop_assert!(some <= whole && some >= whole / 2, "{some:?} of {whole:?}");
        }

        #[test]
        fn no_setting_overflows(min: u64, max: u64, failures: u32, jitter: u64) {
            let max = Duration::from_nanos(max);
            prop_assert!(pause(Duration::from_nanos(min), max, failures, jitter) <= max);
        }
    }
}
