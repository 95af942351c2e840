//! The seal of metadata rows.
//!
//! A sealed row is, in the log, in the index and in a checkpoint alike:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | counter, little-endian: the nonce |
//! | 8..16 | sequence of the batch that wrote it, little-endian |
//! | 16..24 | ownership epoch that wrote it, little-endian: says which salt opens it |
//! | 24.. | ciphertext |
//! | last 16 | tag |
//!
//! Row key, epoch and sequence are part of the seal: a row moved to another key, or an old one put back under a newer
//! position, does not open.

use core::fmt;

use weft_types::{Epoch, FilesystemId, MetadataShard, Position};
use zeroize::Zeroizing;

use crate::cipher::{Cipher, TAG_BYTES, counter_nonce};
use crate::context::Context;
use crate::secret::MetadataKey;

const HEADER_BYTES: usize = 24;

/// Rows one ownership seals at most; then it must be taken anew. At a million rows a second, nine years.
const LAST_COUNTER: u64 = 1 << 48;

/// 32 random bytes drawn for one ownership and stored with its epoch. Not secret.
///
/// They make the ownership's key: should a restored store ever hand out an epoch for the second time, its rows are
/// sealed under another key all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct EpochSalt(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl EpochSalt {
    /// From bytes of a cryptographically strong random source, drawn for this one ownership.
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for file and record headers.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The salt that [`to_bytes`](Self::to_bytes) gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Seals the rows that one ownership of a metadata shard writes. Each row takes the next nonce.
///
/// There is one per ownership, and it ends with the process: neither `Clone` nor stored. An owner that starts again
/// takes a new epoch.
pub struct OwnershipSealer {
    opener: RowOpener,
    /// The counter of the row sealed last; 0 before the first.
    sealed: u64,
}

/// Opens the rows that one ownership wrote, its own or an earlier one's.
pub struct RowOpener {
    cipher: Cipher,
    epoch: Epoch,
}

/// The ownership has sealed as many rows as one key may: take a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ownership epoch {epoch} has sealed all rows that its key may: the shard must be taken over anew")]
pub struct RowsExhausted {
    /// The ownership.
    pub epoch: Epoch,
}

/// Why a sealed row does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenRowError {
    /// Too short to be a sealed row at all.
    #[error("a sealed row of {0} bytes is cut off")]
    Truncated(usize),
    /// Written by another ownership: needs the opener made with that one's salt.
    #[error("the row was sealed in ownership epoch {sealed}, not in {given}")]
    OtherEpoch {
        /// The epoch in the row's header.
        sealed: Epoch,
        /// The opener's epoch.
        given: Epoch,
    },
    /// Damaged, or of another row key or position, or under another key.
    #[error("the row is damaged, or is not the one its key says")]
    NotAuthentic,
}

/// The bytes of a sealed row, with a header that is read but not yet believed.
#[derive(Debug, Clone, Copy)]
pub struct SealedRow<'a> {
    counter: u64,
    position: Position,
    body: &'a [u8],
}

impl<'a> SealedRow<'a> {
    /// Bytes that sealing adds.
    pub const OVERHEAD: usize = HEADER_BYTES + TAG_BYTES;

    /// Reads the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, OpenRowError> {
        let truncated = OpenRowError::Truncated(bytes.len());
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(truncated)?;
        if body.len() < TAG_BYTES {
            return Err(truncated);
        }
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let position = Position { epoch: Epoch::new(word(16)), seq: word(8) };
        Ok(Self { counter: word(0), position, body })
    }

    /// When it was written: the epoch says which salt opens it.
    pub const fn position(&self) -> Position {
        self.position
    }
}

impl OwnershipSealer {
    /// For an ownership that begins. The salt is fresh, and stored with the epoch before the first row is.
    pub fn new(
        key: &MetadataKey,
        filesystem: FilesystemId,
        shard: MetadataShard,
        epoch: Epoch,
        salt: EpochSalt,
    ) -> Self {
        Self { opener: RowOpener::new(key, filesystem, shard, epoch, salt), sealed: 0 }
    }

    /// The ownership's epoch.
    pub const fn epoch(&self) -> Epoch {
        self.opener.epoch
    }

    /// Opens what this ownership sealed.
    pub const fn opener(&self) -> &RowOpener {
        &self.opener
    }

    /// Seals a row that batch `seq` of this ownership writes under `row_key`.
    pub fn seal(&mut self, row_key: &[u8], seq: u64, plaintext: &[u8]) -> Result<Vec<u8>, RowsExhausted> {
        let epoch = self.epoch();
        if self.sealed >= LAST_COUNTER {
            return Err(RowsExhausted { epoch });
        }
        // Counted before it is used: whatever happens next, this nonce is spent.
        self.sealed += 1;
        let counter = self.sealed;
        let mut row = vec![0; SealedRow::OVERHEAD + plaintext.len()];
        let (header, body) = row.split_at_mut(HEADER_BYTES);
        header[..8].copy_from_slice(&counter.to_le_bytes());
        header[8..16].copy_from_slice(&seq.to_le_bytes());
        header[16..].copy_from_slice(&epoch.get().to_le_bytes());
        let aad = row_aad(row_key, Position { epoch, seq });
        self.opener.cipher.seal_into(counter_nonce(counter), aad.as_ref(), plaintext, body);
        Ok(row)
    }
}

impl RowOpener {
    /// For the rows of the ownership that had this epoch and this salt.
    pub fn new(
        key: &MetadataKey,
        filesystem: FilesystemId,
        shard: MetadataShard,
        epoch: Epoch,
        salt: EpochSalt,
    ) -> Self {
        let info = Context::of("weft ownership key")
            .field(&filesystem.to_bytes())
            .field(&shard.get().to_be_bytes())
            .field(&epoch.get().to_be_bytes());
        Self { cipher: Cipher::derive(key.expose(), &salt.0, &info), epoch }
    }

    /// The ownership's epoch.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Opens the row that stands under `row_key`. The plaintext is wiped on drop.
    pub fn open(&self, row_key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenRowError> {
        let row = SealedRow::parse(sealed)?;
        if row.position.epoch != self.epoch {
            return Err(OpenRowError::OtherEpoch { sealed: row.position.epoch, given: self.epoch });
        }
        let mut out = Zeroizing::new(vec![0; row.body.len() - TAG_BYTES]);
        let aad = row_aad(row_key, row.position);
        self.cipher
            .open_into(counter_nonce(row.counter), aad.as_ref(), row.body, &mut out)
            .map_err(|_| OpenRowError::NotAuthentic)?;
        Ok(out)
    }
}

impl fmt::Debug for OwnershipSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnershipSealer(epoch {}, {} rows sealed)", self.epoch(), self.sealed)
    }
}

impl fmt::Debug for RowOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowOpener(epoch {})", self.epoch)
    }
}

fn row_aad(row_key: &[u8], position: Position) -> Context {
    Context::of("weft row")
        .field(row_key)
        .field(&position.epoch.get().to_be_bytes())
        .field(&position.seq.to_be_bytes())
}

#[cfg(test)]
mod tests;
