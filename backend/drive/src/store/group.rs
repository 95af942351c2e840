//! Groups: what one flush makes durable.
//!
//! Records are gathered in one buffer for each tail and written at once, from the beginning of a block to the end of
//! one: a block that holds what was promised is never written again.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use weft_device::Device;
use weft_types::Digest;

use super::{DeviceFailed, Store, whole_blocks};
use crate::key::RecordKey;
use crate::record::{Body, Entry, Record, RecordHeader};
use crate::segment::SegmentKind;

/// A buffer this long is written without waiting for the flush.
const WRITE_BYTES: usize = 4 << 20;

/// What became of a key since the last flush.
#[derive(Debug)]
pub(super) enum Latest {
    Shard(Digest),
    Item,
    Deleted,
}

/// A record that was appended.
#[derive(Debug)]
struct Change {
    record: Record,
    /// Where it stood before, when the cleaner moved it.
    from: Option<u64>,
}

/// What came since the last flush.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// In the order of their sequences.
    changes: Vec<Change>,
    latest: BTreeMap<RecordKey, Latest>,
    /// Bytes of shards and items in it.
    bytes: u64,
    /// What was written of it.
    written: Vec<Range<u64>>,
    /// It was taken back: nothing is added before its callers were told.
    pub(super) refused: Option<io::ErrorKind>,
}

impl Group {
    pub(super) fn latest(&self, key: &RecordKey) -> Option<&Latest> {
        self.latest.get(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of the shards and items in it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What is appended beside a record's layout.
pub(super) struct Content<'a> {
    pub(super) table_crc: u32,
    pub(super) table: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<D: Device> Store<D> {
    /// Adds a record to the group; the tail of its kind has room for it.
    pub(super) fn append(
        &mut self,
        kind: SegmentKind,
        body: &Body,
        latest: Latest,
    ) -> Result<(), DeviceFailed> {
        let record = Record { seq: 0, key: body.key.clone(), deletes: body.deletes, entry: body.layout };
        self.group.bytes += if body.deletes { 0 } else { body.layout.footprint() };
        self.group.latest.insert(body.key.clone(), latest);
        let table_crc = crc32c::crc32c(&body.table);
        self.append_record(
            kind,
            record,
            &Content { table_crc, table: &body.table, payload: body.payload },
            None,
        )
    }

    /// Adds a record, whose place and sequence are found here.
    pub(super) fn append_record(
        &mut self,
        kind: SegmentKind,
        mut record: Record,
        content: &Content<'_>,
        from: Option<u64>,
    ) -> Result<(), DeviceFailed> {
        let (seq, flushed) = (self.next_seq, self.flushed);
        let Some(tail) = self.tails.get_mut(kind) else { return Err(DeviceFailed::Earlier) };
        // Spent whatever happens next: no two records have one sequence.
        self.next_seq += 1;
        record.seq = seq;
        record.entry = Entry { at: tail.next(), ..record.entry };
        let (generation, preceding, table_crc) = (tail.generation, tail.last_end(), content.table_crc);
        let (settled, moved) = (tail.settled_end(), from.is_some());
        let header = RecordHeader { record, generation, flushed, preceding, settled, moved, table_crc };
        let written = tail.push(&header, content.table, content.payload, &self.shared.salt, self.map);
        self.group.changes.push(Change { record: header.record, from });
        if written >= WRITE_BYTES { self.write_out(kind) } else { Ok(()) }
    }

    /// Writes what the buffer of a tail holds, whole blocks.
    pub(super) fn write_out(&mut self, kind: SegmentKind) -> Result<(), DeviceFailed> {
        let Some(tail) = self.tails.get_mut(kind) else { return Ok(()) };
        let Some((at, bytes)) = tail.block_run() else { return Ok(()) };
        self.dirty = true;
        self.group.written.push(at..at + bytes.len() as u64);
        let outcome = self.shared.device.write_at(bytes, at);
        tail.written();
        outcome.map_err(|error| self.take_back(error))
    }

    /// Takes back the group, of which a write failed: a record that was refused, and perhaps put otherwise since,
    /// must not be found at the next open.
    fn take_back(&mut self, error: io::Error) -> DeviceFailed {
        let group = std::mem::take(&mut self.group);
        let failed = self.note(error);
        if self.failed {
            return failed;
        }
        for range in group.written {
            if let Err(error) = self.shared.device.punch(range) {
                tracing::error!(%error, "cannot erase an unfinished write: open the device again");
                self.failed = true;
            }
        }
        self.tails.take_back();
        self.sealing.iter_mut().for_each(|sealing| sealing.take_back());
        self.victim = None;
        let DeviceFailed::Now(error) = &failed else { return failed };
        self.group.refused = Some(error.kind());
        failed
    }

    /// Makes the group durable, then visible, then gives back what it made useless.
    pub(super) fn commit(&mut self) -> Result<(), DeviceFailed> {
        for kind in SegmentKind::ALL {
            self.write_out(kind)?;
        }
        if self.dirty {
            self.flush_device()?;
        }
        self.publish_group();
        self.write_seals()?;
        for range in std::mem::take(&mut self.dead_payloads) {
            self.erase(range)?;
        }
        self.reclaim()
    }

    pub(super) fn flush_device(&mut self) -> Result<(), DeviceFailed> {
        let all = self.next_seq - 1;
        self.shared.device.flush().map_err(|error| self.fail(error))?;
        self.dirty = false;
        self.flushed = all;
        Ok(())
    }

    fn publish_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        self.tails.settle();
        self.sealing.iter_mut().for_each(|sealing| sealing.settle());
        let mut index = self.shared.index_mut();
        for Change { record, from } in group.changes {
            let Some(from) = from else {
                let old = self.ledger.apply(&mut index, &record);
                // A record that no earlier flush covers must stay whole: the next process checks it.
                let settled = |old: &Entry| !group.written.iter().any(|range| range.contains(&old.at));
                self.dead_payloads.extend(old.filter(settled).as_ref().and_then(whole_blocks));
                continue;
            };
            self.ledger.moved(&mut index, from, &record);
        }
    }
}
