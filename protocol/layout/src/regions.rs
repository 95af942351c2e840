//! What one owner has locked of a file: ranges that do not overlap, each in one mode.

use std::collections::BTreeMap;

use weft_types::{LockMode, LockRange};

/// A locked range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Which bytes.
    pub range: LockRange,
    /// In which mode.
    pub mode: LockMode,
    /// Which process asked for it, as its host numbers them.
    pub pid: u32,
}

/// The regions that an owner has of one file, as POSIX `fcntl` says: what is set replaces what was there of the same
/// bytes, what is left of older ones is split off, and neighbours of one mode are one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regions(BTreeMap<u64, Region>);

/// How regions change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionEdit {
    /// These are no more.
    pub removed: Vec<Region>,
    /// These are new.
    pub added: Vec<Region>,
    /// Some byte is locked less than before.
    pub weakens: bool,
}

impl Regions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Region> + '_ {
        self.0.values().copied()
    }

    /// The region that begins with this byte.
    pub fn starting(&self, start: u64) -> Option<Region> {
        self.0.get(&start).copied()
    }

    /// Those that have a byte of the range, in order and as a whole.
    pub fn overlapping(&self, range: LockRange) -> impl Iterator<Item = Region> + '_ {
        // They do not overlap each other: only the last that begins before can reach into it.
        let before =
            self.0.range(..range.start()).next_back().filter(|(_, region)| region.range.overlaps(range));
        let from = before.map_or(range.start(), |(start, _)| *start);
        self.0.range(from..=range.end()).map(|(_, region)| *region)
    }

    /// How they change when this range is set to a mode, by a process, or unlocked (`None`).
    pub fn edit(&self, range: LockRange, to: Option<(LockMode, u32)>) -> RegionEdit {
        let mut edit = RegionEdit::default();
        let (mut start, mut end) = (range.start(), range.end());
        // Neighbours that only touch it count too: they may become one with it.
        let wide = LockRange::new(start.saturating_sub(1), end.saturating_add(1).min(LockRange::WHOLE.end()));
        for region in self.overlapping(wide.unwrap_or(range)) {
            let joins = to.is_some_and(|(mode, _)| mode == region.mode);
            if joins {
                (start, end) = (start.min(region.range.start()), end.max(region.range.end()));
                edit.removed.push(region);
            } else if region.range.overlaps(range) {
                edit.weakens |= to.is_none_or(|(mode, _)| mode < region.mode);
                edit.removed.push(region);
                let left =
                    range.start().checked_sub(1).and_then(|last| LockRange::new(region.range.start(), last));
                let right = LockRange::new(range.end().saturating_add(1), region.range.end());
                edit.added
                    .extend([left, right].into_iter().flatten().map(|range| Region { range, ..region }));
            }
        }
        if let Some((mode, pid)) = to {
            let range = LockRange::new(start, end).unwrap_or(range);
            edit.added.push(Region { range, mode, pid });
        }
        edit
    }

    /// Makes a change that [`edit`](Self::edit) described.
    pub fn apply(&mut self, edit: &RegionEdit) {
        for region in &edit.removed {
            self.0.remove(&region.range.start());
        }
        self.0.extend(edit.added.iter().map(|region| (region.range.start(), *region)));
    }

    /// Sets a range to a mode, or unlocks it (`None`).
    pub fn set(&mut self, range: LockRange, to: Option<(LockMode, u32)>) {
        let edit = self.edit(range, to);
        self.apply(&edit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::LOCK_END_MAX;

    const BYTES: u64 = 16;

    /// The last byte of the model stands for all that come after it.
    fn range(start: u64, end: u64) -> LockRange {
        LockRange::new(start, if end == BYTES - 1 { LOCK_END_MAX } else { end }).expect("a range")
    }

    fn is_whole(regions: &Regions) -> bool {
        let all: Vec<_> = regions.iter().collect();
        all.windows(2).all(|pair| {
            let touching = pair[0].range.end() + 1 == pair[1].range.start();
            pair[0].range.end() < pair[1].range.start() && !(touching && pair[0].mode == pair[1].mode)
        })
    }

    fn mode() -> impl Strategy<Value = Option<LockMode>> {
        prop_oneof![Just(None), Just(Some(LockMode::Shared)), Just(Some(LockMode::Exclusive))]
    }

    proptest! {
        #[test]
        fn they_are_what_a_map_of_bytes_says(steps in proptest::collection::vec((0..BYTES, 0..BYTES, mode()), 1..60)) {
            let mut regions = Regions::default();
            let mut bytes = [None; BYTES as usize];
            for (a, b, mode) in steps {
                let (start, end) = (a.min(b), a.max(b));
                let edit = regions.edit(range(start, end), mode.map(|mode| (mode, 7)));
                let weaker = (start..=end).any(|byte| bytes[byte as usize] > mode);
                prop_assert_eq!(edit.weakens, weaker);
                regions.apply(&edit);
                (start..=end).for_each(|byte| bytes[byte as usize] = mode);
                for (byte, mode) in bytes.iter().enumerate() {
                    let at = regions.overlapping(range(byte as u64, byte as u64)).next().map(|region| region.mode);
                    prop_assert_eq!(at, *mode, "byte {}", byte);
                }
                prop_assert!(is_whole(&regions), "{:?}", regions);
            }
        }
    }
}
