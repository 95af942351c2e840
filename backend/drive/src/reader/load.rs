//! Reading a part of a record, and verifying it.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use weft_device::Device;
use weft_wire::drive::{ShardHeader, ShardKey};

use super::{Done, ReadError, Shared, Wanted};
use crate::key::RecordKey;
use crate::record::{Entry, RecordHeader, Table};
use crate::superblock::HeaderSalt;

/// Why a record's table cannot be had.
#[derive(Debug)]
pub(crate) enum LoadError {
    Corrupt,
    Io(io::Error),
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

/// Which bytes of the device a part of a record takes.
#[derive(Debug)]
pub(crate) struct Plan {
    key: RecordKey,
    entry: Entry,
    generation: u64,
    /// Of the payload.
    range: Range<u32>,
    /// Checksum units that the range touches.
    units: Range<u32>,
    /// All bytes of those.
    covered: Range<u32>,
    /// Header and table, and the covered bytes where they follow soon.
    first: Range<u64>,
    /// The covered bytes, where they do not.
    second: Option<Range<u64>>,
}

impl Plan {
    /// `range` lies within the payload; an empty one takes the description alone.
    pub(super) fn new(key: RecordKey, entry: Entry, generation: u64, range: Range<u32>) -> Self {
        /// Up to so many bytes between the table and the range cost less than a second read.
        const JOINED_GAP_BYTES: u32 = 8 << 10;
        let unit = entry.unit.max(1);
        let units = range.start / unit..range.end.div_ceil(unit).max(range.start / unit);
        let end = units.end.saturating_mul(unit).min(entry.payload_bytes);
        let covered = (units.start * unit).min(end)..end;
        let payload = entry.at + entry.front_bytes() as u64;
        let on_device = payload + u64::from(covered.start)..payload + u64::from(covered.end);
        let (first, second) = if covered.start <= JOINED_GAP_BYTES {
            (entry.at..on_device.end, None)
        } else {
            (entry.at..payload, Some(on_device))
        };
        Self { key, entry, generation, range, units, covered, first, second }
    }

    /// Reads by `read` and verifies.
    pub(super) fn load(
        &self,
        salt: &HeaderSalt,
        mut read: impl FnMut(Range<u64>) -> io::Result<Bytes>,
    ) -> Result<Loaded, LoadError> {
        let first = read(self.first.clone()).map_err(LoadError::Io)?;
        let second = self.second.clone().map(read).transpose().map_err(LoadError::Io)?;
        self.verify(salt, &first, second)
    }

    fn verify(&self, salt: &HeaderSalt, first: &Bytes, second: Option<Bytes>) -> Result<Loaded, LoadError> {
        let (front, rest) = first.split_at_checked(self.entry.front_bytes()).ok_or(LoadError::Corrupt)?;
        let header = RecordHeader::decode(front, self.entry.at, salt)
            .filter(|header| header.record.key == self.key && header.record.entry == self.entry)
            .filter(|header| header.generation == self.generation && !header.record.deletes)
            .ok_or(LoadError::Corrupt)?;
        let table = Table::verify(&header, &front[self.entry.header_bytes()..]).ok_or(LoadError::Corrupt)?;
        let description = first.slice_ref(table.description);
        let payload = second.unwrap_or_else(|| {
            let skipped = first.len() - rest.len() + self.covered.start as usize;
            first.slice(skipped.min(first.len())..)
        });
        let wanted =
            (self.range.start - self.covered.start) as usize..(self.range.end - self.covered.start) as usize;
        if payload.len() < wanted.end {
            return Err(LoadError::Corrupt);
        }
        let chunks = payload.chunks(self.entry.unit.max(1) as usize);
        let corrupt = self
            .units
            .clone()
            .zip(chunks)
            .filter(|(unit, bytes)| !table.matches(*unit as usize, bytes))
            .map(|(unit, _)| unit)
            .collect();
        Ok(Loaded { description, bytes: payload.slice(wanted), corrupt })
    }
}

/// The outcome of a read, or how to read again: the record may have been moved or deleted meanwhile.
pub(super) fn judge<D: Device>(
    shared: &Shared<D>,
    plan: &Plan,
    wanted: &Wanted,
    loaded: Result<Loaded, LoadError>,
) -> Result<Result<Loaded, ReadError>, Box<Plan>> {
    let units = match loaded {
        Ok(loaded) if loaded.corrupt.is_empty() => return Ok(Ok(loaded)),
        Ok(loaded) => loaded.corrupt,
        Err(LoadError::Io(error)) => return Ok(Err(ReadError::Io(error))),
        Err(LoadError::Corrupt) => plan.units.clone().collect(),
    };
    match shared.plan(&plan.key, wanted.clone()) {
        Err(error) => Ok(Err(error)),
        Ok(now) if now.entry == plan.entry && now.generation == plan.generation => {
            shared.count_damaged_read();
            Ok(Err(ReadError::Corrupt { units }))
        }
        Ok(now) => Err(Box::new(now)),
    }
}

/// Reads without waiting, where the device can; `done` is called once.
pub(super) fn start<D: Device>(shared: Arc<Shared<D>>, key: RecordKey, wanted: Wanted, done: Done) {
    match shared.plan(&key, wanted.clone()) {
        Ok(plan) => run(shared, plan, wanted, done),
        Err(error) => done(Err(error)),
    }
}

fn run<D: Device>(shared: Arc<Shared<D>>, plan: Plan, wanted: Wanted, done: Done) {
    let (first, second) = (plan.first.clone(), plan.second.clone());
    let parts = Arc::clone(&shared);
    let whole = Arc::new(Mutex::new(Some(Parts {
        first: None,
        second: second.is_none().then_some(Ok(None)),
        then: Box::new(move |first, second| {
            let loaded = match (first, second) {
                (Ok(first), Ok(second)) => plan.verify(&shared.salt, &first, second),
                (Err(error), _) | (_, Err(error)) => Err(LoadError::Io(error)),
            };
            match judge(&shared, &plan, &wanted, loaded) {
                Ok(outcome) => done(outcome),
                Err(again) => run(shared, *again, wanted, done),
            }
        }),
    })));
    if let Some(range) = second {
        let whole = Arc::clone(&whole);
        parts.device.read_then(
            range,
            Box::new(move |read| Parts::arrived(&whole, |parts| parts.second = Some(read.map(Some)))),
        );
    }
    parts
        .device
        .read_then(first, Box::new(move |read| Parts::arrived(&whole, |parts| parts.first = Some(read))));
}

type Then = Box<dyn FnOnce(io::Result<Bytes>, io::Result<Option<Bytes>>) + Send>;

/// Two reads that are under way together.
struct Parts {
    first: Option<io::Result<Bytes>>,
    second: Option<io::Result<Option<Bytes>>>,
    then: Then,
}

impl Parts {
    fn arrived(whole: &Mutex<Option<Self>>, take: impl FnOnce(&mut Self)) {
        let mut waiting = whole.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(parts) = waiting.as_mut() else { return };
        take(parts);
        if parts.first.is_none() || parts.second.is_none() {
            return;
        }
        let complete = waiting.take();
        drop(waiting);
        if let Some(Self { first: Some(first), second: Some(second), then }) = complete {
            then(first, second);
        }
    }
}
