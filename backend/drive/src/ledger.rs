//! Which records count, and which segments can be given back.
//!
//! A record on the device is *live* (the newest of its key, and a shard), *dead* (deleted or replaced), or a
//! tombstone. A tombstone counts while a dead record of its key is still on the device: without it that record would
//! come back at the next replay. A sealed segment in which nothing counts is *empty* and can be given back.

use std::collections::{BTreeMap, BTreeSet};

use weft_wire::drive::ShardKey;

use crate::segment::{SegmentKind, SegmentMap, SegmentState};

/// Where a live record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: u64,
    pub(crate) seq: u64,
    pub(crate) front_bytes: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) unit: u32,
    /// Bytes on the device, padding included.
    pub(crate) footprint: u32,
}

/// What readers share with the writer.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) entries: BTreeMap<ShardKey, Entry>,
    /// Footprints of all entries.
    pub(crate) used: u64,
    /// Bytes of records that can be appended before a segment must be given back.
    pub(crate) writable: u64,
}

/// One segment's account.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) state: SegmentState,
    pub(crate) kind: SegmentKind,
    pub(crate) generation: u64,
    /// It may hold bytes of an earlier generation: erase before use.
    pub(crate) stale: bool,
    /// Live records and tombstones that count.
    counting: u32,
    /// Keys of the dead records in it.
    dead: Vec<ShardKey>,
}

impl Segment {
    pub(crate) fn new(state: SegmentState, kind: SegmentKind, generation: u64) -> Self {
        Self { state, kind, generation, stale: true, counting: 0, dead: Vec::new() }
    }

    fn has_tombstones(&self) -> bool {
        self.state != SegmentState::Free && self.kind == SegmentKind::Tombstones
    }

    /// Whether nothing in it counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.counting == 0
    }
}

/// Dead records of a key that are still on the device.
#[derive(Debug, Default)]
struct Grave {
    dead: u32,
    /// The segment of the newest tombstone.
    tombstone: Option<usize>,
}

/// The writer's account of the device.
#[derive(Debug)]
pub(crate) struct Ledger {
    map: SegmentMap,
    pub(crate) segments: Vec<Segment>,
    graves: BTreeMap<ShardKey, Grave>,
    /// Segments in which nothing counts any more, perhaps.
    emptied: BTreeSet<usize>,
    free: usize,
    /// Segments with deletions.
    tombstones: usize,
}

impl Ledger {
    pub(crate) fn new(map: SegmentMap, segments: Vec<Segment>) -> Self {
        let emptied = (0..segments.len()).collect();
        let count = |wanted: fn(&Segment) -> bool| segments.iter().filter(|s| wanted(s)).count();
        let free = count(|segment| segment.state == SegmentState::Free);
        let tombstones = count(Segment::has_tombstones);
        Self { map, segments, graves: BTreeMap::new(), emptied, free, tombstones }
    }

    /// A shard was appended; it replaces the one of its key, which is returned.
    pub(crate) fn stored(&mut self, index: &mut Index, key: ShardKey, entry: Entry) -> Option<Entry> {
        let replaced = index.entries.insert(key, entry);
        index.used += u64::from(entry.footprint);
        self.segments[self.map.segment_at(entry.at)].counting += 1;
        if let Some(old) = replaced {
            self.bury(index, key, &old);
        }
        replaced
    }

    /// A tombstone was appended at `at`; the entry that it cancels is returned.
    pub(crate) fn deleted(&mut self, index: &mut Index, key: ShardKey, at: u64) -> Option<Entry> {
        let cancelled = index.entries.remove(&key);
        if let Some(old) = &cancelled {
            self.bury(index, key, old);
        }
        let segment = self.map.segment_at(at);
        if let Some(grave) = self.graves.get_mut(&key) {
            self.segments[segment].counting += 1;
            if let Some(older) = grave.tombstone.replace(segment) {
                self.discount(older);
            }
        }
        cancelled
    }

    fn bury(&mut self, index: &mut Index, key: ShardKey, entry: &Entry) {
        let segment = self.map.segment_at(entry.at);
        index.used = index.used.saturating_sub(u64::from(entry.footprint));
        self.segments[segment].dead.push(key);
        self.graves.entry(key).or_default().dead += 1;
        self.discount(segment);
    }

    fn discount(&mut self, segment: usize) {
        let account = &mut self.segments[segment];
        account.counting = account.counting.saturating_sub(1);
        if account.counting == 0 {
            self.emptied.insert(segment);
        }
    }

    /// A free segment is in use from now on.
    pub(crate) fn opened(&mut self, segment: usize, kind: SegmentKind, generation: u64) {
        self.segments[segment] = Segment::new(SegmentState::Open, kind, generation);
        self.free = self.free.saturating_sub(1);
        self.tombstones += usize::from(kind == SegmentKind::Tombstones);
    }

    /// A segment is full, or abandoned.
    pub(crate) fn sealed(&mut self, segment: usize) {
        self.segments[segment].state = SegmentState::Sealed;
        self.emptied.insert(segment);
    }

    /// Sealed segments in which nothing counts.
    pub(crate) fn empty_segments(&mut self) -> Vec<usize> {
        let segments = &self.segments;
        self.emptied.retain(|segment| {
            let account = &segments[*segment];
            account.is_empty() && account.state != SegmentState::Free
        });
        let sealed = |segment: &usize| segments[*segment].state == SegmentState::Sealed;
        self.emptied.iter().copied().filter(sealed).collect()
    }

    /// A segment's records count no more, durably; tombstones that only cancelled those stop to count. Its bytes may
    /// be there still: `stale`.
    pub(crate) fn freed(&mut self, segment: usize, generation: u64, stale: bool) {
        let account = &mut self.segments[segment];
        self.free += 1;
        self.tombstones = self.tombstones.saturating_sub(usize::from(account.has_tombstones()));
        let dead = std::mem::take(&mut account.dead);
        *account = Segment { stale, ..Segment::new(SegmentState::Free, SegmentKind::Shards, generation) };
        for key in dead {
            let Some(grave) = self.graves.get_mut(&key) else { continue };
            grave.dead = grave.dead.saturating_sub(1);
            if grave.dead == 0
                && let Some(Grave { tombstone: Some(tombstone), .. }) = self.graves.remove(&key)
            {
                self.discount(tombstone);
            }
        }
    }

    /// The lowest free segment that a kind may open. Shards leave the headroom to deletions; segments that those
    /// took already count as part of it, but for one that is always left.
    pub(crate) fn free_segment(&self, kind: SegmentKind) -> Option<usize> {
        if kind == SegmentKind::Shards && self.free_for_shards() == 0 {
            return None;
        }
        self.segments.iter().position(|segment| segment.state == SegmentState::Free)
    }

    /// Free segments that shards may open.
    pub(crate) fn free_for_shards(&self) -> usize {
        self.free.saturating_sub(self.map.headroom().saturating_sub(self.tombstones).max(1))
    }
}
