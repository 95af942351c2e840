//! The fixed headers in front of every request and answer.
//!
//! Both are 16 bytes, little-endian, followed by `body` bytes of CBOR and then `bulk` bytes:
//!
//! | bytes | request | answer |
//! |---|---|---|
//! | 0..2 | call number | status: 0 done, 1 refused by the operation, else a [`Fault`](crate::Fault) |
//! | 2..4 | zero | zero |
//! | 4..8 | deadline in milliseconds from receipt | zero |
//! | 8..12 | length of the body | length of the body |
//! | 12..16 | length of the bulk | length of the bulk |

use crate::CallTag;

/// Bytes of either header.
pub const HEADER_BYTES: usize = 16;
/// Longest body. A commit of a thousand extents and a listing of a thousand names fit.
pub const BODY_BYTES_MAX: u32 = 1 << 20;
/// Longest bulk: the largest shard is half of a 4 MiB extent (2+1) with its tags.
pub const BULK_BYTES_MAX: u32 = 4 << 20;

/// A header is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than [`BODY_BYTES_MAX`].
    #[error("a body of {0} bytes is over the bound")]
    BodyTooLong(u32),
    /// The bulk is longer than [`BULK_BYTES_MAX`].
    #[error("a bulk of {0} bytes is over the bound")]
    BulkTooLong(u32),
}

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// The call's number.
    pub tag: CallTag,
    /// How long the caller waits, counted by the peer from receipt, in milliseconds.
    pub deadline_ms: u32,
    /// Bytes of CBOR that follow; at most [`BODY_BYTES_MAX`] once decoded.
    pub body: u32,
    /// Bytes of bulk after the body; at most [`BULK_BYTES_MAX`] once decoded.
    pub bulk: u32,
}

impl RequestHeader {
    /// The wire form.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        header(self.tag.0, self.deadline_ms, self.body, self.bulk)
    }

    /// Reads the wire form and checks its lengths.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let (tag, deadline_ms, body, bulk) = fields(bytes)?;
        Ok(Self { tag: CallTag(tag), deadline_ms, body, bulk })
    }
}

/// The header of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHeader {
    /// 0 done, 1 refused by the operation, else a fault's code.
    pub status: u16,
    /// Bytes of CBOR that follow.
    pub body: u32,
    /// Bytes of bulk after the body.
    pub bulk: u32,
}

impl AnswerHeader {
    /// The status of an operation that was done.
    pub const DONE: u16 = 0;
    /// The status of an operation that said no; the body is its refusal.
    pub const REFUSED: u16 = 1;

    /// The wire form.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        header(self.status, 0, self.body, self.bulk)
    }

    /// Reads the wire form and checks its lengths.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let (status, _, body, bulk) = fields(bytes)?;
        Ok(Self { status, body, bulk })
    }
}

fn header(number: u16, deadline_ms: u32, body: u32, bulk: u32) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[0..2].copy_from_slice(&number.to_le_bytes());
    out[4..8].copy_from_slice(&deadline_ms.to_le_bytes());
    out[8..12].copy_from_slice(&body.to_le_bytes());
    out[12..16].copy_from_slice(&bulk.to_le_bytes());
    out
}

fn fields(bytes: &[u8; HEADER_BYTES]) -> Result<(u16, u32, u32, u32), FrameError> {
    let number = u16::from_le_bytes([bytes[0], bytes[1]]);
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (deadline_ms, body, bulk) = (word(4), word(8), word(12));
    if body > BODY_BYTES_MAX {
        return Err(FrameError::BodyTooLong(body));
    }
    if bulk > BULK_BYTES_MAX {
        return Err(FrameError::BulkTooLong(bulk));
    }
    Ok((number, deadline_ms, body, bulk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_request_header() {
        let header = RequestHeader { tag: CallTag::PUT_SHARD, deadline_ms: 5000, body: 0x0102, bulk: 4160 };
        assert_eq!(header.encode(), [0x01, 0x01, 0, 0, 0x88, 0x13, 0, 0, 0x02, 0x01, 0, 0, 0x40, 0x10, 0, 0]);
    }

    #[test]
    fn golden_answer_header() {
        let header = AnswerHeader { status: 5, body: 0, bulk: 1 };
        assert_eq!(header.encode(), [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bounded_header_or_refused(bytes: [u8; HEADER_BYTES]) {
            if let Ok(header) = RequestHeader::decode(&bytes) {
                prop_assert!(header.body <= BODY_BYTES_MAX && header.bulk <= BULK_BYTES_MAX);
            }
        }

        #[test]
        fn a_request_header_survives(tag: u16, deadline_ms: u32, body in 0..=BODY_BYTES_MAX, bulk in 0..=BULK_BYTES_MAX) {
            let header = RequestHeader { tag: CallTag(tag), deadline_ms, body, bulk };
            prop_assert_eq!(RequestHeader::decode(&header.encode()), Ok(header));
        }
    }
}
