//! Waiting on a condition of the host that nothing announces.

use core::time::Duration;
use std::time::Instant;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks until the condition gives a value; `None` when it has not within `patience`.
pub(crate) fn poll<T>(patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(INTERVAL);
    }
}
