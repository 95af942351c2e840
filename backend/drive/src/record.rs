//! Records on the device: a header that authenticates itself, a table, the payload.
//!
//! ```text
//! 0    magic, format, kind, shard index        8
//! 8    place on the device                     8    a write that went astray is no record
//! 16   generation of its segment               8    a reused segment resurrects nothing
//! 24   sequence, last flushed sequence        16
//! 40   extent id; zeroes for items            24
//! 64   payload bytes                           4
//! 68   description bytes, item key bytes       3
//! 71   1 when the cleaner moved it              1    it stands elsewhere until a flush covers it
//! 72   checksum unit, CRC32C of the table      8
//! 80   where the record before it ended        8    what is missing between two records is told
//! 88   where the flushed records before it ended   8    which of those were promised
//! 96   keyed BLAKE3 of all before and the key 16    no payload can pass for a header
//! 112  the item's key
//!      table: description (CBOR), one CRC32C per unit of the payload
//!      payload, then zeroes up to the next multiple of 64
//! ```
//!
//! All numbers are little-endian. A scan needs the header alone; a read needs the table too.

use weft_types::{ExtentId, ShardIndex};
use weft_wire::drive::{ShardHeader, ShardKey};

use crate::key::{ItemKey, RecordKey};
use crate::superblock::{Fields, HeaderSalt};

/// Records start at multiples of this many bytes.
pub(crate) const RECORD_ALIGN: u64 = 64;
/// Bytes of the header without an item's key.
pub(crate) const HEADER_BYTES: usize = 112;
/// The most bytes that a header has.
pub(crate) const MAX_HEADER_BYTES: usize = HEADER_BYTES + ItemKey::MAX_BYTES;
/// The most bytes of an item's value.
pub const MAX_ITEM_BYTES: u32 = (4 << 20) + (64 << 10);
/// Bytes of an item's value under one checksum.
pub(crate) const ITEM_UNIT: u32 = 4096;

/// The most bytes that a payload may have: more than any shard has.
const MAX_PAYLOAD_BYTES: u32 = MAX_ITEM_BYTES;
const MAGIC: [u8; 4] = *b"WREC";
const FORMAT: u16 = 2;
const FIELDS_BYTES: usize = HEADER_BYTES - MAC_BYTES;
const MAC_BYTES: usize = 16;
/// Twenty digests and the rest of a shard's description need far less.
const MAX_DESCRIPTION_BYTES: u16 = 4096;
const MAX_UNITS: u32 = 1 << 16;

/// Where a record stands and how it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Absolute place of its first byte.
    pub(crate) at: u64,
    pub(crate) payload_bytes: u32,
    /// Bytes of payload under one checksum.
    pub(crate) unit: u32,
    pub(crate) description_bytes: u16,
    /// Bytes of an item's key.
    pub(crate) key_bytes: u8,
}

impl Entry {
    /// Number of payload checksums.
    pub(crate) const fn units(&self) -> u32 {
        self.payload_bytes.div_ceil(if self.unit == 0 { 1 } else { self.unit })
    }

    pub(crate) const fn header_bytes(&self) -> usize {
        HEADER_BYTES + self.key_bytes as usize
    }

    /// Bytes before the payload.
    pub(crate) const fn front_bytes(&self) -> usize {
        self.header_bytes() + self.description_bytes as usize + 4 * self.units() as usize
    }

    /// Bytes on the device, padding included.
    pub(crate) const fn footprint(&self) -> u64 {
        (self.front_bytes() as u64 + self.payload_bytes as u64).next_multiple_of(RECORD_ALIGN)
    }

    /// The place after it.
    pub(crate) const fn end(&self) -> u64 {
        self.at + self.footprint()
    }

    /// Whether such a record may exist.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.payload_bytes <= MAX_PAYLOAD_BYTES
            && self.description_bytes <= MAX_DESCRIPTION_BYTES
            && self.units() <= MAX_UNITS
    }
}

/// What a replay needs of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Every record of a device has its own, rising.
    pub(crate) seq: u64,
    pub(crate) key: RecordKey,
    /// It deletes what was stored under its key before it.
    pub(crate) deletes: bool,
    pub(crate) entry: Entry,
}

/// What is said in front of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) record: Record,
    /// That of its segment when it was written.
    pub(crate) generation: u64,
    /// All records up to this sequence were durable when it was written.
    pub(crate) flushed: u64,
    /// Where the record before it in its segment ended, or where its segment's records begin.
    pub(crate) preceding: u64,
    /// Where the last record before it in its segment ended that was durable when it was written, or where its
    /// segment's records begin.
    pub(crate) settled: u64,
    /// The cleaner moved it: what it was made from is there as long as no later flush covers it.
    pub(crate) moved: bool,
    pub(crate) table_crc: u32,
}

impl RecordHeader {
    /// The header without an item's key, which stands behind it.
    pub(crate) fn encode(&self, salt: &HeaderSalt) -> [u8; HEADER_BYTES] {
        let Record { seq, key, deletes, entry } = &self.record;
        let (kind, index, extent) = match (key, deletes) {
            (RecordKey::Shard(key), false) => (1, key.index.to_byte(), key.extent.to_bytes()),
            (RecordKey::Shard(key), true) => (2, key.index.to_byte(), key.extent.to_bytes()),
            (RecordKey::Item(_), false) => (3, 0, [0; 24]),
            (RecordKey::Item(_), true) => (4, 0, [0; 24]),
        };
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend(MAGIC);
        fields.extend(FORMAT.to_le_bytes());
        fields.extend([kind, index]);
        for number in [entry.at, self.generation, *seq, self.flushed] {
            fields.extend(number.to_le_bytes());
        }
        fields.extend(extent);
        fields.extend(entry.payload_bytes.to_le_bytes());
        fields.extend(entry.description_bytes.to_le_bytes());
        fields.extend([entry.key_bytes, u8::from(self.moved)]);
        fields.extend(entry.unit.to_le_bytes());
        fields.extend(self.table_crc.to_le_bytes());
        fields.extend(self.preceding.to_le_bytes());
        fields.extend(self.settled.to_le_bytes());
        let mut out = [0; HEADER_BYTES];
        out[..fields.len()].copy_from_slice(&fields);
        let mac = mac(salt, &out[..FIELDS_BYTES], key.tail_bytes());
        out[FIELDS_BYTES..].copy_from_slice(&mac);
        out
    }

    /// The header that stands at `at` and begins these bytes, if one does.
    pub(crate) fn decode(bytes: &[u8], at: u64, salt: &HeaderSalt) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        if !header.starts_with(&MAGIC) {
            return None;
        }
        let mut fields = Fields(&header[MAGIC.len()..]);
        let format = u16::from_le_bytes(fields.take());
        let [kind, index] = fields.take();
        let [stands_at, generation, seq, flushed] = [(); 4].map(|()| u64::from_le_bytes(fields.take()));
        let extent = ExtentId::from_bytes(fields.take());
        let payload_bytes = u32::from_le_bytes(fields.take());
        let description_bytes = u16::from_le_bytes(fields.take());
        let [key_bytes, moved] = fields.take();
        let [unit, table_crc] = [(); 2].map(|()| u32::from_le_bytes(fields.take()));
        let [preceding, settled] = [(); 2].map(|()| u64::from_le_bytes(fields.take()));
        let key = rest.get(..key_bytes.into())?;
        if mac(salt, &header[..FIELDS_BYTES], key) != header[FIELDS_BYTES..] {
            return None;
        }
        let (key, deletes) = match kind {
            1 | 2 if key.is_empty() => {
                (RecordKey::Shard(ShardKey { extent, index: ShardIndex::new(index) }), kind == 2)
            }
            3 | 4 => (RecordKey::Item(ItemKey::new(key)?), kind == 4),
            _ => return None,
        };
        let entry = Entry { at, payload_bytes, unit, description_bytes, key_bytes };
        let plausible = format == FORMAT && stands_at == at && seq <= u64::MAX / 2 && entry.is_bounded();
        let record = Record { seq, key, deletes, entry };
        let moved = moved != 0;
        plausible.then_some(Self { record, generation, flushed, preceding, settled, moved, table_crc })
    }
}

fn mac(salt: &HeaderSalt, fields: &[u8], key: &[u8]) -> [u8; MAC_BYTES] {
    let hash = if key.is_empty() {
        blake3::keyed_hash(&salt.0, fields)
    } else {
        let mut hasher = blake3::Hasher::new_keyed(&salt.0);
        hasher.update(fields).update(key);
        hasher.finalize()
    };
    let (mac, _) = hash.as_bytes().split_first_chunk().expect("16 of 32 bytes");
    *mac
}

/// What is appended: all of a record but for its place, sequence and generation.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) key: RecordKey,
    pub(crate) deletes: bool,
    pub(crate) table: Vec<u8>,
    /// Its `at` means nothing.
    pub(crate) layout: Entry,
    pub(crate) payload: &'a [u8],
}

impl<'a> Body<'a> {
    pub(crate) fn tombstone(key: RecordKey) -> Self {
        let layout = layout(&key, 0, 0, 1);
        Self { key, deletes: true, table: Vec::new(), layout, payload: &[] }
    }

    /// `None` when it is longer than any shard is.
    pub(crate) fn shard(header: &ShardHeader, unit: u32, payload: &'a [u8]) -> Option<Self> {
        Self::stored(RecordKey::Shard(header.key), minicbor::to_vec(header).ok()?, unit, payload)
    }

    /// `None` when it is longer than an item may be.
    pub(crate) fn item(key: ItemKey, value: &'a [u8]) -> Option<Self> {
        Self::stored(RecordKey::Item(key), Vec::new(), ITEM_UNIT, value)
    }

    fn stored(key: RecordKey, mut table: Vec<u8>, unit: u32, payload: &'a [u8]) -> Option<Self> {
        let payload_bytes = u32::try_from(payload.len()).ok()?;
        let layout = layout(&key, payload_bytes, u16::try_from(table.len()).ok()?, unit);
        if unit == 0 || !layout.is_bounded() {
            return None;
        }
        table.reserve(4 * layout.units() as usize);
        for bytes in payload.chunks(unit as usize) {
            table.extend(crc32c::crc32c(bytes).to_le_bytes());
        }
        Some(Self { key, deletes: false, table, layout, payload })
    }
}

fn layout(key: &RecordKey, payload_bytes: u32, description_bytes: u16, unit: u32) -> Entry {
    let key_bytes = u8::try_from(key.tail_bytes().len()).unwrap_or(u8::MAX);
    Entry { at: 0, payload_bytes, unit, description_bytes, key_bytes }
}

/// The table of a record that was read back and verified.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) description: &'a [u8],
    crcs: &'a [u8],
}

impl<'a> Table<'a> {
    /// `bytes` is exactly the table; `None` when it fails its checksum.
    pub(crate) fn verify(header: &RecordHeader, bytes: &'a [u8]) -> Option<Self> {
        if crc32c::crc32c(bytes) != header.table_crc {
            return None;
        }
        let (description, crcs) = bytes.split_at_checked(header.record.entry.description_bytes.into())?;
        Some(Self { description, crcs })
    }

    /// Whether these bytes are that unit of the payload.
    pub(crate) fn matches(&self, unit: usize, bytes: &[u8]) -> bool {
        let (crcs, _) = self.crcs.as_chunks::<4>();
        crcs.get(unit).is_some_and(|crc| u32::from_le_bytes(*crc) == crc32c::crc32c(bytes))
    }

    /// Whether this is the payload.
    pub(crate) fn matches_all(&self, payload: &[u8], unit: u32) -> bool {
        payload.chunks(unit.max(1) as usize).enumerate().all(|(unit, bytes)| self.matches(unit, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::{ExtentSeq, SessionId};

    const SALT: HeaderSalt = HeaderSalt([9; 32]);

    fn shard(at: u64) -> RecordHeader {
        let extent = ExtentId { session: SessionId::from_bytes([5; 16]), seq: ExtentSeq::new(6) };
        let key = RecordKey::Shard(ShardKey { extent, index: ShardIndex::new(3) });
        let entry = Entry { at, ..layout(&key, 5000, 7, 4096) };
        let record = Record { seq: 8, key, deletes: false, entry };
        RecordHeader {
            record,
            generation: 7,
            flushed: 6,
            preceding: 64,
            settled: 32,
            moved: true,
            table_crc: 5,
        }
    }

    fn item(at: u64) -> RecordHeader {
        let key = RecordKey::Item(ItemKey::new(b"log/7").expect("short"));
        let entry = Entry { at, ..layout(&key, 0, 0, 1) };
        RecordHeader { record: Record { seq: 9, key, deletes: true, entry }, ..shard(at) }
    }

    fn encoded(header: &RecordHeader) -> Vec<u8> {
        [&header.encode(&SALT)[..], header.record.key.tail_bytes(), &[0xaa; 70]].concat()
    }

    proptest! {
        #[test]
        fn a_header_with_any_bit_flipped_is_none(byte in 0..HEADER_BYTES + 5, bit in 0..8, is_item: bool) {
            let header = if is_item { item(640) } else { shard(640) };
            let len = HEADER_BYTES + header.record.key.tail_bytes().len();
            let mut bytes = encoded(&header);
            prop_assert_eq!(RecordHeader::decode(&bytes, 640, &SALT), Some(header.clone()));
            bytes[byte] ^= 1_u8 << bit;
            let read = RecordHeader::decode(&bytes, 640, &SALT);
            prop_assert_eq!(read, if byte < len { None } else { Some(header) });
        }

        #[test]
        fn no_bytes_are_too_few(len in 0..MAX_HEADER_BYTES) {
            let bytes = encoded(&item(640));
            let whole = len >= HEADER_BYTES + 5;
            prop_assert_eq!(RecordHeader::decode(&bytes[..len], 640, &SALT).is_some(), whole);
        }
    }

    #[test]
    fn a_header_elsewhere_or_of_another_device_is_none() {
        for bytes in [encoded(&shard(640)), encoded(&item(640))] {
            assert_eq!(RecordHeader::decode(&bytes, 704, &SALT), None);
            assert_eq!(RecordHeader::decode(&bytes, 640, &HeaderSalt([8; 32])), None);
        }
    }

    #[test]
    fn lengths_that_no_record_has_are_refused_even_when_authentic() {
        let with = |change: fn(&mut Entry), seq| {
            let mut header = shard(0);
            change(&mut header.record.entry);
            header.record.seq = seq;
            header
        };
        for wrong in [
            with(|entry| entry.payload_bytes = MAX_PAYLOAD_BYTES + 1, 8),
            with(|entry| entry.description_bytes = u16::MAX, 8),
            with(|entry| (entry.payload_bytes, entry.unit) = (MAX_UNITS + 1, 0), 8),
            with(|_| (), u64::MAX),
        ] {
            assert_eq!(RecordHeader::decode(&encoded(&wrong), 0, &SALT), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_item_longer_than_its_bound_is_no_body() {
        let key = || ItemKey::new(b"k").expect("short");
        let long = vec![1; MAX_ITEM_BYTES as usize + 1];
        assert!(Body::item(key(), &long).is_none());
        let body = Body::item(key(), &long[1..]).expect("as long as may be");
        assert_eq!(body.layout.units(), MAX_ITEM_BYTES / ITEM_UNIT);
    }
}
