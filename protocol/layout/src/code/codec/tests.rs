use proptest::prelude::*;
use reed_solomon_simd::engine::DefaultEngine;

use super::*;
use crate::protection::tests::{all, any_protection};
use crate::{Geometry, SLOT_BYTES};

const SLOT: usize = SLOT_BYTES as usize;

fn protection(text: &str) -> Protection {
    text.parse().expect("offered")
}

/// Bytes that repeat nowhere in a stripe.
fn shard_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(byte).take(len).collect()
}

/// All shards of a stripe; data shard `i` has `lens[i]` bytes, parity is in full.
fn stripe(codec: &mut Codec, lens: &[usize], seed: u64) -> Vec<Vec<u8>> {
    let full = lens.iter().copied().max().expect("a shard");
    let mut shards: Vec<_> = lens.iter().zip(seed..).map(|(len, seed)| shard_bytes(seed, *len)).collect();
    let data: Vec<&[u8]> = shards.iter().map(Vec::as_slice).collect();
    let mut parity = codec.encode(&data, full).expect("encodes");
    shards.resize(codec.protection().data().into(), Vec::new());
    shards.append(&mut parity);
    shards
}

fn slot_column(slot: usize) -> Column {
    let start = u32::try_from(slot).expect("small") * SLOT_BYTES;
    Column::new(start, start + SLOT_BYTES).expect("aligned")
}

/// What a shard stores of a column.
fn stored(shard: &[u8], column: Column) -> &[u8] {
    let range = column.range();
    &shard[range.start.min(shard.len())..range.end.min(shard.len())]
}

fn padded(shard: &[u8], column: Column) -> Vec<u8> {
    let mut bytes = stored(shard, column).to_vec();
    bytes.resize(column.range().len(), 0);
    bytes
}

/// The shards without the lost ones, cut to a column.
fn survivors<'a>(shards: &'a [Vec<u8>], lost: &[usize], column: Column) -> Vec<(ShardIndex, &'a [u8])> {
    let left = shards.iter().enumerate().filter(|(index, _)| !lost.contains(index));
    left.map(|(index, shard)| (ShardIndex::new(index as u8), stored(shard, column))).collect()
}

/// A protection, up to M lost shards of it, blocks of an extent, and a seed.
fn loss() -> impl Strategy<Value = (Protection, Vec<usize>, u32, u64)> {
    any_protection().prop_flat_map(|protection| {
        let width = usize::from(protection.width());
        let lost =
            proptest::sample::subsequence((0..width).collect::<Vec<_>>(), 0..=protection.parity().into());
        (Just(protection), lost, 2..=60_u32, any::<u32>().prop_map(u64::from))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_block_column_decodes_alone((protection, lost, blocks, seed) in loss()) {
        let bytes = weft_types::ByteCount::new(u64::from(blocks) * weft_types::BLOCK_BYTES);
        let geometry = Geometry::new(protection, bytes).expect("fits");
        let indices = (0..protection.data()).map(ShardIndex::new);
        let lens: Vec<_> = indices.map(|shard| geometry.shard_len(shard) as usize).collect();
        let mut codec = Codec::new(protection);
        let shards = stripe(&mut codec, &lens, seed);
        let wanted: Vec<_> = lost.iter().map(|index| ShardIndex::new(*index as u8)).collect();
        for column in (0..geometry.blocks_per_shard() as usize).map(slot_column) {
            let restored = codec.reconstruct(column, &survivors(&shards, &lost, column), &wanted).expect("enough");
            for (shard, bytes) in lost.iter().zip(restored) {
                prop_assert_eq!(bytes, padded(&shards[*shard], column), "shard {}", shard);
            }
        }
    }

    #[test]
    fn any_run_of_chunks_decodes_alone((protection, lost, _, seed) in loss(), from in 0..64_u32, len in 1..65_u32) {
        let mut codec = Codec::new(protection);
        let shards = stripe(&mut codec, &vec![128 * 64; protection.data().into()], seed);
        let column = Column::new(from * 64, (from + len) * 64).expect("aligned");
        let wanted: Vec<_> = (0..protection.width()).map(ShardIndex::new).collect();
        let restored = codec.reconstruct(column, &survivors(&shards, &lost, column), &wanted).expect("enough");
        for (shard, bytes) in shards.iter().zip(restored) {
            prop_assert_eq!(&bytes, &shard[column.range()]);
        }
    }
}

#[test]
fn every_loss_of_4_and_2_is_given_back() {
    let mut codec = Codec::new(protection("4+2"));
    let shards = stripe(&mut codec, &[SLOT, SLOT, SLOT, 64], 9);
    let column = slot_column(0);
    for (a, b) in (0..6).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let wanted = [a, b].map(|index| ShardIndex::new(index as u8));
        let restored =
            codec.reconstruct(column, &survivors(&shards, &[a, b], column), &wanted).expect("enough");
        assert_eq!(restored, [padded(&shards[a], column), padded(&shards[b], column)]);
    }
}

#[test]
fn a_stock_decoder_agrees() {
    for protection in all() {
        let (n, m) = (usize::from(protection.data()), usize::from(protection.parity()));
        let mut codec = Codec::new(protection);
        let shards = stripe(&mut codec, &vec![SLOT; n], 3);
        let mut stock = HighRateDecoder::new(n, m, SLOT, DefaultEngine::new(), None).expect("a code");
        (m..n).for_each(|index| stock.add_original_shard(index, &shards[index]).expect("adds"));
        (0..m.min(n)).for_each(|index| stock.add_recovery_shard(index, &shards[n + index]).expect("adds"));
        let result = stock.decode().expect("decodes");
        for (index, shard) in shards.iter().enumerate().take(m.min(n)) {
            assert_eq!(result.restored_original(index), Some(shard.as_slice()), "{protection}");
        }
    }
}

#[test]
fn parity_is_a_format() {
    let mut codec = Codec::new(protection("4+2"));
    let shards = stripe(&mut codec, &[64; 4], 1);
    let heads: Vec<_> = shards[4..].iter().map(|shard| &shard[..8]).collect();
    assert_eq!(heads, [[52, 44, 61, 234, 252, 179, 43, 29], [208, 207, 193, 21, 88, 227, 150, 156]]);
}

#[test]
fn too_few_shards_give_nothing() {
    let mut codec = Codec::new(protection("4+2"));
    let shards = stripe(&mut codec, &[SLOT; 4], 5);
    let column = slot_column(0);
    let left = survivors(&shards, &[0, 1, 2], column);
    let error = codec.reconstruct(column, &left, &[ShardIndex::new(0)]).expect_err("three are not enough");
    assert_eq!(error, CodecError::NotEnough { available: 3, needed: 4 });
    let twice = [&left[..], &left[..1]].concat();
    let error = codec.reconstruct(column, &twice, &[ShardIndex::new(0)]).expect_err("no fourth shard");
    assert_eq!(error, CodecError::Duplicate(ShardIndex::new(3)));
}

#[test]
fn input_that_does_not_fit_the_code_is_refused() {
    let mut codec = Codec::new(protection("2+1"));
    let block = [7_u8; 128];
    let unknown = ShardIndex::new(3);
    let column = Column::new(0, 64).expect("aligned");
    let good: [(ShardIndex, &[u8]); 2] =
        [(ShardIndex::new(0), &block[..64]), (ShardIndex::new(2), &block[..64])];
    assert_eq!(codec.reconstruct(column, &good, &[unknown]), Err(CodecError::UnknownShard(unknown)));
    let twice = [ShardIndex::new(1); 2];
    assert_eq!(codec.reconstruct(column, &good, &twice), Err(CodecError::Duplicate(twice[0])));
    let long = [good[0], (ShardIndex::new(1), &block[..])];
    let error = CodecError::TooLong { shard: ShardIndex::new(1), got: 128, column: 64 };
    assert_eq!(codec.reconstruct(column, &long, &[]), Err(error));
    let empty = Column::new(64, 64).expect("aligned");
    assert_eq!(codec.reconstruct(empty, &good, &[]), Err(CodecError::Length(0)));
    let data = [&block[..64]; 3];
    let error = CodecError::TooManyShards { got: 3, data: 2 };
    assert_eq!(codec.encode(&data, 64), Err(error));
    let error = CodecError::TooLong { shard: ShardIndex::new(0), got: 128, column: 64 };
    assert_eq!(codec.encode(&[&block], 64), Err(error));
    let error = CodecError::Length(63);
    assert_eq!(codec.encode(&[&block[..63]], 63), Err(error));
}
