//! Where records are appended, and how segments come into use and are given back.

use std::ops::Range;

use weft_device::{AlignedBuf, Device};

use super::{DeviceFailed, Store};
use crate::key::RecordKey;
use crate::record::{Body, RECORD_ALIGN, Record, RecordHeader};
use crate::scan::Scanner;
use crate::segment::{BLOCK, SegmentHeader, SegmentKind, SegmentMap, SegmentState};
use crate::summary::{self, SummaryMac};
use crate::superblock::HeaderSalt;

/// How far a segment is filled.
#[derive(Debug, Clone, Copy)]
struct Filled {
    /// The next group's place, at the beginning of a block.
    at: u64,
    /// The end of the last record.
    end: u64,
    summary_bytes: usize,
}

/// Where records of one kind are appended.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: usize,
    pub(super) generation: u64,
    filled: Filled,
    /// How far it was filled at the last flush.
    settled: Filled,
    /// Behind the last byte that records and summary may take.
    limit: u64,
    /// What was appended and not written.
    buf: AlignedBuf,
    /// Of all its records.
    summary: Vec<u8>,
}

impl Tail {
    /// Goes on behind these records, or at the beginning of a segment.
    pub(super) fn new(map: SegmentMap, segment: usize, generation: u64, records: &[Record]) -> Self {
        let Range { start, end: limit } = map.records(segment);
        let end = records.last().map_or(start, |record| record.entry.end());
        let mut summary = Vec::new();
        for record in records {
            summary::push(&mut summary, record, map.range(segment).start);
        }
        let filled = Filled { at: end.next_multiple_of(BLOCK), end, summary_bytes: summary.len() };
        Self { segment, generation, filled, settled: filled, limit, buf: AlignedBuf::new(), summary }
    }

    /// The next record's place.
    pub(super) fn next(&self) -> u64 {
        self.filled.at + self.buf.len() as u64
    }

    /// Where the last record ends.
    pub(super) fn last_end(&self) -> u64 {
        self.filled.end
    }

    /// Where the last record ends that is durable.
    pub(super) fn settled_end(&self) -> u64 {
        self.settled.end
    }

    /// Bytes of records that it still takes, about.
    pub(super) fn room(&self) -> u64 {
        let summary = (self.summary.len() as u64).next_multiple_of(BLOCK);
        self.limit.saturating_sub(self.next() + summary)
    }

    fn fits(&self, body: &Room) -> bool {
        let records = (self.next() + body.footprint).next_multiple_of(BLOCK);
        let summary = (self.summary.len() + body.summary_bytes) as u64;
        records + summary.next_multiple_of(BLOCK) <= self.limit
    }

    /// Adds a record, which stands where [`next`](Self::next) said; gives back the bytes that wait to be written.
    pub(super) fn push(
        &mut self,
        header: &RecordHeader,
        table: &[u8],
        payload: &[u8],
        salt: &HeaderSalt,
        map: SegmentMap,
    ) -> usize {
        const PADDING: [u8; RECORD_ALIGN as usize] = [0; RECORD_ALIGN as usize];
        let parts = [&header.encode(salt)[..], header.record.key.tail_bytes(), table, payload];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.buf.reserve(len.next_multiple_of(PADDING.len()));
        parts.into_iter().for_each(|part| self.buf.extend(part));
        self.buf.extend(&PADDING[..len.next_multiple_of(PADDING.len()) - len]);
        self.filled.end = header.record.entry.end();
        summary::push(&mut self.summary, &header.record, map.range(self.segment).start);
        self.buf.len()
    }

    /// The next record begins a block.
    fn begin_block(&mut self) {
        self.buf.pad_to_block();
    }

    /// What waits to be written, in whole blocks, and where.
    pub(super) fn block_run(&mut self) -> Option<(u64, &[u8])> {
        if self.buf.is_empty() {
            return None;
        }
        self.buf.pad_to_block();
        Some((self.filled.at, self.buf.as_slice()))
    }

    /// What waited was written.
    pub(super) fn written(&mut self) {
        self.filled.at += self.buf.len() as u64;
        self.buf.clear();
    }

    fn seal(mut self, kind: SegmentKind) -> (Sealing, AlignedBuf) {
        self.filled.summary_bytes = self.summary.len();
        let Self { segment, generation, filled, settled, summary, mut buf, .. } = self;
        buf.clear();
        (Sealing { segment, kind, generation, filled, settled, summary }, buf)
    }
}

/// The tails, one for each kind.
#[derive(Debug, Default)]
pub(super) struct Tails([Option<Tail>; 3]);

impl Tails {
    pub(super) fn get(&self, kind: SegmentKind) -> Option<&Tail> {
        self.0[kind as usize].as_ref()
    }

    pub(super) fn get_mut(&mut self, kind: SegmentKind) -> Option<&mut Tail> {
        self.0[kind as usize].as_mut()
    }

    pub(super) fn set(&mut self, kind: SegmentKind, tail: Tail) {
        self.0[kind as usize] = Some(tail);
    }

    pub(super) fn take(&mut self, kind: SegmentKind) -> Option<Tail> {
        self.0[kind as usize].take()
    }

    /// All that was appended is durable.
    pub(super) fn settle(&mut self) {
        for tail in self.0.iter_mut().flatten() {
            tail.filled.summary_bytes = tail.summary.len();
            tail.settled = tail.filled;
        }
    }

    /// All that was appended since the last flush was erased.
    pub(super) fn take_back(&mut self) {
        for tail in self.0.iter_mut().flatten() {
            tail.filled = tail.settled;
            tail.summary.truncate(tail.settled.summary_bytes);
            tail.buf.clear();
        }
    }
}

/// A segment that is full or abandoned, and does not say so yet.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) segment: usize,
    kind: SegmentKind,
    generation: u64,
    filled: Filled,
    settled: Filled,
    summary: Vec<u8>,
}

impl Sealing {
    /// Of a segment with these records.
    pub(super) fn of(
        map: SegmentMap,
        segment: usize,
        kind: SegmentKind,
        generation: u64,
        records: &[Record],
    ) -> Self {
        Tail::new(map, segment, generation, records).seal(kind).0
    }

    pub(super) fn settle(&mut self) {
        self.settled = self.filled;
    }

    pub(super) fn take_back(&mut self) {
        self.filled = self.settled;
        self.summary.truncate(self.settled.summary_bytes);
    }
}

/// What a record takes.
struct Room {
    footprint: u64,
    summary_bytes: usize,
}

impl Room {
    fn of(record: &Record) -> Self {
        Self { footprint: record.entry.footprint(), summary_bytes: summary::entry_bytes(&record.key) }
    }

    fn of_body(body: &Body<'_>) -> Self {
        Self { footprint: body.layout.footprint(), summary_bytes: summary::entry_bytes(&body.key) }
    }
}

/// Room for records.
impl<D: Device> Store<D> {
    /// Bytes of shards that can be put: what is free, and what the cleaner gives back.
    pub(super) fn writable(&self, used: u64) -> u64 {
        let (free, _) = self.ledger.free_for(SegmentKind::Shards, false);
        let in_tail = |kind| self.tails.get(kind).map_or(0, Tail::room);
        let room = in_tail(SegmentKind::Shards)
            + in_tail(SegmentKind::Moved)
            + free as u64 * self.map.record_bytes()
            + self.ledger.reclaimable();
        room.min(self.map.capacity().saturating_sub(used + self.ledger.tombstone_bytes()))
    }

    /// Lets the tail of a kind have room for a record, and says which tail has: a deletion goes where there is any.
    /// `None` when the device has none.
    pub(super) fn make_room(
        &mut self,
        kind: SegmentKind,
        body: &Body<'_>,
    ) -> Result<Option<SegmentKind>, DeviceFailed> {
        /// The most segments that one record waits for to be cleaned.
        const ROUNDS: usize = 256;
        let room = Room::of_body(body);
        if kind == SegmentKind::Shards && !self.has_capacity(room.footprint) {
            if !self.group.is_empty() {
                self.commit()?;
            }
            if !self.has_capacity(room.footprint) {
                return Ok(None);
            }
        }
        if !Tail::new(self.map, 0, 0, &[]).fits(&room) {
            return Ok(None);
        }
        for _ in 0..ROUNDS {
            if self.fits(kind, &room) {
                return Ok(Some(kind));
            }
            if self.open_segment(kind, body.deletes)? || self.adopt_moved(kind, &room)? {
                continue;
            }
            if body.deletes && self.fits(SegmentKind::Shards, &room) {
                return Ok(Some(SegmentKind::Shards));
            }
            if !self.relieve(body.deletes)? {
                break;
            }
        }
        Ok(None)
    }

    /// Lets an item begin a block of its own if older records of it are on the device: damage to a block that takes
    /// the newest of two items, and nothing else, would bring both back as they were.
    pub(super) fn set_apart(&mut self, kind: SegmentKind, key: &RecordKey) {
        let RecordKey::Item(item) = key else { return };
        let replaced = self.group.latest(key).is_some()
            || self.ledger.has_dead(key)
            || (kind == SegmentKind::Items && self.shared.index().items.contains_key(item));
        if let Some(tail) = self.tails.get_mut(kind).filter(|_| replaced) {
            tail.begin_block();
        }
    }

    fn fits(&self, kind: SegmentKind, room: &Room) -> bool {
        self.tails.get(kind).is_some_and(|tail| tail.fits(room))
    }

    /// Lets a kind go on where the cleaner is, which has a free segment of its own to go on in; `false` when the
    /// cleaner is at work, or has no room there either.
    fn adopt_moved(&mut self, kind: SegmentKind, room: &Room) -> Result<bool, DeviceFailed> {
        if !self.fits(SegmentKind::Moved, room)
            || kind == SegmentKind::Moved
            || self.victim.is_some()
            || self.ledger.free() == 0
        {
            return Ok(false);
        }
        self.seal(kind)?;
        if let Some(tail) = self.tails.take(SegmentKind::Moved) {
            self.tails.set(kind, tail);
        }
        Ok(true)
    }

    fn has_capacity(&self, footprint: u64) -> bool {
        let used = self.shared.index().used + self.group.bytes() + self.ledger.tombstone_bytes();
        used + footprint <= self.map.capacity()
    }

    /// Lets the cleaner's tail have room for a record; `false` when the device has none.
    pub(super) fn make_room_for_moved(&mut self, record: &Record) -> Result<bool, DeviceFailed> {
        let room = Room::of(record);
        let kind = SegmentKind::Moved;
        Ok(self.fits(kind, &room) || (self.open_segment(kind, false)? && self.fits(kind, &room)))
    }

    /// Goes on in a free segment; `false` when there is none for this kind.
    fn open_segment(&mut self, kind: SegmentKind, deletes: bool) -> Result<bool, DeviceFailed> {
        let (_, Some(segment)) = self.ledger.free_for(kind, deletes) else { return Ok(false) };
        if self.ledger.segments()[segment].stale {
            // Not its headers: without them old records would be taken for those of a segment that lost them.
            self.shared.device.punch(self.map.records(segment)).map_err(|error| self.note(error))?;
        }
        // Once it is open it takes what it has room for, however full the host becomes: metadata and deletions go on.
        match self.shared.device.reserve(self.map.range(segment)) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                self.host_full = true;
                return Ok(false);
            }
            reserved => reserved.map_err(|error| self.note(error))?,
        }
        self.host_full = false;
        let generation = self.take_generation();
        let header = SegmentHeader::new(SegmentState::Open, kind, generation, self.flushed);
        self.write_segment_header(segment, &header)?;
        let buf = self.seal(kind)?.unwrap_or_default();
        self.ledger.opened(segment, generation);
        self.note_generation(segment, generation);
        self.tails.set(kind, Tail { buf, ..Tail::new(self.map, segment, generation, &[]) });
        Ok(true)
    }

    /// Erases bytes that do not count, as far as the medium does; says whether it did.
    pub(super) fn erase(&mut self, range: Range<u64>) -> Result<bool, DeviceFailed> {
        match self.shared.device.punch(range) {
            Ok(()) => Ok(true),
            // It may happen yet, when other records stand there.
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(self.fail(error)),
            Err(error) => {
                tracing::warn!(%error, "cannot give back the space of what was deleted");
                Ok(false)
            }
        }
    }

    fn note_generation(&self, segment: usize, generation: u64) {
        if let Some(there) = self.shared.index_mut().generations.get_mut(segment) {
            *there = generation;
        }
    }

    /// Ends the segment in use, if there is one; gives back its buffer. The device is told after the next flush.
    pub(super) fn seal(&mut self, kind: SegmentKind) -> Result<Option<AlignedBuf>, DeviceFailed> {
        self.write_out(kind)?;
        let Some(tail) = self.tails.take(kind) else { return Ok(None) };
        self.ledger.sealed(tail.segment);
        let (sealing, buf) = tail.seal(kind);
        self.sealing.push(sealing);
        Ok(Some(buf))
    }

    /// Writes the summaries and ends of segments. All that they name is durable: a summary must not vouch for what
    /// is not.
    pub(super) fn write_seals(&mut self) -> Result<(), DeviceFailed> {
        for sealing in std::mem::take(&mut self.sealing) {
            if let Err(error) = self.write_seal(&sealing) {
                // The segment is walked at the next open.
                tracing::warn!(%error, segment = sealing.segment, "cannot write a segment's summary");
                if error.kind() != std::io::ErrorKind::StorageFull {
                    return Err(self.fail(error));
                }
            }
        }
        Ok(())
    }

    fn write_seal(&mut self, sealing: &Sealing) -> std::io::Result<()> {
        let Sealing { segment, kind, generation, filled, ref summary, .. } = *sealing;
        let at = filled.end.next_multiple_of(BLOCK);
        let mut header = SegmentHeader::new(SegmentState::Sealed, kind, generation, self.flushed);
        header.end = filled.end;
        let fits = at + (summary.len() as u64).next_multiple_of(BLOCK) <= self.map.records(segment).end;
        self.dirty = true;
        if fits && !summary.is_empty() {
            header.summary_bytes = u32::try_from(summary.len()).unwrap_or(0);
            header.summary_mac = SummaryMac::of(summary, &self.shared.salt);
            let mut run = AlignedBuf::with_capacity(summary.len());
            run.extend(summary);
            run.pad_to_block();
            self.shared.device.write_at(run.as_slice(), at)?;
        }
        let [_, place] = self.map.header_places(segment);
        self.shared.device.write_at(self.header_block(segment, &header).as_slice(), place)
    }

    fn take_generation(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    pub(super) fn header_block(&self, segment: usize, header: &SegmentHeader) -> AlignedBuf {
        header.encode(self.map.range(segment).start, &self.shared.salt)
    }

    fn write_segment_header(&mut self, segment: usize, header: &SegmentHeader) -> Result<(), DeviceFailed> {
        self.dirty = true;
        let block = self.header_block(segment, header);
        let mut places = self.map.header_places(segment).into_iter();
        let written = places.try_for_each(|place| self.shared.device.write_at(block.as_slice(), place));
        written.map_err(|error| self.note(error))
    }

    /// Gives back the segments in which nothing counts. All deletions so far are durable.
    pub(super) fn reclaim(&mut self) -> Result<(), DeviceFailed> {
        loop {
            let mut freed = Vec::new();
            for segment in self.ledger.empty_segments() {
                let records = self.records_of(segment);
                let generation = self.take_generation();
                let kind = SegmentKind::Shards;
                let header = SegmentHeader::new(SegmentState::Free, kind, generation, self.flushed);
                match self.write_segment_header(segment, &header) {
                    Ok(()) => freed.push((segment, generation, records)),
                    Err(error) if self.failed => return Err(error),
                    Err(error) => tracing::warn!(%error, segment, "cannot give back a segment"),
                }
            }
            if freed.is_empty() {
                break;
            }
            // Tombstones may go only once what they cancel is gone for good, and bytes only once no header says that
            // they are records: a host that stopped in between would find damage where there is none.
            self.flush_device()?;
            for (segment, generation, records) in freed {
                // What is not erased is before its next use.
                let stale = !self.erase(self.map.records(segment))?;
                self.ledger.freed(segment, generation, stale, &records);
                self.note_generation(segment, generation);
                self.victim.take_if(|victim| victim.segment == segment);
            }
        }
        let mut index = self.shared.index_mut();
        index.writable = self.writable(index.used);
        Ok(())
    }

    /// What a segment in use holds. What cannot be read is left out: tombstones of it stay until the next open.
    pub(super) fn records_of(&self, segment: usize) -> Vec<Record> {
        let account = &self.ledger.segments()[segment];
        if account.written() == 0 {
            return Vec::new();
        }
        let scanner = Scanner { device: &self.shared.device, map: self.map, salt: &self.shared.salt };
        scanner.records_of(segment, account.generation).unwrap_or_else(|error| {
            tracing::warn!(%error, segment, "cannot read what a segment holds");
            Vec::new()
        })
    }
}
