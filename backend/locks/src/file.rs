//! The locks of one kind on one file.

use std::collections::BTreeMap;

use weft_layout::{Region, RegionEdit, Regions};
use weft_types::{LockMode, LockRange};

use crate::intervals::Intervals;
use crate::table::{Holder, Ticket, Want};

/// Who holds what of a file, and who waits.
#[derive(Debug, Default)]
pub(crate) struct File {
    held: BTreeMap<Holder, Regions>,
    /// What is held, by range: a shared lock meets only exclusive ones, however many share.
    shared: Intervals<Holder>,
    exclusive: Intervals<Holder>,
    queue: Intervals<Ticket>,
}

impl File {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.queue.is_empty()
    }

    pub(crate) fn regions(&self, holder: Holder) -> Option<&Regions> {
        self.held.get(&holder)
    }

    const fn index(&mut self, mode: LockMode) -> &mut Intervals<Holder> {
        match mode {
            LockMode::Shared => &mut self.shared,
            LockMode::Exclusive => &mut self.exclusive,
        }
    }

    /// Locks of others that a lock would meet, with their first bytes; in no order.
    pub(crate) fn conflicts(
        &self,
        holder: Holder,
        range: LockRange,
        mode: LockMode,
    ) -> impl Iterator<Item = (u64, Holder)> + '_ {
        let shared = (mode == LockMode::Exclusive).then(|| self.shared.overlapping(range));
        let exclusive = self.exclusive.overlapping(range);
        exclusive.chain(shared.into_iter().flatten()).filter(move |(_, other)| *other != holder)
    }

    /// The lock that stands first in the way of another one.
    pub(crate) fn first_conflict(
        &self,
        holder: Holder,
        range: LockRange,
        mode: LockMode,
    ) -> Option<(Holder, Region)> {
        let (start, other) = self.conflicts(holder, range, mode).min()?;
        Some((other, self.held.get(&other)?.starting(start)?))
    }

    pub(crate) fn is_free(&self, holder: Holder, range: LockRange, mode: LockMode) -> bool {
        self.conflicts(holder, range, mode).next().is_none()
    }

    /// How what a holder has would change.
    pub(crate) fn edit(&self, holder: Holder, range: LockRange, to: Option<(LockMode, u32)>) -> RegionEdit {
        match self.held.get(&holder) {
            Some(regions) => regions.edit(range, to),
            None => Regions::default().edit(range, to),
        }
    }

    pub(crate) fn apply(&mut self, holder: Holder, edit: &RegionEdit) {
        for region in &edit.removed {
            self.index(region.mode).remove(region.range, holder);
        }
        for region in &edit.added {
            self.index(region.mode).insert(region.range, holder);
        }
        let regions = self.held.entry(holder).or_default();
        regions.apply(edit);
        if regions.is_empty() {
            self.held.remove(&holder);
        }
    }

    pub(crate) fn enqueue(&mut self, ticket: Ticket, want: &Want) {
        self.queue.insert(want.range, ticket);
    }

    pub(crate) fn dequeue(&mut self, ticket: Ticket, want: &Want) {
        self.queue.remove(want.range, ticket);
    }

    /// Who waits for a byte of the range, in the order of their coming.
    pub(crate) fn waiting(&self, range: LockRange) -> Vec<Ticket> {
        let mut waiting: Vec<_> = self.queue.overlapping(range).map(|(_, ticket)| ticket).collect();
        waiting.sort_unstable();
        waiting
    }
}
