//! The cleaner: moves what counts out of segments in which little does, so that they can be given back.
//!
//! Moved records have a tail of their own, and one free segment is kept for it: whatever is full, cleaning goes on.
//! A victim's records are read, verified and appended under new sequences; once that is durable nothing counts in the
//! victim. What is damaged is moved as it is where its table still tells which bytes are, and stays otherwise.

use std::vec::IntoIter;

use weft_device::Device;

use super::group::Content;
use super::{DeviceFailed, Store};
use crate::ledger::Segment;
use crate::record::{Body, Record};
use crate::scan::verified;
use crate::segment::{BLOCK, SegmentKind, SegmentState};

/// The most bytes moved between two groups while there is room.
const STEP_BYTES: u64 = 1 << 20;
/// The same when room is short.
const URGENT_STEP_BYTES: u64 = 8 << 20;
/// Keys with dead records beyond as many as are live: their memory is worth cleaning for.
const GRAVES_SPARE: usize = 1 << 17;

/// A segment that is being cleaned.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) segment: usize,
    records: IntoIter<Record>,
    /// Some of it cannot be moved.
    stuck: bool,
    /// Some of it was.
    moved: bool,
}

/// What became of a record that was to be moved.
enum Moved {
    Done,
    Unreadable,
    NoRoom,
}

impl<D: Device> Store<D> {
    /// Cleans a little, for which nothing may wait to be flushed; says whether there may be more to do. When `idle`,
    /// nobody waits for the device: what was done is durable on return, and more is worth doing. Otherwise it becomes
    /// durable with the next flush.
    ///
    /// # Errors
    /// As of [`flush`](Self::flush).
    pub fn clean(&mut self, idle: bool) -> Result<bool, DeviceFailed> {
        self.check()?;
        if !self.group.is_empty() {
            self.commit()?;
        }
        let Some(least) = self.least_dead(idle) else { return Ok(false) };
        self.host_full = false;
        if self.victim.is_none() && !self.choose(least) {
            return if idle { self.abandon_dead_tail(self.map.segment_bytes / 2) } else { Ok(false) };
        }
        let short = self.is_short();
        let went_on = self.go_on(if short { URGENT_STEP_BYTES } else { STEP_BYTES }, least)?;
        if idle {
            self.commit()?;
        }
        Ok(went_on)
    }

    /// Gives back a segment, or a part of one, for a record that finds no room; `false` when nothing can be. A
    /// deletion is worth moving much for little: it is what makes room.
    pub(super) fn relieve(&mut self, deletes: bool) -> Result<bool, DeviceFailed> {
        let before = self.ledger.free();
        self.commit()?;
        if self.ledger.free() > before {
            return Ok(true);
        }
        let worth = self.map.worth_cleaning();
        self.host_full = false;
        if self.victim.is_none() && !self.choose(worth) {
            if self.abandon_dead_tail(worth)? {
                return Ok(true);
            }
            // Moving loses up to two blocks to padding.
            if !deletes || !self.choose(2 * BLOCK + 1) {
                return Ok(false);
            }
        }
        let went_on = self.go_on(u64::MAX, worth)?;
        self.commit()?;
        Ok(went_on)
    }

    /// Moves some of the victim, or of another when the host has no space for a segment to move it to.
    fn go_on(&mut self, most: u64, least: u64) -> Result<bool, DeviceFailed> {
        let went_on = self.move_some(most)?;
        if went_on || !self.host_full {
            return Ok(went_on);
        }
        Ok(self.choose(least) && self.move_some(most)?)
    }

    fn is_short(&self) -> bool {
        let (open, _) = self.ledger.free_for(SegmentKind::Shards, false);
        open == 0 || self.ledger.free() < self.map.count / 16
    }

    /// Dead bytes from which on a segment is cleaned now; `None` when none is.
    fn least_dead(&self, idle: bool) -> Option<u64> {
        let index = self.shared.index();
        let live = index.shards.len() + index.items.len();
        if self.is_short() || self.ledger.graves() > live + GRAVES_SPARE {
            Some(self.map.worth_cleaning())
        } else if self.ledger.free() < self.map.count / 4 {
            Some(self.map.segment_bytes / 4)
        } else if idle || self.victim.is_some() {
            Some(self.map.segment_bytes / 2)
        } else {
            None
        }
    }

    /// Makes the segment with the best yield the victim: much dead for little to move, and old rather than young,
    /// as more of a young one is about to die.
    pub(super) fn choose(&mut self, least: u64) -> bool {
        let now = u128::from(self.next_seq);
        // Without a free segment to go on in, only what fits is worth beginning.
        let room = self.tails.get(SegmentKind::Moved).map_or(0, |tail| tail.room());
        let most_live = if self.ledger.free() == 0 || self.host_full { room } else { u64::MAX };
        let sealed = self.ledger.segments().iter().enumerate().filter(|(_, segment)| {
            let worth = segment.dead() >= least && segment.live() <= most_live;
            segment.state == SegmentState::Sealed && !segment.pinned && worth
        });
        let yields = |segment: &Segment| {
            let age = now.saturating_sub(segment.generation.into()).min(1 << 40);
            u128::from(segment.dead()) * age / u128::from(segment.live() + segment.written() + 1)
        };
        let best = sealed.max_by_key(|(_, segment)| yields(segment)).map(|(segment, _)| segment);
        let Some(segment) = best else { return false };
        let records = self.records_of(segment);
        let stuck = records.is_empty();
        self.victim = Some(Victim { segment, records: records.into_iter(), stuck, moved: false });
        true
    }

    /// Moves records of the victim, up to about so many bytes; `false` when none found room.
    pub(super) fn move_some(&mut self, most: u64) -> Result<bool, DeviceFailed> {
        let Some(mut victim) = self.victim.take() else { return Ok(false) };
        let mut moved = 0;
        while moved < most {
            let Some(record) = victim.records.next() else {
                self.finish(&victim);
                return Ok(true);
            };
            if !self.ledger.counts(&self.shared.index(), &record) {
                continue;
            }
            moved += record.entry.footprint();
            match self.move_record(record, victim.segment)? {
                Moved::Done => victim.moved = true,
                Moved::Unreadable => victim.stuck = true,
                // What was moved stays moved; the rest is found when the segment is chosen again.
                Moved::NoRoom => return Ok(victim.moved),
            }
        }
        self.victim = Some(victim);
        Ok(true)
    }

    fn finish(&mut self, victim: &Victim) {
        // What counts in it and was not found, where its summary was damaged, would be looked for for ever.
        if (victim.stuck || !victim.moved) && !self.ledger.segments()[victim.segment].is_empty() {
            self.ledger.pin(victim.segment);
        }
    }

    fn move_record(&mut self, record: Record, segment: usize) -> Result<Moved, DeviceFailed> {
        let from = record.entry.at;
        if record.deletes {
            if !self.make_room_for_moved(&record)? {
                return Ok(Moved::NoRoom);
            }
            let body = Body::tombstone(record.key.clone());
            let content = Content { table_crc: crc32c::crc32c(&[]), table: &body.table, payload: &[] };
            self.append_record(SegmentKind::Moved, record, &content, Some(from))?;
            return Ok(Moved::Done);
        }
        let entry = record.entry;
        let mut bytes = vec![0; usize::try_from(entry.footprint()).unwrap_or_default()];
        if let Err(error) = self.shared.device.read_at(&mut bytes, from) {
            tracing::warn!(%error, "cannot read a record that is to be moved");
            self.shared.count_damaged_read();
            return Ok(Moved::Unreadable);
        }
        let generation = self.ledger.segments()[segment].generation;
        let Some((header, is_good)) = verified(&bytes, &record, generation, &self.shared.salt) else {
            self.shared.count_damaged_read();
            return Ok(Moved::Unreadable);
        };
        if !is_good {
            self.shared.count_damaged_read();
        }
        self.set_apart(SegmentKind::Moved, &record.key);
        if !self.make_room_for_moved(&record)? {
            return Ok(Moved::NoRoom);
        }
        let (table, rest) =
            bytes[entry.header_bytes()..].split_at(entry.front_bytes() - entry.header_bytes());
        let payload = &rest[..entry.payload_bytes as usize];
        let content = Content { table_crc: header.table_crc, table, payload };
        self.append_record(SegmentKind::Moved, record, &content, Some(from))?;
        Ok(Moved::Done)
    }

    /// Ends a segment in use of which so much, or all, is dead, so that it can be cleaned or given back; says whether
    /// it did.
    fn abandon_dead_tail(&mut self, least: u64) -> Result<bool, DeviceFailed> {
        let dead = |kind: &SegmentKind| {
            self.tails.get(*kind).is_some_and(|tail| {
                let account = &self.ledger.segments()[tail.segment];
                let nothing_counts = account.is_empty() && account.written() > 0;
                nothing_counts || account.dead() >= least
            })
        };
        let Some(kind) = SegmentKind::ALL.into_iter().find(dead) else { return Ok(false) };
        let segment = self.tails.get(kind).map(|tail| tail.segment);
        self.seal(kind)?;
        segment.into_iter().for_each(|segment| self.ledger.abandoned(segment));
        self.commit()?;
        Ok(true)
    }
}
