//! A drive that fills up, is emptied and fills up again.

use super::items::{item_key, value};
use super::*;

/// Puts shards of numbers from `from` on until none fits; gives back how many.
fn fill(store: &mut Store<TestDevice>, from: u64, len: u32) -> u64 {
    let mut seq = from;
    loop {
        match put(store, &shard(seq, len, 1)) {
            Ok(Stored::Appended) => seq += 1,
            Err(PutError::NoSpace) => break,
            other => panic!("{other:?}"),
        }
    }
    store.flush().expect("flushed");
    seq - from
}

/// Cleans until there is nothing to do.
fn rest(store: &mut Store<TestDevice>) {
    for _ in 0..1000 {
        if !store.clean(true).expect("cleaned") {
            return;
        }
    }
    panic!("the cleaner never comes to an end");
}

fn free(store: &Store<TestDevice>) -> usize {
    store.ledger.free()
}

#[test]
fn a_full_drive_is_emptied_and_filled_again() {
    let device = device(20);
    let mut store = open(&device);
    let count = fill(&mut store, 0, 4000);
    let Usage { capacity, used, .. } = store.reader().usage();
    assert!(used.get() * 10 > capacity.get() * 9, "{used} of {capacity}");
    for round in 1..6 {
        let from = (round - 1) * 1000;
        for seq in from..from + count {
            assert!(store.delete(key(seq)).expect("the headroom suffices"), "{seq}");
        }
        store.flush().expect("flushed");
        assert_eq!(store.reader().usage().used.get(), 0);
        if round % 2 == 0 {
            drop(store);
            store = open(&device);
            assert_eq!(store.reader().usage().shards, 0, "nothing came back");
        }
        if round % 3 == 0 {
            rest(&mut store);
            assert_eq!(free(&store), 20);
            let left =
                device.bytes().chunks(4096).filter(|block| block.iter().any(|byte| *byte != 0)).count();
            assert!(left <= 4 + 2 * 20, "superblocks and segments' headers, not {left} blocks");
        }
        assert_eq!(fill(&mut store, round * 1000, 4000), count, "round {round}");
    }
    drop(store);
    assert_eq!(open(&device).reader().usage().shards, count);
}

#[test]
fn a_drive_full_of_shards_takes_items_and_deletions() {
    for step in [2, 3, 7] {
        let mut store = open(&device_of(24, 256 << 10));
        let count = fill(&mut store, 0, 9000);
        store.put_item(&item_key(1), &value(1, 3000, 1)).expect("items have room of their own");
        // Every other, every third, every seventh: no segment is empty, and all must be cleaned.
        for seq in (0..count).step_by(step) {
            assert!(store.delete(key(seq)).expect("the headroom suffices"));
            store.flush().expect("flushed");
        }
        let freed = count.div_ceil(step as u64);
        let again = fill(&mut store, 10_000, 9000);
        assert!(again * 10 >= freed * 9, "{again} instead of {freed}");
        assert_eq!(store.reader().read_item(&item_key(1)).expect("there"), value(1, 3000, 1));
        for seq in (0..count).filter(|seq| !seq.is_multiple_of(step as u64)) {
            let kept = shard(seq, 9000, 1);
            assert_eq!(read_all(&store, &kept).expect("kept"), kept.1);
        }
    }
}

#[test]
fn a_drive_full_of_tiny_items_is_emptied() {
    let mut store = open(&device_of(16, 256 << 10));
    let mut count = 0;
    while store.put_item(&item_key(count), &[1]).is_ok() {
        count += 1;
        if count.is_multiple_of(50) {
            store.flush().expect("flushed");
        }
    }
    store.flush().expect("flushed");
    assert!(count > 2000, "{count}");
    // In no order of the device: 7919 is prime.
    for step in 0..count {
        let seq = step * 7919 % count;
        assert_eq!(store.delete_items(&[item_key(seq)]).expect("the headroom suffices"), 1);
        if step.is_multiple_of(20) {
            store.flush().expect("flushed");
        }
    }
    store.flush().expect("flushed");
    rest(&mut store);
    assert_eq!((store.reader().usage().used.get(), free(&store)), (0, 16));
}

#[test]
fn many_small_overwrites_cost_neither_memory_nor_space() {
    let device = device(16);
    let mut store = open(&device);
    let kept = shard(1, 20_000, 1);
    keep(&mut store, &kept);
    for round in 0..400_u64 {
        for seq in 0..20 {
            let version = u8::try_from(round % 251).expect("small");
            store.put_item(&item_key(seq), &value(seq, 1000, version)).expect("stored");
        }
        // A log: its tail is written, its head goes.
        store.put_item(&item_key(1000 + round), &value(1, 200, 1)).expect("stored");
        if round >= 10 {
            assert_eq!(store.delete_items(&[item_key(1000 + round - 10)]).expect("deleted"), 1);
        }
        store.flush().expect("flushed");
        store.clean(false).expect("cleaned");
        assert!(store.ledger.graves() < 2000, "{}", store.ledger.graves());
    }
    assert_eq!(store.reader().usage().items, 30);
    rest(&mut store);
    assert!(free(&store) >= 12, "{} of 16 segments are free", free(&store));
    drop(store);
    let store = open(&device);
    assert_eq!(store.reader().usage().items, 30);
    assert_eq!(store.reader().read_item(&item_key(7)).expect("there"), value(7, 1000, (399 % 251) as u8));
    assert_eq!(read_all(&store, &kept).expect("kept"), kept.1);
}

#[test]
fn what_counts_as_writable_can_be_written() {
    let mut store = open(&device_of(40, 256 << 10));
    let before = store.reader().usage();
    assert_eq!((before.writable, before.used), (before.capacity, ByteCount::new(0)));
    let (mut from, mut deleted) = (0, 0);
    for round in 0..4 {
        let Usage { writable, used, .. } = store.reader().usage();
        let count = fill(&mut store, from, 12_000);
        let now = store.reader().usage();
        let written = now.used.get() - used.get();
        let error = written.abs_diff(writable.get());
        assert!(error * 20 < now.capacity.get(), "round {round}: {written} written, {writable} promised");
        assert!(now.writable.get() * 20 < now.capacity.get(), "{now:?}");
        from += count;
        for seq in (deleted..from).step_by(3) {
            store.delete(key(seq)).expect("deleted");
        }
        store.flush().expect("flushed");
        deleted = from;
    }
}

#[test]
fn the_longest_shards_fill_a_device_too() {
    for len in [2 << 20, 1 << 20] {
        let device = Arc::new(MemoryDevice::new(128 << 20));
        let options = FormatOptions { identity: IDENTITY, salt: HeaderSalt([7; 32]), segment_bytes: None };
        Store::format(&device, options).expect("formatted");
        let mut store = open(&device);
        let Usage { capacity, writable, .. } = store.reader().usage();
        assert!(writable == capacity && capacity.get() > (128 << 20) / 5 * 4, "{capacity}");
        let mut seq = 0;
        loop {
            let (header, payload) = wide_shard(seq, len);
            match store.put(&header, payload) {
                Ok(_) => store.flush().expect("flushed"),
                Err(PutError::NoSpace) => break,
                Err(other) => panic!("{other}"),
            }
            seq += 1;
        }
        let used = store.reader().usage().used.get();
        assert!(used + u64::from(len) + capacity.get() / 20 > capacity.get(), "{used} of {capacity}");
    }
}

/// Shard 0 of an extent of 4 MiB that has so many bytes of it.
fn wide_shard(seq: u64, len: u32) -> (ShardHeader, Bytes) {
    let data = u8::try_from((4 << 20) / len).expect("few");
    let protection = Protection::new(data, data / 2).expect("offered");
    let geometry = Geometry::new(protection, ByteCount::new(4 << 20)).expect("in range");
    let key = key(seq);
    let payload: Bytes = value(seq, geometry.shard_len(key.index), 1);
    let mut digests = vec![Digest([0; 32]); protection.width().into()];
    digests[0] = Digest(*blake3::hash(&payload).as_bytes());
    (ShardHeader { geometry, digests, ..shard(seq, 100, 1).0 }, payload)
}

#[test]
fn a_reused_segment_resurrects_nothing() {
    let device = device(8);
    let mut store = open(&device);
    // Segment 0 is filled with shards, which are deleted; what they leave is put back behind the store's back.
    let mut seq = 0;
    while store.ledger.segments()[0].state != SegmentState::Sealed {
        keep(&mut store, &shard(seq, 4000, 1));
        seq += 1;
    }
    store.flush().expect("flushed");
    let range = store.map.records(0);
    let offset = usize::try_from(range.start).expect("small");
    let len = usize::try_from(range.end - range.start).expect("small");
    let old = device.bytes()[offset..offset + len].to_vec();
    for seq in 0..seq {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    assert_eq!(store.ledger.segments()[0].state, SegmentState::Free);
    assert!(device.bytes()[offset..offset + len].iter().all(|byte| *byte == 0), "given back");
    drop(store);

    device.write_at(&old, range.start).expect("written");
    let mut store = open(&device);
    assert_eq!(store.reader().usage().shards, 0, "a free segment has no records");
    store.tails.take(SegmentKind::Shards);
    keep(&mut store, &shard(99, 100, 1));
    let tail = store.tails.get(SegmentKind::Shards).expect("open");
    assert_eq!(tail.segment, 0);
    let new = usize::try_from(tail.next() - range.start).expect("small");
    drop(store);

    // Even when erasing did nothing: all but the new record is as it was.
    device.write_at(&old[new..], range.start + new as u64).expect("written");
    assert_eq!(open(&device).reader().list(None, 9), [key(99)]);
}

#[test]
fn a_tombstone_outlives_what_it_cancels_and_not_much_more() {
    let device = device(8);
    let mut store = open(&device);
    // One shard keeps segment 0 in use; the others of it are deleted.
    let mut seq = 0;
    while store.ledger.segments()[0].state != SegmentState::Sealed {
        keep(&mut store, &shard(seq, 4000, 1));
        seq += 1;
    }
    // The last one stands in segment 1 already.
    for seq in 1..seq - 1 {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    let tombstones = store.tails.get(SegmentKind::Items).expect("open").segment;
    assert!(!store.ledger.segments()[tombstones].is_empty());
    drop(store);
    let mut store = open(&device);
    assert_eq!(store.reader().list(None, 99), [key(0), key(seq - 1)]);
    store.delete(key(0)).expect("deleted");
    store.flush().expect("flushed");
    assert!(store.ledger.segments()[tombstones].is_empty(), "all that they cancel is gone");
    assert_eq!(store.ledger.segments()[0].state, SegmentState::Free);
}

#[test]
fn a_large_deleted_shard_gives_its_space_back_at_once() {
    let device = device(8);
    let mut store = open(&device);
    let (large, kept) = (shard(1, 180_000, 1), shard(2, 100, 1));
    keep(&mut store, &large);
    keep(&mut store, &kept);
    let nonzero = |device: &TestDevice| device.bytes().iter().filter(|byte| **byte != 0).count();
    let before = nonzero(&device);
    store.delete(key(1)).expect("deleted");
    assert_eq!(nonzero(&device) / 4096, before / 4096, "not before the deletion is durable");
    store.flush().expect("flushed");
    assert!(nonzero(&device) + large.1.len() < before + 3 * 4096);
    drop(store);
    let store = open(&device);
    assert_eq!(read_all(&store, &kept).expect("kept"), kept.1);
    assert_eq!(store.reader().usage().damage, Default::default());
}

#[test]
fn on_a_full_host_the_cleaner_comes_to_rest_and_goes_on_when_there_is_space() {
    let device = device(20);
    let mut store = open(&device);
    let count = fill(&mut store, 0, 4000);
    for seq in (0..count).filter(|seq| seq % 3 != 0) {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    device.set_fault(Fault::Reserves);
    rest(&mut store);
    let fitted = fill(&mut store, 1000, 4000);
    rest(&mut store);
    device.set_fault(Fault::None);
    assert!(fitted + fill(&mut store, 2000, 4000) > count / 2);
}

#[test]
fn what_is_erased_late_ends_the_store() {
    let device = device(8);
    let mut store = open(&device);
    keep(&mut store, &shard(1, 180_000, 1));
    keep(&mut store, &shard(2, 100, 1));
    store.delete(key(1)).expect("deleted");
    device.set_fault(Fault::Holes);
    assert!(matches!(store.flush(), Err(DeviceFailed::Now(_))));
    device.set_fault(Fault::None);
    let refused = put(&mut store, &shard(3, 100, 1));
    assert!(
        matches!(refused, Err(PutError::Device(DeviceFailed::Earlier))),
        "a hole may come where it stands"
    );
}

#[test]
fn a_power_cut_while_a_segment_is_erased_for_reuse_resurrects_nothing() {
    let device = device(8);
    let mut store = open(&device);
    let mut seq = 0;
    while store.ledger.segments()[0].state != SegmentState::Sealed {
        keep(&mut store, &shard(seq, 4000, 1));
        seq += 1;
    }
    let range = store.map.records(0);
    let bounds = usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
    let old = device.bytes()[bounds].to_vec();
    for seq in 0..seq {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    assert_eq!(store.ledger.segments()[0].state, SegmentState::Free);
    rest(&mut store);
    drop(store);
    // The power went before what was given back was erased.
    device.write_at(&old, range.start).expect("written");
    let recorder = Arc::new(weft_device::crash::Recorder::from_bytes(device.bytes()).with_block(4096));
    let mut store = Store::open(recorder.clone(), IDENTITY).expect("opens");
    let (header, payload) = shard(99, 100, 1);
    store.put(&header, payload).expect("stored");
    store.flush().expect("flushed");
    drop(store);
    for cut in 0..=recorder.ios() {
        for seed in 0..32 {
            let found = open(&Arc::new(recorder.crash(cut, seed))).reader().list(None, 9);
            assert!(found.iter().all(|found| *found == key(99)), "cut {cut}, seed {seed}: {found:?}");
        }
    }
}
