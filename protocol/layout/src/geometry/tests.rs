use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::protection::tests::any_protection;

fn geometry(protection: &str, len: u64) -> Geometry {
    Geometry::new(protection.parse().expect("offered"), ByteCount::new(len)).expect("fits")
}

fn any_geometry() -> impl Strategy<Value = Geometry> {
    let len = prop_oneof![1..=2 * BLOCK, 1..=40 * BLOCK, 1..=MAX_EXTENT_BYTES];
    (any_protection(), len)
        .prop_map(|(protection, len)| Geometry::new(protection, ByteCount::new(len.into())).expect("fits"))
}

#[test]
fn a_full_block_takes_4160_bytes() {
    assert_eq!(SLOT_BYTES, 4160);
}

#[test]
fn an_extent_of_another_length_is_refused() {
    let new = |len| Geometry::new(Protection::DEVELOPMENT, ByteCount::new(len));
    assert_eq!(new(0), Err(GeometryError::Empty));
    assert_eq!(new(u64::from(MAX_EXTENT_BYTES) + 1), Err(GeometryError::TooLong(4_194_305)));
    assert!(new(u64::from(MAX_EXTENT_BYTES)).is_ok());
    let wire = minicbor::to_vec((Protection::DEVELOPMENT, 0_u32)).expect("encodes");
    assert!(minicbor::decode::<Geometry>(&wire).is_err());
}

#[test]
fn a_small_extent_is_mirrored_on_rotating_members() {
    let small = geometry("4+2", 100);
    assert_eq!((small.form(), small.slot_bytes(), small.block_count()), (Form::Mirrored, 128, 1));
    assert_eq!(small.stored_bytes(), ByteCount::new(3 * 128));
    let slots: Vec<_> = small.holders(ExtentSeq::new(11)).map(|(s, g)| (s.get(), g.get())).collect();
    assert_eq!(slots, [(0, 5), (1, 0), (2, 1)]);
    assert_eq!(geometry("4+2", 4096).form(), Form::Mirrored);
    assert_eq!(geometry("4+2", 4097).form(), Form::Striped);
}

#[test]
fn a_short_stripe_stores_no_empty_shard() {
    let two = geometry("4+2", 4097);
    assert_eq!(two.stored_shards().map(ShardIndex::get).collect::<Vec<_>>(), [0, 1, 4, 5]);
    assert_eq!(two.stored_bytes(), ByteCount::new(4 * 4160));
    assert_eq!((two.plaintext_len(1), two.sealed_len(1), two.plaintext_len(2)), (1, 17, 0));
    let nine = geometry("4+2", 9 * 4096);
    let lens: Vec<_> = (0..6).map(|i| nine.shard_len(ShardIndex::new(i)) / SLOT_BYTES).collect();
    assert_eq!(lens, [3, 3, 3, 0, 3, 3]);
    assert_eq!(nine.shard_len(ShardIndex::new(6)), 0);
}

#[test]
fn a_range_is_cut_at_the_borders_of_shards() {
    let ten = geometry("4+2", 10 * 4096);
    let runs: Vec<_> =
        ten.runs(2 * 4096 + 1..7 * 4096).map(|r| (r.shard.get(), r.blocks, r.column)).collect();
    let column = |from, to| Column::new(from * SLOT_BYTES, to * SLOT_BYTES).expect("aligned");
    assert_eq!(runs, [(0, 2..3, column(2, 3)), (1, 3..6, column(0, 3)), (2, 6..7, column(0, 1))]);
    assert_eq!(ten.runs(5..5).count(), 0);
    assert_eq!(ten.runs(10 * 4096..u32::MAX).count(), 0);
}

proptest! {
    #[test]
    fn a_geometry_survives_its_wire_form(geometry in any_geometry()) {
        let wire = minicbor::to_vec(geometry).expect("encodes");
        prop_assert_eq!(minicbor::decode::<Geometry>(&wire).expect("decodes"), geometry);
    }

    #[test]
    fn every_block_has_a_slot_of_its_own_within_its_shard(geometry in any_geometry()) {
        let mut taken = BTreeSet::new();
        let mut plaintext = 0;
        for block in 0..geometry.block_count() {
            let place = geometry.block_location(block).expect("a block of the extent");
            prop_assert!(place.slot.end <= geometry.shard_len(place.shard));
            prop_assert!(place.slot.start.is_multiple_of(SLOT_ALIGN) && place.slot.end.is_multiple_of(SLOT_ALIGN));
            prop_assert!(geometry.sealed_len(block) <= place.slot.len());
            prop_assert!(geometry.shard_blocks(place.shard).contains(&block));
            prop_assert!(taken.insert((place.shard, place.slot.start)), "two blocks in a slot");
            plaintext += u64::from(geometry.plaintext_len(block));
        }
        prop_assert_eq!(ByteCount::new(plaintext), geometry.plaintext_bytes());
        prop_assert!(geometry.block_location(geometry.block_count()).is_none());
    }

    #[test]
    fn shards_of_an_extent_are_on_members_of_their_own(geometry in any_geometry(), seq: u64) {
        let seq = ExtentSeq::new(seq);
        let mut members = BTreeSet::new();
        for (shard, member) in geometry.holders(seq) {
            prop_assert!(member.get() < usize::from(geometry.protection().width()));
            prop_assert!(members.insert(member));
            prop_assert_eq!(geometry.protection().shard_on(member, seq), shard);
            prop_assert!(0 < geometry.shard_len(shard));
            prop_assert!(geometry.shard_len(shard) <= geometry.full_shard_bytes());
        }
        prop_assert!(members.len() > usize::from(geometry.protection().parity()));
    }

    #[test]
    fn runs_cover_a_range_once_and_in_order(geometry in any_geometry(), a: u32, b: u32) {
        let (a, b) = (a % MAX_EXTENT_BYTES, b % MAX_EXTENT_BYTES);
        let range = a.min(b)..a.max(b);
        let len = geometry.plaintext_bytes().get() as u32;
        let mut next = range.start / BLOCK;
        for run in geometry.runs(range.clone()) {
            prop_assert_eq!(run.blocks.start, next);
            prop_assert!(!run.blocks.is_empty());
            prop_assert_eq!(run.column.len(), run.blocks.len() as u32 * geometry.slot_bytes());
            let first = geometry.block_location(run.blocks.start).expect("a block");
            prop_assert_eq!((first.shard, first.slot.start), (run.shard, run.column.start()));
            prop_assert_eq!(geometry.stored_column(run.shard, run.column), run.column);
            next = run.blocks.end;
        }
        let end = range.end.min(len);
        let expected = if range.start < end { end.div_ceil(BLOCK) } else { range.start / BLOCK };
        prop_assert_eq!(next, expected);
    }
}
