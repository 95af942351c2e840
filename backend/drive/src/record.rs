//! Records on the device: a fixed header that authenticates itself, a table, the payload.
//!
//! ```text
//! 0    magic, format, kind, shard index        8
//! 8    place on the device                     8    a write that went astray is no record
//! 16   generation of its segment               8    a reused segment resurrects nothing
//! 24   sequence, last flushed sequence        16
//! 40   extent id                              24
//! 64   payload, description, checksum unit    12    bytes each
//! 76   CRC32C of the table                     4
//! 80   keyed BLAKE3 of all before             16    no payload can pass for a header
//! 96   table: description (CBOR), one CRC32C per unit of the payload
//!      payload, then zeroes up to the next multiple of 64
//! ```
//!
//! All numbers are little-endian. A scan needs the fixed part alone; a read needs the table too.

use bytes::Bytes;
use weft_types::{ExtentId, ShardIndex};
use weft_wire::drive::{ShardHeader, ShardKey};

use crate::superblock::{Fields, HeaderSalt};

/// Records start at multiples of this many bytes.
pub(crate) const RECORD_ALIGN: u64 = 64;
/// Bytes of the fixed part.
pub(crate) const HEADER_BYTES: usize = 96;
/// The most bytes that a payload may have: more than any shard has.
pub(crate) const MAX_PAYLOAD_BYTES: u32 = 4 << 20;

const MAGIC: [u8; 4] = *b"WREC";
const FORMAT: u16 = 1;
const MAC_AT: usize = HEADER_BYTES - MAC_BYTES;
const MAC_BYTES: usize = 16;
/// Twenty digests and the rest of a shard's description need far less.
const MAX_DESCRIPTION_BYTES: u32 = 4096;
const MAX_UNITS: u32 = 1 << 16;

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Stores a shard.
    Shard,
    /// Deletes the shards of its key that were stored before it.
    Tombstone,
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    pub(crate) key: ShardKey,
    /// Absolute place of its first byte.
    pub(crate) at: u64,
    /// That of its segment when it was written.
    pub(crate) generation: u64,
    /// Every record of a device has its own, rising.
    pub(crate) seq: u64,
    /// All records up to this sequence were durable when it was written.
    pub(crate) flushed: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) description_bytes: u32,
    /// Bytes of payload under one checksum.
    pub(crate) unit: u32,
    pub(crate) table_crc: u32,
}

impl RecordHeader {
    /// Number of payload checksums.
    pub(crate) fn units(&self) -> u32 {
        self.payload_bytes.div_ceil(self.unit.max(1))
    }

    pub(crate) fn table_bytes(&self) -> usize {
        self.description_bytes as usize + 4 * self.units() as usize
    }

    /// Bytes before the payload.
    pub(crate) fn front_bytes(&self) -> usize {
        HEADER_BYTES + self.table_bytes()
    }

    /// Bytes on the device, padding included.
    pub(crate) fn footprint(&self) -> u64 {
        (self.front_bytes() as u64 + u64::from(self.payload_bytes)).next_multiple_of(RECORD_ALIGN)
    }

    /// The place after it.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.footprint()
    }

    pub(crate) fn encode(&self, salt: &HeaderSalt) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend(MAGIC);
        fields.extend(FORMAT.to_le_bytes());
        fields.push(match self.kind {
            RecordKind::Shard => 1,
            RecordKind::Tombstone => 2,
        });
        fields.push(self.key.index.to_byte());
        for number in [self.at, self.generation, self.seq, self.flushed] {
            fields.extend(number.to_le_bytes());
        }
        fields.extend(self.key.extent.to_bytes());
        for number in [self.payload_bytes, self.description_bytes, self.unit, self.table_crc] {
            fields.extend(number.to_le_bytes());
        }
        let mut out = [0; HEADER_BYTES];
        out[..MAC_AT].copy_from_slice(&fields);
        let mac = mac(salt, &out[..MAC_AT]);
        out[MAC_AT..].copy_from_slice(&mac);
        out
    }

    /// The header that stands at `at`, if one does.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES], at: u64, salt: &HeaderSalt) -> Option<Self> {
        if !bytes.starts_with(&MAGIC) || mac(salt, &bytes[..MAC_AT]) != bytes[MAC_AT..] {
            return None;
        }
        let mut fields = Fields(&bytes[MAGIC.len()..]);
        let format = u16::from_le_bytes(fields.take());
        let [kind, index] = fields.take();
        let kind = match kind {
            1 => RecordKind::Shard,
            2 => RecordKind::Tombstone,
            _ => return None,
        };
        let [stands_at, generation, seq, flushed] = [(); 4].map(|()| u64::from_le_bytes(fields.take()));
        let extent = ExtentId::from_bytes(fields.take());
        let [payload_bytes, description_bytes, unit, table_crc] =
            [(); 4].map(|()| u32::from_le_bytes(fields.take()));
        let key = ShardKey { extent, index: ShardIndex::new(index) };
        let header = Self {
            kind,
            key,
            at,
            generation,
            seq,
            flushed,
            payload_bytes,
            description_bytes,
            unit,
            table_crc,
        };
        let plausible = format == FORMAT && stands_at == at && seq <= u64::MAX / 2;
        (plausible && header.is_bounded()).then_some(header)
    }

    fn is_bounded(&self) -> bool {
        self.payload_bytes <= MAX_PAYLOAD_BYTES
            && self.description_bytes <= MAX_DESCRIPTION_BYTES
            && self.units() <= MAX_UNITS
    }
}

fn mac(salt: &HeaderSalt, bytes: &[u8]) -> [u8; MAC_BYTES] {
    let hash = blake3::keyed_hash(&salt.0, bytes);
    let (mac, _) = hash.as_bytes().split_first_chunk().expect("16 of 32 bytes");
    *mac
}

/// What is appended: all of a record but for its place, sequence and generation.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) kind: RecordKind,
    pub(crate) key: ShardKey,
    pub(crate) table: Vec<u8>,
    pub(crate) description_bytes: u32,
    pub(crate) unit: u32,
    pub(crate) payload: Bytes,
}

impl Body {
    pub(crate) fn tombstone(key: ShardKey) -> Self {
        Self {
            kind: RecordKind::Tombstone,
            key,
            table: Vec::new(),
            description_bytes: 0,
            unit: 1,
            payload: Bytes::new(),
        }
    }

    /// `None` when it is longer than any shard is.
    pub(crate) fn shard(header: &ShardHeader, unit: u32, payload: Bytes) -> Option<Self> {
        let fits = u32::try_from(payload.len()).is_ok_and(|len| len <= MAX_PAYLOAD_BYTES);
        if !fits || unit == 0 || payload.len().div_ceil(unit as usize) > MAX_UNITS as usize {
            return None;
        }
        let mut table = minicbor::to_vec(header).ok()?;
        let description_bytes =
            u32::try_from(table.len()).ok().filter(|len| *len <= MAX_DESCRIPTION_BYTES)?;
        for bytes in payload.chunks(unit as usize) {
            table.extend(crc32c::crc32c(bytes).to_le_bytes());
        }
        Some(Self { kind: RecordKind::Shard, key: header.key, table, description_bytes, unit, payload })
    }

    /// Its header at a place, under a sequence.
    pub(crate) fn header(&self, at: u64, generation: u64, seq: u64, flushed: u64) -> RecordHeader {
        RecordHeader {
            kind: self.kind,
            key: self.key,
            at,
            generation,
            seq,
            flushed,
            payload_bytes: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            description_bytes: self.description_bytes,
            unit: self.unit,
            table_crc: crc32c::crc32c(&self.table),
        }
    }

    /// Bytes that it takes on the device.
    pub(crate) fn footprint(&self) -> u64 {
        self.header(0, 0, 0, 0).footprint()
    }
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
        let (description, crcs) = bytes.split_at_checked(header.description_bytes as usize)?;
        Some(Self { description, crcs })
    }

    /// Whether these bytes are that unit of the payload.
    pub(crate) fn matches(&self, unit: usize, bytes: &[u8]) -> bool {
        let (crcs, _) = self.crcs.as_chunks::<4>();
        crcs.get(unit).is_some_and(|crc| u32::from_le_bytes(*crc) == crc32c::crc32c(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::{ExtentSeq, SessionId};

    const SALT: HeaderSalt = HeaderSalt([9; 32]);

    fn sample(at: u64) -> RecordHeader {
        let extent = ExtentId { session: SessionId::from_bytes([5; 16]), seq: ExtentSeq::new(6) };
        let key = ShardKey { extent, index: ShardIndex::new(3) };
        Body { payload: Bytes::from(vec![1; 5000]), unit: 4096, ..Body::tombstone(key) }.header(at, 7, 8, 6)
    }

    proptest! {
        #[test]
        fn a_header_with_any_bit_flipped_is_none(byte in 0..HEADER_BYTES, bit in 0..8) {
            let mut bytes = sample(640).encode(&SALT);
            prop_assert_eq!(RecordHeader::decode(&bytes, 640, &SALT), Some(sample(640)));
            bytes[byte] ^= 1_u8 << bit;
            prop_assert_eq!(RecordHeader::decode(&bytes, 640, &SALT), None);
        }
    }

    #[test]
    fn a_header_elsewhere_or_of_another_device_is_none() {
        let bytes = sample(640).encode(&SALT);
        assert_eq!(RecordHeader::decode(&bytes, 704, &SALT), None);
        assert_eq!(RecordHeader::decode(&bytes, 640, &HeaderSalt([8; 32])), None);
    }

    #[test]
    fn lengths_that_no_record_has_are_refused_even_when_authentic() {
        for wrong in [
            RecordHeader { payload_bytes: MAX_PAYLOAD_BYTES + 1, ..sample(0) },
            RecordHeader { description_bytes: u32::MAX, ..sample(0) },
            RecordHeader { payload_bytes: MAX_UNITS + 1, unit: 0, ..sample(0) },
            RecordHeader { seq: u64::MAX, ..sample(0) },
        ] {
            assert_eq!(RecordHeader::decode(&wrong.encode(&SALT), 0, &SALT), None, "{wrong:?}");
        }
    }
}
