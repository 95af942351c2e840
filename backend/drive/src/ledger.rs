//! Which records count, and which segments can be given back.
//!
//! A record on the device is *live* (the newest of its key, and no deletion), *dead* (deleted or replaced), or a
//! tombstone. A tombstone counts while its key has dead records on the device and no live one: without it they would
//! come back at the next replay. A sealed segment in which nothing counts is *empty* and can be given back.

use std::collections::{BTreeMap, BTreeSet};

use weft_wire::drive::ShardKey;

use crate::key::{ItemKey, RecordKey};
use crate::record::{Body, Entry, Record};
use crate::segment::{SegmentKind, SegmentMap, SegmentState};

/// What readers share with the writer.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) shards: BTreeMap<ShardKey, Entry>,
    pub(crate) items: BTreeMap<ItemKey, Entry>,
    /// Of all segments: with its place it tells a record from all others that ever stood there.
    pub(crate) generations: Vec<u64>,
    /// Footprints of all entries.
    pub(crate) used: u64,
    /// Bytes of shards that can be put.
    pub(crate) writable: u64,
}

impl Index {
    pub(crate) fn get(&self, key: &RecordKey) -> Option<&Entry> {
        match key {
            RecordKey::Shard(key) => self.shards.get(key),
            RecordKey::Item(key) => self.items.get(key),
        }
    }

    fn insert(&mut self, key: &RecordKey, entry: Entry) -> Option<Entry> {
        self.used += entry.footprint();
        let replaced = match key {
            RecordKey::Shard(key) => self.shards.insert(*key, entry),
            RecordKey::Item(key) => match self.items.get_mut(key) {
                Some(there) => Some(std::mem::replace(there, entry)),
                None => self.items.insert(key.clone(), entry),
            },
        };
        self.forget(replaced)
    }

    fn remove(&mut self, key: &RecordKey) -> Option<Entry> {
        let removed = match key {
            RecordKey::Shard(key) => self.shards.remove(key),
            RecordKey::Item(key) => self.items.remove(key),
        };
        self.forget(removed)
    }

    fn forget(&mut self, entry: Option<Entry>) -> Option<Entry> {
        self.used = self.used.saturating_sub(entry.map_or(0, |entry| entry.footprint()));
        entry
    }
}

/// One segment's account.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) state: SegmentState,
    pub(crate) generation: u64,
    /// It may hold bytes of an earlier generation: erase before use.
    pub(crate) stale: bool,
    /// It holds a record that cannot be moved: leave it until that is replaced or deleted.
    pub(crate) pinned: bool,
    /// Bytes from the first record to the end of the last, or to that of the segment when it was left early.
    written: u64,
    /// Bytes of the live records and of the tombstones that count.
    live: u64,
    /// Their number.
    counting: u32,
}

impl Segment {
    pub(crate) fn new(state: SegmentState, generation: u64) -> Self {
        Self { state, generation, stale: true, pinned: false, written: 0, live: 0, counting: 0 }
    }

    /// Whether nothing in it counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.counting == 0
    }

    /// Bytes that cleaning it would give back.
    pub(crate) fn dead(&self) -> u64 {
        self.written.saturating_sub(self.live)
    }

    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }
}

/// Dead records of a key that are still on the device.
#[derive(Debug, Default)]
struct Grave {
    dead: u32,
    /// Where the tombstone stands that counts; 0 when none does.
    tombstone: u64,
}

/// The writer's account of the device.
#[derive(Debug)]
pub(crate) struct Ledger {
    map: SegmentMap,
    segments: Vec<Segment>,
    graves: BTreeMap<RecordKey, Grave>,
    free: BTreeSet<usize>,
    /// Sealed segments in which nothing counts.
    empty: BTreeSet<usize>,
    /// Bytes that cleaning the segments that are worth it would give back.
    reclaimable: u64,
    /// Bytes of tombstones that count.
    tombstones: u64,
}

impl Ledger {
    pub(crate) fn new(map: SegmentMap, segments: Vec<Segment>) -> Self {
        let in_state = |state| {
            let places = segments.iter().enumerate().filter(move |(_, segment)| segment.state == state);
            places.map(|(place, _)| place).collect()
        };
        let (free, empty) = (in_state(SegmentState::Free), in_state(SegmentState::Sealed));
        Self { map, free, empty, segments, graves: BTreeMap::new(), reclaimable: 0, tombstones: 0 }
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Changes an account, and what is derived of it.
    fn account(&mut self, segment: usize, change: impl FnOnce(&mut Segment)) {
        let least = self.map.worth_cleaning();
        let account = &mut self.segments[segment];
        let worth = |account: &Segment| match account.state {
            SegmentState::Sealed if !account.pinned && account.dead() >= least => account.dead(),
            _ => 0,
        };
        let before = worth(account);
        change(account);
        self.reclaimable = self.reclaimable + worth(account) - before;
        let empty = account.state == SegmentState::Sealed && account.is_empty();
        let free = account.state == SegmentState::Free;
        keep(&mut self.empty, segment, empty);
        keep(&mut self.free, segment, free);
    }

    fn count(&mut self, entry: &Entry) {
        self.account(self.map.segment_at(entry.at), |account| {
            account.live += entry.footprint();
            account.counting += 1;
        });
    }

    fn discount(&mut self, entry: &Entry) {
        self.account(self.map.segment_at(entry.at), |account| {
            account.live = account.live.saturating_sub(entry.footprint());
            account.counting = account.counting.saturating_sub(1);
        });
    }

    /// A record was appended; what it replaces or deletes is returned.
    pub(crate) fn apply(&mut self, index: &mut Index, record: &Record) -> Option<Entry> {
        self.reach(&record.entry);
        if record.deletes {
            return self.deleted(index, &record.key, &record.entry);
        }
        let replaced = index.insert(&record.key, record.entry);
        self.count(&record.entry);
        self.stop_counting_tombstone(&record.key);
        if let Some(old) = &replaced {
            self.bury(&record.key, old);
        }
        replaced
    }

    fn reach(&mut self, entry: &Entry) {
        let segment = self.map.segment_at(entry.at);
        let written = entry.end() - self.map.records(segment).start;
        self.account(segment, |account| account.written = account.written.max(written));
    }

    fn deleted(&mut self, index: &mut Index, key: &RecordKey, tombstone: &Entry) -> Option<Entry> {
        let cancelled = index.remove(key);
        if let Some(old) = &cancelled {
            self.bury(key, old);
        }
        self.stop_counting_tombstone(key);
        if let Some(grave) = self.graves.get_mut(key) {
            grave.tombstone = tombstone.at;
            self.tombstones += tombstone.footprint();
            self.count(tombstone);
        }
        cancelled
    }

    /// The cleaner copied a record: what stood at `from` stands where `record` says.
    pub(crate) fn moved(&mut self, index: &mut Index, from: u64, record: &Record) {
        if record.deletes {
            let counts = self.graves.get(&record.key).is_some_and(|grave| grave.tombstone == from);
            self.reach(&record.entry);
            if counts {
                self.deleted(index, &record.key, &record.entry);
            }
        } else {
            self.apply(index, record);
        }
    }

    fn bury(&mut self, key: &RecordKey, entry: &Entry) {
        match self.graves.get_mut(key) {
            Some(grave) => grave.dead += 1,
            None => {
                self.graves.insert(key.clone(), Grave { dead: 1, tombstone: 0 });
            }
        }
        self.discount(entry);
    }

    fn stop_counting_tombstone(&mut self, key: &RecordKey) {
        let Some(grave) = self.graves.get_mut(key) else { return };
        let at = std::mem::take(&mut grave.tombstone);
        self.discount_tombstone(key, at);
    }

    fn discount_tombstone(&mut self, key: &RecordKey, at: u64) {
        if at != 0 {
            let tombstone = Entry { at, ..Body::tombstone(key.clone()).layout };
            self.tombstones = self.tombstones.saturating_sub(tombstone.footprint());
            self.discount(&tombstone);
        }
    }

    /// Whether a record counts.
    pub(crate) fn counts(&self, index: &Index, record: &Record) -> bool {
        if record.deletes {
            self.graves.get(&record.key).is_some_and(|grave| grave.tombstone == record.entry.at)
        } else {
            index.get(&record.key).is_some_and(|entry| entry.at == record.entry.at)
        }
    }

    /// Whether dead records of a key are on the device.
    pub(crate) fn has_dead(&self, key: &RecordKey) -> bool {
        self.graves.contains_key(key)
    }

    /// Keys of which dead records are on the device.
    pub(crate) fn graves(&self) -> usize {
        self.graves.len()
    }

    /// Bytes of tombstones that count.
    pub(crate) fn tombstone_bytes(&self) -> u64 {
        self.tombstones
    }

    /// Bytes that the cleaner can give back.
    pub(crate) fn reclaimable(&self) -> u64 {
        self.reclaimable
    }
}

/// Segments.
impl Ledger {
    /// A free segment is in use from now on.
    pub(crate) fn opened(&mut self, segment: usize, generation: u64) {
        self.account(segment, |account| *account = Segment::new(SegmentState::Open, generation));
    }

    /// A segment is full, or abandoned.
    pub(crate) fn sealed(&mut self, segment: usize) {
        self.account(segment, |account| account.state = SegmentState::Sealed);
    }

    /// A segment was sealed long before it was full: what it never took counts as dead.
    pub(crate) fn abandoned(&mut self, segment: usize) {
        let records = self.map.records(segment);
        self.account(segment, |account| account.written = records.end - records.start);
    }

    /// What counts in a segment cannot be moved.
    pub(crate) fn pin(&mut self, segment: usize) {
        self.account(segment, |account| account.pinned = true);
    }

    /// Sealed segments in which nothing counts.
    pub(crate) fn empty_segments(&self) -> Vec<usize> {
        self.empty.iter().copied().collect()
    }

    /// A segment's records count no more, durably; tombstones that only cancelled those stop to count. Its bytes may
    /// be there still: `stale`.
    pub(crate) fn freed(&mut self, segment: usize, generation: u64, stale: bool, records: &[Record]) {
        self.account(segment, |account| {
            *account = Segment { stale, ..Segment::new(SegmentState::Free, generation) };
        });
        for record in records.iter().filter(|record| !record.deletes) {
            let Some(grave) = self.graves.get_mut(&record.key) else { continue };
            grave.dead = grave.dead.saturating_sub(1);
            if grave.dead == 0 {
                let tombstone = grave.tombstone;
                self.graves.remove(&record.key);
                self.discount_tombstone(&record.key, tombstone);
            }
        }
    }

    /// Free segments that a kind may open; the lowest of them.
    pub(crate) fn free_for(&self, kind: SegmentKind, deletes: bool) -> (usize, Option<usize>) {
        let open = self.free.len().saturating_sub(self.map.kept_free_from(kind, deletes));
        (open, self.free.first().copied().filter(|_| open > 0))
    }

    /// Free segments.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }
}

fn keep(set: &mut BTreeSet<usize>, segment: usize, belongs: bool) {
    if belongs {
        set.insert(segment);
    } else {
        set.remove(&segment);
    }
}
