//! The bytes of a record.
//!
//! | bytes | field (numbers little-endian) |
//! |---|---|
//! | 0..8 | magic `WEFTRECD` |
//! | 8..10 | format, 2 |
//! | 10..12 | zero |
//! | 12..14 | metadata shard |
//! | 14..16 | zero |
//! | 16..24 | epoch |
//! | 24..32 | sequence |
//! | 32..64 | salt of the ownership |
//! | 64..68 | version of the metadata key |
//! | 68..72 | rows |
//! | 72..104 | BLAKE3 of the record before it, or zeroes: it is the first |
//! | 104..108 | bytes of the body |
//! | 108..112 | CRC32C of the body |
//! | 112..116 | CRC32C of bytes 0..112 |
//! | 116..120 | end mark |
//! | 120.. | body: for each row the lengths of key and value (4 bytes each; value + 1, or 0: deleted), key, value |
//! | last 4 | end mark |
//!
//! Everything but the body is in clear: whoever reads a drive can tell where a record belongs without a key.

use weft_keys::EpochSalt;
use weft_types::{Digest, Epoch, KeyVersion, MetadataShard, Position};

use super::{Batch, RowChange};

/// Most bytes of one batch's record: it travels as the bulk of one call.
pub const BATCH_BYTES_MAX: usize = weft_wire::frame::BULK_BYTES_MAX as usize;

const HEADER_BYTES: usize = 120;
const MAGIC: [u8; 8] = *b"WEFTRECD";
const END_MARK: [u8; 4] = [0xa5, 0x5a, 0xc3, 0x3c];
const FORMAT: u16 = 2;
const ROW_HEADER_BYTES: usize = 8;
const KEY_BYTES_MAX: usize = 1 << 16;

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record's header fails its checksum")]
    Header,
    #[error("a record's body fails its checksum")]
    Body,
    #[error("a record is cut off")]
    CutOff,
    #[error("a record has format {0}, and this version reads format {FORMAT}")]
    Format(u16),
    #[error("a record is of shard {0}")]
    Shard(MetadataShard),
    #[error("a record's rows do not fit its body")]
    Rows,
}

/// A header whose checksum holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    position: Position,
    salt: EpochSalt,
    key_version: KeyVersion,
    rows: u32,
    pub(crate) predecessor: Digest,
    body: u32,
    body_crc: u32,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8], shard: MetadataShard) -> Result<Self, RecordError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(RecordError::CutOff)?;
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let whole = header[..8] == MAGIC && header[116..120] == END_MARK;
        if !whole || word(112) != crc32c::crc32c(&header[..112]) {
            return Err(RecordError::Header);
        }
        if short(8) != FORMAT {
            return Err(RecordError::Format(short(8)));
        }
        if short(12) != shard.get() {
            return Err(RecordError::Shard(MetadataShard::new(short(12))));
        }
        let bytes = |at: usize| -> [u8; 32] { header[at..at + 32].try_into().expect("32 bytes") };
        Ok(Self {
            position: Position { epoch: Epoch::new(long(16)), seq: long(24) },
            salt: EpochSalt::from_bytes(bytes(32)),
            key_version: KeyVersion::new(word(64)),
            rows: word(68),
            predecessor: Digest(bytes(72)),
            body: word(104),
            body_crc: word(108),
        })
    }

    /// Bytes of the whole record.
    pub(crate) const fn record_len(&self) -> u64 {
        (HEADER_BYTES + END_MARK.len()) as u64 + self.body as u64
    }
}

/// Reads the record at the front of `bytes`; `bytes` may go on behind it.
pub(crate) fn decode(bytes: &[u8], shard: MetadataShard) -> Result<(Header, Batch, Digest), RecordError> {
    let header = Header::parse(bytes, shard)?;
    let len = usize::try_from(header.record_len()).map_err(|_| RecordError::CutOff)?;
    let record = bytes.get(..len).ok_or(RecordError::CutOff)?;
    let (body, mark) = record[HEADER_BYTES..].split_last_chunk::<4>().ok_or(RecordError::CutOff)?;
    if crc32c::crc32c(body) != header.body_crc || *mark != END_MARK {
        return Err(RecordError::Body);
    }
    let digest = Digest(*blake3::hash(record).as_bytes());
    let batch = Batch {
        position: header.position,
        salt: header.salt,
        key_version: header.key_version,
        rows: decode_rows(body, header.rows)?,
    };
    Ok((header, batch, digest))
}

fn decode_rows(mut body: &[u8], count: u32) -> Result<Vec<RowChange>, RecordError> {
    let count = usize::try_from(count).map_err(|_| RecordError::Rows)?;
    if count > body.len() / ROW_HEADER_BYTES {
        return Err(RecordError::Rows);
    }
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let (key_len, rest) = take_len(body)?;
        let (value_len, rest) = take_len(rest)?;
        let (key, rest) = rest.split_at_checked(key_len).ok_or(RecordError::Rows)?;
        let (value, rest) = match value_len.checked_sub(1) {
            None => (None, rest),
            Some(len) => {
                let (value, rest) = rest.split_at_checked(len).ok_or(RecordError::Rows)?;
                (Some(value.to_vec()), rest)
            }
        };
        rows.push(RowChange { key: key.to_vec(), value });
        body = rest;
    }
    if body.is_empty() { Ok(rows) } else { Err(RecordError::Rows) }
}

fn take_len(bytes: &[u8]) -> Result<(usize, &[u8]), RecordError> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(RecordError::Rows)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| RecordError::Rows)?;
    Ok((len, rest))
}

/// Bytes of the record of a batch with these rows.
pub(crate) fn encoded_len(rows: &[RowChange]) -> usize {
    let row = |row: &RowChange| ROW_HEADER_BYTES + row.key.len() + row.value.as_ref().map_or(0, Vec::len);
    HEADER_BYTES + rows.iter().map(row).sum::<usize>() + END_MARK.len()
}

/// The record of a batch, and its digest; `None` when a length is out of its bound.
pub(crate) fn encode_batch(
    batch: &Batch,
    shard: MetadataShard,
    predecessor: Digest,
) -> Option<(Vec<u8>, Digest)> {
    let len = encoded_len(&batch.rows);
    if len > BATCH_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    out.resize(HEADER_BYTES, 0);
    for row in &batch.rows {
        if row.key.len() > KEY_BYTES_MAX {
            return None;
        }
        let value_len = row.value.as_ref().map_or(0, |value| value.len() + 1);
        out.extend_from_slice(&u32::try_from(row.key.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&u32::try_from(value_len).ok()?.to_le_bytes());
        out.extend_from_slice(&row.key);
        out.extend_from_slice(row.value.as_deref().unwrap_or_default());
    }
    let fields = Fields {
        position: batch.position,
        salt: batch.salt,
        key_version: batch.key_version,
        rows: u32::try_from(batch.rows.len()).ok()?,
    };
    Some(finish(out, &fields, shard, predecessor))
}

struct Fields {
    position: Position,
    salt: EpochSalt,
    key_version: KeyVersion,
    rows: u32,
}

/// Fills in the header in front of a body, and the end mark behind it.
fn finish(mut out: Vec<u8>, fields: &Fields, shard: MetadataShard, predecessor: Digest) -> (Vec<u8>, Digest) {
    let (header, body) = out.split_at_mut(HEADER_BYTES);
    let body_len = u32::try_from(body.len()).expect("bodies are bounded");
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(8, &FORMAT.to_le_bytes());
    put(12, &shard.get().to_le_bytes());
    put(16, &fields.position.epoch.get().to_le_bytes());
    put(24, &fields.position.seq.to_le_bytes());
    put(32, &fields.salt.to_bytes());
    put(64, &fields.key_version.get().to_le_bytes());
    put(68, &fields.rows.to_le_bytes());
    put(72, &predecessor.0);
    put(104, &body_len.to_le_bytes());
    put(108, &crc32c::crc32c(body).to_le_bytes());
    let crc = crc32c::crc32c(&header[..112]);
    header[112..116].copy_from_slice(&crc.to_le_bytes());
    header[116..].copy_from_slice(&END_MARK);
    out.extend_from_slice(&END_MARK);
    let digest = Digest(*blake3::hash(&out).as_bytes());
    (out, digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARD: MetadataShard = MetadataShard::new(3);

    fn any_batch() -> impl Strategy<Value = Batch> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        let row = (prop::collection::vec(any::<u8>(), 0..20), value)
            .prop_map(|(key, value)| RowChange { key, value });
        let rows = prop::collection::vec(row, 0..8);
        (any::<(u64, u64, [u8; 32], u32)>(), rows).prop_map(|((epoch, seq, salt, key_version), rows)| Batch {
            position: Position { epoch: Epoch::new(epoch), seq },
            salt: EpochSalt::from_bytes(salt),
            key_version: KeyVersion::new(key_version),
            rows,
        })
    }

    proptest! {
        #[test]
        fn a_batch_survives_its_record(batch in any_batch(), predecessor: [u8; 32], tail: Vec<u8>) {
            let (mut bytes, digest) = encode_batch(&batch, SHARD, Digest(predecessor)).expect("bounded");
            prop_assert_eq!(bytes.len(), batch.encoded_len());
            bytes.extend_from_slice(&tail);
            let (header, read, found) = decode(&bytes, SHARD).expect("decodes");
            prop_assert_eq!(header.predecessor, Digest(predecessor));
            prop_assert_eq!((read, found), (batch, digest));
        }

        #[test]
        fn a_flipped_bit_or_a_cut_is_no_record(batch in any_batch(), at: prop::sample::Index, bit in 0_u8..8) {
            let (mut bytes, _) = encode_batch(&batch, SHARD, Digest([0; 32])).expect("bounded");
            let at = at.index(bytes.len());
            prop_assert!(decode(&bytes[..at], SHARD).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes, SHARD).is_err());
        }

        #[test]
        fn any_bytes_are_rows_or_refused(body: Vec<u8>, count: u32) {
            if let Ok(rows) = decode_rows(&body, count) {
                prop_assert_eq!(encoded_len(&rows), HEADER_BYTES + body.len() + END_MARK.len());
            }
        }
    }
}
