//! Row keys: order, decoding, and how their values are kept.

use proptest::prelude::*;
use weft_types::{DataKeyId, ExtentId, Inode, NameHash, SessionId, SlotId};

use crate::row::range;
use crate::{RowKey, Sealing};

fn inode() -> impl Strategy<Value = Inode> {
    prop_oneof![any::<u64>(), 0_u64..3, Just(u64::MAX)].prop_map(Inode::new)
}

fn hash() -> impl Strategy<Value = NameHash> {
    any::<[u8; 8]>().prop_map(NameHash::from_mac)
}

fn session() -> impl Strategy<Value = SessionId> {
    prop_oneof![any::<[u8; 16]>(), Just([0xff; 16])].prop_map(SessionId::from_bytes)
}

fn extent() -> impl Strategy<Value = ExtentId> {
    any::<[u8; 24]>().prop_map(ExtentId::from_bytes)
}

pub(super) fn key() -> impl Strategy<Value = RowKey> {
    prop_oneof![
        Just(RowKey::Counters),
        inode().prop_map(RowKey::Inode),
        (inode(), hash()).prop_map(|(parent, hash)| RowKey::Dentry { parent, hash }),
        (inode(), hash()).prop_map(|(inode, hash)| RowKey::Xattr { inode, hash }),
        inode().prop_map(RowKey::Symlink),
        (inode(), any::<u64>()).prop_map(|(inode, end)| RowKey::MapEntry { inode, end }),
        extent().prop_map(RowKey::Extent),
        any::<u64>().prop_map(|id| RowKey::DataKey(DataKeyId::new(id))),
        extent().prop_map(RowKey::DeadExtent),
        (session(), inode()).prop_map(|(session, inode)| RowKey::Orphan { session, inode }),
        session().prop_map(RowKey::Session),
        (session(), any::<u16>())
            .prop_map(|(session, slot)| RowKey::Slot { session, slot: SlotId::new(slot) }),
        inode().prop_map(RowKey::Truncating),
        inode().prop_map(RowKey::Reaping),
        session().prop_map(RowKey::Ending),
        session().prop_map(RowKey::Closing),
    ]
}

fn contains((from, until): &range::Range, key: &RowKey) -> bool {
    let bytes = key.encode();
    *from <= bytes && bytes < *until
}

proptest! {
    #[test]
    fn a_key_survives_its_bytes(key in key()) {
        let bytes = key.encode();
        prop_assert!(bytes.len() <= RowKey::BYTES_MAX);
        prop_assert_eq!(RowKey::decode(&bytes), Ok(key));
    }

    #[test]
    fn bytes_sort_as_keys_do(a in key(), b in key()) {
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
    }

    #[test]
    fn bytes_are_a_key_or_refused(kind in 0_u8..20, rest in proptest::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [&[kind][..], &rest].concat();
        if let Ok(key) = RowKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }

    #[test]
    fn a_range_has_what_it_says_and_nothing_else(key in key(), inode in inode(), offset: u64, owner in session()) {
        let behind = matches!(key, RowKey::MapEntry { inode: file, end } if file == inode && end > offset);
        prop_assert_eq!(contains(&range::map_behind(inode, offset), &key), behind && offset < u64::MAX);
        let listed = matches!(key, RowKey::Dentry { parent, hash } if parent == inode && hash.get() > offset);
        prop_assert_eq!(contains(&range::dentries_after(inode, offset), &key), listed);
        let xattr = matches!(key, RowKey::Xattr { inode: of, .. } if of == inode);
        prop_assert_eq!(contains(&range::xattrs(inode), &key), xattr);
        let orphan = matches!(key, RowKey::Orphan { session, .. } if session == owner);
        prop_assert_eq!(contains(&range::orphans(owner), &key), orphan);
        let slot = matches!(key, RowKey::Slot { session, .. } if session == owner);
        prop_assert_eq!(contains(&range::slots(owner), &key), slot);
        let work = matches!(key, RowKey::Truncating(_) | RowKey::Reaping(_) | RowKey::Ending(_));
        prop_assert_eq!(contains(&range::work(), &key), work);
        prop_assert_eq!(contains(&range::closing(), &key), matches!(key, RowKey::Closing(_)));
        prop_assert_eq!(contains(&range::extents(None), &key), matches!(key, RowKey::Extent(_)));
        prop_assert_eq!(contains(&range::sessions(None), &key), matches!(key, RowKey::Session(_)));
        if let RowKey::DeadExtent(id) = key {
            prop_assert!(contains(&range::dead_extents(None), &key));
            prop_assert!(!contains(&range::dead_extents(Some(id)), &key));
        }
    }
}

#[test]
fn the_last_inode_and_the_last_session_have_ranges_too() {
    let (last, ends) = (Inode::new(u64::MAX), SessionId::from_bytes([0xff; 16]));
    assert!(contains(&range::map_behind(last, 0), &RowKey::MapEntry { inode: last, end: u64::MAX }));
    assert!(contains(&range::dentries_after(last, 0), &RowKey::Dentry { parent: last, hash: NameHash::MAX }));
    assert!(contains(&range::orphans(ends), &RowKey::Orphan { session: ends, inode: last }));
    assert!(!contains(&range::orphans(ends), &RowKey::Session(ends)));
}

#[test]
fn what_people_wrote_is_sealed_and_names_are_padded() {
    let (inode, hash, session) = (Inode::ROOT, NameHash::MIN, SessionId::from_bytes([0; 16]));
    let extent = ExtentId::from_bytes([0; 24]);
    let sealed = [
        RowKey::Inode(inode),
        RowKey::Xattr { inode, hash },
        RowKey::Symlink(inode),
        RowKey::MapEntry { inode, end: 1 },
        RowKey::DataKey(DataKeyId::new(1)),
        RowKey::Slot { session, slot: SlotId::new(0) },
    ];
    assert!(sealed.iter().all(|key| key.sealing() == Sealing::Sealed));
    assert_eq!(RowKey::Dentry { parent: inode, hash }.sealing(), Sealing::SealedPadded);
    let clear = [
        RowKey::Counters,
        RowKey::Extent(extent),
        RowKey::DeadExtent(extent),
        RowKey::Orphan { session, inode },
        RowKey::Session(session),
        RowKey::Truncating(inode),
        RowKey::Reaping(inode),
        RowKey::Ending(session),
        RowKey::Closing(session),
    ];
    assert!(clear.iter().all(|key| key.sealing() == Sealing::Clear));
}
