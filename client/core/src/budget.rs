//! Bounded memory: bytes that are held until they are given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_layout::MAX_EXTENT_BYTES;
use weft_types::ByteCount;

use crate::config::MEMORY_MIN;

/// How a mount's memory is shared out. What is not listed is for the program itself, its connections' buffers, and for
/// what allocators keep: five sixteenths. Measured: up to 130 MiB when random blocks are written as fast as they go.
#[derive(Debug)]
pub(crate) struct Memory {
    /// What applications wrote and is not committed: three sixteenths.
    pub(crate) dirty: Budget,
    /// Sealed shards on their way to drives: three sixteenths.
    pub(crate) sealed: Budget,
    /// What is being fetched from drives: three thirty-seconds.
    pub(crate) fetched: Budget,
    /// What is being compacted, sealed and not: a sixteenth. Its own, because a compaction waits for the file's flights.
    pub(crate) compacted: Budget,
    /// Bytes of decoded extents that are kept: three thirty-seconds.
    pub(crate) cache: u64,
    /// Names, inodes with attributes, and files that are remembered: a sixteenth of the bytes.
    pub(crate) names: usize,
}

/// What a name takes at most, with the attributes and the extended attributes of its inode, in the two generations in
/// which they are remembered. Measured; names of more than 32 bytes take more, and few are.
const NAME_BYTES: u64 = 1024;

impl Memory {
    pub(crate) fn new(total: ByteCount) -> Self {
        let total = total.max(MEMORY_MIN).get();
        let part = |parts: u64| total / 32 * parts;
        let (dirty, sealed, fetched, compacted) = (part(6), part(6), part(3), part(2));
        Self {
            dirty: Budget::new(dirty),
            sealed: Budget::new(sealed),
            fetched: Budget::new(fetched),
            compacted: Budget::new(compacted),
            cache: part(3),
            names: usize::try_from(part(2) / NAME_BYTES).unwrap_or(usize::MAX),
        }
    }
}

/// A number of bytes that may be held at once. Whoever waits is served in turn.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: u64,
    free: Arc<Semaphore>,
    returned: AtomicU64,
}

impl Budget {
    /// At most 2 GiB of it are used at once by one holder; the semaphore counts in bytes.
    fn new(bytes: u64) -> Self {
        let permits = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { bytes, free: Arc::new(Semaphore::new(permits)), returned: AtomicU64::new(0) }
    }

    /// Whether less than a quarter is held.
    pub(crate) fn is_calm(&self) -> bool {
        self.held() < self.bytes / 4
    }

    /// Bytes held now.
    pub(crate) fn held(&self) -> u64 {
        self.bytes - (self.free.available_permits() as u64).min(self.bytes)
    }

    /// Takes bytes without waiting; false when there are too few.
    pub(crate) fn try_take(&self, bytes: u32) -> bool {
        self.free.try_acquire_many(bytes).map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Takes bytes; waits for them. More than the whole budget is cut to it.
    pub(crate) async fn take(&self, bytes: u32) {
        if let Ok(permit) = self.free.acquire_many(self.bounded(bytes)).await {
            permit.forget();
        }
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.returned.fetch_add(bytes, Ordering::Relaxed);
        self.free.add_permits(usize::try_from(bytes).unwrap_or(0));
    }

    /// Gives back what was taken and turned out not to be needed: nothing has moved.
    pub(crate) fn untake(&self, bytes: u32) {
        self.free.add_permits(usize::try_from(bytes).unwrap_or(0));
    }

    /// What was taken, until it is spent: it is untaken when its taker gives up.
    pub(crate) const fn taken(&self, bytes: u32) -> Taken<'_> {
        Taken { budget: self, bytes }
    }

    /// Bytes given back so far: whether anything moves.
    pub(crate) fn returned(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }

    /// Holds bytes until the value is dropped; waits for them. More than the whole budget is cut to it.
    pub(crate) async fn hold(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_many_owned(self.bounded(bytes)).await.ok()
    }

    /// As [`hold`](Self::hold), without waiting.
    pub(crate) fn try_hold(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(bytes).ok()
    }

    fn bounded(&self, bytes: u32) -> u32 {
        u32::try_from(self.bytes).unwrap_or(u32::MAX).min(bytes)
    }
}

/// Bytes that were taken for something that is not done yet.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    budget: &'a Budget,
    bytes: u32,
}

impl Taken<'_> {
    /// It is done: they are held from now on.
    pub(crate) const fn spend(self) {
        core::mem::forget(self);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.budget.untake(self.bytes);
    }
}

/// The longest write that is taken into memory at once.
pub(crate) const WRITE_BYTES_MAX: usize = MAX_EXTENT_BYTES as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_held_than_there_is() {
        let budget = Budget::new(100);
        budget.take(60).await;
        assert!(!budget.try_take(41));
        assert!(budget.try_take(40));
        assert_eq!(budget.held(), 100);
        budget.give_back(70);
        assert_eq!(budget.held(), 30);
    }

    #[test]
    fn what_is_not_spent_is_untaken() {
        let budget = Budget::new(100);
        assert!(budget.try_take(60));
        drop(budget.taken(60));
        assert_eq!((budget.held(), budget.returned()), (0, 0));
        assert!(budget.try_take(60));
        budget.taken(60).spend();
        assert_eq!(budget.held(), 60);
    }

    #[test]
    fn the_shares_are_all_there_is() {
        for total in [0, 96 << 20, 512 << 20, 3 << 30] {
            let memory = Memory::new(ByteCount::new(total));
            let held = [&memory.dirty, &memory.sealed, &memory.fetched, &memory.compacted];
            let shares: u64 = held.iter().map(|budget| budget.bytes).sum();
            let bounded = shares + memory.cache + memory.names as u64 * NAME_BYTES;
            let all = total.max(MEMORY_MIN.get());
            assert!(bounded <= all / 16 * 11 && bounded >= all / 16 * 11 - 4096, "{bounded} of {all}");
            // The widest code needs 2.4 times an extent for its shards.
            assert!(memory.sealed.bytes > 10 << 20 && memory.fetched.bytes > 8 << 20);
        }
    }
}
