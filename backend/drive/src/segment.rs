//! Segments: the runs of a device that are filled from front to end, and given back as a whole.
//!
//! A segment begins and ends with a block that holds a copy of its own header; records stand between, and behind
//! them, once it is sealed, their [summary](crate::summary). Its generation is the sequence that the device had
//! reached when the segment was opened, so a later one is always higher.

use std::ops::Range;

use weft_device::AlignedBuf;

use crate::summary::SummaryMac;
use crate::superblock::{FRONT_BYTES, Fields, HeaderSalt, SUPERBLOCK_BYTES, Superblock};

/// What is written starts and ends on multiples of this many bytes.
pub(crate) const BLOCK: u64 = weft_device::BLOCK as u64;
/// Bytes in use of each copy of a segment's header; the rest of its block is zeroes.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;

const MAGIC: [u8; 4] = *b"WSEG";
const FORMAT: u16 = 2;
const MAC_AT: usize = SEGMENT_HEADER_BYTES - 16;
/// The least segments that a device is divided into.
const MIN_SEGMENTS: u64 = 8;
const MAX_SEGMENT_BYTES: u64 = with_overhead(16 << 20);
/// Holds the longest item.
const MIN_SEGMENT_BYTES: u64 = with_overhead(4 << 20);

/// What so many bytes of files take in shards, which are most often a power of two of them: a segment of another
/// size would end with bytes that no whole shard fits into.
const fn with_overhead(plaintext: u64) -> u64 {
    plaintext / 32 * 33
}

/// The least bytes of a device, unless the size of its segments is given.
pub const MIN_DEVICE_BYTES: u64 = FRONT_BYTES + MIN_SEGMENTS * MIN_SEGMENT_BYTES + SUPERBLOCK_BYTES;

/// How a device is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMap {
    pub(crate) segment_bytes: u64,
    pub(crate) count: usize,
}

impl SegmentMap {
    /// The division of a device of this size: the longest power of two, up to 16 MiB, of which it has 64, but at
    /// least 4 MiB; and what shards of so many bytes take beside.
    pub(crate) fn preferred_segment_bytes(size: u64) -> u64 {
        let longest = (size / 64).checked_ilog2().map_or(0, |log| 1 << log);
        u64::clamp(with_overhead(longest), MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }

    /// `None` when the device is too small, or the segments' size is not a multiple of 4096 from 32 KiB on.
    pub(crate) fn new(size: u64, segment_bytes: u64) -> Option<Self> {
        if segment_bytes < 8 * BLOCK || !segment_bytes.is_multiple_of(BLOCK) {
            return None;
        }
        let room = size.checked_sub(FRONT_BYTES + SUPERBLOCK_BYTES)?;
        let count = room / segment_bytes;
        if count < MIN_SEGMENTS {
            return None;
        }
        Some(Self { segment_bytes, count: usize::try_from(count).ok()? })
    }

    /// As the superblock has it.
    pub(crate) fn of(superblock: &Superblock) -> Option<Self> {
        Self::new(superblock.size, superblock.segment_bytes)
    }

    /// All bytes of a segment.
    pub(crate) fn range(self, segment: usize) -> Range<u64> {
        let start = FRONT_BYTES + segment as u64 * self.segment_bytes;
        start..start + self.segment_bytes
    }

    /// The bytes of a segment that records and their summary may take.
    pub(crate) fn records(self, segment: usize) -> Range<u64> {
        let Range { start, end } = self.range(segment);
        start + BLOCK..end - BLOCK
    }

    /// Where the copies of a segment's header stand.
    pub(crate) fn header_places(self, segment: usize) -> [u64; 2] {
        let Range { start, end } = self.range(segment);
        [start, end - BLOCK]
    }

    /// Bytes of records that a segment holds, about: what summaries of ordinary records take is left out.
    pub(crate) fn record_bytes(self) -> u64 {
        (self.segment_bytes - 2 * BLOCK) / 64 * 63
    }

    /// The segment of a record at this place. Meaningless for places outside all segments.
    pub(crate) fn segment_at(self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(FRONT_BYTES) / self.segment_bytes).unwrap_or(usize::MAX)
    }

    /// Segments of which a kind may open one only while more are free: the cleaner always has one to go on with,
    /// deletions more than items, items more than shards.
    pub(crate) fn kept_free_from(self, kind: SegmentKind, deletes: bool) -> usize {
        let share = self.count.div_ceil(64);
        // Small devices cannot spare a second one, which crashes in the midst of cleaning may take.
        let cleaner = share.min(2);
        match (kind, deletes) {
            (SegmentKind::Moved, _) => 0,
            (SegmentKind::Items, true) => cleaner,
            (SegmentKind::Items, false) => cleaner + share,
            (SegmentKind::Shards, _) => cleaner + 2 * share,
        }
    }

    /// Bytes of shards that the device holds at most.
    pub(crate) fn capacity(self) -> u64 {
        // One more is the one that deletions and items are appended to.
        let others = self.kept_free_from(SegmentKind::Shards, false) + 1;
        (self.count - others) as u64 * self.record_bytes()
    }

    /// Dead bytes from which on a segment is worth cleaning: more than cleaning may itself lose to padding.
    pub(crate) fn worth_cleaning(self) -> u64 {
        (self.segment_bytes / 64).max(3 * BLOCK)
    }
}

/// What is in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Nothing that counts.
    Free,
    /// Records, and room for more.
    Open,
    /// Records, and no more to come.
    Sealed,
}

/// Which records go to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// Shards.
    Shards,
    /// Items, and deletions of both.
    Items,
    /// What the cleaner moved, of any kind.
    Moved,
}

impl SegmentKind {
    pub(crate) const ALL: [Self; 3] = [Self::Shards, Self::Items, Self::Moved];

    const fn to_byte(self) -> u8 {
        match self {
            Self::Shards => 0,
            Self::Items => 1,
            Self::Moved => 2,
        }
    }
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) state: SegmentState,
    pub(crate) kind: SegmentKind,
    pub(crate) generation: u64,
    /// All records up to this sequence were durable when it was written.
    pub(crate) flushed: u64,
    /// Absolute place after the last record of a sealed segment; 0 in the other states.
    pub(crate) end: u64,
    /// Of a sealed segment's summary, which stands at the next block from `end` on; no bytes when there is none.
    pub(crate) summary_bytes: u32,
    pub(crate) summary_mac: SummaryMac,
}

impl SegmentHeader {
    pub(crate) const fn new(state: SegmentState, kind: SegmentKind, generation: u64, flushed: u64) -> Self {
        let summary_mac = SummaryMac([0; 16]);
        Self { state, kind, generation, flushed, end: 0, summary_bytes: 0, summary_mac }
    }

    /// The block for the segment that starts at `start`.
    pub(crate) fn encode(&self, start: u64, salt: &HeaderSalt) -> AlignedBuf {
        let state = match self.state {
            SegmentState::Free => 0,
            SegmentState::Open => 1,
            SegmentState::Sealed => 2,
        };
        let mut fields = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        fields.extend(MAGIC);
        fields.extend(FORMAT.to_le_bytes());
        fields.extend([state, self.kind.to_byte()]);
        for number in [start, self.generation, self.flushed, self.end] {
            fields.extend(number.to_le_bytes());
        }
        fields.extend(self.summary_bytes.to_le_bytes());
        fields.extend([0; 4]);
        fields.extend(self.summary_mac.0);
        fields.resize(MAC_AT, 0);
        let mac = blake3::keyed_hash(&salt.0, &fields);
        fields.extend(&mac.as_bytes()[..16]);
        let mut block = AlignedBuf::with_capacity(fields.len());
        block.extend(&fields);
        block.pad_to_block();
        block
    }

    /// The header of the segment that starts at `start`, if these are its bytes.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES], start: u64, salt: &HeaderSalt) -> Option<Self> {
        let mac = blake3::keyed_hash(&salt.0, &bytes[..MAC_AT]);
        if !bytes.starts_with(&MAGIC) || mac.as_bytes()[..16] != bytes[MAC_AT..] {
            return None;
        }
        let mut fields = Fields(&bytes[MAGIC.len()..]);
        let format = u16::from_le_bytes(fields.take());
        let [state, kind] = fields.take();
        let [stands_at, generation, flushed, end] = [(); 4].map(|()| u64::from_le_bytes(fields.take()));
        let summary_bytes = u32::from_le_bytes(fields.take());
        let _: [u8; 4] = fields.take();
        let summary_mac = SummaryMac(fields.take());
        let state = match state {
            0 => SegmentState::Free,
            1 => SegmentState::Open,
            2 => SegmentState::Sealed,
            _ => return None,
        };
        let kind = SegmentKind::ALL.into_iter().find(|known| known.to_byte() == kind)?;
        let plausible = format == FORMAT && stands_at == start && generation <= u64::MAX / 2;
        plausible.then_some(Self { state, kind, generation, flushed, end, summary_bytes, summary_mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: HeaderSalt = HeaderSalt([9; 32]);

    #[test]
    fn a_device_is_divided_by_its_size() {
        assert_eq!(SegmentMap::preferred_segment_bytes(64 << 20), MIN_SEGMENT_BYTES);
        assert_eq!(SegmentMap::preferred_segment_bytes(700 << 20), (8 << 20) + (256 << 10));
        assert_eq!(SegmentMap::preferred_segment_bytes(1 << 40), MAX_SEGMENT_BYTES);
        let least = SegmentMap::new(MIN_DEVICE_BYTES, MIN_SEGMENT_BYTES).expect("fits");
        assert_eq!((least.count, least.capacity()), (8, 4 * least.record_bytes()));
        assert_eq!(SegmentMap::new(MIN_DEVICE_BYTES - 1, MIN_SEGMENT_BYTES), None);
        assert_eq!(SegmentMap::new(u64::MAX, 0), None);
        assert_eq!(SegmentMap::new(0, MIN_SEGMENT_BYTES), None);
        assert_eq!(least.range(7).end + SUPERBLOCK_BYTES, MIN_DEVICE_BYTES);
        assert_eq!(least.segment_at(least.range(3).start), 3);
        assert_eq!(least.segment_at(least.range(3).end - 1), 3);
    }

    proptest! {
        #[test]
        fn a_segment_header_with_any_bit_flipped_is_none(byte in 0..SEGMENT_HEADER_BYTES, bit in 0..8) {
            let summary_mac = SummaryMac([3; 16]);
            let header = SegmentHeader::new(SegmentState::Sealed, SegmentKind::Moved, 5, 4);
            let header = SegmentHeader { end: 999, summary_bytes: 7, summary_mac, ..header };
            let block = header.encode(4096, &SALT);
            prop_assert_eq!(block.len() as u64, BLOCK);
            let mut bytes = *block.as_slice().first_chunk().expect("a block");
            prop_assert_eq!(SegmentHeader::decode(&bytes, 4096, &SALT), Some(header));
            prop_assert_eq!(SegmentHeader::decode(&bytes, 8192, &SALT), None);
            bytes[byte] ^= 1_u8 << bit;
            prop_assert_eq!(SegmentHeader::decode(&bytes, 4096, &SALT), None);
        }
    }
}
