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
