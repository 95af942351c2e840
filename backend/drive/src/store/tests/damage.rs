//! Damage costs what it touches, and nothing else; and never gives wrong bytes.

use super::*;
use crate::reader::Damage;
use crate::record::{Record, RecordHeader};

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
    store.vouch().expect("written");
    let index = store.shared.index();
    let place = |key| {
        let entry: &Entry = index.shards.get(&key)?;
        Some(usize::try_from(entry.at).expect("small")..usize::try_from(entry.end()).expect("small"))
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
    store.flush().expect("flushed");
    let tail = store.tails.get(SegmentKind::Shards).expect("open");
    let (at, generation) = (tail.next(), tail.generation);
    let front = store.shared.index().shards[&key(1)].front_bytes() as u64;
    let forged: Vec<u8> = (0..trap.1.len().div_ceil(64) as u64)
        .flat_map(|slot| {
            let place = (at + front).next_multiple_of(64) + 64 * slot;
            let tombstone = Body::tombstone(RecordKey::Shard(key(1)));
            let entry = Entry { at: place, ..tombstone.layout };
            let record = Record { seq: 1 << 40, key: tombstone.key, deletes: true, entry };
            let header = RecordHeader {
                record,
                generation,
                flushed: 0,
                preceding: 0,
                settled: 0,
                moved: false,
                table_crc: 0,
            };
            header.encode(&HeaderSalt([0; 32]))[..64].to_vec()
        })
        .take(trap.1.len())
        .collect();
    trap.1 = forged.into();
    trap.0.digests[0] = Digest(*blake3::hash(&trap.1).as_bytes());
    put(&mut store, &trap).expect("stored");
    store.flush().expect("flushed");
    store.vouch().expect("written");
    drop(store);
    device.damage(usize::try_from(at).expect("small"), |bytes| bytes.fill(0), 64);
    assert_eq!(open(&device).reader().list(None, 9), [key(1)]);
}

/// Where the next shard will stand.
fn next_place(store: &Store<TestDevice>) -> usize {
    let start = store.map.records(0).start;
    let place = store.tails.get(SegmentKind::Shards).map_or(start, |tail| tail.next());
    usize::try_from(place).expect("small")
}

#[test]
fn a_write_that_was_cut_off_is_not_called_damage_and_does_not_stop_the_log() {
    let device = device(8);
    let mut store = open(&device);
    keep(&mut store, &shard(1, 20_000, 1));
    let at = next_place(&store);
    keep(&mut store, &shard(2, 20_000, 1));
    drop(store);
    // Its header never reached the medium; its payload did.
    device.damage(at, |bytes| bytes.fill(0), 512);
    let mut store = open(&device);
    let damage = store.reader().usage().damage;
    assert_eq!((damage.records, damage.torn), (0, 1));
    assert_eq!(store.reader().list(None, 9), [key(1)]);
    keep(&mut store, &shard(2, 20_000, 1));
    drop(store);
    let store = open(&device);
    assert_eq!(store.reader().list(None, 9), [key(1), key(2)]);
    assert_eq!(store.reader().usage().damage, Default::default());
}

#[test]
fn a_record_that_is_not_whole_counts_only_when_a_flush_vouches_for_it() {
    for vouched in [false, true] {
        let device = device(8);
        let mut store = open(&device);
        let old = items::value(1, 20_000, 1);
        store.put_item(&items::item_key(1), &old).expect("stored");
        store.flush().expect("flushed");
        let new = items::value(1, 20_000, 2);
        store.put_item(&items::item_key(1), &new).expect("stored");
        store.flush().expect("flushed");
        if vouched {
            store.vouch().expect("written");
        }
        drop(store);
        let bytes = device.bytes();
        let place = bytes.windows(64).position(|run| run == &new[9000..9064]).expect("on the device");
        device.damage(place, |bytes| bytes[0] ^= 1, 1);
        // The second time nobody remembers but the device.
        for _ in 0..2 {
            let mut store = open(&device);
            match store.reader().read_item(&items::item_key(1)) {
                Ok(bytes) => assert!(bytes == old && !vouched, "power cut its write short"),
                Err(ReadError::Corrupt { .. }) => assert!(vouched, "it was promised, and is damaged"),
                Err(other) => panic!("{other}"),
            }
            keep(&mut store, &shard(1, 20_000, 1));
            store.vouch().expect("written");
        }
    }
}

#[test]
fn damage_below_the_flushed_mark_is_damage() {
    let device = device(8);
    let mut store = open(&device);
    let mut places = Vec::new();
    for seq in 1..4 {
        places.push(next_place(&store));
        keep(&mut store, &shard(seq, 100, 1));
    }
    drop(store);
    // Nothing is left of it, not even a trace.
    device.damage(places[1], |bytes| bytes.fill(0), 4096);
    let damage = open(&device).reader().usage().damage;
    assert_eq!((damage.records, damage.torn), (1, 0));
}

#[test]
fn a_damaged_summary_costs_nothing_but_time() {
    let device = device(20);
    let mut store = open(&device);
    let shards: Vec<_> = (0..40).map(|seq| shard(seq, 20_000, 1)).collect();
    shards.iter().for_each(|shard| keep(&mut store, shard));
    drop(store);
    let map = SegmentMap::new(device.size(), SEGMENT_BYTES).expect("fits");
    for segment in 0..3 {
        // The summary stands in the last blocks but one.
        let Range { start, end } = map.records(segment);
        let bytes = device.bytes();
        let last = (start..end)
            .step_by(4096)
            .filter(|block| bytes[usize::try_from(*block).expect("small")] != 0)
            .last();
        device.damage(usize::try_from(last.expect("in use")).expect("small") + 9, |bytes| bytes[0] ^= 1, 1);
    }
    let damaged = device.bytes();
    let mut store = open(&device);
    assert_eq!(store.reader().usage().damage, Default::default());
    for shard in &shards {
        assert_eq!(read_all(&store, shard).expect("there"), shard.1);
    }
    store.flush().expect("flushed");
    assert_ne!(device.bytes(), damaged, "it is written again");
}

#[test]
fn a_summary_keeps_a_record_whose_header_is_damaged_from_being_forgotten() {
    let device = device(12);
    let mut store = open(&device);
    store.put_item(&items::item_key(0), b"old").expect("stored");
    store.flush().expect("flushed");
    store.put_item(&items::item_key(0), b"new").expect("stored");
    store.flush().expect("flushed");
    let at = store.shared.index().items[&items::item_key(0)].at;
    for seq in 1..40 {
        store.put_item(&items::item_key(seq), &items::value(seq, 5000, 1)).expect("stored");
        store.flush().expect("flushed");
    }
    drop(store);
    device.damage(usize::try_from(at).expect("small"), |bytes| bytes.fill(0), 64);
    let read = open(&device).reader().read_item(&items::item_key(0));
    assert!(matches!(read, Err(ReadError::Corrupt { .. })), "not the old one: {read:?}");
}

#[test]
fn the_cleaner_moves_what_is_damaged_as_it_is_or_leaves_it() {
    let device = device(16);
    let mut store = open(&device);
    let shards: Vec<_> = (0..30).map(|seq| shard(seq, 20_000, 1)).collect();
    shards.iter().for_each(|shard| keep(&mut store, shard));
    // Of each segment a part stays.
    for seq in (0..30).filter(|seq| seq % 4 > 1) {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    let place = |seq: u64| {
        let entry = store.shared.index().shards[&key(seq)];
        let at = usize::try_from(entry.at).expect("small");
        (at, at + entry.front_bytes())
    };
    let (header, payload) = (place(1).0, place(4).1);
    let first = map_segment(&store, header);
    device.damage(header, |bytes| bytes.fill(0), 64);
    device.damage(payload, |bytes| bytes[0] ^= 1, 1);
    while store.choose(store.map.worth_cleaning()) {
        store.move_some(u64::MAX).expect("moved");
        store.commit().expect("flushed");
    }
    let usage = store.reader().usage();
    assert!(usage.damage.reads >= 2, "{usage:?}");
    drop(store);
    let mut store = open(&device);
    for (seq, shard) in (0..30).zip(&shards) {
        match (seq, read_all(&store, shard)) {
            (4, Err(ReadError::Corrupt { units })) => assert_eq!(units, [0]),
            (1, Err(ReadError::Corrupt { .. })) => {}
            (_, Err(ReadError::Absent)) => assert!(seq % 4 > 1),
            (_, read) => assert_eq!(read.expect("there"), shard.1),
        }
    }
    // Healed, it holds up nothing.
    keep(&mut store, &shards[1]);
    keep(&mut store, &shards[4]);
    assert_eq!(store.ledger.segments()[first].state, SegmentState::Free);
    assert_eq!(read_all(&store, &shards[1]).expect("healed"), shards[1].1);
}

fn map_segment(store: &Store<TestDevice>, place: usize) -> usize {
    store.map.segment_at(place as u64)
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

#[test]
fn a_lost_first_write_of_a_group_that_took_two_is_no_damage() {
    let device = device_of(8, 9 << 20);
    let mut store = open(&device);
    store.put_item(&items::item_key(0), b"kept").expect("stored");
    store.flush().expect("flushed");
    let at = store.tails.get(SegmentKind::Items).expect("open").next();
    for seq in 1..3 {
        store.put_item(&items::item_key(seq), &items::value(seq, 3_000_000, 1)).expect("stored");
    }
    let written = store.tails.get(SegmentKind::Items).expect("open").next() - at;
    assert!(written > 6_000_000);
    store.put_item(&items::item_key(3), b"whole").expect("stored");
    store.flush().expect("flushed");
    drop(store);
    let (at, len) = (usize::try_from(at).expect("small"), usize::try_from(written).expect("small"));
    device.damage(at, |bytes| bytes.fill(0), len);
    let store = open(&device);
    let damage = store.reader().usage().damage;
    assert_eq!((damage.records, damage.torn), (0, 1));
    assert_eq!(store.reader().list_items(&[], None, 9), [(items::item_key(0), 4), (items::item_key(3), 5)]);
}

#[test]
fn damage_in_a_segment_that_the_cleaner_began_costs_no_other_put() {
    let device = device(16);
    let mut store = open(&device);
    (0..6).for_each(|seq| keep(&mut store, &shard(seq, 20_000, 1)));
    (0..20).for_each(|seq| keep(&mut store, &shard(100 + seq, 20_000, 1)));
    for seq in 1..6 {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    assert!(store.choose(store.map.worth_cleaning()));
    store.move_some(u64::MAX).expect("moved");
    store.commit().expect("flushed");
    let tail = store.tails.take(SegmentKind::Moved).expect("open");
    let segment = tail.segment;
    store.seal(SegmentKind::Shards).expect("sealed");
    store.tails.set(SegmentKind::Shards, tail);
    // The seal is written, which says what is durable so far.
    store.commit().expect("flushed");
    let shards: Vec<_> = (200..203).map(|seq| shard(seq, 100, 1)).collect();
    for shard in &shards {
        put(&mut store, shard).expect("stored");
    }
    store.flush().expect("flushed");
    let first = store.shared.index().shards[&key(200)];
    assert_eq!(store.map.segment_at(first.at), segment);
    drop(store);
    let place = usize::try_from(first.at).expect("small") + first.front_bytes();
    device.damage(place, |bytes| bytes[0] ^= 1, 1);
    let store = open(&device);
    for shard in &shards[1..] {
        assert_eq!(read_all(&store, shard).expect("kept"), shard.1);
    }
}

#[test]
fn one_damaged_block_does_not_bring_back_two_replaced_items() {
    let device = device(8);
    let mut store = open(&device);
    let keys = [items::item_key(1), items::item_key(2)];
    for value in [b"old", b"new"] {
        keys.iter().for_each(|key| store.put_item(key, value).expect("stored"));
        store.flush().expect("flushed");
    }
    keep(&mut store, &shard(1, 100, 1));
    store.vouch().expect("written");
    let places =
        keys.each_ref().map(|key| usize::try_from(store.shared.index().items[key].at).expect("small"));
    drop(store);
    let intact = device.bytes();
    for (hit, other) in [(0, 1), (1, 0)] {
        let device = Arc::new(MemoryDevice::from_bytes(intact.clone()));
        device.damage(places[hit] / 4096 * 4096, |bytes| bytes.fill(0), 4096);
        assert_eq!(open(&device).reader().read_item(&keys[other]).expect("kept"), b"new"[..]);
    }
}
