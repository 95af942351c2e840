//! Rows between plaintext and the form in which they lie in log and index.

use std::collections::HashMap;

use weft_engine::{Batch, RowChange};
use weft_keys::{
    EpochSalt, MetadataKey, OpenRowError, OwnershipSealer, PaddingError, RowOpener, RowsExhausted, SealedRow,
    pad, unpad,
};
use weft_meta::{RowKey, RowKeyError, Sealing};
use weft_types::{Epoch, FilesystemId, KeyVersion, MetadataShard, Position};

use super::{Taken, Value};

/// Why a row cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Row(#[from] OpenRowError),
    #[error(transparent)]
    Padding(#[from] PaddingError),
    #[error("no salt of ownership epoch {0} is known")]
    NoSalt(Epoch),
}

/// Why a batch cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error(transparent)]
    Exhausted(#[from] RowsExhausted),
    #[error(transparent)]
    Key(#[from] RowKeyError),
    #[error("the owner has no keys to seal {0:?} with")]
    NoKeys(RowKey),
}

/// Opens rows of all ownerships. Without keys, only rows in clear.
#[derive(Default)]
pub(crate) struct Openers(HashMap<Epoch, RowOpener>);

impl Openers {
    /// For the ownerships with these salts.
    pub(crate) fn new(
        key: &MetadataKey,
        filesystem: FilesystemId,
        shard: MetadataShard,
        salts: impl IntoIterator<Item = (Epoch, EpochSalt)>,
    ) -> Self {
        let opener = |(epoch, salt)| (epoch, RowOpener::new(key, filesystem, shard, epoch, salt));
        Self(salts.into_iter().map(opener).collect())
    }

    pub(super) fn open(&self, key: &RowKey, encoded: &[u8], sealed: &[u8]) -> Result<Value, OpenError> {
        let sealing = key.sealing();
        if sealing == Sealing::Clear {
            return Ok(sealed.into());
        }
        let epoch = SealedRow::parse(sealed)?.position().epoch;
        let opener = self.0.get(&epoch).ok_or(OpenError::NoSalt(epoch))?;
        let plaintext = opener.open(encoded, sealed)?;
        Ok(match sealing {
            Sealing::SealedPadded => unpad(&plaintext)?.into(),
            _ => plaintext.as_slice().into(),
        })
    }
}

/// Makes batches of one ownership.
pub(crate) struct Sealer {
    epoch: Epoch,
    salt: EpochSalt,
    /// `None`: only rows in clear are written.
    rows: Option<OwnershipSealer>,
}

/// The version of the metadata key: there is one until metadata is re-encrypted.
const KEY_VERSION: KeyVersion = KeyVersion::new(1);

impl Sealer {
    /// For an ownership that begins.
    pub(crate) fn new(rows: OwnershipSealer, salt: EpochSalt) -> Self {
        Self { epoch: rows.epoch(), salt, rows: Some(rows) }
    }

    /// For an ownership without keys.
    pub(crate) const fn without_keys(epoch: Epoch, salt: EpochSalt) -> Self {
        Self { epoch, salt, rows: None }
    }

    /// The batch, sealed.
    pub(crate) fn seal(&mut self, taken: Taken) -> Result<Batch, SealError> {
        let seq = taken.seq;
        let mut rows = Vec::with_capacity(taken.rows.len());
        for (key, value) in taken.rows {
            let value = value.map(|value| self.seal_row(&key, seq, &value)).transpose()?;
            rows.push(RowChange { key, value });
        }
        let position = Position { epoch: self.epoch, seq };
        Ok(Batch { position, salt: self.salt, key_version: KEY_VERSION, rows })
    }

    fn seal_row(&mut self, encoded: &[u8], seq: u64, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = RowKey::decode(encoded)?;
        let padded;
        let plaintext = match key.sealing() {
            Sealing::Clear => return Ok(value.to_vec()),
            Sealing::Sealed => value,
            Sealing::SealedPadded => {
                padded = pad(value);
                &padded
            }
        };
        let rows = self.rows.as_mut().ok_or(SealError::NoKeys(key))?;
        Ok(rows.seal(encoded, seq, plaintext)?)
    }
}
