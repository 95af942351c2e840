//! What went wrong at a device, counted by whoever sees it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::IoCounters;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    errors: AtomicU64,
    stalls: AtomicU64,
    stuck: AtomicU64,
}

impl Counters {
    /// A request failed.
    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// A request took too long; that it failed is counted by whoever tells its caller.
    pub(crate) fn stalled(&self) {
        self.stalls.fetch_add(1, Relaxed);
    }

    /// The host keeps a request that was given up.
    pub(crate) fn stuck(&self) {
        self.stuck.fetch_add(1, Relaxed);
    }

    /// The host gave back a request that was given up.
    pub(crate) fn came_back(&self) {
        self.stuck.fetch_sub(1, Relaxed);
    }

    pub(crate) fn read(&self) -> IoCounters {
        IoCounters {
            errors: self.errors.load(Relaxed),
            stalls: self.stalls.load(Relaxed),
            stuck: self.stuck.load(Relaxed),
        }
    }
}
