//! The writer's side of a device: append, delete, make durable, give space back.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use weft_types::Digest;
use weft_wire::drive::{ShardHeader, ShardKey};

use crate::key::{ItemKey, RecordKey};
use crate::ledger::Ledger;
use crate::reader::{Reader, Shared};
use crate::record::{Body, Entry, MAX_ITEM_BYTES};
use crate::segment::{BLOCK, SegmentHeader, SegmentKind, SegmentMap, SegmentState};
use weft_device::{Device, OnStall};

mod cleaner;
mod group;
mod open;
mod segments;

use cleaner::Victim;
use group::{Group, Latest};
pub use open::{FormatError, FormatOptions, OpenError};
use segments::{Sealing, Tails};

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

/// Why an item was not stored. Nothing changed, unless the device failed.
#[derive(Debug, thiserror::Error)]
pub enum PutItemError {
    /// The value is longer than [`MAX_ITEM_BYTES`].
    #[error("an item has at most {MAX_ITEM_BYTES} bytes, not {len}")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// No segment has room.
    #[error("the drive is full")]
    NoSpace,
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
    /// This call failed. Where the medium had no space nothing has changed since the last flush; otherwise nothing is
    /// promised any more.
    #[error("the device failed")]
    Now(#[source] io::Error),
    /// An earlier call failed: what came of it is unknown, so nothing is promised until the device is opened again.
    #[error("the device failed before; open it again")]
    Earlier,
}

/// One device's records. There is one `Store` for a device; [`reader`](Self::reader) gives out any number of readers.
///
/// Puts and deletions are durable and visible to readers after [`flush`](Self::flush): answer their callers only
/// then. What came since the last flush is a group; power lost before its flush takes any part of it.
#[derive(Debug)]
pub struct Store<D> {
    shared: Arc<Shared<D>>,
    map: SegmentMap,
    ledger: Ledger,
    tails: Tails,
    /// What came since the last flush.
    group: Group,
    /// Segments whose end is to be written.
    sealing: Vec<Sealing>,
    /// The segment that is being cleaned.
    victim: Option<Victim>,
    next_seq: u64,
    flushed: u64,
    /// The device says that all up to this sequence was durable.
    vouched: u64,
    dirty: bool,
    failed: bool,
    /// The host had no space for the last segment that was to be opened.
    host_full: bool,
    /// Payloads of deleted records, to be punched once the deletion is durable.
    dead_payloads: Vec<Range<u64>>,
}

impl<D: Device> Store<D> {
    /// A reader of this store.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.shared.clone())
    }

    /// Has `tell` told of every call of the store that the device holds up, while it lasts.
    pub fn on_stall(&self, tell: OnStall) {
        self.shared.device.on_stall(tell);
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
        let key = RecordKey::Shard(header.key);
        match self.group.latest(&key) {
            Some(Latest::Shard(stored)) if *stored == digest => return Ok(Stored::AlreadyThere),
            Some(Latest::Shard(stored)) => return Err(PutError::Conflict { stored: *stored }),
            Some(Latest::Item | Latest::Deleted) => {}
            None if self.is_stored(header.key, digest)? => return Ok(Stored::AlreadyThere),
            None => {}
        }
        let body = Body::shard(header, header.geometry.slot_bytes(), &payload).ok_or(PutError::Malformed)?;
        let Some(kind) = self.make_room(SegmentKind::Shards, &body)? else {
            return Err(PutError::NoSpace);
        };
        self.append(kind, &body, Latest::Shard(digest))?;
        Ok(Stored::Appended)
    }

    /// Appends an item, which replaces the one of its key. Durable after the next [`flush`](Self::flush). Items may
    /// take part of the room that shards must leave.
    ///
    /// # Errors
    /// [`PutItemError`].
    pub fn put_item(&mut self, key: &ItemKey, value: &[u8]) -> Result<(), PutItemError> {
        self.check()?;
        let too_long = PutItemError::TooLong { len: value.len() };
        let body = Body::item(key.clone(), value).ok_or(too_long)?;
        self.set_apart(SegmentKind::Items, &body.key);
        let Some(kind) = self.make_room(SegmentKind::Items, &body)? else {
            return Err(PutItemError::NoSpace);
        };
        Ok(self.append(kind, &body, Latest::Item)?)
    }

    /// Deletes a shard; says whether it was there. Durable after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`DeleteError`]; the shard is still there then.
    pub fn delete(&mut self, key: ShardKey) -> Result<bool, DeleteError> {
        self.delete_record(RecordKey::Shard(key))
    }

    /// Deletes items; says how many were there. Durable after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`DeleteError`]; those before the one that failed are deleted.
    pub fn delete_items(&mut self, keys: &[ItemKey]) -> Result<u32, DeleteError> {
        let delete = |key: &ItemKey| self.delete_record(RecordKey::Item(key.clone()));
        keys.iter().map(delete).try_fold(0, |sum, deleted| Ok(sum + u32::from(deleted?)))
    }

    fn delete_record(&mut self, key: RecordKey) -> Result<bool, DeleteError> {
        self.check()?;
        let is_there = match self.group.latest(&key) {
            Some(Latest::Deleted) => false,
            Some(Latest::Shard(_) | Latest::Item) => true,
            None => self.shared.index().get(&key).is_some(),
        };
        if !is_there {
            return Ok(false);
        }
        let body = Body::tombstone(key);
        let Some(kind) = self.make_room(SegmentKind::Items, &body)? else {
            return Err(DeleteError::NoSpace);
        };
        self.append(kind, &body, Latest::Deleted)?;
        Ok(true)
    }

    /// On return all puts and deletions before it are durable and visible, and segments that nothing counts in are
    /// free.
    ///
    /// # Errors
    /// Nothing since the last flush was stored or deleted when the medium had no space. After any other failure it is
    /// unknown, and the store refuses puts and deletions.
    pub fn flush(&mut self) -> Result<(), DeviceFailed> {
        if let Some(kind) = self.group.refused.take() {
            self.check()?;
            return Err(DeviceFailed::Now(kind.into()));
        }
        self.check()?;
        let committed = self.commit();
        // This caller hears of it.
        self.group.refused = None;
        committed
    }

    /// Writes on the device that all that was flushed so far was durable. Otherwise the next process to open it takes
    /// damage in the last group for a write that power cut short.
    ///
    /// # Errors
    /// The medium's.
    pub fn vouch(&mut self) -> Result<(), DeviceFailed> {
        self.check()?;
        let Some(kind) = SegmentKind::ALL.into_iter().find(|kind| self.tails.get(*kind).is_some()) else {
            return Ok(());
        };
        let Some(tail) = self.tails.get(kind) else { return Ok(()) };
        if self.vouched >= self.flushed {
            return Ok(());
        }
        let header = SegmentHeader::new(SegmentState::Open, kind, tail.generation, self.flushed);
        let (block, place) =
            (self.header_block(tail.segment, &header), self.map.header_places(tail.segment)[1]);
        self.shared.device.write_at(block.as_slice(), place).map_err(|error| self.note(error))?;
        self.shared.device.flush().map_err(|error| self.fail(error))?;
        self.vouched = self.flushed;
        Ok(())
    }

    fn check(&self) -> Result<(), DeviceFailed> {
        match self.group.refused {
            _ if self.failed => Err(DeviceFailed::Earlier),
            Some(kind) => Err(DeviceFailed::Now(kind.into())),
            None => Ok(()),
        }
    }

    /// The medium failed for good.
    fn fail(&mut self, error: io::Error) -> DeviceFailed {
        self.failed = true;
        DeviceFailed::Now(error)
    }

    /// A write failed. That the medium has no space says that nothing was written; of any other failure nothing is
    /// known, nor what the medium does with later writes.
    fn note(&mut self, error: io::Error) -> DeviceFailed {
        self.failed |= error.kind() != io::ErrorKind::StorageFull;
        DeviceFailed::Now(error)
    }

    /// Whether an intact shard with this key and digest is there.
    fn is_stored(&self, key: ShardKey, digest: Digest) -> Result<bool, PutError> {
        if !self.shared.index().shards.contains_key(&key) {
            return Ok(false);
        }
        // What the medium does not give back any more is as lost as what it gives back wrong.
        let Ok(loaded) = self.shared.load_all(key) else { return Ok(false) };
        let Some(header) = loaded.header(key) else { return Ok(false) };
        let Some(stored) = header.digests.get(key.index.get()).copied() else { return Ok(false) };
        if stored != digest {
            return Err(PutError::Conflict { stored });
        }
        Ok(loaded.corrupt.is_empty())
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

/// The whole blocks of the medium within a record's payload, when they are worth a hole.
fn whole_blocks(entry: &Entry) -> Option<Range<u64>> {
    const WORTH: u64 = 4 * BLOCK;
    let payload = entry.at + entry.front_bytes() as u64;
    let end = payload + u64::from(entry.payload_bytes);
    let blocks = payload.next_multiple_of(BLOCK)..end / BLOCK * BLOCK;
    (blocks.end.saturating_sub(blocks.start) >= WORTH).then_some(blocks)
}

#[cfg(test)]
pub(crate) mod tests;
