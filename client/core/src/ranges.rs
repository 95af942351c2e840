//! A set of file bytes as ranges that neither touch nor overlap.

use core::ops::Range;
use std::collections::BTreeMap;

/// Start to end, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// One range, or none when it is empty.
    pub(crate) fn of(range: Range<u64>) -> Self {
        let mut ranges = Self::default();
        ranges.insert(range);
        ranges
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// Adds a range.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((at, until)) = self.0.range(..=end).next_back().map(|(at, until)| (*at, *until)) {
            if until < start {
                break;
            }
            self.0.remove(&at);
            start = start.min(at);
            end = end.max(until);
        }
        self.0.insert(start, end);
    }

    /// Takes a range out.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((at, until)) = self.0.range(..range.end).next_back().map(|(at, until)| (*at, *until)) {
            if until <= range.start {
                break;
            }
            self.0.remove(&at);
            if until > range.end {
                self.0.insert(range.end, until);
            }
            if at < range.start {
                self.0.insert(at, range.start);
            }
        }
    }

    /// The first part of `range` that is not in the set.
    pub(crate) fn first_gap(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let mut start = range.start;
        if let Some((_, until)) = self.0.range(..=start).next_back() {
            start = start.max(*until);
        }
        if start >= range.end {
            return None;
        }
        let end = self.0.range(start..).next().map_or(range.end, |(next, _)| *next);
        Some(start..end.min(range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_behave_as_a_set_of_numbers(
            steps in proptest::collection::vec((any::<bool>(), 0..60_u64, 0..20_u64), 0..30),
            from in 0..60_u64,
            len in 0..30_u64,
        ) {
            let mut ranges = Ranges::default();
            let mut model = [false; 100];
            for (add, start, len) in steps {
                let range = start..start + len;
                for at in range.clone() {
                    model[at as usize] = add;
                }
                if add { ranges.insert(range) } else { ranges.remove(range) }
            }
            let mut found = [false; 100];
            let mut last = None;
            for range in ranges.iter() {
                prop_assert!(last.is_none_or(|last| last < range.start) && !range.is_empty());
                last = Some(range.end);
                range.for_each(|at| found[at as usize] = true);
            }
            prop_assert_eq!(found, model);
            let gap = ranges.first_gap(&(from..from + len));
            let first = (from..from + len).find(|at| !model[*at as usize]);
            prop_assert_eq!(gap.as_ref().map(|gap| gap.start), first);
            if let Some(gap) = gap {
                prop_assert!(gap.clone().all(|at| !model[at as usize]));
                prop_assert!(gap.end == from + len || model[gap.end as usize]);
            }
        }
    }
}
