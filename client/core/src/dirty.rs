//! Bytes of one file that applications wrote and that are not committed: newest on top, then those on their way.
//!
//! At most one *flight* is under way per file: what was taken stays readable here until it is committed, or comes
//! back when it could not be. What is written meanwhile lies above it.

use core::ops::Range;
use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use weft_layout::MAX_EXTENT_BYTES;

use crate::buffers;
use crate::ranges::Ranges;

const RUN_BYTES_MAX: usize = MAX_EXTENT_BYTES as usize;
/// A file has at most this many bytes (POSIX `off_t`).
pub(crate) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Bytes that will become one extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First byte in the file.
    pub(crate) offset: u64,
    /// 1 to 4 MiB.
    pub(crate) data: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// What a flight takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// Only runs that fill an extent: the rest of a stream is still growing.
    Full,
    /// Everything.
    All,
}

/// Neither runs nor pieces overlap among themselves; a run lies above every piece.
#[derive(Debug, Default)]
pub(crate) struct DirtyRuns {
    runs: BTreeMap<u64, Vec<u8>>,
    flight: Vec<Piece>,
    dirty: u64,
    in_flight: u64,
    full: usize,
}

impl DirtyRuns {
    /// Nothing is dirty and nothing is on its way.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty == 0 && self.in_flight == 0
    }

    /// Bytes to be sent, without those on their way.
    pub(crate) const fn dirty(&self) -> u64 {
        self.dirty
    }

    /// All bytes held.
    pub(crate) const fn held(&self) -> u64 {
        self.dirty + self.in_flight
    }

    /// Extents that all held bytes would make, at most.
    pub(crate) fn extents(&self) -> u64 {
        (self.runs.len() + self.flight.len()) as u64
    }

    /// A run fills an extent.
    pub(crate) const fn has_full_run(&self) -> bool {
        self.full > 0
    }

    /// The first byte behind all held bytes; 0 when none are.
    pub(crate) fn end(&self) -> u64 {
        let run = self.runs.last_key_value().map_or(0, |(start, run)| start + run.len() as u64);
        run.max(self.flight.last().map_or(0, Piece::end))
    }

    /// Writes over whatever is there. Returns how many of these bytes were dirty already.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> u64 {
        let before = self.dirty;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let written = self.overwrite(at, rest).unwrap_or_else(|| self.extend(at, rest));
            at += written as u64;
            rest = &rest[written..];
        }
        data.len() as u64 - (self.dirty - before)
    }

    /// Copies into the run that holds `at`; `None` when none does.
    fn overwrite(&mut self, at: u64, data: &[u8]) -> Option<usize> {
        let (start, run) = self.runs.range_mut(..=at).next_back()?;
        let within = usize::try_from(at - start).ok().filter(|within| *within < run.len())?;
        let len = data.len().min(run.len() - within);
        run[within..within + len].copy_from_slice(&data[..len]);
        Some(len)
    }

    /// Fills the gap at `at`, by the run that ends there or by a new one.
    fn extend(&mut self, at: u64, data: &[u8]) -> usize {
        let gap = self.runs.range(at..).next().map_or(u64::MAX, |(next, _)| next - at);
        let gap = data.len().min(usize::try_from(gap).unwrap_or(usize::MAX));
        let before = self.runs.range_mut(..at).next_back();
        let len = match before {
            Some((start, run)) if start + run.len() as u64 == at && run.len() < RUN_BYTES_MAX => {
                let len = gap.min(RUN_BYTES_MAX - run.len());
                append(run, &data[..len]);
                self.full += usize::from(run.len() == RUN_BYTES_MAX);
                len
            }
            _ => {
                let len = gap.min(RUN_BYTES_MAX);
                let mut run = buffers::with_capacity(len);
                run.extend_from_slice(&data[..len]);
                self.runs.insert(at, run);
                self.full += usize::from(len == RUN_BYTES_MAX);
                len
            }
        };
        self.dirty += len as u64;
        len
    }

    /// Whether any byte of the range is held.
    pub(crate) fn covers_some_of(&self, range: &Range<u64>) -> bool {
        let runs =
            self.runs.range(..range.end).next_back().map(|(start, run)| *start..start + run.len() as u64);
        let mut held = runs.into_iter().chain(self.flight.iter().map(|piece| piece.offset..piece.end()));
        held.any(|held| overlap(&held, range).is_some())
    }

    /// The first run or piece that is held at or behind a byte, whole. What is held may go on behind it.
    pub(crate) fn held_from(&self, at: u64) -> Option<Range<u64>> {
        let before = self.runs.range(..=at).next_back();
        let runs = before.into_iter().chain(self.runs.range(at.saturating_add(1)..).next());
        let runs = runs.map(|(start, run)| *start..start + run.len() as u64);
        let held = runs.chain(self.flight.iter().map(|piece| piece.offset..piece.end()));
        held.filter(|held| held.end > at).min_by_key(|held| held.start)
    }

    /// Copies what is held of the range into `out`, the newest on top. Returns what is not held.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Ranges {
        let range = offset..offset + out.len() as u64;
        let mut missing = Ranges::of(range.clone());
        let pieces = self.flight.iter().map(|piece| (piece.offset, &piece.data[..]));
        let first = self.runs.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        let runs = self.runs.range(first..range.end).map(|(start, run)| (*start, &run[..]));
        for (start, data) in pieces.chain(runs) {
            if let Some(common) = overlap(&range, &(start..start + data.len() as u64)) {
                let target = index(&common, range.start);
                out[target].copy_from_slice(&data[index(&common, start)]);
                missing.remove(common);
            }
        }
        missing
    }

    /// Drops everything from `size` on. Returns how many dirty bytes went; those on their way are given back when
    /// something of their flight arrives, or comes back.
    pub(crate) fn truncate(&mut self, size: u64) -> u64 {
        let beyond = self.runs.split_off(&size);
        let mut gone: u64 = beyond.values().map(|run| run.len() as u64).sum();
        if let Some((start, run)) = self.runs.last_entry().map(|entry| (*entry.key(), entry.into_mut())) {
            let keep = usize::try_from(size - start).unwrap_or(usize::MAX).min(run.len());
            gone += (run.len() - keep) as u64;
            run.truncate(keep);
        }
        self.flight.retain_mut(|piece| {
            let keep = size.saturating_sub(piece.offset).min(piece.data.len() as u64);
            piece.data.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            keep > 0
        });
        self.dirty -= gone;
        self.full = self.runs.values().filter(|run| run.len() == RUN_BYTES_MAX).count();
        gone
    }

    /// Starts a flight of at most `most` pieces, in the order of the file; runs that touch become one piece where
    /// they fit. There must be no flight under way.
    pub(crate) fn take(&mut self, what: Take, most: usize) -> Vec<Piece> {
        debug_assert!(self.flight.is_empty(), "one flight at a time");
        let pieces = match what {
            Take::Full => self.take_full(most),
            Take::All => self.take_first(most),
        };
        let piece = |(offset, data)| Piece { offset, data: buffers::share(data) };
        self.flight = pieces.into_iter().map(piece).collect();
        self.in_flight = self.flight.iter().map(|piece| piece.data.len() as u64).sum();
        self.dirty -= self.in_flight;
        self.flight.clone()
    }

    /// Runs that fill an extent. No two of them fit into one.
    fn take_full(&mut self, most: usize) -> Vec<(u64, Vec<u8>)> {
        let full = self.runs.iter().filter(|(_, run)| run.len() == RUN_BYTES_MAX).map(|(start, _)| *start);
        let starts: Vec<u64> = full.take(most.min(self.full)).collect();
        self.full -= starts.len();
        starts.into_iter().filter_map(|start| self.runs.remove_entry(&start)).collect()
    }

    /// The first runs. Costs nothing for those that stay: of very many scattered ones a flight takes a few.
    fn take_first(&mut self, most: usize) -> Vec<(u64, Vec<u8>)> {
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        while let Some(first) = self.runs.first_entry() {
            let (start, len) = (*first.key(), first.get().len());
            let joins = |(at, data): &&mut (u64, Vec<u8>)| {
                *at + data.len() as u64 == start && data.len() + len <= RUN_BYTES_MAX
            };
            let room = pieces.len() < most;
            match pieces.last_mut().filter(joins) {
                Some((_, data)) => append(data, &first.remove()),
                None if room => pieces.push((start, first.remove())),
                None => break,
            }
            self.full -= usize::from(len == RUN_BYTES_MAX);
        }
        pieces
    }

    /// The pieces at these offsets have arrived: their bytes are the committed ones. Returns how many they were.
    pub(crate) fn arrive(&mut self, offsets: impl Iterator<Item = u64>) -> u64 {
        let offsets: HashSet<u64> = offsets.collect();
        self.flight.retain(|piece| !offsets.contains(&piece.offset));
        let left = self.flight.iter().map(|piece| piece.data.len() as u64).sum();
        core::mem::replace(&mut self.in_flight, left) - left
    }

    /// The flight came to nothing: its bytes are dirty again where nothing newer is. Returns how many were not.
    pub(crate) fn restore(&mut self) -> u64 {
        let before = self.dirty;
        for piece in core::mem::take(&mut self.flight) {
            let range = piece.offset..piece.end();
            let mut newer = Ranges::of(range.clone());
            self.uncover(&range, &mut newer);
            for gap in newer.iter() {
                let data = &piece.data[index(&gap, piece.offset)];
                self.write(gap.start, data);
            }
        }
        core::mem::take(&mut self.in_flight) - (self.dirty - before)
    }

    /// Takes what runs hold of `range` out of `missing`.
    fn uncover(&self, range: &Range<u64>, missing: &mut Ranges) {
        for (start, run) in self.runs.range(..range.end).rev() {
            let end = start + run.len() as u64;
            if end <= range.start {
                break;
            }
            missing.remove(*start..end);
        }
    }
}

/// Makes a run longer; it moves to a longer buffer when there is no room.
fn append(run: &mut Vec<u8>, data: &[u8]) {
    let len = run.len() + data.len();
    if len > run.capacity() {
        // At least twice as long as before, so that each byte moves a few times at most.
        let mut longer = buffers::with_capacity(len.max(run.len() * 2).min(RUN_BYTES_MAX.max(len)));
        longer.extend_from_slice(run);
        buffers::give_back(core::mem::replace(run, longer));
    }
    run.extend_from_slice(data);
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let common = a.start.max(b.start)..a.end.min(b.end);
    (common.start < common.end).then_some(common)
}

/// A range of file bytes as indices of a buffer that starts at `base`. Buffers are far smaller than 2^63.
#[expect(clippy::cast_possible_truncation, reason = "within a buffer")]
pub(crate) fn index(range: &Range<u64>, base: u64) -> Range<usize> {
    (range.start - base) as usize..(range.end - base) as usize
}

#[cfg(test)]
mod tests;
