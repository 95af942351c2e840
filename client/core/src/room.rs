//! The room of the filesystem, as far as this mount knows it, and what of it is spoken for.
//!
//! Room is counted as the owner counts it: net of parity. What is dirty takes more than its bytes, and small extents,
//! which are mirrored, take much more; so every byte and every extent has its price.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use weft_layout::{Protection, SLOT_BYTES};

use crate::file::FileState;

/// What drives hold reaches the owner by two heartbeats, each a second apart, and one may be lost.
pub(crate) const LAG: Duration = Duration::from_secs(3);
/// Commits so near each other are counted together.
const STEP: Duration = Duration::from_millis(100);
/// This part of the capacity is kept for compaction, which needs room to make room; at most [`RESERVE_MAX`].
const RESERVE_PART: u64 = 128;
const RESERVE_MAX: u64 = 64 << 20;
/// Bytes that a drive keeps with each shard: its header, checksums, and where it lies.
const SHARD_BYTES: u64 = 512;

/// What the owner said last, and what was committed that it may not have counted.
#[derive(Debug)]
pub(crate) struct Room {
    /// Net bytes that an extent takes at most, whatever it holds.
    per_extent: u64,
    /// Extents that all dirty bytes would make.
    extents: AtomicU64,
    answer: Mutex<Answer>,
}

#[derive(Debug, Default)]
struct Answer {
    free: u64,
    reserve: u64,
    /// When it was asked for.
    asked: Option<Instant>,
    /// What was committed since, or so shortly before that it may not be counted.
    committed: VecDeque<(Instant, u64)>,
}

impl Answer {
    fn left(&self) -> u64 {
        self.free.saturating_sub(self.committed.iter().map(|(_, bytes)| bytes).sum())
    }
}

impl Room {
    pub(crate) fn new(protection: Protection) -> Self {
        let (data, parity, width) =
            (u64::from(protection.data()), u64::from(protection.parity()), u64::from(protection.width()));
        // Parity is as long as the longest shard: at most a slot more than its share, in each of its shards. The last
        // block takes a slot, however short it is. A mirrored extent takes less than both.
        let stored = parity * u64::from(SLOT_BYTES) + width * SHARD_BYTES;
        let per_extent = (stored * data).div_ceil(width) + u64::from(SLOT_BYTES);
        Self { per_extent, extents: AtomicU64::new(0), answer: Mutex::default() }
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What so many bytes in so many extents take at most: slots hold tags and padding beside their blocks.
    pub(crate) const fn cost(&self, bytes: u64, extents: u64) -> u64 {
        let padding = (bytes >> 6) + (bytes >> 8);
        bytes.saturating_add(padding).saturating_add(extents.saturating_mul(self.per_extent))
    }

    /// File bytes that fit into so much room, in extents so long that their number does not count.
    pub(crate) const fn fits(room: u64) -> u64 {
        room - room / 261 * 5
    }

    /// Looks at how many extents a file's dirty bytes would make now. To be called when that may have changed.
    pub(crate) fn count(&self, state: &mut FileState) {
        let now = state.dirty.extents();
        let before = core::mem::replace(&mut state.counted_extents, now);
        if now >= before {
            self.extents.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.extents.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Extents that all dirty bytes would make.
    pub(crate) fn extents(&self) -> u64 {
        self.extents.load(Ordering::Relaxed)
    }

    /// What `dirty` bytes of all files take when they are written, and one extent more.
    pub(crate) fn pending(&self, dirty: u64) -> u64 {
        if dirty == 0 { 0 } else { self.cost(dirty, self.extents.load(Ordering::Relaxed) + 1) }
    }

    /// The owner was asked how much is left of how much, and said so.
    pub(crate) fn learn(&self, asked: Instant, free: u64, capacity: u64) {
        let mut answer = self.answer();
        answer.free = free;
        answer.reserve = (capacity / RESERVE_PART).min(RESERVE_MAX);
        answer.asked = Some(asked);
        // The first commit of a step says when; the last one is counted as long.
        let counted = |at: &Instant| asked.saturating_duration_since(*at) > LAG + STEP;
        while answer.committed.front().is_some_and(|(at, _)| counted(at)) {
            answer.committed.pop_front();
        }
    }

    /// What is left for writes, beside what was committed and may not be counted yet.
    pub(crate) fn left(&self) -> u64 {
        let answer = self.answer();
        answer.left().saturating_sub(answer.reserve)
    }

    /// Whether there is room for so much; the owner knows better when this says no.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.left() >= bytes
    }

    /// As [`has`](Self::has), for what makes room afterwards.
    pub(crate) fn has_in_reserve(&self, bytes: u64) -> bool {
        self.answer().left() >= bytes
    }

    /// Whether there may be room for so much all the same: what was committed may be counted twice. The owner knows
    /// a moment later.
    pub(crate) fn may_have(&self, bytes: u64) -> bool {
        let answer = self.answer();
        !answer.committed.is_empty() && answer.free.saturating_sub(answer.reserve) >= bytes
    }

    /// So much was committed: it is no longer dirty, and the owner may not count it yet.
    pub(crate) fn committed(&self, bytes: u64) {
        let now = Instant::now();
        let mut answer = self.answer();
        match answer.committed.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < STEP => *sum += bytes,
            _ => answer.committed.push_back((now, bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_layout::Geometry;
    use weft_types::ByteCount;

    use super::*;

    proptest! {
        #[test]
        fn no_extent_takes_more_than_its_price(
            protection in prop_oneof![Just("2+1"), Just("4+2"), Just("8+2"), Just("16+4")],
            len in prop_oneof![1..5000_u64, 1..200_000_u64, 1..=(4_u64 << 20)],
        ) {
            let protection: Protection = protection.parse().expect("offered");
            let geometry = Geometry::new(protection, ByteCount::new(len)).expect("a length");
            let stored = geometry.stored_bytes().get() + geometry.stored_shards().count() as u64 * SHARD_BYTES;
            let net = stored * u64::from(protection.data()) / u64::from(protection.width());
            let price = Room::new(protection).cost(len, 1);
            prop_assert!(net <= price, "{net} of {price} for {len}");
            prop_assert!(price <= net + net / 50 + 40_000, "{net} of {price} for {len}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_counts_until_the_owner_must_have_counted_it() {
        let room = Room::new(Protection::DEVELOPMENT);
        room.learn(Instant::now(), 1000, 0);
        room.committed(400);
        assert_eq!(room.left(), 600);
        tokio::time::sleep(Duration::from_secs(2)).await;
        room.learn(Instant::now(), 600, 0);
        assert!(room.left() == 200 && !room.has(300) && room.may_have(300));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(room.left(), 200, "time alone tells nothing");
        room.learn(Instant::now(), 600, 0);
        assert!(room.left() == 600 && !room.may_have(601));
        room.learn(Instant::now(), 600, 12_800);
        assert!(room.left() == 500 && !room.has(501) && room.has_in_reserve(600));
    }
}
