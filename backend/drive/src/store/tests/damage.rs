//! Damage costs what it touches, and nothing else; and never gives wrong bytes.

use super::*;
use crate::reader::Damage;

/// Shards with the bytes that their records take.
type Placed = Vec<((ShardHeader, Bytes), Range<usize>)>;

/// A device with shards of all sizes, some deleted; what is left, with the bytes that each record takes.
fn sample() -> (TestDevice, Placed) {
    let device = device(40);
    let mut store = open(&device);
    let lens = [100, 4096, 4097, 20_000, 60_000, 150_000];
    let shards: Vec<_> = (0..60).zip(lens.into_iter().cycle()).map(|(seq, len)| shard(seq, len, 1)).collect();
    for (number, shard) in shards.iter().enumerate() {
        put(&mut store, shard).expect("stored");
        if number % 7 == 0 {
            store.flush().expect("flushed");
        }
    }
    for seq in (0..60).step_by(5) {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    let index = store.shared.index();
    let place = |key| {
        let entry: &Entry = index.entries.get(&key)?;
        let at = usize::try_from(entry.at).expect("small");
        Some(at..at + entry.footprint as usize)
    };
    let left = shards.into_iter().filter_map(|shard| Some((shard.clone(), place(shard.0.key)?))).collect();
    drop(index);
    (device, left)
}

/// Each shard reads as it was, or fails when its record was touched.
fn check(store: &Store<TestDevice>, shards: &Placed, touched: impl Fn(&Range<usize>) -> bool) {
    for (shard, place) in shards {
        match read_all(store, shard) {
            Ok(bytes) => assert_eq!(bytes, shard.1),
            Err(ReadError::Absent | ReadError::Corrupt { .. }) => assert!(touched(place), "{place:?}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn every_tenth_block_is_lost_and_the_rest_is_there() {
    for (first, fill) in (0..10).flat_map(|first| [(first, 0x00), (first, 0xff), (first, 0x5a)]) {
        let (device, shards) = sample();
        let size = device.bytes().len();
        let hit = |block: usize| block % 10 == first;
        for block in (0..size / 4096).filter(|block| hit(*block)) {
            device.damage(block * 4096, |bytes| bytes.fill(fill), 4096);
        }
        let mut store = open(&device);
        check(&store, &shards, |place| (place.start / 4096..place.end.div_ceil(4096)).any(hit));
        let damage = store.reader().usage().damage;
        assert!(damage.records + damage.reads > 0, "{damage:?}");

        // A damaged shard is healed by putting it again.
        for (shard, _) in &shards {
            put(&mut store, shard).expect("stored");
        }
        store.flush().expect("flushed");
        drop(store);
        check(&open(&device), &shards, |_| false);
    }
}

#[test]
fn one_byte_in_every_tenth_block_costs_one_slot_each() {
    let (device, shards) = sample();
    for block in (3..device.bytes().len() / 4096).step_by(10) {
        device.damage(block * 4096 + 1234, |bytes| bytes[0] ^= 0x10, 1);
    }
    let store = open(&device);
    check(&store, &shards, |place| {
        (place.start / 4096..place.end.div_ceil(4096)).any(|block| block % 10 == 3)
    });
    let Damage { reads, .. } = store.reader().usage().damage;
    assert!(reads > 0, "counted");
    // The other slots of a shard with a damaged one are still served.
    let damaged = shards.iter().find_map(|(shard, _)| match read_all(&store, shard) {
        Err(ReadError::Corrupt { units }) if units.len() == 1 && shard.1.len() > 2 * 4160 => {
            Some((shard, units[0]))
        }
        _ => None,
    });
    let (shard, unit) = damaged.expect("one slot of several");
    let slots = u32::try_from(shard.1.len() / 4160).expect("few");
    for other in (0..slots).filter(|slot| *slot != unit) {
        let range = other * 4160..(other + 1) * 4160;
        let bytes = store.reader().read(shard.0.key, range.clone()).expect("intact");
        assert_eq!(bytes, shard.1.slice(range.start as usize..range.end as usize));
    }
    assert!(store.reader().read(shard.0.key, unit * 4160 + 5..unit * 4160 + 6).is_err());
}

#[test]
fn a_payload_cannot_pass_for_a_header() {
    let device = device(8);
    let mut store = open(&device);
    put(&mut store, &shard(1, 100, 1)).expect("stored");
    // A payload made of headers as a client could make them: all but the salt is right.
    let mut trap = shard(2, 60_000, 1);
    let at = store.shards.expect("open").at;
    let front = store.shared.index().entries[&key(1)].front_bytes;
    let forged: Vec<u8> = (0..trap.1.len().div_ceil(64) as u64)
        .flat_map(|slot| {
            let place = (at + u64::from(front)).next_multiple_of(64) + 64 * slot;
            let generation = store.ledger.segments[0].generation;
            let mut slot = Body::tombstone(key(1))
                .header(place, generation, 1 << 40, 0)
                .encode(&HeaderSalt([0; 32]))
                .to_vec();
            slot.truncate(64);
            slot
        })
        .take(trap.1.len())
        .collect();
    trap.1 = forged.into();
    trap.0.digests[0] = Digest(*blake3::hash(&trap.1).as_bytes());
    put(&mut store, &trap).expect("stored");
    store.flush().expect("flushed");
    drop(store);
    device.damage(usize::try_from(at).expect("small"), |bytes| bytes.fill(0), 64);
    assert_eq!(open(&device).reader().list(None, 9), [key(1)]);
}

#[test]
fn a_write_that_was_cut_off_is_not_called_damage_and_does_not_stop_the_log() {
    let device = device(8);
    let mut store = open(&device);
    put(&mut store, &shard(1, 20_000, 1)).expect("stored");
    store.flush().expect("flushed");
    let at = store.shards.expect("open").at;
    put(&mut store, &shard(2, 20_000, 1)).expect("stored");
    drop(store);
    // Its header never reached the medium; its payload did.
    device.damage(usize::try_from(at).expect("small"), |bytes| bytes.fill(0), 512);
    let mut store = open(&device);
    let damage = store.reader().usage().damage;
    assert_eq!((damage.records, damage.torn), (0, 1));
    assert_eq!(store.reader().list(None, 9), [key(1)]);
    put(&mut store, &shard(2, 20_000, 1)).expect("again");
    store.flush().expect("flushed");
    assert_eq!(open(&device).reader().list(None, 9), [key(1), key(2)]);
}

#[test]
fn what_no_flush_covered_is_not_vouched_for_by_the_next_process() {
    let device = device(8);
    let mut store = open(&device);
    put(&mut store, &shard(1, 20_000, 1)).expect("stored");
    drop(store);
    let mut store = open(&device);
    put(&mut store, &shard(2, 20_000, 1)).expect("stored");
    let at = usize::try_from(store.map.records(0).start).expect("small");
    drop(store);
    // Power is lost: the second process's write had reached the medium, the first one's had not.
    device.damage(at, |bytes| bytes.fill(0), 8192);
    let damage = open(&device).reader().usage().damage;
    assert_eq!((damage.records, damage.torn), (0, 1));
}

#[test]
fn damage_below_the_flushed_mark_is_damage() {
    let device = device(8);
    let mut store = open(&device);
    let mut places = Vec::new();
    for seq in 1..4 {
        places.push(store.shards.map_or(store.map.records(0).start, |tail| tail.at));
        put(&mut store, &shard(seq, 100, 1)).expect("stored");
        store.flush().expect("flushed");
    }
    drop(store);
    device.damage(usize::try_from(places[1]).expect("small"), |bytes| bytes.fill(0), 64);
    let damage = open(&device).reader().usage().damage;
    assert_eq!((damage.records, damage.torn), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_cost_only_the_records_they_hit(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..40),
        clustered in prop::collection::vec((0..40_u64, any::<bool>(), 0..64_u64, 1..=255_u8), 0..20),
    ) {
        let (device, shards) = sample();
        let size = device.bytes().len();
        let map = SegmentMap::new(size as u64, SEGMENT_BYTES).expect("fits");
        let headers = clustered.iter().map(|(segment, last, offset, flip)| {
            let place = map.header_places(usize::try_from(*segment).expect("small"))[usize::from(*last)];
            (usize::try_from(place + offset).expect("small"), *flip)
        });
        let hits: Vec<_> = flips.iter().map(|(at, flip)| (at.index(size), *flip)).chain(headers).collect();
        for (at, flip) in &hits {
            device.damage(*at, |bytes| bytes[0] ^= flip, 1);
        }
        let intact_copy = |block: usize| hits.iter().all(|(at, _)| at / 4096 != block);
        match Store::open(device.clone(), IDENTITY) {
            Ok(mut store) => {
                check(&store, &shards, |place| hits.iter().any(|(at, _)| place.contains(at)));
                for (shard, _) in &shards {
                    put(&mut store, shard).expect("stored");
                }
                store.flush().expect("flushed");
                drop(store);
                check(&open(&device), &shards, |_| false);
            }
            Err(OpenError::Superblock(_)) => {
                prop_assert!(![0, 1, 7, size / 4096 - 1].into_iter().any(intact_copy));
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn any_bytes_at_all_are_opened_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 4096),
        blocks in prop::collection::vec(8..400_usize, 1..40),
    ) {
        let (device, shards) = sample();
        for block in blocks {
            device.damage(block * 4096, |damaged| damaged.copy_from_slice(&bytes[..damaged.len()]), 4096);
        }
        let store = open(&device);
        check(&store, &shards, |_| true);
        for key in store.reader().list(None, usize::MAX) {
            let _ = store.reader().describe(key);
        }
    }
}
