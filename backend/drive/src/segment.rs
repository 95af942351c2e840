//! Segments: the runs of a device that are filled from front to end, and given back as a whole.
//!
//! A segment begins and ends with a copy of its own header; records stand between. Its generation is the sequence
//! that the device had reached when the segment was opened, so a later one is always higher.

use std::ops::Range;

use crate::record::RECORD_ALIGN;
use crate::superblock::{FRONT_BYTES, Fields, HeaderSalt, SUPERBLOCK_BYTES, Superblock};

/// Bytes of each copy of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = *b"WSEG";
const FORMAT: u16 = 1;
const MAC_AT: usize = SEGMENT_HEADER_BYTES - 16;
/// The least segments that a device is divided into, with two of them held back for deletions.
const MIN_SEGMENTS: u64 = 8;
const MAX_SEGMENT_BYTES: u64 = 16 << 20;
const MIN_SEGMENT_BYTES: u64 = 4 << 20;

/// The least bytes of a device, unless the size of its segments is given.
pub const MIN_DEVICE_BYTES: u64 = FRONT_BYTES + MIN_SEGMENTS * MIN_SEGMENT_BYTES + SUPERBLOCK_BYTES;

/// How a device is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMap {
    pub(crate) segment_bytes: u64,
    pub(crate) count: usize,
}

impl SegmentMap {
    /// The division of a device of this size: the longest segments, up to 16 MiB, of which it has 64, but at
    /// least 4 MiB.
    pub(crate) fn preferred_segment_bytes(size: u64) -> u64 {
        let longest = (size / 64).checked_ilog2().map_or(0, |log| 1 << log);
        u64::clamp(longest, MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }

    /// `None` when the device is too small, or the segments' size is not a multiple of 4096 from 16 KiB on.
    pub(crate) fn new(size: u64, segment_bytes: u64) -> Option<Self> {
        if segment_bytes < 4 * SUPERBLOCK_BYTES || !segment_bytes.is_multiple_of(SUPERBLOCK_BYTES) {
            return None;
        }
        let room = size.checked_sub(FRONT_BYTES + SUPERBLOCK_BYTES)?;
        let count = room / segment_bytes;
        if count < MIN_SEGMENTS {
            return None;
        }
        Some(Self { segment_bytes, count: usize::try_from(count).ok()? })
    }

    pub(crate) fn of(superblock: &Superblock) -> Option<Self> {
        Self::new(superblock.size, superblock.segment_bytes)
    }

    /// Free segments that only deletions may open, so that a full drive can be emptied.
    pub(crate) fn headroom(self) -> usize {
        self.count.div_ceil(32).max(2)
    }

    /// All bytes of a segment.
    pub(crate) fn range(self, segment: usize) -> Range<u64> {
        let start = FRONT_BYTES + segment as u64 * self.segment_bytes;
        start..start + self.segment_bytes
    }

    /// The bytes of a segment that records may take.
    pub(crate) fn records(self, segment: usize) -> Range<u64> {
        let Range { start, end } = self.range(segment);
        start + SEGMENT_HEADER_BYTES as u64..end - SEGMENT_HEADER_BYTES as u64
    }

    /// Where the copies of a segment's header stand.
    pub(crate) fn header_places(self, segment: usize) -> [u64; 2] {
        let Range { start, end } = self.range(segment);
        [start, end - SEGMENT_HEADER_BYTES as u64]
    }

    /// Bytes of records that a segment holds at most.
    pub(crate) fn record_bytes(self) -> u64 {
        (self.segment_bytes - 2 * SEGMENT_HEADER_BYTES as u64) / RECORD_ALIGN * RECORD_ALIGN
    }

    /// The segment of a record at this place. Meaningless for places outside all segments.
    pub(crate) fn segment_at(self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(FRONT_BYTES) / self.segment_bytes).unwrap_or(usize::MAX)
    }

    /// Bytes of records that the device holds at most, headroom left out.
    pub(crate) fn capacity(self) -> u64 {
        (self.count - self.headroom()) as u64 * self.record_bytes()
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
    /// Deletions.
    Tombstones,
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) state: SegmentState,
    pub(crate) kind: SegmentKind,
    pub(crate) generation: u64,
    /// Absolute place after the last record of a sealed segment; 0 in the other states.
    pub(crate) end: u64,
}

impl SegmentHeader {
    /// The copy for the segment that starts at `start`.
    pub(crate) fn encode(&self, start: u64, salt: &HeaderSalt) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        out[6] = match self.state {
            SegmentState::Free => 0,
            SegmentState::Open => 1,
            SegmentState::Sealed => 2,
        };
        out[7] = match self.kind {
            SegmentKind::Shards => 0,
            SegmentKind::Tombstones => 1,
        };
        out[8..16].copy_from_slice(&start.to_le_bytes());
        out[16..24].copy_from_slice(&self.generation.to_le_bytes());
        out[24..32].copy_from_slice(&self.end.to_le_bytes());
        let mac = blake3::keyed_hash(&salt.0, &out[..MAC_AT]);
        out[MAC_AT..].copy_from_slice(&mac.as_bytes()[..16]);
        out
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
        let [stands_at, generation, end] = [(); 3].map(|()| u64::from_le_bytes(fields.take()));
        let state = match state {
            0 => SegmentState::Free,
            1 => SegmentState::Open,
            2 => SegmentState::Sealed,
            _ => return None,
        };
        let kind = match kind {
            0 => SegmentKind::Shards,
            1 => SegmentKind::Tombstones,
            _ => return None,
        };
        let plausible = format == FORMAT && stands_at == start && generation <= u64::MAX / 2;
        plausible.then_some(Self { state, kind, generation, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: HeaderSalt = HeaderSalt([9; 32]);

    #[test]
    fn a_device_is_divided_by_its_size() {
        assert_eq!(SegmentMap::preferred_segment_bytes(64 << 20), 4 << 20);
        assert_eq!(SegmentMap::preferred_segment_bytes(700 << 20), 8 << 20);
        assert_eq!(SegmentMap::preferred_segment_bytes(1 << 40), 16 << 20);
        let least = SegmentMap::new(MIN_DEVICE_BYTES, 4 << 20).expect("fits");
        assert_eq!((least.count, least.headroom()), (8, 2));
        assert_eq!(SegmentMap::new(MIN_DEVICE_BYTES - 1, 4 << 20), None);
        assert_eq!(SegmentMap::new(u64::MAX, 0), None);
        assert_eq!(SegmentMap::new(0, 4 << 20), None);
        assert_eq!(least.range(7).end + SUPERBLOCK_BYTES, MIN_DEVICE_BYTES);
        assert_eq!(least.segment_at(least.range(3).start), 3);
        assert_eq!(least.segment_at(least.range(3).end - 1), 3);
    }

    proptest! {
        #[test]
        fn a_segment_header_with_any_bit_flipped_is_none(byte in 0..SEGMENT_HEADER_BYTES, bit in 0..8) {
            let (kind, state) = (SegmentKind::Tombstones, SegmentState::Sealed);
            let header = SegmentHeader { state, kind, generation: 5, end: 999 };
            let mut bytes = header.encode(4096, &SALT);
            prop_assert_eq!(SegmentHeader::decode(&bytes, 4096, &SALT), Some(header));
            prop_assert_eq!(SegmentHeader::decode(&bytes, 8192, &SALT), None);
            bytes[byte] ^= 1_u8 << bit;
            prop_assert_eq!(SegmentHeader::decode(&bytes, 4096, &SALT), None);
        }
    }
}
