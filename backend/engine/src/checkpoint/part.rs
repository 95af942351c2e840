//! The bytes of one part of a checkpoint.
//!
//! | bytes | field (numbers little-endian) |
//! |---|---|
//! | 0..8 | magic `WEFTCKPT` |
//! | 8..10 | format, 1 |
//! | 10..12 | metadata shard |
//! | 12..16 | number of this part, from 0 on |
//! | 16..32 | filesystem |
//! | 32..40 | epoch of the ownership that wrote it |
//! | 40..48 | number of the checkpoint in that ownership |
//! | 48..56 | epoch of the last batch that the rows reflect |
//! | 56..64 | sequence of that batch |
//! | 64..68 | salts in the body |
//! | 68..72 | rows in the body |
//! | 72..76 | bytes of the body |
//! | 76..80 | zero |
//! | 80..112 | BLAKE3 of the body |
//! | 112..116 | CRC32C of bytes 0..112 |
//! | 116..120 | zero |
//! | 120.. | body: salts (epoch 8, salt 32, version of the metadata key 4), then rows (lengths of key and value, 4 bytes each; key; value) |
//!
//! Salts ascend by epoch and rows by key, over all parts; salts come first.

use weft_keys::EpochSalt;
use weft_types::{Epoch, FilesystemId, KeyVersion, MetadataShard, Position};
use weft_wire::log::{LogKey, ObjectKey};

use crate::index::{Row, Salt};

pub(super) const HEADER_BYTES: usize = 120;
/// Most bytes of a body: a part travels as the bulk of one call.
pub(super) const BODY_BYTES_MAX: usize = weft_wire::frame::BULK_BYTES_MAX as usize - HEADER_BYTES;
const MAGIC: [u8; 8] = *b"WEFTCKPT";
const FORMAT: u16 = 1;
const SALT_BYTES: usize = 44;
const ROW_HEADER_BYTES: usize = 8;

/// Why bytes are no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartError {
    #[error("its header fails its checksum")]
    Header,
    #[error("its body fails its digest")]
    Body,
    #[error("it is cut off")]
    CutOff,
    #[error("it has format {0}, and this version reads format {FORMAT}")]
    Format(u16),
    #[error("it is another part, or of another checkpoint")]
    Other,
    #[error("its rows do not fit its body")]
    Rows,
}

/// What a part holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) salts: Vec<Salt>,
    pub(super) rows: Vec<Row>,
}

/// A body that fills.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    salts: u32,
    rows: u32,
}

impl Body {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a salt, unless the part is full.
    pub(super) fn add_salt(&mut self, (epoch, salt, version): &Salt) -> bool {
        if self.bytes.len() + SALT_BYTES > BODY_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(&epoch.get().to_le_bytes());
        self.bytes.extend_from_slice(&salt.to_bytes());
        self.bytes.extend_from_slice(&version.get().to_le_bytes());
        self.salts += 1;
        true
    }

    /// Takes a row, unless the part is full. A row of a batch always fits into an empty part.
    pub(super) fn add_row(&mut self, (key, value): &Row) -> bool {
        let (Ok(key_len), Ok(value_len)) = (u32::try_from(key.len()), u32::try_from(value.len())) else {
            return false;
        };
        if self.bytes.len() + ROW_HEADER_BYTES + key.len() + value.len() > BODY_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows += 1;
        true
    }

    /// The part's bytes.
    pub(super) fn finish(self, key: ObjectKey, position: Position) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.bytes.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&key.log.shard.get().to_le_bytes());
        out.extend_from_slice(&key.part.to_le_bytes());
        out.extend_from_slice(&key.log.filesystem.to_bytes());
        out.extend_from_slice(&key.epoch.get().to_le_bytes());
        out.extend_from_slice(&key.number.to_le_bytes());
        out.extend_from_slice(&position.epoch.get().to_le_bytes());
        out.extend_from_slice(&position.seq.to_le_bytes());
        out.extend_from_slice(&self.salts.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.bytes.len()).expect("bodies are bounded").to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(blake3::hash(&self.bytes).as_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.bytes);
        out
    }
}

/// Reads the part of this name, of a checkpoint at this position.
pub(super) fn decode(bytes: &[u8], key: ObjectKey, position: Position) -> Result<Contents, PartError> {
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(PartError::CutOff)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[..8] != MAGIC || word(112) != crc32c::crc32c(&header[..112]) {
        return Err(PartError::Header);
    }
    if short(8) != FORMAT {
        return Err(PartError::Format(short(8)));
    }
    let filesystem = FilesystemId::from_bytes(header[16..32].try_into().expect("16 bytes"));
    let log = LogKey { filesystem, shard: MetadataShard::new(short(10)) };
    let found = ObjectKey { log, epoch: Epoch::new(long(32)), number: long(40), part: word(12) };
    if found != key || position != (Position { epoch: Epoch::new(long(48)), seq: long(56) }) {
        return Err(PartError::Other);
    }
    if usize::try_from(word(72)) != Ok(body.len()) {
        return Err(PartError::CutOff);
    }
    if header[80..112] != *blake3::hash(body).as_bytes() {
        return Err(PartError::Body);
    }
    decode_body(body, word(64), word(68))
}

fn decode_body(mut body: &[u8], salts: u32, rows: u32) -> Result<Contents, PartError> {
    let mut contents = Contents::default();
    for _ in 0..salts {
        let (salt, rest) = body.split_first_chunk::<SALT_BYTES>().ok_or(PartError::Rows)?;
        let epoch = Epoch::new(u64::from_le_bytes(salt[..8].try_into().expect("8 bytes")));
        let version = KeyVersion::new(u32::from_le_bytes(salt[40..].try_into().expect("4 bytes")));
        contents.salts.push((
            epoch,
            EpochSalt::from_bytes(salt[8..40].try_into().expect("32 bytes")),
            version,
        ));
        body = rest;
    }
    for _ in 0..rows {
        let (key_len, rest) = take_len(body)?;
        let (value_len, rest) = take_len(rest)?;
        let (key, rest) = rest.split_at_checked(key_len).ok_or(PartError::Rows)?;
        let (value, rest) = rest.split_at_checked(value_len).ok_or(PartError::Rows)?;
        contents.rows.push((key.to_vec(), value.to_vec()));
        body = rest;
    }
    if body.is_empty() { Ok(contents) } else { Err(PartError::Rows) }
}

fn take_len(bytes: &[u8]) -> Result<(usize, &[u8]), PartError> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(PartError::Rows)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| PartError::Rows)?;
    Ok((len, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(part: u32) -> ObjectKey {
        let log = LogKey { filesystem: FilesystemId::from_bytes([5; 16]), shard: MetadataShard::new(2) };
        ObjectKey { log, epoch: Epoch::new(7), number: 3, part }
    }

    const POSITION: Position = Position { epoch: Epoch::new(6), seq: 99 };

    fn any_contents() -> impl Strategy<Value = Contents> {
        let salt = any::<(u64, [u8; 32], u32)>().prop_map(|(epoch, salt, version)| {
            (Epoch::new(epoch), EpochSalt::from_bytes(salt), KeyVersion::new(version))
        });
        let rows = prop::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 0..8);
        (prop::collection::vec(salt, 0..4), rows).prop_map(|(salts, rows)| Contents { salts, rows })
    }

    fn encode(contents: &Contents) -> Vec<u8> {
        let mut body = Body::default();
        assert!(contents.salts.iter().all(|salt| body.add_salt(salt)));
        assert!(contents.rows.iter().all(|row| body.add_row(row)));
        body.finish(key(1), POSITION)
    }

    proptest! {
        #[test]
        fn contents_survive_their_part(contents in any_contents()) {
            prop_assert_eq!(decode(&encode(&contents), key(1), POSITION), Ok(contents));
        }

        #[test]
        fn a_flipped_bit_or_a_cut_or_another_name_is_refused(
            contents in any_contents(), at: prop::sample::Index, bit in 0_u8..8,
        ) {
            let mut bytes = encode(&contents);
            prop_assert_eq!(decode(&bytes, key(2), POSITION), Err(PartError::Other));
            let at = at.index(bytes.len());
            prop_assert!(decode(&bytes[..at], key(1), POSITION).is_err());
            bytes[at] ^= 1 << bit;
            // The last four bytes of the header are spare.
            prop_assert!((116..120).contains(&at) || decode(&bytes, key(1), POSITION).is_err());
        }

        #[test]
        fn any_bytes_are_contents_or_refused(body: Vec<u8>, salts: u32, rows: u32) {
            let _ = decode_body(&body, salts, rows);
        }
    }
}
