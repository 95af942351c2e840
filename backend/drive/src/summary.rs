//! What a sealed segment holds, in one run of bytes: opening a device reads these instead of every record's header.
//!
//! ```text
//! 0    kind, shard index                       2
//! 2    description bytes                       2
//! 4    place, in units of 64 bytes from the start of the segment   4
//! 8    sequence                                8
//! 16   payload bytes, checksum unit            8
//! 24   extent id (24), or an item's key: its length (1) and its bytes
//! ```
//!
//! One entry behind the other, in the order of their places; numbers are little-endian. The segment's header has the
//! length and the first 16 bytes of the keyed BLAKE3 of all. It is written once all that it names is durable, so a
//! good one vouches for its records; a damaged one costs time and nothing else.

use weft_types::{ExtentId, ShardIndex};
use weft_wire::drive::ShardKey;

use crate::key::{ItemKey, RecordKey};
use crate::record::{Entry, RECORD_ALIGN, Record};
use crate::superblock::HeaderSalt;

/// What authenticates a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SummaryMac(pub(crate) [u8; 16]);

impl SummaryMac {
    pub(crate) fn of(summary: &[u8], salt: &HeaderSalt) -> Self {
        let hash = blake3::keyed_hash(&salt.0, summary);
        let (mac, _) = hash.as_bytes().split_first_chunk().expect("16 of 32 bytes");
        Self(*mac)
    }
}

/// Bytes that a record of this key takes in a summary.
pub(crate) fn entry_bytes(key: &RecordKey) -> usize {
    match key {
        RecordKey::Shard(_) => 48,
        RecordKey::Item(key) => 25 + key.as_bytes().len(),
    }
}

/// Adds a record of the segment that starts at `start`.
pub(crate) fn push(summary: &mut Vec<u8>, record: &Record, start: u64) {
    let Record { seq, key, deletes, entry } = record;
    let (kind, index) = match key {
        RecordKey::Shard(key) => (1 + u8::from(*deletes), key.index.to_byte()),
        RecordKey::Item(_) => (3 + u8::from(*deletes), 0),
    };
    let place = u32::try_from((entry.at - start) / RECORD_ALIGN).unwrap_or(u32::MAX);
    summary.extend([kind, index]);
    summary.extend(entry.description_bytes.to_le_bytes());
    summary.extend(place.to_le_bytes());
    summary.extend(seq.to_le_bytes());
    summary.extend(entry.payload_bytes.to_le_bytes());
    summary.extend(entry.unit.to_le_bytes());
    match key {
        RecordKey::Shard(key) => summary.extend(key.extent.to_bytes()),
        RecordKey::Item(key) => {
            summary.push(entry.key_bytes);
            summary.extend(key.as_bytes());
        }
    }
}

/// The records that a summary names, of the segment that starts at `start`; `None` when it names what cannot be.
pub(crate) fn records(mut summary: &[u8], start: u64) -> Option<Vec<Record>> {
    let mut records = Vec::with_capacity(summary.len() / 48);
    while !summary.is_empty() {
        records.push(take_record(&mut summary, start)?);
    }
    Some(records)
}

fn take_record(bytes: &mut &[u8], start: u64) -> Option<Record> {
    let [kind, index] = take(bytes)?;
    let description_bytes = u16::from_le_bytes(take(bytes)?);
    let place = u32::from_le_bytes(take(bytes)?);
    let seq = u64::from_le_bytes(take(bytes)?);
    let payload_bytes = u32::from_le_bytes(take(bytes)?);
    let unit = u32::from_le_bytes(take(bytes)?);
    let (key, key_bytes) = match kind {
        1 | 2 => {
            let extent = ExtentId::from_bytes(take(bytes)?);
            (RecordKey::Shard(ShardKey { extent, index: ShardIndex::new(index) }), 0)
        }
        3 | 4 => {
            let [len] = take(bytes)?;
            let (key, rest) = bytes.split_at_checked(len.into())?;
            *bytes = rest;
            (RecordKey::Item(ItemKey::new(key)?), len)
        }
        _ => return None,
    };
    let at = start + u64::from(place) * RECORD_ALIGN;
    let entry = Entry { at, payload_bytes, unit, description_bytes, key_bytes };
    let deletes = kind == 2 || kind == 4;
    entry.is_bounded().then_some(Record { seq, key, deletes, entry })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::{ExtentSeq, SessionId};

    fn record() -> impl Strategy<Value = Record> {
        let shard = (any::<u64>(), any::<u8>()).prop_map(|(seq, index)| {
            let extent = ExtentId { session: SessionId::from_bytes([5; 16]), seq: ExtentSeq::new(seq) };
            RecordKey::Shard(ShardKey { extent, index: ShardIndex::new(index) })
        });
        let item = prop::collection::vec(any::<u8>(), 1..=64)
            .prop_map(|bytes| RecordKey::Item(ItemKey::new(&bytes).expect("short")));
        let key = prop_oneof![shard, item];
        (key, any::<bool>(), any::<u32>(), any::<u64>(), 0..4_194_304_u32, 4096..9000_u32, 0..=4096_u16)
            .prop_map(|(key, deletes, place, seq, payload_bytes, unit, description_bytes)| {
                let key_bytes = u8::try_from(key.tail_bytes().len()).expect("short");
                let at = 4096 + u64::from(place) * 64;
                let entry = Entry { at, payload_bytes, unit, description_bytes, key_bytes };
                Record { seq, key, deletes, entry }
            })
    }

    proptest! {
        #[test]
        fn what_was_summed_up_is_read_again(expected in prop::collection::vec(record(), 0..20)) {
            let mut summary = Vec::new();
            for record in &expected {
                let before = summary.len();
                push(&mut summary, record, 4096);
                prop_assert_eq!(summary.len() - before, entry_bytes(&record.key));
            }
            prop_assert_eq!(records(&summary, 4096), Some(expected));
        }

        #[test]
        fn any_bytes_are_a_summary_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = records(&bytes, 4096);
        }
    }
}
