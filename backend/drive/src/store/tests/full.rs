//! A drive that fills up, is emptied and fills up again.

use std::sync::Mutex;

use super::*;

/// Puts shards of numbers from `from` on until none fits; gives back how many.
fn fill(store: &mut Store<TestDevice>, from: u64, len: u32) -> u64 {
    let mut seq = from;
    loop {
        match put(store, &shard(seq, len, 1)) {
            Ok(Stored::Appended) => seq += 1,
            Err(PutError::NoSpace) => return seq - from,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_full_drive_is_emptied_and_filled_again() {
    let device = device(10);
    let mut store = open(&device);
    let count = fill(&mut store, 0, 4000);
    let Usage { capacity, used, .. } = store.reader().usage();
    assert!(used.get() * 10 > capacity.get() * 9, "{used} of {capacity}");
    for round in 1..6 {
        let from = (round - 1) * 1000;
        for seq in from..from + count {
            assert!(store.delete(key(seq)).expect("the headroom suffices"));
        }
        assert_eq!(store.reader().usage().used.get(), 0);
        if round % 2 == 0 {
            store.flush().expect("flushed");
            drop(store);
            store = open(&device);
            assert_eq!(store.reader().usage().shards, 0, "nothing came back");
        }
        assert_eq!(fill(&mut store, round * 1000, 4000), count, "round {round}");
    }
    store.flush().expect("flushed");
    assert_eq!(open(&device).reader().usage().shards, count);
}

/// A device that keeps a picture of itself before every write.
#[derive(Debug)]
struct Filmed {
    inner: TestDevice,
    pictures: Mutex<Vec<Vec<u8>>>,
}

impl Filmed {
    fn take_picture(&self) {
        self.pictures.lock().expect("no panic before").push(self.inner.bytes());
    }
}

impl Device for Filmed {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at_once(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.take_picture();
        self.inner.write_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.take_picture();
        self.inner.punch(range)
    }
}

#[test]
fn a_process_killed_between_any_two_writes_leaves_no_damage() {
    let inner = device(8);
    let film = Arc::new(Filmed { inner: inner.clone(), pictures: Mutex::default() });
    let mut store = Store::open(film.clone(), IDENTITY).expect("opens");
    let kept = shard(1000, 20_000, 1);
    store.put(&kept.0, kept.1.clone()).expect("stored");
    store.flush().expect("flushed");
    film.pictures.lock().expect("no panic before").clear();
    // Segments fill up, are emptied and given back, and are used again.
    for round in 0..4_u64 {
        for seq in 0..6 {
            let (header, payload) = shard(round * 10 + seq, 60_000, 1);
            store.put(&header, payload).expect("stored");
        }
        for seq in 0..6 {
            store.delete(key(round * 10 + seq)).expect("deleted");
        }
        store.flush().expect("flushed");
    }
    let pictures = std::mem::take(&mut *film.pictures.lock().expect("no panic before"));
    assert!(pictures.len() > 50, "{}", pictures.len());
    for (number, picture) in pictures.into_iter().enumerate() {
        let store = open(&Arc::new(MemoryDevice::from_bytes(picture)));
        let damage = store.reader().usage().damage;
        assert_eq!(damage, Default::default(), "killed before write {number}");
        assert_eq!(read_all(&store, &kept).expect("kept"), kept.1);
    }
}

#[test]
fn space_counts_as_writable_until_it_is_not() {
    let mut store = open(&device(10));
    let before = store.reader().usage();
    assert_eq!((before.writable, before.used), (before.capacity, ByteCount::new(0)));
    fill(&mut store, 0, 60_000);
    let full = store.reader().usage();
    assert!(full.writable.get() < 17_000, "{full:?}");
}

#[test]
fn a_reused_segment_resurrects_nothing() {
    let device = device(8);
    let mut store = open(&device);
    // Segment 0 is filled with shards, which are deleted; what they leave is put back behind the store's back.
    let mut seq = 0;
    while store.ledger.segments[0].state != SegmentState::Sealed {
        put(&mut store, &shard(seq, 4000, 1)).expect("stored");
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
    assert_eq!(store.ledger.segments[0].state, SegmentState::Free);
    assert!(device.bytes()[offset..offset + len].iter().all(|byte| *byte == 0), "given back");
    drop(store);

    device.write_at(&old, range.start).expect("written");
    let mut store = open(&device);
    assert_eq!(store.reader().usage().shards, 0, "a free segment has no records");
    store.shards = None;
    put(&mut store, &shard(99, 100, 1)).expect("stored");
    assert_eq!(store.shards.map(|tail| tail.segment), Some(0));
    store.flush().expect("flushed");
    drop(store);

    // Even when erasing did nothing: all but the new record is as it was.
    let new = usize::try_from(open(&device).shards.expect("open").at - range.start).expect("small");
    device.write_at(&old[new..], range.start + new as u64).expect("written");
    assert_eq!(open(&device).reader().list(None, 9), [key(99)]);
}

#[test]
fn a_tombstone_outlives_what_it_cancels_and_not_much_more() {
    let device = device(8);
    let mut store = open(&device);
    // One shard keeps segment 0 in use; the others of it are deleted.
    let mut seq = 0;
    while store.ledger.segments[0].state != SegmentState::Sealed {
        put(&mut store, &shard(seq, 4000, 1)).expect("stored");
        seq += 1;
    }
    // The last one stands in segment 1 already.
    for seq in 1..seq - 1 {
        store.delete(key(seq)).expect("deleted");
    }
    store.flush().expect("flushed");
    let tombstones = store.tombstones.expect("open").segment;
    assert!(!store.ledger.segments[tombstones].is_empty());
    drop(store);
    let mut store = open(&device);
    assert_eq!(store.reader().list(None, 99), [key(0), key(seq - 1)]);
    store.delete(key(0)).expect("deleted");
    store.flush().expect("flushed");
    assert!(store.ledger.segments[tombstones].is_empty(), "all that they cancel is gone");
    assert_eq!(store.ledger.segments[0].state, SegmentState::Free);
}

#[test]
fn a_large_deleted_shard_gives_its_space_back_at_once() {
    let device = device(8);
    let mut store = open(&device);
    let (large, kept) = (shard(1, 200_000, 1), shard(2, 100, 1));
    put(&mut store, &large).expect("stored");
    put(&mut store, &kept).expect("stored");
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
