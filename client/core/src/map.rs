//! What is known of a file's extent map.
//!
//! Pages come in as they are needed; the session's own commits and truncations are applied as they are answered.
//! A page that was asked for before such a change is not believed: the map may have moved on.

use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};

use weft_types::{ExtentId, FileOffset};
use weft_wire::meta::MapEntry;

use crate::ranges::Ranges;

/// Of a file with more entries in memory only those near the last ones are kept, and others are paged in again.
const ENTRIES_MAX: usize = 1 << 16;
/// A file that nobody uses is remembered with so many entries, or none.
const IDLE_ENTRIES_MAX: usize = 64;
/// Changes that a page may be older than; with more, it is asked for again.
const CHANGES_MAX: usize = 256;
/// How far in front of an entry others are near: a read that is being prepared needs its whole range.
const NEAR: u64 = 16 << 20;

/// What stands behind a run of file bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Zeroes.
    Hole(Range<u64>),
    /// Bytes of an extent; the range lies within the entry's.
    Extent(Range<u64>, MapEntry),
}

/// A version of the map, taken before a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapVersion(u64);

/// Entries by offset, not overlapping, and for which bytes they are complete.
#[derive(Debug, Default)]
pub(crate) struct ExtentMap {
    entries: BTreeMap<u64, MapEntry>,
    known: Ranges,
    version: u64,
    /// What the last changes changed: a page that was asked for before is still right elsewhere.
    changes: VecDeque<Range<u64>>,
}

/// What an entry did to the map when it was placed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// Extents that were in one entry as a whole, which is gone.
    pub(crate) gone: Vec<ExtentId>,
    /// Offsets beside it where most of an extent is dead now, or where it is not known what there is.
    pub(crate) stumps: Vec<u64>,
}

impl ExtentMap {
    /// The map of a new file: no byte has an extent.
    pub(crate) fn of_new_file() -> Self {
        Self { known: Ranges::of(0..u64::MAX), ..Self::default() }
    }

    pub(crate) const fn version(&self) -> MapVersion {
        MapVersion(self.version)
    }

    /// Nothing is known, and nothing was ever changed: a page of any time since the file came into memory fits.
    pub(crate) fn is_blank(&self) -> bool {
        self.version == 0 && self.entries.is_empty() && self.known.is_empty()
    }

    /// Whether all of a file of this length is known, in at most so many entries.
    pub(crate) fn is_whole(&self, size: u64, entries: usize) -> bool {
        self.entries.len() <= entries && self.known.first_gap(&(0..size)).is_none()
    }

    /// What stands behind a range, in order and without gaps; or the part that must be asked for first.
    pub(crate) fn segments(&self, range: Range<u64>) -> Result<Vec<Segment>, Range<u64>> {
        if let Some(unknown) = self.known.first_gap(&range) {
            return Err(unknown);
        }
        let mut segments = Vec::new();
        let mut at = range.start;
        let first = self.entries.range(..=at).next_back().map_or(at, |(start, _)| *start);
        for (start, entry) in self.entries.range(first..range.end.max(first)) {
            let end = end_of(entry).min(range.end);
            if end <= at {
                continue;
            }
            if *start > at {
                segments.push(Segment::Hole(at..*start));
                at = *start;
            }
            segments.push(Segment::Extent(at..end, entry.clone()));
            at = end;
        }
        if at < range.end {
            segments.push(Segment::Hole(at..range.end));
        }
        Ok(segments)
    }

    /// The entries from `offset` on that are known, in order.
    pub(crate) fn entries_from(&self, offset: u64) -> impl Iterator<Item = &MapEntry> {
        let first = self.entries.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        self.entries.range(first..).map(|(_, entry)| entry).filter(move |entry| end_of(entry) > offset)
    }

    /// The entries that begin before `offset` and are known, the nearest first.
    pub(crate) fn entries_before(&self, offset: u64) -> impl Iterator<Item = &MapEntry> {
        self.entries.range(..offset).rev().map(|(_, entry)| entry)
    }

    /// Takes a page in, unless the map changed since `version`. `end`: nothing of `asked` comes after the entries.
    /// Returns false for a page that is no answer to what was asked.
    pub(crate) fn page(
        &mut self,
        version: MapVersion,
        asked: Range<u64>,
        entries: Vec<MapEntry>,
        end: bool,
    ) -> bool {
        let until = if end { asked.end } else { entries.last().map_or(asked.start, end_of) };
        let ordered = entries.windows(2).all(|pair| end_of(&pair[0]) <= pair[1].offset.get());
        let sound = entries.iter().all(|entry| entry.len > 0 && end_of(entry) > asked.start);
        if !ordered || !sound || until <= asked.start {
            return false;
        }
        // The first entry may begin before what was asked for, and the last one end behind it.
        let from = entries.first().map_or(asked.start, |entry| entry.offset.get().min(asked.start));
        let to = entries.last().map_or(until, |entry| end_of(entry).max(until));
        if self.has_changed_since(version, &(from..to)) {
            return true;
        }
        self.make_room(asked.start..until);
        self.remove(asked.start..until);
        for entry in entries {
            self.remove(entry.offset.get()..end_of(&entry));
            self.known.insert(entry.offset.get()..end_of(&entry));
            self.entries.insert(entry.offset.get(), entry);
        }
        self.known.insert(asked.start..until);
        true
    }

    /// A commit was answered: the entry replaces whatever was there.
    pub(crate) fn place(&mut self, entry: MapEntry) -> Replaced {
        let range = entry.offset.get()..end_of(&entry);
        self.note_change(range.clone());
        self.make_room(range.clone());
        let gone = self.whole_extents(&range);
        self.remove(range.clone());
        self.known.insert(range.clone());
        self.entries.insert(entry.offset.get(), entry);
        let beside = [range.start.checked_sub(1), Some(range.end)];
        let stumps = beside.into_iter().flatten().filter(|at| self.may_be_stump(*at)).collect();
        Replaced { gone, stumps }
    }

    /// The extents that are in one entry as a whole, which lies within the range.
    fn whole_extents(&self, range: &Range<u64>) -> Vec<ExtentId> {
        let within = self.entries.range(range.clone()).map(|(_, entry)| entry);
        let whole = within.filter(|entry| {
            end_of(entry) <= range.end && u64::from(entry.len) == entry.geometry.plaintext_bytes().get()
        });
        whole.map(|entry| entry.extent).collect()
    }

    /// Whether most of the extent behind a byte is dead, or it is not known what is behind it.
    pub(crate) fn may_be_stump(&self, at: u64) -> bool {
        if self.known.first_gap(&(at..at.saturating_add(1))).is_some() {
            return true;
        }
        let before = self.entries.range(..=at).next_back().map(|(_, entry)| entry);
        before.is_some_and(|entry| {
            end_of(entry) > at && u64::from(entry.len) * 2 < entry.geometry.plaintext_bytes().get()
        })
    }

    fn note_change(&mut self, range: Range<u64>) {
        self.version += 1;
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(range);
    }

    fn has_changed_since(&self, version: MapVersion, range: &Range<u64>) -> bool {
        let since = usize::try_from(self.version - version.0).unwrap_or(usize::MAX);
        let overlaps = |changed: &Range<u64>| changed.start < range.end && range.start < changed.end;
        since > self.changes.len() || self.changes.iter().rev().take(since).any(overlaps)
    }

    /// A change of the length was answered: nothing stands behind what is at or beyond `size`.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.clear(size..u64::MAX);
    }

    /// A change was answered by which nothing stands behind a range.
    pub(crate) fn clear(&mut self, range: Range<u64>) {
        self.note_change(range.clone());
        self.remove(range.clone());
        self.known.insert(range);
    }

    /// The first byte of a range that is in an extent; or the part that must be asked for first.
    pub(crate) fn data_from(&self, range: Range<u64>) -> Result<Option<u64>, Range<u64>> {
        let first = self.entries_from(range.start).next().map(|entry| entry.offset.get().max(range.start));
        let first = first.filter(|first| *first < range.end);
        match self.known.first_gap(&(range.start..first.unwrap_or(range.end))) {
            Some(unknown) => Err(unknown),
            None => Ok(first),
        }
    }

    /// Where the run of file bytes that holds a byte ends; `None` for a byte that is in no extent; or the part that must be
    /// asked for first.
    pub(crate) fn data_end(&self, at: u64) -> Result<Option<u64>, Range<u64>> {
        let entry = self.entries_from(at).next().filter(|entry| entry.offset.get() <= at);
        match (entry, self.known.first_gap(&(at..at.saturating_add(1)))) {
            (Some(entry), _) => Ok(Some(end_of(entry))),
            (None, None) => Ok(None),
            (None, Some(unknown)) => Err(unknown),
        }
    }

    /// Nobody uses the file just now: only so much stays in memory as may be kept of very many files.
    pub(crate) fn shrink(&mut self) {
        // Versions that were taken before are too old to be believed then.
        self.version += 1;
        self.changes = VecDeque::new();
        if self.entries.len() > IDLE_ENTRIES_MAX {
            self.entries.clear();
            self.known = Ranges::default();
        }
    }

    /// Forgets a range: it is asked for anew.
    pub(crate) fn forget(&mut self, range: Range<u64>) {
        self.note_change(range.clone());
        self.remove(range.clone());
        self.known.remove(range);
    }

    fn make_room(&mut self, at: Range<u64>) {
        if self.entries.len() >= ENTRIES_MAX {
            for far in [0..at.start.saturating_sub(NEAR), at.end..u64::MAX] {
                self.remove(far.clone());
                self.known.remove(far);
            }
        }
    }

    /// Takes the entries out of a range; those across its borders are cut.
    fn remove(&mut self, range: Range<u64>) {
        let first = self.entries.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        let touched: Vec<u64> =
            self.entries.range(first..range.end.max(first)).map(|(start, _)| *start).collect();
        for start in touched {
            let Some(entry) = self.entries.remove(&start) else { continue };
            for part in [start..range.start.min(end_of(&entry)), range.end.max(start)..end_of(&entry)] {
                if let Some(part) = cut(&entry, &part) {
                    self.entries.insert(part.offset.get(), part);
                }
            }
        }
    }
}

/// The first file byte behind an entry.
pub(crate) fn end_of(entry: &MapEntry) -> u64 {
    entry.offset.get().saturating_add(entry.len.into())
}

/// The part of an entry that covers `range`, which lies within it.
pub(crate) fn cut(entry: &MapEntry, range: &Range<u64>) -> Option<MapEntry> {
    let skipped = u32::try_from(range.start.checked_sub(entry.offset.get())?).ok()?;
    let len = u32::try_from(range.end.checked_sub(range.start)?).ok().filter(|len| *len > 0)?;
    let extent_offset = entry.extent_offset.checked_add(skipped)?;
    Some(MapEntry { offset: FileOffset::new(range.start), len, extent_offset, ..entry.clone() })
}

#[cfg(test)]
mod tests;
