//! What a mount counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happened since the mount, and what is pending now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads answered from the rest of a stripe, or from another copy, because a shard was missing, late or damaged.
    pub reconstructions: u64,
    /// Shards that failed a block's tag, or that a drive refused as damaged.
    pub damaged: u64,
    /// Reads that failed: the damage was beyond repair.
    pub unreadable: u64,
    /// Times that small or mostly dead extents were replaced by one.
    pub compactions: u64,
    /// Bytes written by applications that are not committed yet.
    pub dirty_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    reconstructions: AtomicU64,
    damaged: AtomicU64,
    unreadable: AtomicU64,
    compactions: AtomicU64,
}

impl Counters {
    pub(crate) fn reconstruction(&self) {
        self.reconstructions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn compaction(&self) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self, dirty_bytes: u64) -> Counts {
        Counts {
            reconstructions: self.reconstructions.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
            compactions: self.compactions.load(Ordering::Relaxed),
            dirty_bytes,
        }
    }
}
