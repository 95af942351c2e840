use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_layout::{Geometry, Protection};
use weft_types::{
    ByteCount, ClusterId, DriveId, Epoch, ExtentId, ExtentSeq, FilesystemId, GroupId, Incarnation, SessionId,
    ShardIndex,
};

use super::*;
use crate::reader::{ReadError, Usage};
use crate::superblock::{DriveIdentity, HeaderSalt};
use weft_device::{Fault, MemoryDevice};

mod crashes;
mod damage;
mod full;
mod items;
mod model;

type TestDevice = Arc<MemoryDevice>;

const SEGMENT_BYTES: u64 = 64 << 10;

pub(crate) const IDENTITY: DriveIdentity = DriveIdentity {
    cluster: ClusterId::from_bytes([1; 16]),
    drive: DriveId::from_bytes([2; 16]),
    incarnation: Incarnation::new(3),
};

/// A formatted device of this many segments of 64 KiB.
pub(crate) fn device(segments: u64) -> TestDevice {
    device_of(segments, SEGMENT_BYTES)
}

fn device_of(segments: u64, segment_bytes: u64) -> TestDevice {
    let size = 8 * 4096 + segments * segment_bytes + 4096;
    let device = Arc::new(MemoryDevice::new(usize::try_from(size).expect("small")));
    let salt = HeaderSalt([7; 32]);
    let options = FormatOptions { identity: IDENTITY, salt, segment_bytes: Some(segment_bytes) };
    Store::format(&device, options).expect("formatted");
    device
}

fn open(device: &TestDevice) -> Store<TestDevice> {
    Store::open(device.clone(), IDENTITY).expect("opens")
}

pub(crate) fn key(seq: u64) -> ShardKey {
    let extent = ExtentId { session: SessionId::from_bytes([5; 16]), seq: ExtentSeq::new(seq) };
    ShardKey { extent, index: ShardIndex::new(0) }
}

/// Shard 0 of an extent of `len` bytes; another `version` has other bytes.
pub(crate) fn shard(seq: u64, len: u32, version: u8) -> (ShardHeader, Bytes) {
    let protection = Protection::new(4, 2).expect("offered");
    let geometry = Geometry::new(protection, ByteCount::new(len.into())).expect("in range");
    let key = key(seq);
    let mut payload = vec![0; geometry.shard_len(key.index) as usize];
    blake3::Hasher::new()
        .update(&seq.to_le_bytes())
        .update(&[version])
        .update(&len.to_le_bytes())
        .finalize_xof()
        .fill(&mut payload);
    let mut digests = vec![Digest([0; 32]); protection.width().into()];
    digests[0] = Digest(*blake3::hash(&payload).as_bytes());
    let header = ShardHeader {
        key,
        filesystem: FilesystemId::from_bytes([6; 16]),
        geometry,
        group: GroupId::new(4),
        group_epoch: Epoch::new(5),
        digests,
    };
    (header, payload.into())
}

fn put(store: &mut Store<TestDevice>, (header, payload): &(ShardHeader, Bytes)) -> Result<Stored, PutError> {
    store.put(header, payload.clone())
}

/// Puts and flushes.
fn keep(store: &mut Store<TestDevice>, shard: &(ShardHeader, Bytes)) {
    put(store, shard).expect("stored");
    store.flush().expect("flushed");
}

fn read(store: &Store<TestDevice>, seq: u64, range: Range<u32>) -> Result<Bytes, ReadError> {
    store.reader().read(key(seq), range)
}

fn read_all(store: &Store<TestDevice>, (header, payload): &(ShardHeader, Bytes)) -> Result<Bytes, ReadError> {
    store.reader().read(header.key, 0..u32::try_from(payload.len()).expect("short"))
}

#[test]
fn a_shard_is_put_once() {
    let device = device(8);
    let mut store = open(&device);
    let (first, other) = (shard(1, 20_000, 1), shard(1, 20_000, 2));
    assert_eq!(put(&mut store, &first).expect("new"), Stored::Appended);
    assert_eq!(put(&mut store, &first).expect("same bytes"), Stored::AlreadyThere);
    let conflict = put(&mut store, &other).expect_err("other bytes");
    assert!(matches!(conflict, PutError::Conflict { stored } if stored == first.0.digests[0]));
    store.flush().expect("flushed");
    let mut store = open(&device);
    assert_eq!(put(&mut store, &first).expect("after a reopen"), Stored::AlreadyThere);
    assert!(matches!(put(&mut store, &other), Err(PutError::Conflict { .. })));

    assert!(store.delete(key(1)).expect("deleted"));
    assert!(!store.delete(key(1)).expect("gone"));
    assert!(matches!(read_all(&store, &first), Ok(bytes) if bytes == first.1), "not deleted durably yet");
    assert_eq!(put(&mut store, &other).expect("the key is free"), Stored::Appended);
    assert_eq!(put(&mut store, &other).expect("same bytes"), Stored::AlreadyThere);
    assert!(matches!(put(&mut store, &first), Err(PutError::Conflict { .. })), "before any flush, too");
    store.flush().expect("flushed");
    assert_eq!(read_all(&store, &other).expect("read"), other.1);
}

#[test]
fn what_does_not_fit_its_header_is_refused() {
    let mut store = open(&device(8));
    let good = shard(1, 20_000, 1);
    let with = |change: fn(&mut ShardHeader)| {
        let mut header = good.0.clone();
        change(&mut header);
        header
    };
    let flipped: Bytes = good.1.iter().map(|byte| byte ^ 1).collect();
    assert!(matches!(store.put(&good.0, flipped), Err(PutError::DigestMismatch)));
    for (header, payload) in [
        (good.0.clone(), good.1.slice(1..)),
        (good.0.clone(), Bytes::new()),
        (with(|header| header.key.index = ShardIndex::new(1)), good.1.slice(4160..)),
        (with(|header| header.key.index = ShardIndex::new(6)), good.1.clone()),
        (with(|header| header.digests.truncate(5)), good.1.clone()),
        (with(|header| header.digests.clear()), good.1.clone()),
    ] {
        let refused = store.put(&header, payload).expect_err("does not fit");
        assert!(matches!(refused, PutError::Malformed | PutError::DigestMismatch), "{refused}");
    }
    assert_eq!(store.reader().usage().shards, 0);
}

#[test]
fn ranges_are_bytes_of_the_shard() {
    let mut store = open(&device(8));
    let stored = shard(1, 60_000, 1);
    keep(&mut store, &stored);
    let len = u32::try_from(stored.1.len()).expect("short");
    for range in [0..1, 0..len, 4159..4161, 4160..8320, len - 1..len] {
        let bytes = read(&store, 1, range.clone()).expect("within");
        assert_eq!(bytes, stored.1.slice(range.start as usize..range.end as usize));
    }
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    for range in [0..0, 5..5, 0..len + 1, len..len + 1, 9..3, u32::MAX..u32::MAX, 0..u32::MAX] {
        assert!(matches!(read(&store, 1, range), Err(ReadError::OutOfRange { len: l }) if l == len));
    }
    assert!(matches!(read(&store, 2, 0..1), Err(ReadError::Absent)));
    assert_eq!(store.reader().describe(key(1)).expect("described"), stored.0);
    assert!(matches!(store.reader().describe(key(2)), Err(ReadError::Absent)));
}

#[test]
fn shards_are_listed_in_pages() {
    let mut store = open(&device(8));
    for seq in [3, 1, 2] {
        put(&mut store, &shard(seq, 100, 1)).expect("stored");
    }
    let reader = store.reader();
    assert_eq!(reader.list(None, 2), [], "not durable yet");
    store.flush().expect("flushed");
    assert_eq!(reader.list(None, 2), [key(1), key(2)]);
    assert_eq!(reader.list(Some(key(2)), 2), [key(3)]);
    assert_eq!(reader.list(Some(key(3)), 2), []);
}

#[test]
fn a_device_opens_only_for_whom_it_was_formatted() {
    let good = device(8);
    let open = |identity| Store::open(good.clone(), identity);
    let cluster = DriveIdentity { cluster: ClusterId::from_bytes([9; 16]), ..IDENTITY };
    assert!(matches!(open(cluster), Err(OpenError::OtherCluster { .. })));
    let drive = DriveIdentity { drive: DriveId::from_bytes([9; 16]), ..IDENTITY };
    assert!(matches!(open(drive), Err(OpenError::OtherDrive { .. })));
    let incarnation = DriveIdentity { incarnation: Incarnation::new(9), ..IDENTITY };
    assert!(matches!(open(incarnation), Err(OpenError::OtherIncarnation { .. })));

    let mut bytes = good.bytes();
    bytes.truncate(bytes.len() - 4096);
    let cut = Arc::new(MemoryDevice::from_bytes(bytes));
    assert!(matches!(Store::open(cut, IDENTITY), Err(OpenError::Truncated { .. })));

    let options = FormatOptions { identity: IDENTITY, salt: HeaderSalt([8; 32]), segment_bytes: None };
    assert!(matches!(Store::format(&good, options), Err(FormatError::AlreadyFormatted)));
    let small = Arc::new(MemoryDevice::new(1 << 20));
    assert!(matches!(Store::format(&small, options), Err(FormatError::TooSmall { .. })));
}

#[test]
fn after_a_failed_flush_nothing_is_promised_until_reopened() {
    let device = device(8);
    let mut store = open(&device);
    put(&mut store, &shard(1, 100, 1)).expect("stored");
    device.set_fault(Fault::Flushes);
    assert!(matches!(store.flush(), Err(DeviceFailed::Now(_))));
    device.set_fault(Fault::None);
    assert!(matches!(store.flush(), Err(DeviceFailed::Earlier)));
    assert!(matches!(put(&mut store, &shard(2, 100, 1)), Err(PutError::Device(DeviceFailed::Earlier))));
    assert!(matches!(store.delete(key(1)), Err(DeleteError::Device(DeviceFailed::Earlier))));
    keep(&mut open(&device), &shard(2, 100, 1));
}

#[test]
fn a_medium_without_space_changes_nothing() {
    let device = device(8);
    let mut store = open(&device);
    let kept = shard(1, 20_000, 1);
    keep(&mut store, &shard(9, 100, 1));
    keep(&mut store, &kept);
    store.delete(key(9)).expect("deleted");
    store.flush().expect("flushed");
    device.set_fault(Fault::Writes);
    put(&mut store, &shard(2, 100, 1)).expect("in the group");
    store.delete(key(1)).expect("in the group");
    assert!(matches!(store.flush(), Err(DeviceFailed::Now(_))));
    let mut seq = 2;
    while put(&mut store, &shard(seq, 60_000, 1)).is_ok() {
        seq += 1;
    }
    assert!(seq > 2, "what fits into the segment in use waits for the flush");
    assert!(matches!(store.flush(), Err(DeviceFailed::Now(_))));
    device.set_fault(Fault::None);
    store.flush().expect("nothing is left to be told of");
    assert_eq!(read_all(&store, &kept).expect("still there"), kept.1);
    assert_eq!(store.reader().list(None, 9), [key(1)]);
    keep(&mut store, &shard(2, 100, 1));
    drop(store);
    let store = open(&device);
    assert_eq!(store.reader().list(None, 9), [key(1), key(2)]);
    assert_eq!(store.reader().usage().damage, Default::default());
}

#[test]
fn a_group_that_failed_halfway_does_not_come_back() {
    for len in [100, 20_000, 150_000] {
        let device = device(8);
        let mut store = open(&device);
        let kept = shard(1, 20_000, 1);
        put(&mut store, &kept).expect("stored");
        keep(&mut store, &shard(3, 100, 1));
        assert!(store.delete(key(3)).expect("deleted"));
        store.flush().expect("flushed");
        put(&mut store, &shard(2, len, 1)).expect("in the group");
        store.delete(key(1)).expect("in the group");
        device.set_fault(Fault::Tears);
        assert!(matches!(store.flush(), Err(DeviceFailed::Now(_))));
        device.set_fault(Fault::None);
        assert!(!store.delete(key(2)).expect("it is not there"));
        store.flush().expect("flushed");
        drop(store);
        let mut store = open(&device);
        assert_eq!(store.reader().list(None, 9), [key(1)], "a put of {len} bytes");
        assert_eq!(store.reader().usage().damage, Default::default());
        assert_eq!(read_all(&store, &kept).expect("still there"), kept.1);
        put(&mut store, &shard(2, len, 2)).expect("other bytes: the first were refused");
    }
}

#[test]
fn a_failed_write_that_cannot_be_taken_back_ends_the_store() {
    let device = device(8);
    let mut store = open(&device);
    keep(&mut store, &shard(1, 100, 1));
    put(&mut store, &shard(2, 100, 1)).expect("in the group");
    device.set_fault(Fault::TearsForGood);
    assert!(matches!(store.flush(), Err(DeviceFailed::Now(_))));
    device.set_fault(Fault::None);
    assert!(matches!(store.delete(key(2)), Err(DeleteError::Device(DeviceFailed::Earlier))));
    assert!(matches!(store.flush(), Err(DeviceFailed::Earlier)));
}

#[test]
fn a_shard_that_cannot_be_read_any_more_is_healed_by_putting_it_again() {
    let device = device(8);
    let mut store = open(&device);
    let stored = shard(1, 20_000, 1);
    keep(&mut store, &stored);
    device.set_fault(Fault::Reads);
    assert!(matches!(read_all(&store, &stored), Err(ReadError::Io(_))));
    assert_eq!(put(&mut store, &stored).expect("stored anew"), Stored::Appended);
    device.set_fault(Fault::None);
    store.flush().expect("flushed");
    assert_eq!(read_all(&store, &stored).expect("healed"), stored.1);
}

#[test]
fn a_flush_with_nothing_to_do_leaves_the_device_alone() {
    let device = device(8);
    let mut store = open(&device);
    put(&mut store, &shard(1, 100, 1)).expect("stored");
    store.flush().expect("flushed");
    let before = device.flushes();
    put(&mut store, &shard(1, 100, 1)).expect("there");
    store.flush().expect("flushed");
    assert_eq!(device.flushes(), before);
}
