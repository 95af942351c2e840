//! Encoding and reconstruction of stripes and of single columns.

use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};
use weft_types::ShardIndex;

use super::engine::RememberingEngine;
use crate::{Column, Protection, SLOT_ALIGN};

/// Why shards cannot be coded or given back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The length of a shard or column is zero or no multiple of [`SLOT_ALIGN`].
    #[error("{0} bytes is no length for a column: it is a positive multiple of {SLOT_ALIGN}")]
    Length(usize),
    /// More data shards than the code has.
    #[error("{got} data shards, but the code has {data}")]
    TooManyShards {
        /// Data shards handed over.
        got: usize,
        /// N.
        data: u8,
    },
    /// A shard is longer than the column it belongs to.
    #[error("shard {shard} has {got} bytes in a column of {column}")]
    TooLong {
        /// The shard.
        shard: ShardIndex,
        /// Its bytes.
        got: usize,
        /// The column's bytes.
        column: usize,
    },
    /// The code has no shard of this index.
    #[error("no shard {0} in this code")]
    UnknownShard(ShardIndex),
    /// A shard was handed over, or wanted, twice.
    #[error("shard {0} was named twice")]
    Duplicate(ShardIndex),
    /// Fewer than N shards are left.
    #[error("{available} shards are left of the {needed} that reconstruction needs")]
    NotEnough {
        /// Different shards handed over.
        available: usize,
        /// N.
        needed: u8,
    },
    /// The code refused what was checked before; a defect.
    #[error("the erasure code refused its input")]
    Refused(#[from] reed_solomon_simd::Error),
}

/// The erasure code of one protection, with its working memory: keep one per thread and use it again.
///
/// Reed-Solomon over GF(2^16), high-rate form, always: the bytes of parity are a format on disk. Byte `i` of a
/// chunk of [`SLOT_ALIGN`] depends on bytes of the same chunk of the other shards alone, so any column decodes
/// without the rest. A shard that ends before the column, or is not stored, counts as zeroes.
///
/// Mirrored extents need no code: their copies are equal.
pub struct Codec {
    protection: Protection,
    encoder: Option<HighRateEncoder<RememberingEngine>>,
    decoder: Option<HighRateDecoder<RememberingEngine>>,
    padded: Vec<u8>,
}

impl Codec {
    /// A codec without working memory; the first use allocates it, N+M (rounded up) times the column's length.
    pub const fn new(protection: Protection) -> Self {
        Self { protection, encoder: None, decoder: None, padded: Vec::new() }
    }

    /// The protection it codes for.
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// Parity of the data shards, in order: M shards of `shard_len` bytes. Shards may be shorter than `shard_len`, and
    /// the last ones may be left out.
    ///
    /// # Errors
    /// [`CodecError`] when lengths or counts do not fit the code.
    pub fn encode(&mut self, data: &[&[u8]], shard_len: usize) -> Result<Vec<Vec<u8>>, CodecError> {
        let n = self.protection.data();
        if data.len() > usize::from(n) {
            return Err(CodecError::TooManyShards { got: data.len(), data: n });
        }
        check_length(shard_len)?;
        let encoder = prepared_encoder(&mut self.encoder, self.protection, shard_len)?;
        for (index, shard) in (0..n).map(|i| (ShardIndex::new(i), data.get(usize::from(i)))) {
            let shard = shard.copied().unwrap_or_default();
            encoder.add_original_shard(pad(&mut self.padded, index, shard, shard_len)?)?;
        }
        Ok(encoder.encode()?.recovery_iter().map(<[u8]>::to_vec).collect())
    }

    /// Gives back the `wanted` shards' bytes of `column`, in the order of `wanted`, from any N shards' bytes of
    /// the same column: data or parity, wanted or not. What a shard does not store of the column is left out, so
    /// a shard that stores nothing of it is given as no bytes, without being read.
    ///
    /// The result has the full length of the column. It is as good as what it was made from: verify it.
    ///
    /// # Errors
    /// [`CodecError::NotEnough`] when fewer than N different shards are given; the others when the input does not
    /// fit the code.
    pub fn reconstruct(
        &mut self,
        column: Column,
        available: &[(ShardIndex, &[u8])],
        wanted: &[ShardIndex],
    ) -> Result<Vec<Vec<u8>>, CodecError> {
        let len = column.range().len();
        check_length(len)?;
        let stripe = self.arrange(available, wanted, len)?;
        let n = usize::from(self.protection.data());
        let data = &stripe[..n];
        let wants_parity = wanted.iter().any(|shard| shard.get() >= n);
        let lost = data.iter().any(Option::is_none);
        let mut restored = vec![None; n];
        if lost && (wants_parity || wanted.iter().any(|shard| data[shard.get()].is_none())) {
            self.decode(&stripe, len, &mut restored)?;
        }
        let mut parity = Vec::new();
        if wants_parity {
            let whole = data.iter().zip(&restored);
            let whole: Vec<&[u8]> =
                whole.map(|(given, restored)| given.or(restored.as_deref()).unwrap_or_default()).collect();
            parity = self.encode(&whole, len)?;
        }
        let shard = |shard: &ShardIndex| match shard.get().checked_sub(n) {
            Some(index) => std::mem::take(&mut parity[index]),
            None => restored[shard.get()].take().unwrap_or_else(|| full(data[shard.get()], len)),
        };
        Ok(wanted.iter().map(shard).collect())
    }

    /// The available shards by index, of which at least N are there.
    fn arrange<'a>(
        &self,
        available: &[(ShardIndex, &'a [u8])],
        wanted: &[ShardIndex],
        len: usize,
    ) -> Result<Vec<Option<&'a [u8]>>, CodecError> {
        let mut stripe = vec![None; self.protection.width().into()];
        if let Some(unknown) = wanted.iter().find(|shard| shard.get() >= stripe.len()) {
            return Err(CodecError::UnknownShard(*unknown));
        }
        if let Some(twice) = (1..wanted.len()).find(|at| wanted[..*at].contains(&wanted[*at])) {
            return Err(CodecError::Duplicate(wanted[twice]));
        }
        for (shard, bytes) in available {
            let place = stripe.get_mut(shard.get()).ok_or(CodecError::UnknownShard(*shard))?;
            if bytes.len() > len {
                return Err(CodecError::TooLong { shard: *shard, got: bytes.len(), column: len });
            }
            if place.replace(*bytes).is_some() {
                return Err(CodecError::Duplicate(*shard));
            }
        }
        if available.len() < self.protection.data().into() {
            return Err(CodecError::NotEnough { available: available.len(), needed: self.protection.data() });
        }
        Ok(stripe)
    }

    /// Puts the data shards that are not given into `restored`.
    fn decode(
        &mut self,
        stripe: &[Option<&[u8]>],
        len: usize,
        restored: &mut [Option<Vec<u8>>],
    ) -> Result<(), CodecError> {
        let n = self.protection.data();
        let (data, parity) = stripe.split_at(n.into());
        let decoder = prepared_decoder(&mut self.decoder, self.protection, len)?;
        let missing = data.iter().filter(|given| given.is_none()).count();
        for (index, bytes) in (0..n).zip(data).filter_map(|(index, given)| given.map(|bytes| (index, bytes)))
        {
            let bytes = pad(&mut self.padded, ShardIndex::new(index), bytes, len)?;
            decoder.add_original_shard(index.into(), bytes)?;
        }
        // No more parity than is needed: every further shard would be one more pattern of erasures to evaluate.
        let parity = (0..).zip(parity).filter_map(|(index, given)| given.map(|bytes| (index, bytes)));
        for (index, bytes) in parity.take(missing) {
            let bytes = pad(&mut self.padded, ShardIndex::new(n + index), bytes, len)?;
            decoder.add_recovery_shard(index.into(), bytes)?;
        }
        for (index, bytes) in decoder.decode()?.restored_original_iter() {
            restored[index] = Some(bytes.to_vec());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codec({})", self.protection)
    }
}

fn check_length(len: usize) -> Result<(), CodecError> {
    if len == 0 || !len.is_multiple_of(SLOT_ALIGN as usize) {
        return Err(CodecError::Length(len));
    }
    Ok(())
}

/// The shard with zeroes up to `len`; copied only when it is short.
fn pad<'a>(
    padded: &'a mut Vec<u8>,
    shard: ShardIndex,
    bytes: &'a [u8],
    len: usize,
) -> Result<&'a [u8], CodecError> {
    if bytes.len() > len {
        return Err(CodecError::TooLong { shard, got: bytes.len(), column: len });
    }
    if bytes.len() == len {
        return Ok(bytes);
    }
    padded.clear();
    padded.extend_from_slice(bytes);
    padded.resize(len, 0);
    Ok(padded)
}

/// What is given of a shard, as long as the column.
fn full(given: Option<&[u8]>, len: usize) -> Vec<u8> {
    let mut shard = Vec::with_capacity(len);
    shard.extend_from_slice(given.unwrap_or_default());
    shard.resize(len, 0);
    shard
}

fn prepared_encoder(
    slot: &mut Option<HighRateEncoder<RememberingEngine>>,
    protection: Protection,
    len: usize,
) -> Result<&mut HighRateEncoder<RememberingEngine>, CodecError> {
    let (n, m) = (protection.data().into(), protection.parity().into());
    match slot.take() {
        Some(mut encoder) => {
            encoder.reset(n, m, len)?;
            Ok(slot.insert(encoder))
        }
        None => Ok(slot.insert(HighRateEncoder::new(n, m, len, RememberingEngine::new(), None)?)),
    }
}

fn prepared_decoder(
    slot: &mut Option<HighRateDecoder<RememberingEngine>>,
    protection: Protection,
    len: usize,
) -> Result<&mut HighRateDecoder<RememberingEngine>, CodecError> {
    let (n, m) = (protection.data().into(), protection.parity().into());
    match slot.take() {
        Some(mut decoder) => {
            decoder.reset(n, m, len)?;
            Ok(slot.insert(decoder))
        }
        None => Ok(slot.insert(HighRateDecoder::new(n, m, len, RememberingEngine::new(), None)?)),
    }
}

#[cfg(test)]
mod tests;
