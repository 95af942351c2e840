//! What an owner of locks holds of a file, as far as answers say.

use std::collections::BTreeMap;

use weft_layout::Regions;
use weft_types::{LockMode, LockRange};

/// A change of what is held: the range gets this mode, for a process, or is let go of (`None`).
pub(crate) type Change = (LockRange, Option<(LockMode, u32)>);

/// A request that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pending(u64);

/// What is held, kept in the order in which the owner of the metadata did things, not in that of its answers: while one
/// thread waits for a lock, others of its process change what they hold.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    /// What is held once all was done that no request under way can precede.
    base: Regions,
    /// What was done since, by the owner's count.
    since: BTreeMap<u64, Change>,
    /// Requests under way, each with a moment after which it is done if it ever is.
    pending: BTreeMap<Pending, u64>,
    /// The last moment that an answer told of.
    known: u64,
    begun: u64,
    /// The owner may hold more than is known here.
    doubtful: bool,
}

impl Mirror {
    /// A request is about to be made.
    pub(crate) fn begin(&mut self) -> Pending {
        self.begun += 1;
        let pending = Pending(self.begun);
        self.pending.insert(pending, self.known);
        pending
    }

    /// It was not done at this moment.
    pub(crate) fn waits(&mut self, pending: Pending, at: u64) {
        self.known = self.known.max(at);
        if let Some(since) = self.pending.get_mut(&pending) {
            *since = at.max(*since);
        }
        self.settle();
    }

    /// A change was made at this moment.
    pub(crate) fn changed(&mut self, at: u64, change: Change) {
        self.known = self.known.max(at);
        self.since.insert(at, change);
        self.settle();
    }

    /// A lock of the whole file was let go of, to be converted, at this moment or before.
    pub(crate) fn let_go(&mut self, at: u64) {
        self.doubtful |= self.pending.len() > 1;
        self.changed(at, (LockRange::WHOLE, None));
    }

    /// It is under way no more.
    pub(crate) fn end(&mut self, pending: Pending) {
        self.pending.remove(&pending);
        self.settle();
    }

    /// All was let go of, whatever it was.
    pub(crate) fn released(&mut self) {
        self.doubtful = false;
    }

    /// What is held now.
    pub(crate) fn regions(&self) -> Regions {
        let mut regions = self.base.clone();
        self.since.values().for_each(|(range, to)| regions.set(*range, *to));
        regions
    }

    /// Whether nothing is held, for certain.
    pub(crate) fn is_empty(&self) -> bool {
        !self.doubtful && self.regions().is_empty()
    }

    /// Whether nothing is under way either.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.is_empty()
    }

    /// Another ownership begins to count anew; it is told what is held, and what is under way comes later.
    pub(crate) fn restart(&mut self) -> Regions {
        self.base = self.regions();
        self.since.clear();
        self.pending.values_mut().for_each(|since| *since = 0);
        self.known = 0;
        self.base.clone()
    }

    /// Nothing is held any more.
    pub(crate) fn lose(&mut self) {
        self.base = Regions::default();
        self.since.clear();
        self.doubtful = false;
    }

    fn settle(&mut self) {
        let until = self.pending.values().min().copied().unwrap_or(u64::MAX);
        while let Some(first) = self.since.first_entry().filter(|first| *first.key() <= until) {
            let (range, to) = first.remove();
            self.base.set(range, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, end: u64) -> LockRange {
        LockRange::new(start, end).expect("a range")
    }

    #[test]
    fn a_grant_that_is_told_late_does_not_undo_what_came_after_it() {
        let mut mirror = Mirror::default();
        let (wait, unlock) = (mirror.begin(), mirror.begin());
        mirror.waits(wait, 1);
        mirror.changed(3, (range(0, 4), None));
        mirror.end(unlock);
        mirror.changed(2, (range(0, 9), Some((LockMode::Exclusive, 1))));
        mirror.end(wait);
        let held: Vec<_> = mirror.regions().iter().map(|region| region.range).collect();
        assert_eq!(held, [range(5, 9)]);
        assert!(!mirror.is_idle());
    }

    #[test]
    fn who_waits_for_hours_does_not_make_it_keep_everything() {
        let mut mirror = Mirror::default();
        let wait = mirror.begin();
        for at in 1..1000 {
            let quick = mirror.begin();
            mirror.changed(2 * at, (range(at, at), Some((LockMode::Shared, 1))));
            mirror.end(quick);
            mirror.waits(wait, 2 * at + 1);
        }
        assert!(mirror.since.is_empty());
    }

    proptest! {
        /// Changes that are answered in any order come to what they come to in their own.
        #[test]
        fn the_order_of_answers_does_not_matter(
            changes in proptest::collection::vec((0..8_u64, 0..8_u64, any::<bool>(), 0..1000_u16), 1..12),
        ) {
            let change = |(a, b, set, _): &(u64, u64, bool, u16)| -> Change {
                (range(*a.min(b), *a.max(b)), set.then_some((LockMode::Exclusive, 1)))
            };
            let (mut mirror, mut expected) = (Mirror::default(), Regions::default());
            let mut answers = Vec::new();
            for (at, step) in changes.iter().enumerate() {
                let (range, to) = change(step);
                expected.set(range, to);
                answers.push((step.3, at as u64 + 1, (range, to), mirror.begin()));
            }
            answers.sort_by_key(|answer| answer.0);
            for (_, at, change, pending) in answers {
                mirror.changed(at, change);
                mirror.end(pending);
            }
            prop_assert_eq!(mirror.regions(), expected);
            prop_assert!(mirror.since.is_empty());
        }
    }
}
