//! The readers' side of a device: verified bytes, descriptions, listings, accounts.

use std::io;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use weft_types::ByteCount;
use weft_wire::drive::{ShardHeader, ShardKey};

use weft_device::Device;
use crate::ledger::{Entry, Index};
use crate::record::{HEADER_BYTES, RecordHeader, Table};
use crate::scan::FoundSegment;
use crate::superblock::HeaderSalt;

/// What a store and its readers have in common.
#[derive(Debug)]
pub(crate) struct Shared<D> {
    pub(crate) device: D,
    pub(crate) salt: HeaderSalt,
    pub(crate) damage: DamageCounts,
    capacity: u64,
    index: RwLock<Index>,
}

/// Damage seen since the device was opened.
#[derive(Debug, Default)]
pub(crate) struct DamageCounts {
    superblocks: AtomicU64,
    records: AtomicU64,
    torn: AtomicU64,
    reads: AtomicU64,
}

impl DamageCounts {
    /// Takes over what opening found.
    pub(crate) fn found(&self, superblocks: u32, segments: &[FoundSegment]) {
        let sum =
            |count: fn(&FoundSegment) -> u32| segments.iter().map(|found| u64::from(count(found))).sum();
        self.superblocks.store(superblocks.into(), Ordering::Relaxed);
        self.records.store(sum(|found| found.damaged), Ordering::Relaxed);
        self.torn.store(sum(|found| found.torn), Ordering::Relaxed);
    }
}

/// A drive's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of shards, their headers included, that the drive holds at most.
    pub capacity: ByteCount,
    /// Bytes of the shards that it holds, their headers included.
    pub used: ByteCount,
    /// Bytes that can be written before deleted shards must make room: at most `capacity - used`, and less while
    /// segments hold deleted shards beside others.
    pub writable: ByteCount,
    /// Shards that it holds.
    pub shards: u64,
    /// Damage seen since it was opened.
    pub damage: Damage,
}

/// Damage seen since a device was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Copies of the superblock, found when it was opened.
    pub superblocks: u64,
    /// Places where headers of segments or records were, found when it was opened: at least one shard each may
    /// be lost.
    pub records: u64,
    /// Places where a write was under way when power was lost, found when it was opened. Nothing was promised there.
    pub torn: u64,
    /// Reads that met bytes that fail their checksum.
    pub reads: u64,
}

/// Why a shard cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The drive has no such shard.
    #[error("the drive has no such shard")]
    Absent,
    /// The range touches damaged bytes.
    #[error("the shard is damaged in {} places", .units.len())]
    Corrupt {
        /// The checksum units (slots of the geometry, counted from the shard's start) that the range touches and
        /// that cannot be verified.
        units: Vec<u32>,
    },
    /// The range is empty or not within the shard.
    #[error("the range is not within the {len} bytes of the shard")]
    OutOfRange {
        /// The shard's bytes.
        len: u32,
    },
    /// The device failed.
    #[error("the device failed")]
    Io(#[source] io::Error),
}

/// Why a record's table cannot be had.
#[derive(Debug)]
pub(crate) enum LoadError {
    Corrupt,
    Io(io::Error),
}

/// Whether a read may wait for the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    AtOnce,
}

/// A part of a record, as far as it can be verified.
#[derive(Debug)]
pub(crate) struct Loaded {
    description: Bytes,
    /// The range asked for; meaningless in the corrupt units.
    pub(crate) bytes: Bytes,
    /// Units that the range touches and that fail their checksum.
    pub(crate) corrupt: Vec<u32>,
}

impl Loaded {
    /// What is kept with the shard; `None` when it is not this shard's.
    pub(crate) fn header(&self, key: ShardKey) -> Option<ShardHeader> {
        minicbor::decode(&self.description).ok().filter(|header: &ShardHeader| header.key == key)
    }
}

impl<D: Device> Shared<D> {
    pub(crate) fn new(device: D, salt: HeaderSalt, capacity: u64) -> Self {
        Self { device, salt, capacity, damage: DamageCounts::default(), index: RwLock::default() }
    }

    // A panic leaves the index as it was or with one entry exchanged; both are states that it may have.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and verifies a range of a record, which lies within its payload. An empty range gives the header alone.
    pub(crate) fn load(
        &self,
        key: ShardKey,
        entry: &Entry,
        range: Range<u32>,
        patience: Patience,
    ) -> Result<Loaded, LoadError> {
        /// Up to so many bytes between the table and the range cost less than a second read.
        const JOINED_GAP_BYTES: u32 = 8 << 10;
        let unit = entry.unit.max(1);
        let units = range.start / unit..range.end.div_ceil(unit).max(range.start / unit);
        let covered = units.start * unit..units.end.saturating_mul(unit).min(entry.payload_bytes);
        let covered = covered.start.min(covered.end)..covered.end;
        let front = u64::from(entry.front_bytes);
        let joined = covered.start <= JOINED_GAP_BYTES;
        let first_len = if joined { front + u64::from(covered.end) } else { front };
        let first = self.read(entry.at, first_len, patience)?;
        let (front_bytes, rest) =
            first.split_at_checked(entry.front_bytes as usize).ok_or(LoadError::Corrupt)?;
        let (header, table_bytes) =
            front_bytes.split_first_chunk::<HEADER_BYTES>().ok_or(LoadError::Corrupt)?;
        let record = RecordHeader::decode(header, entry.at, &self.salt)
            .filter(|record| record.key == key && record.seq == entry.seq)
            .ok_or(LoadError::Corrupt)?;
        let table = Table::verify(&record, table_bytes).ok_or(LoadError::Corrupt)?;
        let description = first.slice_ref(table.description);

        let payload = if joined {
            let skipped = first.len() - rest.len() + covered.start as usize;
            first.slice(skipped..)
        } else {
            let at = entry.at + front + u64::from(covered.start);
            self.read(at, u64::from(covered.end - covered.start), patience)?
        };
        let corrupt = units
            .clone()
            .zip(payload.chunks(unit as usize))
            .filter(|(unit, bytes)| !table.matches(*unit as usize, bytes))
            .map(|(unit, _)| unit)
            .collect();
        let bytes =
            payload.slice((range.start - covered.start) as usize..(range.end - covered.start) as usize);
        Ok(Loaded { description, bytes, corrupt })
    }

    fn read(&self, at: u64, len: u64, patience: Patience) -> Result<Bytes, LoadError> {
        // An entry's lengths were bounded when its header was decoded.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        let read = match patience {
            Patience::Waits => self.device.read_at(&mut bytes, at),
            Patience::AtOnce => self.device.read_at_once(&mut bytes, at),
        };
        read.map_err(LoadError::Io)?;
        Ok(bytes.into())
    }
}

/// Reads a store's shards from any thread, beside its writer. Cheap to clone.
#[derive(Debug)]
pub struct Reader<D> {
    shared: Arc<Shared<D>>,
}

impl<D> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<D: Device> Reader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// Bytes `range` of a shard, verified.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, key: ShardKey, range: Range<u32>) -> Result<Bytes, ReadError> {
        if range.is_empty() {
            let entry = self.entry(key).ok_or(ReadError::Absent)?;
            return Err(ReadError::OutOfRange { len: entry.payload_bytes });
        }
        self.load(key, &range).map(|loaded| loaded.bytes)
    }

    /// Bytes `range` of a shard, verified, if they can be had without waiting for the medium. `None` says nothing
    /// about the shard: [`read`](Self::read) does.
    pub fn read_at_once(&self, key: ShardKey, range: Range<u32>) -> Option<Bytes> {
        let entry = self.entry(key)?;
        if range.is_empty() || range.end > entry.payload_bytes {
            return None;
        }
        let loaded = self.shared.load(key, &entry, range, Patience::AtOnce).ok()?;
        loaded.corrupt.is_empty().then_some(loaded.bytes)
    }

    /// What is kept with a shard.
    ///
    /// # Errors
    /// [`ReadError`], but for [`ReadError::OutOfRange`].
    pub fn describe(&self, key: ShardKey) -> Result<ShardHeader, ReadError> {
        let header = self.load(key, &(0..0))?.header(key);
        // Its checksum held, so it was never a description: not to be healed by reading again.
        header.ok_or(ReadError::Corrupt { units: Vec::new() })
    }

    fn load(&self, key: ShardKey, range: &Range<u32>) -> Result<Loaded, ReadError> {
        let mut entry = self.entry(key).ok_or(ReadError::Absent)?;
        loop {
            let len = entry.payload_bytes;
            if range.end > len || range.start > range.end {
                return Err(ReadError::OutOfRange { len });
            }
            let units = match self.shared.load(key, &entry, range.clone(), Patience::Waits) {
                Ok(loaded) if loaded.corrupt.is_empty() => return Ok(loaded),
                Ok(loaded) => loaded.corrupt,
                Err(LoadError::Io(error)) => return Err(ReadError::Io(error)),
                Err(LoadError::Corrupt) => {
                    let unit = entry.unit.max(1);
                    (range.start / unit..range.end.div_ceil(unit)).collect()
                }
            };
            // It may have been deleted, or moved, under our hands.
            match self.entry(key) {
                None => return Err(ReadError::Absent),
                Some(now) if now == entry => {
                    self.shared.damage.reads.fetch_add(1, Ordering::Relaxed);
                    return Err(ReadError::Corrupt { units });
                }
                Some(now) => entry = now,
            }
        }
    }

    fn entry(&self, key: ShardKey) -> Option<Entry> {
        self.shared.index().entries.get(&key).copied()
    }

    /// The keys after `after`, or from the first on, in order: at most `limit`.
    pub fn list(&self, after: Option<ShardKey>, limit: usize) -> Vec<ShardKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.shared.index().entries.range((from, Bound::Unbounded)).take(limit).map(|(key, _)| *key).collect()
    }

    /// The drive's account now.
    pub fn usage(&self) -> Usage {
        let counts = &self.shared.damage;
        let damage = Damage {
            superblocks: counts.superblocks.load(Ordering::Relaxed),
            records: counts.records.load(Ordering::Relaxed),
            torn: counts.torn.load(Ordering::Relaxed),
            reads: counts.reads.load(Ordering::Relaxed),
        };
        let index = self.shared.index();
        Usage {
            capacity: ByteCount::new(self.shared.capacity),
            used: ByteCount::new(index.used),
            writable: ByteCount::new(index.writable),
            shards: index.entries.len() as u64,
            damage,
        }
    }
}
