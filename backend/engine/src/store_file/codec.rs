//! The bytes of a store file.

use std::fs::File;
use std::io::{self, Read};

use super::StoreHeader;

/// The format that this version writes.
pub(super) const FORMAT: u16 = 1;
/// Most bytes of the content.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"WEFTSTOR";
const PRELUDE_BYTES: usize = 24;
const HEADER_BYTES_MAX: usize = 64 << 10;
const CRC_BYTES: usize = 4;

/// Why bytes are no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("it does not begin as a cluster store does")]
    NotAStore,
    #[error("it is cut off at {0} bytes")]
    Truncated(usize),
    #[error("its checksum does not hold")]
    Checksum,
    #[error("its header cannot be read")]
    Header,
    #[error("format {0}")]
    NewerFormat(u16),
}

/// Reads a file, but not without bound.
pub(super) fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = (PRELUDE_BYTES + HEADER_BYTES_MAX + BODY_BYTES_MAX + 1024) as u64;
    file.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn encode(header: &StoreHeader, sealed: &[u8]) -> Vec<u8> {
    let header = minicbor::to_vec(header).expect("a vector takes all bytes");
    let mut out = Vec::with_capacity(PRELUDE_BYTES + header.len() + sealed.len() + CRC_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&u32::try_from(header.len()).expect("headers are short").to_le_bytes());
    out.extend_from_slice(&(sealed.len() as u64).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(sealed);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<(StoreHeader, &[u8]), DecodeError> {
    let truncated = DecodeError::Truncated(bytes.len());
    let prelude = bytes.first_chunk::<PRELUDE_BYTES>().ok_or(truncated)?;
    if prelude[..8] != MAGIC {
        return Err(DecodeError::NotAStore);
    }
    let format = u16::from_le_bytes([prelude[8], prelude[9]]);
    let header_len = u32::from_le_bytes(prelude[12..16].try_into().expect("4 bytes"));
    let body_len = u64::from_le_bytes(prelude[16..24].try_into().expect("8 bytes"));
    let total = u64::from(header_len)
        .checked_add(body_len)
        .and_then(|bytes| bytes.checked_add((PRELUDE_BYTES + CRC_BYTES) as u64))
        .ok_or(DecodeError::Checksum)?;
    // Checked before the format: a flipped bit there must not pass for a newer one.
    let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(truncated)?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return Err(if (bytes.len() as u64) < total { truncated } else { DecodeError::Checksum });
    }
    if format != FORMAT {
        return Err(DecodeError::NewerFormat(format));
    }
    let header_len = usize::try_from(header_len).map_err(|_| DecodeError::Header)?;
    let (header, sealed) =
        content[PRELUDE_BYTES..].split_at_checked(header_len).ok_or(DecodeError::Header)?;
    let header = minicbor::decode(header).map_err(|_| DecodeError::Header)?;
    if sealed.len() as u64 == body_len { Ok((header, sealed)) } else { Err(DecodeError::Header) }
}
