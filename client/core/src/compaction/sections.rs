//! Which bytes of a window are to be rewritten together.

use core::ops::Range;
use std::collections::HashMap;

use weft_types::ExtentId;
use weft_wire::meta::MapEntry;

use super::windows::{FEW, SMALL_BYTES};
use crate::map::{Segment, cut, end_of};

/// Runs of one section: what one operation may name.
const RUNS_MAX: usize = 2048;

/// Bytes of a file without a gap that become one extent, and the runs that they are in now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) range: Range<u64>,
    pub(crate) runs: Vec<MapEntry>,
}

impl Section {
    /// Whether the bytes of a run are among those of its runs.
    pub(crate) fn holds(&self, run: &MapEntry) -> bool {
        let after = self.runs.partition_point(|own| own.offset <= run.offset);
        let own = after.checked_sub(1).and_then(|at| self.runs.get(at));
        own.is_some_and(|own| {
            own.extent == run.extent && natural_range(own) == natural_range(run) && end_of(run) <= end_of(own)
        })
    }
}

/// Where an extent's bytes lie in a file of its own, as far as one of its runs tells.
pub(crate) fn natural_range(entry: &MapEntry) -> Range<u64> {
    let start = entry.offset.get().saturating_sub(entry.extent_offset.into());
    start..start.saturating_add(entry.geometry.plaintext_bytes().get())
}

/// Bytes of each extent that are live, among the segments of a range around a window.
pub(crate) fn live_bytes(around: &[Segment]) -> HashMap<ExtentId, u64> {
    let mut live = HashMap::new();
    for segment in around {
        if let Segment::Extent(range, entry) = segment {
            *live.entry(entry.extent).or_default() += range.end - range.start;
        }
    }
    live
}

/// The sections of a window that are worth to be rewritten: many small runs, or runs of extents that are mostly dead.
/// Long runs of living extents stay as they are, and holes stay holes.
pub(crate) fn sections(window: &[Segment], live: &HashMap<ExtentId, u64>) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut open: Option<Section> = None;
    for segment in window {
        let run = match segment {
            Segment::Hole(_) => None,
            Segment::Extent(range, entry) => cut(entry, range).filter(|run| !is_good(run, live)),
        };
        let Some(run) = run else {
            sections.extend(open.take());
            continue;
        };
        if open.as_ref().is_some_and(|section| section.runs.len() >= RUNS_MAX) {
            sections.extend(open.take());
        }
        let range = run.offset.get()..end_of(&run);
        let section = open.get_or_insert_with(|| Section { range: range.clone(), runs: Vec::new() });
        section.range.end = range.end;
        section.runs.push(run);
    }
    sections.extend(open);
    sections.retain(|section| is_worth_it(section, live));
    sections
}

fn is_mostly_dead(run: &MapEntry, live: &HashMap<ExtentId, u64>) -> bool {
    let live = live.get(&run.extent).copied().unwrap_or(u64::MAX);
    live.saturating_mul(2) < run.geometry.plaintext_bytes().get()
}

fn is_good(run: &MapEntry, live: &HashMap<ExtentId, u64>) -> bool {
    u64::from(run.len) >= SMALL_BYTES && !is_mostly_dead(run, live)
}

fn is_worth_it(section: &Section, live: &HashMap<ExtentId, u64>) -> bool {
    section.runs.len() >= FEW as usize || section.runs.iter().any(|run| is_mostly_dead(run, live))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_layout::{Geometry, Protection};
    use weft_types::{ByteCount, DataKeyId, Epoch, ExtentSeq, FileOffset, GroupId, SessionId};

    const MIB: u64 = 1 << 20;

    /// A run of `len` bytes at `offset`, of an extent of `whole` bytes.
    fn run(offset: u64, len: u64, seq: u64, whole: u64) -> Segment {
        let protection = Protection::new(4, 2).expect("offered");
        let entry = MapEntry {
            offset: FileOffset::new(offset),
            len: len as u32,
            extent: ExtentId { session: SessionId::from_bytes([1; 16]), seq: ExtentSeq::new(seq) },
            extent_offset: 0,
            geometry: Geometry::new(protection, ByteCount::new(whole)).expect("a length"),
            group: GroupId::new(0),
            key: DataKeyId::new(1),
            group_epoch: Epoch::new(1),
        };
        Segment::Extent(offset..offset + len, entry)
    }

    fn found(window: &[Segment]) -> Vec<(Range<u64>, usize)> {
        let sections = sections(window, &live_bytes(window));
        sections.into_iter().map(|section| (section.range, section.runs.len())).collect()
    }

    #[test]
    fn many_small_runs_become_one_and_few_stay() {
        let small = |count| (0..count).map(|i| run(i * 4096, 4096, i, 4096)).collect::<Vec<_>>();
        assert_eq!(found(&small(7)), []);
        assert_eq!(found(&small(8)), [(0..8 * 4096, 8)]);
        let (first, last): (Vec<_>, Vec<_>) = (small(2500), small(2500));
        assert_eq!(found(&first).iter().map(|section| section.1).collect::<Vec<_>>(), [2048, 452]);
        assert_eq!(first, last);
    }

    #[test]
    fn long_runs_and_holes_stay_as_they_are() {
        let mut window: Vec<_> = (0..8).map(|i| run(i * 4096, 4096, i, 4096)).collect();
        window.push(run(32_768, 2 * MIB, 50, 4 * MIB));
        let after = 32_768 + 2 * MIB;
        window.extend((0..8).map(|i| run(after + i * 4096, 4096, 60 + i, 4096)));
        window.push(Segment::Hole(after + 32_768..3 * MIB));
        window.extend((0..7).map(|i| run(3 * MIB + i * 4096, 4096, 80 + i, 4096)));
        assert_eq!(found(&window), [(0..32_768, 8), (after..after + 32_768, 8)]);
    }

    #[test]
    fn a_section_holds_parts_of_its_runs_and_nothing_newer() {
        let runs = |segments: &[Segment]| -> Vec<MapEntry> {
            let entry = |segment: &Segment| match segment {
                Segment::Extent(range, entry) => cut(entry, range),
                Segment::Hole(_) => None,
            };
            segments.iter().filter_map(entry).collect()
        };
        let section = Section { range: 0..200, runs: runs(&[run(0, 100, 1, 100), run(100, 100, 2, 100)]) };
        let part = |at, len, seq, skipped| {
            let mut part = runs(&[run(at, len, seq, 100)]).remove(0);
            part.extent_offset = skipped;
            part
        };
        assert!(section.holds(&part(110, 50, 2, 10)) && section.holds(&part(0, 100, 1, 0)));
        assert!(!section.holds(&part(110, 50, 2, 0)), "other bytes of the same extent");
        assert!(!section.holds(&part(50, 10, 3, 0)), "another extent");
        assert!(!section.holds(&part(90, 20, 1, 90)), "more than it had");
    }

    #[test]
    fn what_is_left_of_a_dead_extent_is_rewritten_however_long_it_is() {
        let alive = 2 * MIB;
        assert_eq!(found(&[run(0, alive, 1, 4 * MIB)]), []);
        assert_eq!(found(&[run(0, alive - 1, 1, 4 * MIB)]), [(0..alive - 1, 1)]);
        let halves = [run(0, MIB, 1, 4 * MIB), run(MIB, MIB, 2, MIB), run(2 * MIB, MIB, 1, 4 * MIB)];
        assert_eq!(found(&halves), [], "half of it lives, in two places");
    }
}
