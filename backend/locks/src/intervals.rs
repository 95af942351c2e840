//! Ranges that may overlap, found by what they have in common with another one.

use std::collections::BTreeMap;

use weft_types::LockRange;

/// Ranges, each with whose it is. They are kept by the power of two of their length: those of one class that reach into a
/// range begin in a window before it that is at most twice their length.
#[derive(Debug, Clone)]
pub(crate) struct Intervals<K>(BTreeMap<u32, Class<K>>);

/// First byte and whose to the last byte. Nobody's (`None`) is before everybody's, to begin a search with.
type Class<K> = BTreeMap<(u64, Option<K>), u64>;

impl<K> Default for Intervals<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// Lengths of `2^class..2^(class + 1)`.
const fn class(range: LockRange) -> u32 {
    // At most 2^63 bytes, and never none.
    (range.end() - range.start() + 1).ilog2()
}

impl<K: Copy + Ord> Intervals<K> {
    pub(crate) fn insert(&mut self, range: LockRange, key: K) {
        self.0.entry(class(range)).or_default().insert((range.start(), Some(key)), range.end());
    }

    pub(crate) fn remove(&mut self, range: LockRange, key: K) {
        if let Some(ranges) = self.0.get_mut(&class(range)) {
            ranges.remove(&(range.start(), Some(key)));
            if ranges.is_empty() {
                self.0.remove(&class(range));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that have a byte of the range, class by class.
    pub(crate) fn overlapping(&self, range: LockRange) -> impl Iterator<Item = (u64, K)> + '_ {
        self.0.iter().flat_map(move |(class, ranges)| {
            // One less than the longest of the class: 2^(class + 1) - 2.
            let reach = ((1_u64 << class) - 1) * 2;
            let from = range.start().saturating_sub(reach);
            ranges
                .range((from, None)..(range.end() + 1, None))
                .filter(move |(_, end)| **end >= range.start())
                .filter_map(|((start, key), _)| key.map(|key| (*start, key)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::LOCK_END_MAX;

    fn range() -> impl Strategy<Value = LockRange> {
        let near = (0..200_u64, 0..40_u64).prop_map(|(start, more)| (start, start + more));
        let far = (0..=LOCK_END_MAX, 0..=LOCK_END_MAX).prop_map(|(a, b)| (a.min(b), a.max(b)));
        let open = (0..200_u64).prop_map(|start| (start, LOCK_END_MAX));
        prop_oneof![4 => near, 1 => far, 1 => open]
            .prop_map(|(start, end)| LockRange::new(start, end).expect("a range"))
    }

    proptest! {
        #[test]
        fn they_are_found_as_by_looking_at_each(
            ranges in proptest::collection::vec((range(), any::<bool>()), 0..60),
            asked in proptest::collection::vec(range(), 1..20),
        ) {
            let mut found = Intervals::default();
            for (key, (range, _)) in ranges.iter().enumerate() {
                found.insert(*range, key);
            }
            for (key, (range, _)) in ranges.iter().enumerate().filter(|(_, (_, stays))| !stays) {
                found.remove(*range, key);
            }
            for asked in asked {
                let mut keys: Vec<_> = found.overlapping(asked).map(|(_, key)| key).collect();
                keys.sort_unstable();
                let each = ranges.iter().enumerate().filter(|(_, (range, stays))| *stays && range.overlaps(asked));
                prop_assert_eq!(keys, each.map(|(key, _)| key).collect::<Vec<_>>());
            }
        }
    }
}
