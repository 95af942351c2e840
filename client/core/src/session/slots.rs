//! The session's slots: at most one operation is under way in each.
//!
//! Operations may wait at the owner until another session has committed what it holds back, and that one for this session.
//! So some slots are kept for commits: these wait for nobody who waits for a slot.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use weft_types::{SlotId, SlotSeq};

/// One slot in so many is kept for commits.
const KEPT: u16 = 8;

/// The free slots, each with the number of its next operation.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Mutex<Vec<(SlotId, SlotSeq)>>,
    permits: Semaphore,
    for_commits: Semaphore,
}

impl Slots {
    pub(crate) fn new(count: u16) -> Self {
        let count = count.max(1);
        // The last one given back is the first one taken, so that few slots are ever used by a calm mount.
        let free = (0..count).rev().map(|id| (SlotId::new(id), SlotSeq::new(1))).collect();
        let kept = count / KEPT;
        let permits = Semaphore::new((count - kept).into());
        Self { free: Mutex::new(free), permits, for_commits: Semaphore::new(kept.into()) }
    }

    /// A free slot; waits for one, in turn.
    pub(crate) async fn take(&self) -> Slot<'_> {
        let permit = self.permits.acquire().await;
        self.taken(permit.expect("the semaphore is never closed"))
    }

    /// A free slot for a commit; waits for one, in turn, only while other commits are under way in all that are kept for them.
    pub(crate) async fn take_for_commit(&self) -> Slot<'_> {
        let permit = tokio::select! {
            biased;
            permit = self.permits.acquire() => permit,
            permit = self.for_commits.acquire() => permit,
        };
        self.taken(permit.expect("the semaphore is never closed"))
    }

    fn taken<'a>(&'a self, permit: SemaphorePermit<'a>) -> Slot<'a> {
        let (id, seq) = self.lock().pop().expect("as many slots are free as there are permits");
        Slot { slots: self, id, seq, _permit: permit }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(SlotId, SlotSeq)>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot in use. Its number is used up when it is given back, answered or not.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    slots: &'a Slots,
    id: SlotId,
    seq: SlotSeq,
    _permit: SemaphorePermit<'a>,
}

impl Slot<'_> {
    pub(crate) const fn id(&self) -> SlotId {
        self.id
    }

    pub(crate) const fn seq(&self) -> SlotSeq {
        self.seq
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // Before the permit: fields are dropped after this.
        self.slots.lock().push((self.id, self.seq.next()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_number_is_never_used_twice() {
        let slots = Slots::new(2);
        let mut used = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let (a, b) = (slots.take().await, slots.take().await);
            assert_ne!(a.id(), b.id());
            assert!(used.insert((a.id(), a.seq())) && used.insert((b.id(), b.seq())));
        }
    }

    #[tokio::test]
    async fn a_commit_finds_a_slot_when_all_else_waits() {
        let slots = Slots::new(16);
        let mut waiting = Vec::new();
        while let Ok(slot) = tokio::time::timeout(core::time::Duration::from_millis(10), slots.take()).await {
            waiting.push(slot);
        }
        assert_eq!(waiting.len(), 14);
        let commits = (slots.take_for_commit().await, slots.take_for_commit().await);
        assert_ne!(commits.0.id(), commits.1.id());
        drop(waiting.pop());
        slots.take_for_commit().await;
    }
}
