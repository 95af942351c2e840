//! The writer's side of a device: append, delete, make durable, give space back.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use weft_types::Digest;
use weft_wire::drive::{ShardHeader, ShardKey};

use weft_device::Device;
use crate::ledger::{Entry, Ledger};
use crate::reader::{LoadError, Patience, Reader, Shared};
use crate::record::{Body, RecordHeader};
use crate::segment::{SegmentHeader, SegmentKind, SegmentMap, SegmentState};

mod open;

pub use open::{FormatError, FormatOptions, OpenError};

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The shard was appended.
    Appended,
    /// The same bytes were there, and were verified.
    AlreadyThere,
}

/// Why a shard was not stored. Nothing changed, unless the device failed.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// A shard with this key and another digest is there.
    #[error("another shard is stored under this key")]
    Conflict {
        /// The digest of the one that is there.
        stored: Digest,
    },
    /// No segment has room.
    #[error("the drive is full")]
    NoSpace,
    /// The bytes are not those whose digest the header names.
    #[error("the shard does not match its digest")]
    DigestMismatch,
    /// The bytes or the digests are not those of the geometry.
    #[error("the shard does not fit its header")]
    Malformed,
    /// The device failed now, or in an earlier call: see [`DeviceFailed`].
    #[error(transparent)]
    Device(#[from] DeviceFailed),
}

/// Why a deletion was not written.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Not even the headroom has room for the deletion.
    #[error("the drive is full")]
    NoSpace,
    /// The device failed now, or in an earlier call: see [`DeviceFailed`].
    #[error(transparent)]
    Device(#[from] DeviceFailed),
}

/// The medium failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFailed {
    /// This call failed.
    #[error("the device failed")]
    Now(#[source] io::Error),
    /// An earlier flush failed: what it covered is unknown, so nothing is promised until the device is opened again.
    #[error("a flush of the device failed; open it again")]
    Earlier,
}

/// Where records of one kind are appended.
#[derive(Debug, Clone, Copy)]
struct Tail {
    segment: usize,
    /// The next record's place.
    at: u64,
    end: u64,
}

/// One device's records. There is one `Store` for a device; [`reader`](Self::reader) gives out any number of readers.
///
/// Puts and deletions are visible to readers at once and durable after [`flush`](Self::flush): answer their callers
/// only then.
#[derive(Debug)]
pub struct Store<D> {
    shared: Arc<Shared<D>>,
    map: SegmentMap,
    ledger: Ledger,
    shards: Option<Tail>,
    tombstones: Option<Tail>,
    next_seq: u64,
    flushed: u64,
    dirty: bool,
    failed: bool,
    /// Payloads of deleted records, to be punched once the deletion is durable.
    dead_payloads: Vec<Range<u64>>,
}

impl<D: Device> Store<D> {
    /// A reader of this store.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.shared.clone())
    }

    /// Appends a shard unless it is there. Durable after the next [`flush`](Self::flush), also when it was there.
    ///
    /// A shard that is there with the same digest but damaged is stored anew.
    ///
    /// # Errors
    /// [`PutError`].
    pub fn put(&mut self, header: &ShardHeader, payload: Bytes) -> Result<Stored, PutError> {
        self.check()?;
        let digest = verify(header, &payload)?;
        if self.is_stored(header.key, digest)? {
            return Ok(Stored::AlreadyThere);
        }
        let body = Body::shard(header, header.geometry.slot_bytes(), payload).ok_or(PutError::Malformed)?;
        if !self.make_room(SegmentKind::Shards, body.footprint())? {
            return Err(PutError::NoSpace);
        }
        let written = self.append(&body)?;
        self.publish(|index, ledger| ledger.stored(index, body.key, entry(&written)));
        Ok(Stored::Appended)
    }

    /// Deletes a shard; says whether it was there. Durable after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`DeleteError`]; the shard is still there then.
    pub fn delete(&mut self, key: ShardKey) -> Result<bool, DeleteError> {
        self.check()?;
        if !self.shared.index().entries.contains_key(&key) {
            return Ok(false);
        }
        let body = Body::tombstone(key);
        if !self.make_room(SegmentKind::Tombstones, body.footprint())? {
            return Err(DeleteError::NoSpace);
        }
        let written = self.append(&body)?;
        let cancelled = self.publish(|index, ledger| ledger.deleted(index, key, written.at));
        self.dead_payloads.extend(cancelled.as_ref().and_then(whole_blocks));
        Ok(true)
    }

    /// On return all puts and deletions before it are durable, and segments that nothing counts in are free.
    ///
    /// # Errors
    /// The medium's. What came since the last flush is unknown then, and the store refuses puts and deletions.
    pub fn flush(&mut self) -> Result<(), DeviceFailed> {
        self.check()?;
        if self.dirty {
            self.flush_device()?;
        }
        for range in std::mem::take(&mut self.dead_payloads) {
            if let Err(error) = self.shared.device.punch(range) {
                tracing::warn!(%error, "cannot give back the space of a deleted shard");
            }
        }
        self.reclaim()
    }

    fn check(&self) -> Result<(), DeviceFailed> {
        if self.failed { Err(DeviceFailed::Earlier) } else { Ok(()) }
    }

    fn flush_device(&mut self) -> Result<(), DeviceFailed> {
        self.shared.device.flush().map_err(|error| {
            self.failed = true;
            DeviceFailed::Now(error)
        })?;
        self.dirty = false;
        self.flushed = self.next_seq - 1;
        Ok(())
    }

    /// Whether an intact shard with this key and digest is there.
    fn is_stored(&self, key: ShardKey, digest: Digest) -> Result<bool, PutError> {
        let Some(entry) = self.shared.index().entries.get(&key).copied() else { return Ok(false) };
        let loaded = match self.shared.load(key, &entry, 0..entry.payload_bytes, Patience::Waits) {
            Ok(loaded) => loaded,
            // What the medium does not give back any more is as lost as what it gives back wrong.
            Err(LoadError::Corrupt | LoadError::Io(_)) => return Ok(false),
        };
        let Some(header) = loaded.header(key) else { return Ok(false) };
        let Some(stored) = header.digests.get(key.index.get()).copied() else { return Ok(false) };
        if stored != digest {
            return Err(PutError::Conflict { stored });
        }
        Ok(loaded.corrupt.is_empty())
    }

    /// Applies a change to index and ledger under the readers' lock.
    fn publish<T>(&mut self, change: impl FnOnce(&mut crate::ledger::Index, &mut Ledger) -> T) -> T {
        let writable = self.writable();
        let mut index = self.shared.index_mut();
        index.writable = writable;
        change(&mut index, &mut self.ledger)
    }

    /// Writes a record at the tail of its kind, which has room for it.
    fn append(&mut self, body: &Body) -> Result<RecordHeader, DeviceFailed> {
        let kind = SegmentKind::of(body.kind);
        let Some(tail) = *self.tail(kind) else { return Err(DeviceFailed::Earlier) };
        let generation = self.ledger.segments[tail.segment].generation;
        let header = body.header(tail.at, generation, self.next_seq, self.flushed);
        // Spent whatever happens next: no two records have one sequence.
        self.next_seq += 1;
        self.dirty = true;
        if let Err(error) = self.write(&header, body) {
            self.erase_unfinished(&header);
            return Err(DeviceFailed::Now(error));
        }
        *self.tail(kind) = Some(Tail { at: header.end(), ..tail });
        Ok(header)
    }

    /// Takes back what a failed write may have left. A whole header without its payload would be found at the next
    /// open: a shard that was refused, and perhaps counted as deleted since, would be there again.
    fn erase_unfinished(&mut self, header: &RecordHeader) {
        if let Err(error) = self.shared.device.punch(header.at..header.end()) {
            tracing::error!(%error, "cannot erase an unfinished record: open the device again");
            self.failed = true;
        }
    }

    fn write(&self, header: &RecordHeader, body: &Body) -> io::Result<()> {
        /// Up to here a copy costs less than a second write.
        const JOINED_BYTES: usize = 64 << 10;
        let device = &self.shared.device;
        let mut front = Vec::with_capacity(header.front_bytes() + JOINED_BYTES.min(body.payload.len()));
        front.extend(header.encode(&self.shared.salt));
        front.extend_from_slice(&body.table);
        if body.payload.len() <= JOINED_BYTES {
            front.extend_from_slice(&body.payload);
            return device.write_at(&front, header.at);
        }
        device.write_at(&front, header.at)?;
        device.write_at(&body.payload, header.at + front.len() as u64)
    }
}

/// Segments.
impl<D: Device> Store<D> {
    const fn tail(&mut self, kind: SegmentKind) -> &mut Option<Tail> {
        match kind {
            SegmentKind::Shards => &mut self.shards,
            SegmentKind::Tombstones => &mut self.tombstones,
        }
    }

    /// Bytes of shards that fit without giving a segment back.
    fn writable(&self) -> u64 {
        let free = self.ledger.free_for_shards() as u64 * self.map.record_bytes();
        self.shards.map_or(0, |tail| tail.end - tail.at) + free
    }

    /// Lets the tail of a kind have room for `footprint` bytes; `false` when the device has none.
    fn make_room(&mut self, kind: SegmentKind, footprint: u64) -> Result<bool, DeviceFailed> {
        if footprint > self.map.record_bytes() {
            return Ok(false);
        }
        if self.tail(kind).is_some_and(|tail| tail.end - tail.at >= footprint) {
            return Ok(true);
        }
        if self.open_segment(kind)? {
            return Ok(true);
        }
        // What was deleted and not yet made durable may empty a segment, also the one in use.
        if let Some(tail) = *self.tail(kind)
            && self.ledger.segments[tail.segment].is_empty()
        {
            self.seal(kind)?;
        }
        if self.ledger.empty_segments().is_empty() {
            return Ok(false);
        }
        self.flush()?;
        self.open_segment(kind)
    }

    /// Goes on in a free segment; `false` when there is none for this kind.
    fn open_segment(&mut self, kind: SegmentKind) -> Result<bool, DeviceFailed> {
        let Some(segment) = self.ledger.free_segment(kind) else { return Ok(false) };
        self.seal(kind)?;
        if self.ledger.segments[segment].stale {
            self.shared.device.punch(self.map.range(segment)).map_err(DeviceFailed::Now)?;
        }
        let generation = self.take_generation();
        let header = SegmentHeader { state: SegmentState::Open, kind, generation, end: 0 };
        self.write_segment_header(segment, &header).map_err(DeviceFailed::Now)?;
        self.ledger.opened(segment, kind, generation);
        let Range { start, end } = self.map.records(segment);
        *self.tail(kind) = Some(Tail { segment, at: start, end });
        Ok(true)
    }

    /// Ends the segment in use, if there is one.
    fn seal(&mut self, kind: SegmentKind) -> Result<(), DeviceFailed> {
        let Some(tail) = *self.tail(kind) else { return Ok(()) };
        let generation = self.ledger.segments[tail.segment].generation;
        let header = SegmentHeader { state: SegmentState::Sealed, kind, generation, end: tail.at };
        let range = self.map.range(tail.segment);
        let [_, place] = self.map.header_places(tail.segment);
        self.dirty = true;
        let bytes = header.encode(range.start, &self.shared.salt);
        self.shared.device.write_at(&bytes, place).map_err(DeviceFailed::Now)?;
        self.ledger.sealed(tail.segment);
        *self.tail(kind) = None;
        Ok(())
    }

    fn take_generation(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    fn write_segment_header(&mut self, segment: usize, header: &SegmentHeader) -> io::Result<()> {
        self.dirty = true;
        let bytes = header.encode(self.map.range(segment).start, &self.shared.salt);
        let mut places = self.map.header_places(segment).into_iter();
        places.try_for_each(|place| self.shared.device.write_at(&bytes, place))
    }

    /// Gives back the segments in which nothing counts. All deletions so far are durable.
    fn reclaim(&mut self) -> Result<(), DeviceFailed> {
        loop {
            let empty = self.ledger.empty_segments();
            let mut freed = Vec::with_capacity(empty.len());
            for segment in empty {
                match self.disown(segment) {
                    Ok(generation) => freed.push((segment, generation)),
                    Err(error) => tracing::warn!(%error, segment, "cannot give back a segment"),
                }
            }
            if freed.is_empty() {
                break;
            }
            // Tombstones may go only once what they cancel is gone for good, and bytes only once no header says that
            // they are records: a host that stopped in between would find damage where there is none.
            self.flush_device()?;
            for (segment, generation) in freed {
                let erased = self.shared.device.punch(self.map.records(segment));
                if let Err(error) = &erased {
                    tracing::warn!(%error, segment, "cannot erase a segment; it is erased before its next use");
                }
                self.ledger.freed(segment, generation, erased.is_err());
            }
        }
        self.publish(|_, _| ());
        Ok(())
    }

    /// Writes that nothing in a segment counts, under a new generation.
    fn disown(&mut self, segment: usize) -> io::Result<u64> {
        let generation = self.take_generation();
        let (state, kind) = (SegmentState::Free, SegmentKind::Shards);
        self.write_segment_header(segment, &SegmentHeader { state, kind, generation, end: 0 })?;
        Ok(generation)
    }
}

/// The payload's digest, if header and payload fit each other.
fn verify(header: &ShardHeader, payload: &[u8]) -> Result<Digest, PutError> {
    let ShardHeader { key, geometry, digests, .. } = header;
    let digest = *digests.get(key.index.get()).ok_or(PutError::Malformed)?;
    let len = geometry.shard_len(key.index) as usize;
    if payload.is_empty() || payload.len() != len || digests.len() != geometry.protection().width().into() {
        return Err(PutError::Malformed);
    }
    if blake3::hash(payload).as_bytes() != &digest.0 {
        return Err(PutError::DigestMismatch);
    }
    Ok(digest)
}

fn entry(written: &RecordHeader) -> Entry {
    // All are bounded by the longest record, which is far below 4 GiB.
    let short = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    Entry {
        at: written.at,
        seq: written.seq,
        front_bytes: short(written.front_bytes() as u64),
        payload_bytes: written.payload_bytes,
        unit: written.unit,
        footprint: short(written.footprint()),
    }
}

/// The whole blocks of the medium within a record's payload, when they are worth a hole.
fn whole_blocks(entry: &Entry) -> Option<Range<u64>> {
    const BLOCK: u64 = 4096;
    const WORTH: u64 = 4 * BLOCK;
    let payload = entry.at + u64::from(entry.front_bytes);
    let end = payload + u64::from(entry.payload_bytes);
    let blocks = payload.next_multiple_of(BLOCK)..end / BLOCK * BLOCK;
    (blocks.end.saturating_sub(blocks.start) >= WORTH).then_some(blocks)
}

impl SegmentKind {
    const fn of(kind: crate::record::RecordKind) -> Self {
        match kind {
            crate::record::RecordKind::Shard => Self::Shards,
            crate::record::RecordKind::Tombstone => Self::Tombstones,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
