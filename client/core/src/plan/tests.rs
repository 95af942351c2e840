use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use weft_layout::Protection;
use weft_types::ByteCount;

fn geometry(protection: &str, len: u64) -> Geometry {
    Geometry::new(protection.parse().expect("offered"), ByteCount::new(len)).expect("a length")
}

#[test]
fn a_random_block_touches_one_shard() {
    let geometry = geometry("4+2", 4 << 20);
    let stripes = stripes(geometry, 8192..12288);
    assert_eq!(stripes.len(), 1);
    let mut gather = Gather::new(geometry, &stripes[0], |_| false);
    assert_eq!(gather.requests(), [ShardIndex::new(0)]);
    assert_eq!(gather.step(), Step::Wait);
    gather.got(ShardIndex::new(0));
    assert_eq!(gather.step(), Step::Direct);
    assert!(gather.requests().is_empty());
}

#[test]
fn the_border_of_two_shards_is_two_small_reads() {
    let geometry = geometry("4+2", 4 << 20);
    let border = 1 << 20;
    let stripes = stripes(geometry, border - 4096..border + 4096);
    assert_eq!(stripes.len(), 2);
    assert!(stripes.iter().all(|stripe| stripe.column.len() == geometry.slot_bytes()));
}

#[test]
fn a_late_shard_is_replaced_and_still_taken_when_it_comes_first() {
    let geometry = geometry("4+2", 4 << 20);
    let stripe = &stripes(geometry, 0..4096)[0];
    let mut gather = Gather::new(geometry, stripe, |_| false);
    gather.requests();
    assert_eq!(gather.late(), [ShardIndex::new(0)]);
    assert_eq!(gather.requests().len(), 4);
    gather.got(ShardIndex::new(0));
    assert_eq!(gather.step(), Step::Direct);
}

#[test]
fn an_avoided_copy_is_the_last_to_be_asked() {
    let geometry = geometry("4+2", 100);
    let stripe = &stripes(geometry, 0..100)[0];
    let mut gather = Gather::new(geometry, stripe, |shard| shard.get() == 0);
    assert_eq!(gather.requests(), [ShardIndex::new(1)]);
    gather.failed(ShardIndex::new(1));
    assert_eq!(gather.requests(), [ShardIndex::new(2)]);
    gather.failed(ShardIndex::new(2));
    assert_eq!(gather.requests(), [ShardIndex::new(0)]);
    gather.failed(ShardIndex::new(0));
    assert_eq!(gather.step(), Step::Impossible);
}

#[test]
fn a_wrong_reconstruction_asks_for_one_more_until_none_is_left() {
    let geometry = geometry("4+2", 4 << 20);
    let stripe = &stripes(geometry, 0..4096)[0];
    let mut gather = Gather::new(geometry, stripe, |_| false);
    gather.requests();
    gather.failed(ShardIndex::new(0));
    gather.requests().into_iter().for_each(|shard| gather.got(shard));
    assert_eq!(gather.step(), Step::Rest);
    gather.widen();
    let more = gather.requests();
    assert_eq!(more.len(), 1);
    gather.got(more[0]);
    assert_eq!(gather.step(), Step::Rest);
    gather.widen();
    assert_eq!(gather.step(), Step::Impossible);
}

proptest! {
    /// Whatever fails, is late or is avoided: up to M failures the stripe is read, and never more than N shards are
    /// read but for those that were late or failed.
    #[test]
    fn any_loss_that_the_code_survives_is_read_around(
        len in 1..=4_u64 << 20,
        protection in proptest::sample::select(vec!["2+1", "4+2", "8+4"]),
        fate in proptest::collection::vec(0..4_u8, 12),
        avoided in proptest::collection::vec(any::<bool>(), 12),
        place: (u32, u32),
    ) {
        let geometry = geometry(protection, len);
        let protection: Protection = geometry.protection();
        let range = place.0 % len as u32..len as u32;
        let range = range.start..range.start + 1 + place.1 % (range.end - range.start);
        for stripe in stripes(geometry, range) {
            let mut losses = usize::from(protection.parity());
            let mut gather = Gather::new(geometry, &stripe, |shard| avoided[shard.get()]);
            let mut asked = BTreeSet::new();
            let mut excused = 0;
            let mut rounds = 0;
            while gather.step() == Step::Wait {
                let requests = gather.requests();
                let mut pending = Vec::new();
                for shard in requests {
                    prop_assert!(asked.insert(shard), "{shard} is asked for once");
                    match fate[shard.get()] {
                        0 if losses > 0 => {
                            losses -= 1;
                            excused += 1;
                            gather.failed(shard);
                        }
                        1 => pending.push(shard),
                        _ => gather.got(shard),
                    }
                }
                if gather.step() == Step::Wait && !pending.is_empty() {
                    excused += gather.late().len();
                    let more = gather.requests();
                    for shard in more {
                        prop_assert!(asked.insert(shard));
                        gather.got(shard);
                    }
                    pending.into_iter().for_each(|shard| gather.got(shard));
                }
                rounds += 1;
                prop_assert!(rounds < 50, "it ends");
            }
            prop_assert!(matches!(gather.step(), Step::Direct | Step::Rest));
            let needed = if geometry.form() == Form::Mirrored { 1 } else { usize::from(protection.data()) };
            // Wanted shards may have been asked for before the rest was needed.
            prop_assert!(asked.len() <= needed + excused + stripe.wanted.len());
        }
    }
}
