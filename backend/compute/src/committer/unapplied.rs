//! Durable batches on their way into the index.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weft_engine::Batch;

/// So many bytes of batches are applied together, and no longer waited with.
const APPLY_BYTES: usize = 1 << 20;
/// With so many bytes, further batches have to wait: rows that the index does not have are held in memory.
const UNAPPLIED_BYTES_MAX: usize = 8 << 20;

/// A bounded queue between the half that commits and the half that applies.
#[derive(Default)]
pub(super) struct Unapplied {
    queue: Mutex<Queue>,
    /// There is something to apply, or much, or nothing more will come.
    filled: Notify,
    /// Something was applied.
    drained: Notify,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    bytes: usize,
    finished: bool,
}

/// What waits to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Nothing.
    Empty,
    /// Something, for which it may wait.
    Some,
    /// Enough to apply it now.
    Much,
    /// All there will ever be.
    Finished,
}

impl Unapplied {
    /// A batch became durable.
    pub(super) fn push(&self, batch: Batch) {
        let mut queue = self.queue();
        let before = (queue.batches.is_empty(), queue.bytes >= APPLY_BYTES);
        queue.bytes += batch.encoded_len();
        queue.batches.push_back(batch);
        let after = (false, queue.bytes >= APPLY_BYTES);
        drop(queue);
        // Whoever applies sleeps otherwise: waking a thread for each batch would cost more than applying it.
        if before != after {
            self.filled.notify_one();
        }
    }

    /// No batch will come any more.
    pub(super) fn finish(&self) {
        self.queue().finished = true;
        self.filled.notify_one();
    }

    /// Waits until another batch may be committed.
    pub(super) async fn has_room(&self) {
        while self.queue().bytes >= UNAPPLIED_BYTES_MAX {
            self.drained.notified().await;
        }
    }

    /// What waits now.
    pub(super) fn fill(&self) -> Fill {
        let queue = self.queue();
        match (queue.finished, queue.bytes) {
            (true, _) => Fill::Finished,
            (false, 0) => Fill::Empty,
            (false, bytes) if bytes < APPLY_BYTES => Fill::Some,
            (false, _) => Fill::Much,
        }
    }

    /// Waits until [`fill`](Self::fill) may have changed.
    pub(super) async fn changed(&self) {
        self.filled.notified().await;
    }

    /// Batches to apply together, in order. They count until they are [applied](Self::applied).
    pub(super) fn take(&self) -> Vec<Batch> {
        let mut queue = self.queue();
        let mut bytes = 0;
        let mut taken = Vec::new();
        while bytes < APPLY_BYTES
            && let Some(batch) = queue.batches.pop_front()
        {
            bytes += batch.encoded_len();
            taken.push(batch);
        }
        taken
    }

    /// The index has a batch that was taken.
    pub(super) fn applied(&self, batch: &Batch) {
        let mut queue = self.queue();
        queue.bytes = queue.bytes.saturating_sub(batch.encoded_len());
        drop(queue);
        self.drained.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use weft_engine::RowChange;
    use weft_keys::EpochSalt;
    use weft_types::{Epoch, KeyVersion, Position};

    use super::*;

    fn batch(seq: u64, bytes: usize) -> Batch {
        Batch {
            position: Position { epoch: Epoch::new(1), seq },
            salt: EpochSalt::from_bytes([1; 32]),
            key_version: KeyVersion::new(1),
            rows: vec![RowChange { key: vec![1], value: Some(vec![0; bytes]) }],
        }
    }

    #[test]
    fn whoever_applies_is_woken_for_the_first_batch_and_for_the_one_that_makes_it_much() {
        let unapplied = Unapplied::default();
        assert_eq!((unapplied.fill(), unapplied.changed().now_or_never()), (Fill::Empty, None));
        unapplied.push(batch(1, 10));
        assert_eq!((unapplied.fill(), unapplied.changed().now_or_never()), (Fill::Some, Some(())));
        unapplied.push(batch(2, 10));
        assert_eq!((unapplied.fill(), unapplied.changed().now_or_never()), (Fill::Some, None));
        unapplied.push(batch(3, APPLY_BYTES));
        assert_eq!((unapplied.fill(), unapplied.changed().now_or_never()), (Fill::Much, Some(())));
        unapplied.push(batch(4, APPLY_BYTES));
        assert_eq!(unapplied.changed().now_or_never(), None);
        let taken: Vec<_> = unapplied.take().iter().map(|batch| batch.position.seq).collect();
        assert_eq!(taken, [1, 2, 3], "the rest is applied after it");
        unapplied.finish();
        assert_eq!((unapplied.fill(), unapplied.changed().now_or_never()), (Fill::Finished, Some(())));
    }

    #[test]
    fn commits_wait_while_too_much_is_not_applied() {
        let unapplied = Unapplied::default();
        let large = batch(1, UNAPPLIED_BYTES_MAX);
        unapplied.push(large.clone());
        assert_eq!(unapplied.has_room().now_or_never(), None);
        assert_eq!(unapplied.take(), std::slice::from_ref(&large));
        assert_eq!(unapplied.has_room().now_or_never(), None, "it is in memory until it is applied");
        unapplied.applied(&large);
        assert_eq!(unapplied.has_room().now_or_never(), Some(()));
    }
}
