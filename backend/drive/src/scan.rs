//! Finding the records of a device again, whatever happened to it.
//!
//! Every record stands for itself: behind a damaged header the scan goes on at the next place where a record may
//! start, so damage costs the records it touches and no other. Payloads are not read.

use std::io;
use std::ops::Range;

use weft_device::Device;
use crate::record::{HEADER_BYTES, RECORD_ALIGN, RecordHeader};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, SegmentMap, SegmentState};
use crate::superblock::HeaderSalt;

/// What was found in one segment.
#[derive(Debug)]
pub(crate) struct FoundSegment {
    pub(crate) state: SegmentState,
    pub(crate) kind: SegmentKind,
    pub(crate) generation: u64,
    /// In the order of their places, which is that of their sequences.
    pub(crate) records: Vec<RecordHeader>,
    /// The place after everything that was ever written.
    pub(crate) end: u64,
    /// Runs of bytes that were records once, as later records prove.
    pub(crate) damaged: u32,
    /// Runs of bytes that may be records whose write never ended.
    pub(crate) torn: u32,
}

impl FoundSegment {
    fn free(generation: u64) -> Self {
        Self {
            state: SegmentState::Free,
            kind: SegmentKind::Shards,
            generation,
            records: Vec::new(),
            end: 0,
            damaged: 0,
            torn: 0,
        }
    }
}

/// The two copies of a segment's header.
struct Copies {
    /// The newer of the intact ones.
    newest: Option<SegmentHeader>,
    /// Nothing was ever written to either, or both were erased.
    blank: bool,
    damaged: u32,
}

/// Everything on the device, segment by segment.
pub(crate) fn scan(
    device: &impl Device,
    map: SegmentMap,
    salt: &HeaderSalt,
) -> io::Result<Vec<FoundSegment>> {
    let copies = (0..map.count)
        .map(|segment| read_copies(device, map, segment, salt))
        .collect::<Result<Vec<_>, _>>()?;
    // Segments are first used in order: a blank one before one in use has lost both copies.
    let used = copies.iter().rposition(|copies| !copies.blank).map_or(0, |last| last + 1);
    let scanned = copies.into_iter().enumerate().map(|(segment, copies)| match copies.newest {
        None if segment >= used => Ok(FoundSegment::free(0)),
        Some(header) if header.state == SegmentState::Free => {
            Ok(FoundSegment { damaged: copies.damaged, ..FoundSegment::free(header.generation) })
        }
        Some(header) => scan_known(device, map, segment, salt, &header, copies.damaged),
        None => scan_unknown(device, map, segment, salt),
    });
    scanned.collect()
}

fn read_copies(
    device: &impl Device,
    map: SegmentMap,
    segment: usize,
    salt: &HeaderSalt,
) -> io::Result<Copies> {
    let mut copies = Copies { newest: None, blank: true, damaged: 0 };
    for place in map.header_places(segment) {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        device.read_at(&mut bytes, place)?;
        if bytes == [0; SEGMENT_HEADER_BYTES] {
            continue;
        }
        copies.blank = false;
        let Some(header) = SegmentHeader::decode(&bytes, map.range(segment).start, salt) else {
            copies.damaged += 1;
            continue;
        };
        let rank = |header: &SegmentHeader| (header.generation, header.state == SegmentState::Sealed);
        if copies.newest.is_none_or(|newest| rank(&newest) < rank(&header)) {
            copies.newest = Some(header);
        }
    }
    Ok(copies)
}

fn scan_known(
    device: &impl Device,
    map: SegmentMap,
    segment: usize,
    salt: &HeaderSalt,
    header: &SegmentHeader,
    damaged_copies: u32,
) -> io::Result<FoundSegment> {
    let mut range = map.records(segment);
    let sealed = header.state == SegmentState::Sealed;
    if sealed && range.contains(&header.end) {
        range.end = header.end;
    }
    let run = scan_records(device, range.clone(), salt, Some(header.generation))?;
    let lost_end = sealed && run.records_end < range.end && range.end == header.end;
    Ok(FoundSegment {
        state: header.state,
        kind: header.kind,
        generation: header.generation,
        damaged: run.damaged + damaged_copies + u32::from(lost_end),
        torn: run.torn + u32::from(!sealed && run.records_end < run.written_end),
        end: if sealed { range.end } else { run.written_end },
        records: run.records,
    })
}

/// Both copies are lost: the newest generation among the records is the segment's.
fn scan_unknown(
    device: &impl Device,
    map: SegmentMap,
    segment: usize,
    salt: &HeaderSalt,
) -> io::Result<FoundSegment> {
    let range = map.records(segment);
    let any = scan_records(device, range.clone(), salt, None)?;
    let generation = any.records.iter().map(|record| record.generation).max().unwrap_or(0);
    let run = scan_records(device, range.clone(), salt, Some(generation))?;
    Ok(FoundSegment {
        state: SegmentState::Sealed,
        kind: SegmentKind::Shards,
        generation,
        records: run.records,
        end: range.end,
        damaged: run.damaged + 2,
        torn: run.torn,
    })
}

/// What stands in a run of bytes.
struct Run {
    records: Vec<RecordHeader>,
    /// After the last record.
    records_end: u64,
    /// After the last byte that is not zero, rounded up to where a record may start.
    written_end: u64,
    damaged: u32,
    torn: u32,
}

fn scan_records(
    device: &impl Device,
    range: Range<u64>,
    salt: &HeaderSalt,
    generation: Option<u64>,
) -> io::Result<Run> {
    let mut run =
        Run { records: Vec::new(), records_end: range.start, written_end: range.start, damaged: 0, torn: 0 };
    let mut window = Window { device, end: range.end, start: 0, bytes: Vec::new() };
    let mut at = range.start;
    while let Some(bytes) = window.header_at(at)? {
        let found = RecordHeader::decode(bytes, at, salt)
            .filter(|header| generation.is_none_or(|generation| header.generation == generation))
            .filter(|header| header.end() <= range.end);
        let Some(header) = found else {
            let blank = bytes[..RECORD_ALIGN as usize] == [0; RECORD_ALIGN as usize];
            at += RECORD_ALIGN;
            run.written_end = if blank { run.written_end } else { at };
            continue;
        };
        if at != run.records_end {
            let last = run.records.last().map_or(0, |record| record.seq);
            *(if header.flushed > last { &mut run.damaged } else { &mut run.torn }) += 1;
        }
        at = header.end();
        (run.records_end, run.written_end) = (at, at);
        run.records.push(header);
    }
    Ok(run)
}

/// Reads ahead a little: many small records share a read, large ones are stepped over.
struct Window<'a, D> {
    device: &'a D,
    /// Nothing is read from here on.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<D: Device> Window<'_, D> {
    const BYTES: u64 = 16 << 10;

    /// The bytes of a header at `at`; `None` when it would reach past the end.
    fn header_at(&mut self, at: u64) -> io::Result<Option<&[u8; HEADER_BYTES]>> {
        if at + HEADER_BYTES as u64 > self.end {
            return Ok(None);
        }
        let held = self.start..self.start + self.bytes.len() as u64;
        if !held.contains(&at) || at + HEADER_BYTES as u64 > held.end {
            let len = Self::BYTES.min(self.end - at);
            self.bytes.resize(usize::try_from(len).unwrap_or_default(), 0);
            // What it held is gone even when the read fails.
            self.start = u64::MAX / 2;
            self.device.read_at(&mut self.bytes, at)?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or_default();
        Ok(self.bytes.get(from..).and_then(|bytes| bytes.first_chunk()))
    }
}
