//! Plaintext to sealed, coded shards, and sealed runs back to plaintext.

use core::ops::Range;

use bytes::Bytes;
use weft_keys::{DataKey, ExtentSealer};
use weft_layout::{Codec, Form, Geometry, Run};
use weft_types::{Digest, ExtentId, FilesystemId, ShardIndex};

use crate::{FsError, buffers};

/// An extent as it goes to the drives.
#[derive(Debug, Clone)]
pub(crate) struct SealedExtent {
    /// Its shape.
    pub(crate) geometry: Geometry,
    /// The bytes of every shard, by index; empty for one that is not stored.
    pub(crate) shards: Vec<Bytes>,
    /// Their digests.
    pub(crate) digests: Vec<Digest>,
}

/// Seals an extent. An id is sealed once: other bytes under an id that was used would give both away.
pub(crate) fn seal(
    codec: &mut Codec,
    key: &DataKey,
    filesystem: FilesystemId,
    extent: ExtentId,
    geometry: Geometry,
    plaintext: &[u8],
) -> Result<SealedExtent, FsError> {
    let sealer = ExtentSealer::new(key, filesystem, extent);
    let shards = match geometry.form() {
        Form::Mirrored => {
            let mut slot = vec![0; geometry.slot_bytes() as usize];
            sealer.seal_into(0, plaintext, &mut slot).map_err(|_| FsError::Protocol)?;
            let copy = Bytes::from(slot);
            let width = geometry.protection().width();
            let stored = |index| geometry.shard_len(ShardIndex::new(index)) > 0;
            (0..width).map(|index| if stored(index) { copy.clone() } else { Bytes::new() }).collect()
        }
        Form::Striped => stripe(codec, &sealer, geometry, plaintext)?,
    };
    let digests = match geometry.form() {
        Form::Mirrored => same_digests(&shards),
        Form::Striped => shards.iter().map(digest).collect(),
    };
    Ok(SealedExtent { geometry, shards, digests })
}

fn digest(shard: &Bytes) -> Digest {
    Digest(*blake3::hash(shard).as_bytes())
}

/// The digests of shards that are all the same, or empty.
fn same_digests(shards: &[Bytes]) -> Vec<Digest> {
    let empty = digest(&Bytes::new());
    let full = shards.iter().find(|shard| !shard.is_empty()).map_or(empty, digest);
    shards.iter().map(|shard| if shard.is_empty() { empty } else { full }).collect()
}

fn stripe(
    codec: &mut Codec,
    sealer: &ExtentSealer,
    geometry: Geometry,
    plaintext: &[u8],
) -> Result<Vec<Bytes>, FsError> {
    let protection = geometry.protection();
    let mut data = Vec::with_capacity(protection.width().into());
    for index in (0..protection.data()).map(ShardIndex::new) {
        let mut shard = buffers::zeroed(geometry.shard_len(index) as usize);
        for block in geometry.shard_blocks(index) {
            let location = geometry.block_location(block).ok_or(FsError::Protocol)?;
            let bytes = &plaintext[span(geometry.plaintext_range(block..block + 1), 0)];
            sealer
                .seal_into(block, bytes, &mut shard[location.slot.range()])
                .map_err(|_| FsError::Protocol)?;
        }
        data.push(shard);
    }
    let sources: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut parity =
        codec.encode(&sources, geometry.full_shard_bytes() as usize).map_err(|_| FsError::Protocol)?;
    data.append(&mut parity);
    Ok(data.into_iter().map(buffers::share).collect())
}

/// Opens a run's blocks into `out`, which holds the plaintext of the extent from byte `base` on. `slots` are the
/// bytes of the run's column. False when a block is not what was sealed; `out` is of no use there then.
pub(crate) fn open_run(
    sealer: &ExtentSealer,
    geometry: Geometry,
    run: &Run,
    slots: &[u8],
    base: u32,
    out: &mut [u8],
) -> bool {
    let slot_bytes = geometry.slot_bytes() as usize;
    let mut slots = slots.chunks_exact(slot_bytes);
    run.blocks.clone().all(|block| {
        let place = span(geometry.plaintext_range(block..block + 1), base);
        match (slots.next(), out.get_mut(place)) {
            (Some(slot), Some(target)) => sealer.open_from(block, slot, target).is_ok(),
            _ => false,
        }
    })
}

/// A range of an extent as indices of a buffer that starts at `base`.
pub(crate) const fn span(range: Range<u32>, base: u32) -> Range<usize> {
    (range.start - base) as usize..(range.end - base) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::{ByteCount, ExtentSeq, SessionId};

    fn id() -> ExtentId {
        ExtentId { session: SessionId::from_bytes([3; 16]), seq: ExtentSeq::new(9) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_sealed_opens_and_a_flipped_bit_does_not(len in 1..200_000_u64, flip: (usize, u8)) {
            let key = DataKey::from_bytes(&[5; 32]);
            let filesystem = FilesystemId::from_bytes([2; 16]);
            let protection = "4+2".parse().expect("offered");
            let geometry = Geometry::new(protection, ByteCount::new(len)).expect("a length");
            let plaintext: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let sealed = seal(&mut Codec::new(protection), &key, filesystem, id(), geometry, &plaintext)
                .expect("seals");
            for (index, shard) in sealed.shards.iter().enumerate() {
                prop_assert_eq!(shard.len() as u32, geometry.shard_len(ShardIndex::new(index as u8)));
            }
            let sealer = ExtentSealer::new(&key, filesystem, id());
            let mut out = vec![0; plaintext.len()];
            for run in geometry.runs(0..len as u32) {
                let slots = &sealed.shards[run.shard.get()][run.column.range()];
                prop_assert!(open_run(&sealer, geometry, &run, slots, 0, &mut out));
                let mut damaged = slots.to_vec();
                let at = flip.0 % damaged.len();
                damaged[at] ^= 1 << (flip.1 % 8);
                prop_assert!(!open_run(&sealer, geometry, &run, &damaged, 0, &mut vec![0; plaintext.len()]));
            }
            prop_assert_eq!(out, plaintext);
        }
    }
}
