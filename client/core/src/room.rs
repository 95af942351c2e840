//! The room of the filesystem, as far as this mount knows it.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// What drives hold reaches the owner by two heartbeats, each a second apart, and one may be lost.
const LAG: Duration = Duration::from_secs(3);
/// Commits so near each other are counted together.
const STEP: Duration = Duration::from_millis(100);

/// What was left when the owner was last asked, and what was committed since it counted.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// In bytes; less what was committed since.
    free: AtomicU64,
    committed: Mutex<VecDeque<(Instant, u64)>>,
}

impl Room {
    /// The owner said how much is left.
    pub(crate) fn learn(&self, free: u64) {
        self.free.store(free, Ordering::Relaxed);
    }

    /// Whether there is room for so much; the owner knows better when this says no.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.free.load(Ordering::Relaxed) >= bytes
    }

    /// Bytes were committed: they no longer are among the dirty ones, and not yet among those that the owner counts.
    pub(crate) fn take(&self, bytes: u64) {
        let less = |free: u64| Some(free.saturating_sub(bytes));
        let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let now = Instant::now();
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut committed, now);
        match committed.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < STEP => *sum += bytes,
            _ => committed.push_back((now, bytes)),
        }
    }

    /// Committed bytes that the owner may not count yet.
    pub(crate) fn uncounted(&self) -> u64 {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut committed, Instant::now());
        committed.iter().map(|(_, bytes)| bytes).sum()
    }
}

fn forget_old(committed: &mut VecDeque<(Instant, u64)>, now: Instant) {
    // The first commit of a step says when; the last one is counted as long.
    while committed.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > LAG + STEP) {
        committed.pop_front();
    }
}
