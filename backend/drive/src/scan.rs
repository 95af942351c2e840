//! Finding the records of a device again, whatever happened to it.
//!
//! A sealed segment's summary says what is in it. Where there is none, or a damaged one, every record stands for
//! itself: behind a damaged header the walk goes on at the next place where a record may start, so damage costs the
//! records it touches and no other. Payloads are read only of records that no flush vouches for: power may have been
//! lost while they were written, and what is not whole was never promised.

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use weft_device::{AlignedBuf, Device};

use crate::record::{MAX_HEADER_BYTES, RECORD_ALIGN, Record, RecordHeader, Table};
use crate::segment::{BLOCK, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, SegmentMap, SegmentState};
use crate::summary::{self, SummaryMac};
use crate::superblock::HeaderSalt;

/// What was found in one segment.
#[derive(Debug)]
pub(crate) struct FoundSegment {
    pub(crate) state: SegmentState,
    pub(crate) kind: SegmentKind,
    pub(crate) generation: u64,
    /// In the order of their places, which is that of their sequences.
    pub(crate) records: Vec<Record>,
    gaps: Vec<Gap>,
    /// All records of the device up to this sequence were durable at some time.
    pub(crate) flushed: u64,
    /// The records are those that its summary names.
    pub(crate) summed_up: bool,
    /// It is sealed, and lacks nothing but its summary.
    pub(crate) to_sum_up: bool,
    /// Among its records some are missing, or were left out, whose write never ended.
    pub(crate) unfinished: bool,
    /// Both copies of its header are lost.
    headless: bool,
    /// Runs of bytes that were records once, as later records prove, and copies of headers.
    pub(crate) damaged: u32,
    /// Runs of bytes that may be records whose write never ended.
    pub(crate) torn: u32,
}

impl FoundSegment {
    fn new(header: SegmentHeader) -> Self {
        Self {
            state: header.state,
            kind: header.kind,
            generation: header.generation,
            records: Vec::new(),
            gaps: Vec::new(),
            flushed: header.flushed,
            summed_up: false,
            to_sum_up: false,
            unfinished: false,
            headless: false,
            damaged: 0,
            torn: 0,
        }
    }

    fn free(generation: u64) -> Self {
        Self::new(SegmentHeader::new(SegmentState::Free, SegmentKind::Shards, generation, 0))
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

/// Where to look.
pub(crate) struct Scanner<'a, D> {
    pub(crate) device: &'a D,
    pub(crate) map: SegmentMap,
    pub(crate) salt: &'a HeaderSalt,
}

impl<D: Device> Scanner<'_, D> {
    /// Everything on the device, segment by segment, and the sequence up to which all was durable. Records whose
    /// write never ended are erased, durably.
    pub(crate) fn scan(&self) -> io::Result<(Vec<FoundSegment>, u64)> {
        let copies = self.on_all(|segment| self.read_copies(segment))?;
        // Segments are first used in order: a blank one before one in use has lost both copies.
        let used = copies.iter().rposition(|copies| !copies.blank).map_or(0, |last| last + 1);
        let mut found = self.on_all(|segment| {
            let copies = &copies[segment];
            match copies.newest {
                None if segment >= used => Ok(FoundSegment::free(0)),
                Some(header) if header.state == SegmentState::Free => {
                    Ok(FoundSegment { damaged: copies.damaged, ..FoundSegment::new(header) })
                }
                Some(header) => self.scan_known(segment, header, copies.damaged),
                None => self.scan_unknown(segment),
            }
        })?;
        let flushed = found.iter().map(|found| found.flushed).max().unwrap_or(0);
        let mut erased = false;
        for segment in &mut found {
            erased |= self.settle(segment, flushed)?;
        }
        if erased {
            self.device.flush()?;
        }
        Ok((found, flushed))
    }

    /// The records of a segment in use, from its summary where it has a good one.
    pub(crate) fn records_of(&self, segment: usize, generation: u64) -> io::Result<Vec<Record>> {
        let copies = self.read_copies(segment)?;
        let summed_up = match copies.newest {
            Some(header) if header.generation == generation => self.read_summary(segment, &header)?,
            _ => None,
        };
        match summed_up {
            Some(records) => Ok(records),
            None => Ok(self.walk(self.map.records(segment), Some(generation))?.records),
        }
    }

    /// Asks for every segment, by several threads where there are many.
    fn on_all<T: Send>(&self, ask: impl Fn(usize) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
        /// A medium answers so many at once about as fast as one.
        const THREADS: usize = 8;
        const WORTH_THREADS: usize = 32;
        if self.map.count < WORTH_THREADS {
            return (0..self.map.count).map(ask).collect();
        }
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(self.map.count)));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let segment = next.fetch_add(1, Ordering::Relaxed);
                        if segment >= self.map.count {
                            return;
                        }
                        let answer = ask(segment);
                        let Ok(mut answers) = answers.lock() else { return };
                        answers.push((segment, answer));
                    }
                });
            }
        });
        let mut answers = answers.into_inner().map_err(|_| io::ErrorKind::Other)?;
        answers.sort_unstable_by_key(|(segment, _)| *segment);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn read_copies(&self, segment: usize) -> io::Result<Copies> {
        let mut copies = Copies { newest: None, blank: true, damaged: 0 };
        for place in self.map.header_places(segment) {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            self.device.read_at(&mut bytes, place)?;
            if bytes == [0; SEGMENT_HEADER_BYTES] {
                continue;
            }
            copies.blank = false;
            let Some(header) = SegmentHeader::decode(&bytes, self.map.range(segment).start, self.salt) else {
                copies.damaged += 1;
                continue;
            };
            let rank = |header: &SegmentHeader| (header.generation, header.state == SegmentState::Sealed);
            let flushed = copies.newest.map_or(0, |newest| newest.flushed).max(header.flushed);
            let newer = copies.newest.filter(|newest| rank(newest) >= rank(&header)).unwrap_or(header);
            copies.newest = Some(SegmentHeader { flushed, ..newer });
        }
        Ok(copies)
    }

    fn read_summary(&self, segment: usize, header: &SegmentHeader) -> io::Result<Option<Vec<Record>>> {
        let at = header.end.next_multiple_of(BLOCK);
        let range = at..at.saturating_add(header.summary_bytes.into());
        let records = self.map.records(segment);
        if header.state != SegmentState::Sealed
            || header.summary_bytes == 0
            || range.start < records.start
            || range.end > records.end
        {
            return Ok(None);
        }
        let mut bytes = vec![0; header.summary_bytes as usize];
        self.device.read_at(&mut bytes, at)?;
        if SummaryMac::of(&bytes, self.salt) != header.summary_mac {
            return Ok(None);
        }
        Ok(summary::records(&bytes, self.map.range(segment).start))
    }

    fn scan_known(&self, segment: usize, header: SegmentHeader, damaged: u32) -> io::Result<FoundSegment> {
        let mut found = FoundSegment { damaged, ..FoundSegment::new(header) };
        if let Some(records) = self.read_summary(segment, &header)? {
            return Ok(FoundSegment { records, summed_up: true, ..found });
        }
        let mut range = self.map.records(segment);
        let sealed = header.state == SegmentState::Sealed;
        if sealed && range.contains(&header.end) {
            range.end = header.end;
        }
        let run = self.walk(range.clone(), Some(header.generation))?;
        let lost_end = sealed && run.records_end < range.end;
        // A damaged summary alone is no loss, and power may have cut it short.
        found.damaged += u32::from(lost_end);
        found.to_sum_up = sealed && run.records_end == header.end && run.gaps.is_empty();
        found.torn += u32::from(!sealed && run.records_end < run.written_end);
        found.flushed = found.flushed.max(run.flushed);
        (found.records, found.gaps) = (run.records, run.gaps);
        Ok(found)
    }

    /// Both copies are lost: the newest generation among the records is the segment's.
    fn scan_unknown(&self, segment: usize) -> io::Result<FoundSegment> {
        let range = self.map.records(segment);
        let any = self.walk(range.clone(), None)?;
        let run = self.walk(range, Some(any.generation))?;
        let header =
            SegmentHeader::new(SegmentState::Sealed, SegmentKind::Shards, any.generation, run.flushed);
        let (records, gaps) = (run.records, run.gaps);
        Ok(FoundSegment { records, gaps, headless: true, ..FoundSegment::new(header) })
    }

    fn walk(&self, range: Range<u64>, generation: Option<u64>) -> io::Result<Run> {
        let mut run = Run {
            records: Vec::new(),
            gaps: Vec::new(),
            records_end: range.start,
            written_end: range.start,
            flushed: 0,
            generation: 0,
        };
        let mut window = Window { device: self.device, end: range.end, start: 0, bytes: Vec::new() };
        let mut at = range.start;
        while let Some(bytes) = window.header_at(at)? {
            let found = RecordHeader::decode(bytes, at, self.salt)
                .filter(|header| generation.is_none_or(|generation| header.generation == generation))
                .filter(|header| header.record.entry.end() <= range.end);
            let Some(header) = found else {
                let blank = bytes[..RECORD_ALIGN as usize] == [0; RECORD_ALIGN as usize];
                at += RECORD_ALIGN;
                run.written_end = if blank { run.written_end } else { at };
                continue;
            };
            if header.preceding != run.records_end {
                let promised = run.records_end < header.settled;
                run.gaps.push(Gap { before: run.records.len(), promised });
            }
            at = header.record.entry.end();
            (run.records_end, run.written_end) = (at, at);
            run.flushed = run.flushed.max(header.flushed);
            run.generation = run.generation.max(header.generation);
            run.records.push(header.record);
        }
        run.records.shrink_to_fit();
        Ok(run)
    }
}

/// What no flush vouches for.
impl<D: Device> Scanner<'_, D> {
    /// Decides what was lost in a segment, and leaves out the records whose write never ended; says whether there
    /// were some.
    fn settle(&self, found: &mut FoundSegment, flushed: u64) -> io::Result<bool> {
        if found.summed_up {
            return Ok(false);
        }
        let vouched = found.records.partition_point(|record| record.seq <= flushed);
        let (lost, unfinished): (Vec<Gap>, Vec<Gap>) =
            found.gaps.iter().partition(|gap| gap.before < vouched || gap.promised);
        found.damaged += u32::try_from(lost.len()).unwrap_or(u32::MAX);
        found.unfinished = !unfinished.is_empty();
        // What the cleaner moved still stands where it was: behind the first that is not whole none is needed, and
        // the room may be.
        let first_gap = unfinished.iter().map(|gap| gap.before).min();
        let mut broken = first_gap.unwrap_or(usize::MAX);
        let mut whole = Vec::new();
        for at in vouched..found.records.len() {
            match self.whole(&found.records[at], found.generation)? {
                Some(header) if header.moved && at >= broken => {}
                Some(_) => whole.push(at),
                None => broken = broken.min(at),
            }
        }
        for at in (vouched..found.records.len()).rev() {
            if whole.last() == Some(&at) {
                whole.pop();
                continue;
            }
            // Once a later flush is on the device it could not be told from those that it covered.
            self.erase(&found.records[at])?;
            found.records.remove(at);
            found.unfinished = true;
        }
        found.torn += u32::from(found.unfinished);
        if found.headless {
            let nothing = found.records.is_empty();
            found.state = if nothing { SegmentState::Free } else { SegmentState::Sealed };
            // Of one that was just opened, power may have cut short that.
            found.damaged += if vouched == 0 { 0 } else { 2 };
        }
        Ok(found.unfinished)
    }

    /// The header of a record that is whole.
    fn whole(&self, record: &Record, generation: u64) -> io::Result<Option<RecordHeader>> {
        let entry = &record.entry;
        let mut bytes = vec![0; usize::try_from(entry.footprint()).unwrap_or_default()];
        self.device.read_at(&mut bytes, entry.at)?;
        let found = verified(&bytes, record, generation, self.salt);
        Ok(found.filter(|(_, payload_is_good)| *payload_is_good).map(|(header, _)| header))
    }

    /// Takes away the first bytes of a header. No block in which they stand has anything that was promised.
    fn erase(&self, record: &Record) -> io::Result<()> {
        let block = record.entry.at / BLOCK * BLOCK;
        let mut bytes = AlignedBuf::with_capacity(BLOCK as usize);
        bytes.resize(BLOCK as usize);
        self.device.read_at(bytes.as_mut_slice(), block)?;
        let from = usize::try_from(record.entry.at - block).unwrap_or_default();
        bytes.as_mut_slice()[from..][..RECORD_ALIGN as usize].fill(0);
        self.device.write_at(bytes.as_slice(), block)
    }
}

/// The header of a record whose bytes these are, if it and its table are good, and whether the payload is.
pub(crate) fn verified(
    bytes: &[u8],
    record: &Record,
    generation: u64,
    salt: &HeaderSalt,
) -> Option<(RecordHeader, bool)> {
    let entry = &record.entry;
    let header = RecordHeader::decode(bytes, entry.at, salt)?;
    if header.record.key != record.key || header.record.entry != *entry || header.generation != generation {
        return None;
    }
    let table = Table::verify(&header, bytes.get(entry.header_bytes()..entry.front_bytes())?)?;
    let payload = bytes.get(entry.front_bytes()..)?.get(..entry.payload_bytes as usize)?;
    let payload_is_good = table.matches_all(payload, entry.unit);
    Some((header, payload_is_good))
}

/// A place within the records of a run before which others are missing.
#[derive(Debug, Clone, Copy)]
struct Gap {
    before: usize,
    /// The record there says that an earlier flush covered some of what is missing.
    promised: bool,
}

/// What stands in a run of bytes.
struct Run {
    records: Vec<Record>,
    gaps: Vec<Gap>,
    /// After the last record.
    records_end: u64,
    /// After the last byte that is not zero, rounded up to where a record may start.
    written_end: u64,
    flushed: u64,
    /// The highest of the records.
    generation: u64,
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
    const BYTES: u64 = 64 << 10;

    /// The bytes of a header at `at`, at least [`RECORD_ALIGN`] and as many as there are up to the end; `None` when
    /// not even those are there.
    fn header_at(&mut self, at: u64) -> io::Result<Option<&[u8]>> {
        if at + RECORD_ALIGN > self.end {
            return Ok(None);
        }
        let wanted = (at + MAX_HEADER_BYTES as u64).min(self.end);
        let held = self.start..self.start + self.bytes.len() as u64;
        if !held.contains(&at) || wanted > held.end {
            let len = Self::BYTES.min(self.end - at);
            self.bytes.resize(usize::try_from(len).unwrap_or_default(), 0);
            // What it held is gone even when the read fails.
            self.start = u64::MAX / 2;
            self.device.read_at(&mut self.bytes, at)?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or_default();
        let len = usize::try_from(wanted - at).unwrap_or_default();
        Ok(self.bytes.get(from..).and_then(|bytes| bytes.get(..len)))
    }
}
