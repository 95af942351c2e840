//! The seal of an extent's blocks.

use core::fmt;

use weft_types::{BLOCK_BYTES, ExtentId, FilesystemId};

use crate::cipher::{Cipher, TAG_BYTES, counter_nonce};
use crate::context::Context;
use crate::secret::DataKey;

/// Bytes of a block's authenticated data after the purpose: filesystem, extent, block, length, each behind its length.
const AAD_BYTES: usize = 4 + PURPOSE.len() + 4 + 16 + 4 + ExtentId::BYTES + 4 + 4 + 4 + 4;

const PURPOSE: &str = "weft block";

/// Seals and opens the blocks of one extent, under a key that no other extent has.
///
/// The nonce is the block's number: safe because an extent's id is consumed by its first sealing. Sealing other
/// bytes under a block that was sealed before gives both away; sealing the same bytes again gives the same slot.
pub struct ExtentSealer {
    cipher: Cipher,
    aad: [u8; AAD_BYTES],
}

/// Why a block cannot be sealed: the caller is wrong, nothing is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealBlockError {
    /// More than a block.
    #[error("a block holds at most {BLOCK_BYTES} bytes, not {0}")]
    TooLong(usize),
    /// No room for ciphertext and tag.
    #[error("a slot of {slot} bytes cannot hold a block of {plaintext} and its tag")]
    SlotTooSmall {
        /// Bytes of the slot.
        slot: usize,
        /// Bytes to seal.
        plaintext: usize,
    },
}

/// Why a slot is not the block that was sealed into it. The output then holds zeroes or its old bytes, never
/// unverified ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenBlockError {
    /// The slot is too short for the block's length and a tag.
    #[error("a slot of {slot} bytes is too short for a block of {plaintext}")]
    Truncated {
        /// Bytes of the slot.
        slot: usize,
        /// Bytes the block should have.
        plaintext: usize,
    },
    /// Another block, extent, filesystem or length, another key, or damage.
    #[error("the block is damaged, or is not the one that was asked for")]
    NotAuthentic,
    /// The block is whole but the bytes behind its tag are not zero: other blocks decoded with them would be wrong.
    #[error("the padding behind the block is damaged")]
    Padding,
}

impl ExtentSealer {
    /// For one extent of a file with this data key.
    pub fn new(key: &DataKey, filesystem: FilesystemId, extent: ExtentId) -> Self {
        let info = Context::of("weft extent key").field(&extent.to_bytes());
        let template = Context::of(PURPOSE)
            .field(&filesystem.to_bytes())
            .field(&extent.to_bytes())
            .field(&[0; 4])
            .field(&[0; 4]);
        let aad = template.as_ref().try_into().expect("the fields have fixed lengths");
        Self { cipher: Cipher::derive(key.expose(), &[], &info), aad }
    }

    /// Encrypts a block where it stands, and gives its tag.
    pub fn seal_block(&self, block: u32, in_out: &mut [u8]) -> Result<[u8; TAG_BYTES], SealBlockError> {
        let length = block_length(in_out)?;
        Ok(self.cipher.seal_in_place(counter_nonce(block.into()), &self.aad(block, length), in_out))
    }

    /// Fills a slot: ciphertext, tag, zeroes to its end. The slot's old bytes do not matter.
    pub fn seal_into(&self, block: u32, plaintext: &[u8], slot: &mut [u8]) -> Result<(), SealBlockError> {
        let length = block_length(plaintext)?;
        let too_small = SealBlockError::SlotTooSmall { slot: slot.len(), plaintext: plaintext.len() };
        let (sealed, padding) = slot.split_at_mut_checked(plaintext.len() + TAG_BYTES).ok_or(too_small)?;
        self.cipher.seal_into(counter_nonce(block.into()), &self.aad(block, length), plaintext, sealed);
        padding.fill(0);
        Ok(())
    }

    /// Verifies a slot and decrypts it into `out`, which is as long as the block: 4096 bytes, or what is left for the
    /// last block of an extent.
    pub fn open_from(&self, block: u32, slot: &[u8], out: &mut [u8]) -> Result<(), OpenBlockError> {
        let truncated = OpenBlockError::Truncated { slot: slot.len(), plaintext: out.len() };
        let length = u32::try_from(out.len()).map_err(|_| truncated)?;
        let end = out.len().checked_add(TAG_BYTES).ok_or(truncated)?;
        let (sealed, padding) = slot.split_at_checked(end).ok_or(truncated)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(OpenBlockError::Padding);
        }
        self.cipher
            .open_into(counter_nonce(block.into()), &self.aad(block, length), sealed, out)
            .map_err(|_| OpenBlockError::NotAuthentic)
    }

    fn aad(&self, block: u32, length: u32) -> [u8; AAD_BYTES] {
        let mut aad = self.aad;
        aad[AAD_BYTES - 12..AAD_BYTES - 8].copy_from_slice(&block.to_be_bytes());
        aad[AAD_BYTES - 4..].copy_from_slice(&length.to_be_bytes());
        aad
    }
}

impl fmt::Debug for ExtentSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtentSealer(..)")
    }
}

fn block_length(plaintext: &[u8]) -> Result<u32, SealBlockError> {
    u32::try_from(plaintext.len())
        .ok()
        .filter(|length| u64::from(*length) <= BLOCK_BYTES)
        .ok_or(SealBlockError::TooLong(plaintext.len()))
}

#[cfg(test)]
mod tests;
