//! Waiting on a condition, never for a time.

use std::time::{Duration, Instant};

/// Polls until the condition holds; panics with `what` when it has not by the deadline.
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
