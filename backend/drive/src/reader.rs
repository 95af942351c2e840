//! The readers' side of a device: verified bytes, descriptions, listings, accounts.

use std::io;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use weft_types::ByteCount;
use weft_wire::drive::{ShardHeader, ShardKey};

use crate::key::{ItemKey, RecordKey};
use crate::ledger::Index;
use crate::record::Entry;
use crate::scan::FoundSegment;
use crate::segment::SegmentMap;
use crate::superblock::HeaderSalt;
use weft_device::{Device, IoCounters};

mod load;

pub(crate) use load::LoadError;
use load::{Loaded, Plan};

/// What a store and its readers have in common.
#[derive(Debug)]
pub(crate) struct Shared<D> {
    pub(crate) device: D,
    pub(crate) salt: HeaderSalt,
    pub(crate) damage: DamageCounts,
    pub(crate) map: SegmentMap,
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
    /// Bytes of the shards and items that it holds, their headers included.
    pub used: ByteCount,
    /// Bytes of shards, their headers included, that can still be put: what is free and what cleaning gives back.
    pub writable: ByteCount,
    /// Shards that it holds.
    pub shards: u64,
    /// Items that it holds.
    pub items: u64,
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

impl<D: Device> Shared<D> {
    pub(crate) fn new(device: D, salt: HeaderSalt, map: SegmentMap) -> Self {
        Self { device, salt, map, damage: DamageCounts::default(), index: RwLock::default() }
    }

    // A panic leaves the index as it was or with some records exchanged; all are states that it may have.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_damaged_read(&self) {
        self.damage.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// A whole shard, as far as it can be verified.
    pub(crate) fn load_all(&self, key: ShardKey) -> Result<Loaded, LoadError> {
        let plan = self.plan(&RecordKey::Shard(key), Wanted::All).map_err(|_| LoadError::Corrupt)?;
        plan.load(&self.salt, |range| self.read_waiting(range))
    }

    fn read_waiting(&self, range: Range<u64>) -> io::Result<Bytes> {
        // An entry's lengths were bounded when its header was decoded.
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
        self.device.read_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }

    /// How to read a range of what is stored under a key now.
    fn plan(&self, key: &RecordKey, range: Wanted) -> Result<Plan, ReadError> {
        let index = self.index();
        let entry = *index.get(key).ok_or(ReadError::Absent)?;
        let segment = self.map.segment_at(entry.at);
        let generation = index.generations.get(segment).copied().unwrap_or_default();
        drop(index);
        let range = range.within(&entry).ok_or(ReadError::OutOfRange { len: entry.payload_bytes })?;
        Ok(Plan::new(key.clone(), entry, generation, range))
    }
}

/// Which bytes of a record are wanted.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// The description alone.
    Description,
    /// A range that is not empty.
    Part(Range<u32>),
    /// The whole payload.
    All,
}

impl Wanted {
    fn within(&self, entry: &Entry) -> Option<Range<u32>> {
        match self {
            Self::Description => Some(0..0),
            Self::All => Some(0..entry.payload_bytes),
            Self::Part(range) if range.is_empty() || range.end > entry.payload_bytes => None,
            Self::Part(range) => Some(range.clone()),
        }
    }
}

/// Takes the outcome of a read.
type Done = Box<dyn FnOnce(Result<Loaded, ReadError>) + Send>;

/// Reads what a store holds from any thread, beside its writer: what is durable, and nothing else. Cheap to clone.
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
        self.load(&RecordKey::Shard(key), &Wanted::Part(range)).map(|loaded| loaded.bytes)
    }

    /// Bytes `range` of a shard, verified, if they can be had without waiting for the medium. `None` says nothing
    /// about the shard: [`read`](Self::read) does.
    pub fn read_at_once(&self, key: ShardKey, range: Range<u32>) -> Option<Bytes> {
        let plan = self.shared.plan(&RecordKey::Shard(key), Wanted::Part(range)).ok()?;
        let read = |range: Range<u64>| {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
            self.shared.device.read_at_once(&mut bytes, range.start).map(|()| Bytes::from(bytes))
        };
        let loaded = plan.load(&self.shared.salt, read).ok()?;
        loaded.corrupt.is_empty().then_some(loaded.bytes)
    }

    /// As [`read`](Self::read), without making the caller wait where the device can: `done` is called once, on this
    /// or on a thread of the device, which it must not hold up.
    pub fn read_then(
        &self,
        key: ShardKey,
        range: Range<u32>,
        done: impl FnOnce(Result<Bytes, ReadError>) + Send + 'static,
    ) {
        let done: Done = Box::new(|loaded| done(loaded.map(|loaded| loaded.bytes)));
        load::start(Arc::clone(&self.shared), RecordKey::Shard(key), Wanted::Part(range), done);
    }

    /// What is kept with a shard.
    ///
    /// # Errors
    /// [`ReadError`], but for [`ReadError::OutOfRange`].
    pub fn describe(&self, key: ShardKey) -> Result<ShardHeader, ReadError> {
        described(key, &self.load(&RecordKey::Shard(key), &Wanted::Description)?)
    }

    /// As [`describe`](Self::describe), without making the caller wait where the device can: see
    /// [`read_then`](Self::read_then).
    pub fn describe_then(
        &self,
        key: ShardKey,
        done: impl FnOnce(Result<ShardHeader, ReadError>) + Send + 'static,
    ) {
        let done: Done = Box::new(move |loaded| done(loaded.and_then(|loaded| described(key, &loaded))));
        load::start(Arc::clone(&self.shared), RecordKey::Shard(key), Wanted::Description, done);
    }

    /// The value of an item, verified.
    ///
    /// # Errors
    /// [`ReadError`], but for [`ReadError::OutOfRange`].
    pub fn read_item(&self, key: &ItemKey) -> Result<Bytes, ReadError> {
        self.load(&RecordKey::Item(key.clone()), &Wanted::All).map(|loaded| loaded.bytes)
    }

    /// As [`read_item`](Self::read_item), without making the caller wait where the device can: see
    /// [`read_then`](Self::read_then).
    pub fn read_item_then(&self, key: ItemKey, done: impl FnOnce(Result<Bytes, ReadError>) + Send + 'static) {
        let done: Done = Box::new(|loaded| done(loaded.map(|loaded| loaded.bytes)));
        load::start(Arc::clone(&self.shared), RecordKey::Item(key), Wanted::All, done);
    }

    fn load(&self, key: &RecordKey, wanted: &Wanted) -> Result<Loaded, ReadError> {
        let mut plan = self.shared.plan(key, wanted.clone())?;
        loop {
            let loaded = plan.load(&self.shared.salt, |range| self.shared.read_waiting(range));
            match load::judge(&self.shared, &plan, wanted, loaded) {
                Ok(outcome) => return outcome,
                Err(again) => plan = *again,
            }
        }
    }

    /// The keys after `after`, or from the first on, in order: at most `limit`.
    pub fn list(&self, after: Option<ShardKey>, limit: usize) -> Vec<ShardKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.shared.index().shards.range((from, Bound::Unbounded)).take(limit).map(|(key, _)| *key).collect()
    }

    /// The items whose keys begin with `prefix` and come after `after`, in order, with the bytes of their values: at
    /// most `limit`.
    pub fn list_items(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)> {
        let first = ItemKey::new(prefix);
        let from = match (&first, after) {
            (Some(first), Some(after)) if after < first => Bound::Included(first),
            (_, Some(after)) => Bound::Excluded(after),
            (Some(first), None) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let index = self.shared.index();
        let items = index.items.range::<ItemKey, _>((from, Bound::Unbounded));
        let within = items.take_while(|(key, _)| key.as_bytes().starts_with(prefix));
        within.take(limit).map(|(key, entry)| (key.clone(), entry.payload_bytes)).collect()
    }

    /// The bytes of an item's value, if there is such an item.
    pub fn item_bytes(&self, key: &ItemKey) -> Option<u32> {
        self.shared.index().items.get(key).map(|entry| entry.payload_bytes)
    }

    /// What went wrong at the device since it was opened.
    pub fn io_counters(&self) -> IoCounters {
        self.shared.device.counters()
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
            capacity: ByteCount::new(self.shared.map.capacity()),
            used: ByteCount::new(index.used),
            writable: ByteCount::new(index.writable),
            shards: index.shards.len() as u64,
            items: index.items.len() as u64,
            damage,
        }
    }
}

fn described(key: ShardKey, loaded: &Loaded) -> Result<ShardHeader, ReadError> {
    // Its checksum held, so what is not this shard's never was a description: not to be healed by reading again.
    loaded.header(key).ok_or(ReadError::Corrupt { units: Vec::new() })
}
