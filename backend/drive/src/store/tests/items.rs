//! Items: replaced whole, listed in order, as durable as shards.

use super::*;
use crate::record::{ITEM_UNIT, MAX_ITEM_BYTES};

pub(super) fn item_key(seq: u64) -> ItemKey {
    ItemKey::new(format!("item/{seq:08}").as_bytes()).expect("short")
}

/// The bytes of an item; another `version` has others.
pub(super) fn value(seq: u64, len: u32, version: u8) -> Bytes {
    let mut value = vec![0; len as usize];
    blake3::Hasher::new().update(&seq.to_le_bytes()).update(&[version]).finalize_xof().fill(&mut value);
    value.into()
}

#[test]
fn the_newest_of_an_item_counts_also_after_a_reopen() {
    let device = device(8);
    let mut store = open(&device);
    for version in 0..3 {
        store.put_item(&item_key(1), &value(1, 5000, version)).expect("stored");
    }
    store.put_item(&item_key(2), &[]).expect("an empty one");
    let reader = store.reader();
    assert!(matches!(reader.read_item(&item_key(1)), Err(ReadError::Absent)), "not durable yet");
    store.flush().expect("flushed");
    assert_eq!(reader.read_item(&item_key(1)).expect("there"), value(1, 5000, 2));
    store.put_item(&item_key(1), &value(1, 9, 7)).expect("stored");
    store.flush().expect("flushed");
    drop(store);
    let mut store = open(&device);
    assert_eq!(store.reader().read_item(&item_key(1)).expect("there"), value(1, 9, 7));
    assert_eq!(store.reader().read_item(&item_key(2)).expect("there"), Bytes::new());
    assert_eq!(store.reader().usage().items, 2);
    let keys = [item_key(1), item_key(2), item_key(3)];
    assert_eq!(store.delete_items(&keys).expect("deleted"), 2);
    assert_eq!(store.delete_items(&keys).expect("gone"), 0);
    store.flush().expect("flushed");
    assert_eq!(store.reader().usage().used.get(), 0);
    drop(store);
    assert_eq!(open(&device).reader().usage().items, 0);
}

#[test]
fn items_are_listed_by_their_prefix() {
    let mut store = open(&device(8));
    let keys = ["a", "b", "b/1", "b/2", "c"].map(|key| ItemKey::new(key.as_bytes()).expect("short"));
    for (len, key) in keys.iter().enumerate() {
        store.put_item(key, &vec![1; len]).expect("stored");
    }
    store.flush().expect("flushed");
    let list = |prefix: &str, after: Option<&ItemKey>, limit| {
        let listed = store.reader().list_items(prefix.as_bytes(), after, limit);
        listed.into_iter().map(|(key, len)| (key.as_bytes().to_vec(), len)).collect::<Vec<_>>()
    };
    let expected = |range: Range<usize>| {
        let listed = range.map(|at| (keys[at].as_bytes().to_vec(), u32::try_from(at).expect("small")));
        listed.collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 9), expected(0..5));
    assert_eq!(list("b", None, 9), expected(1..4));
    assert_eq!(list("b/", None, 1), expected(2..3));
    assert_eq!(list("b", Some(&keys[2]), 9), expected(3..4));
    assert_eq!(list("b/", Some(&keys[0]), 9), expected(2..4));
    assert_eq!(list("b", Some(&keys[4]), 9), []);
    assert_eq!(list("d", None, 9), []);
}

#[test]
fn an_item_is_as_long_as_it_may_be_and_not_longer() {
    let device = Arc::new(MemoryDevice::new(usize::try_from(crate::MIN_DEVICE_BYTES).expect("small")));
    let options = FormatOptions { identity: IDENTITY, salt: HeaderSalt([7; 32]), segment_bytes: None };
    Store::format(&device, options).expect("formatted");
    let mut store = open(&device);
    let longest = value(1, MAX_ITEM_BYTES, 1);
    let key = ItemKey::new(&[b'k'; 64]).expect("short enough");
    store.put_item(&key, &longest).expect("fits into a segment of the smallest device");
    store.flush().expect("flushed");
    drop(store);
    let mut store = open(&device);
    assert_eq!(store.reader().read_item(&key).expect("there"), longest);
    let refused = store.put_item(&key, &[&longest[..], &[0]].concat()).expect_err("too long");
    assert!(matches!(refused, PutItemError::TooLong { len } if len == longest.len() + 1));
}

#[test]
fn damage_of_an_item_is_told_by_its_units() {
    let device = device(8);
    let mut store = open(&device);
    let stored = value(1, 20_000, 1);
    store.put_item(&item_key(1), &stored).expect("stored");
    store.flush().expect("flushed");
    let bytes = device.bytes();
    let place = bytes.windows(64).position(|run| run == &stored[9000..9064]).expect("on the device");
    device.damage(place, |bytes| bytes[0] ^= 1, 1);
    let refused = store.reader().read_item(&item_key(1)).expect_err("damaged");
    assert!(matches!(refused, ReadError::Corrupt { units } if units == [9000 / ITEM_UNIT]));
    store.put_item(&item_key(1), &stored).expect("stored anew");
    store.flush().expect("flushed");
    assert_eq!(store.reader().read_item(&item_key(1)).expect("healed"), stored);
}
