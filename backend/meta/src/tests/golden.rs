//! The bytes of every kind of row, as they are on the drives. A change here is a change of format.

use minicbor::Encode;
use weft_types::{
    ByteCount, DataKeyId, Epoch, ExtentId, Generation, GroupId, Inode, NameHash, SlotId, SlotSeq, Timestamp,
};
use weft_wire::meta::{Attributes, FileKind, MetaError, MetaReply};

use super::world::{at, geometry, name, session_id, session_row};
use crate::{
    ClosingRow, CountersRow, DataKeyRow, DentryRow, ExtentRow, InodeRow, MapRow, NamedInode, OrphanRow,
    ReapingRow, RowKey, SlotRow, SymlinkRow, Xattr, XattrRow,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A row as `key value`; decoding the value and encoding it again must give the same bytes.
fn line<T>(key: RowKey, value: &T) -> String
where
    T: Encode<()> + for<'b> minicbor::Decode<'b, ()> + PartialEq + core::fmt::Debug,
{
    let bytes = minicbor::to_vec(value).expect("encodes");
    assert_eq!(&minicbor::decode::<T>(&bytes).expect("decodes"), value);
    format!("{} {}", hex(&key.encode()), hex(&bytes))
}

fn attributes() -> Attributes {
    Attributes {
        inode: Inode::new(300),
        generation: Generation::new(2),
        kind: FileKind::File,
        mode: 0o4755,
        links: 1,
        uid: 1000,
        gid: 100,
        device: 0,
        size: 70_000,
        allocated: ByteCount::new(4096),
        accessed: at(1),
        modified: Timestamp { seconds: -1, nanos: 999_999_999 },
        changed: at(3),
        created: at(4),
        change: 5,
        no_xattrs: false,
    }
}

fn extent_id() -> ExtentId {
    ExtentId { session: session_id(0xab), seq: weft_types::ExtentSeq::new(258) }
}

fn inode_rows() -> Vec<String> {
    let (inode, hash) = (Inode::new(300), NameHash::new(0x0102_0304_0506_0708).expect("a hash"));
    let entry = NamedInode { name: name("a"), inode, kind: FileKind::Symlink };
    let xattr = Xattr { name: b"user.a".to_vec().into(), value: vec![0xff].into() };
    let counters = CountersRow {
        next_inode: 301,
        next_key: DataKeyId::new(7),
        next_generation: Generation::new(301),
        inodes: 12,
        mapped: ByteCount::new(65_536),
        extents: 3,
    };
    let row = InodeRow {
        attributes: attributes(),
        parent: None,
        key: Some(DataKeyId::new(6)),
        entries: 0,
        xattr_name_bytes: 7,
        xattr_bytes: 7,
        users: None,
        accessed_set: None,
    };
    vec![
        line(RowKey::Counters, &counters),
        line(RowKey::Inode(inode), &row),
        line(RowKey::Inode(inode), &InodeRow { parent: Some(Inode::ROOT), key: None, ..row.clone() }),
        line(RowKey::Inode(inode), &InodeRow { users: Some(2), ..row.clone() }),
        line(RowKey::Inode(inode), &InodeRow { accessed_set: Some(at(9)), ..row.clone() }),
        line(RowKey::Dentry { parent: inode, hash }, &DentryRow { names: vec![entry] }),
        line(RowKey::Xattr { inode, hash }, &XattrRow { xattrs: vec![xattr] }),
        line(RowKey::Symlink(inode), &SymlinkRow { target: b"to".to_vec().into() }),
    ]
}

fn extent_rows() -> Vec<String> {
    let run = MapRow { len: 4096, extent: extent_id(), extent_offset: 17, key: DataKeyId::new(6) };
    let extent = ExtentRow {
        geometry: geometry(8192),
        group: GroupId::new(4),
        group_epoch: Epoch::new(9),
        references: 2,
        died: None,
    };
    let dead = ExtentRow { references: 0, died: Some(at(8)), ..extent.clone() };
    let key = DataKeyRow { wrapped: vec![1, 2, 3].into(), references: 1 };
    vec![
        line(RowKey::MapEntry { inode: Inode::new(300), end: 8192 }, &run),
        line(RowKey::Extent(extent_id()), &extent),
        line(RowKey::DataKey(DataKeyId::new(6)), &key),
        line(RowKey::DeadExtent(extent_id()), &dead),
    ]
}

fn session_rows() -> Vec<String> {
    let (session, slot, inode) = (session_id(0xab), SlotId::new(2), Inode::new(300));
    let seq = SlotSeq::new(77);
    let done = SlotRow { seq, reply: Some(MetaReply::Attributes(attributes())), refusal: None };
    let refused = SlotRow { seq, reply: None, refusal: Some(MetaError::Exists) };
    let empty = |key: RowKey| hex(&key.encode());
    vec![
        empty(RowKey::Orphan { session, inode }),
        line(RowKey::Orphan { session, inode }, &OrphanRow { unnamed: true }),
        line(RowKey::Session(session), &session_row(true)),
        line(RowKey::Slot { session, slot }, &done),
        line(RowKey::Slot { session, slot }, &refused),
        empty(RowKey::Truncating(inode)),
        line(RowKey::Reaping(inode), &ReapingRow { key: Some(DataKeyId::new(6)) }),
        empty(RowKey::Ending(session)),
        line(RowKey::Closing(session), &ClosingRow { ended: at(8), closed: None }),
        line(RowKey::Closing(session), &ClosingRow { ended: at(8), closed: Some(at(9)) }),
    ]
}

#[test]
fn rows_are_these_bytes() {
    let rows = [inode_rows(), extent_rows(), session_rows()].concat();
    assert_eq!(rows, GOLDEN, "{rows:#?}");
}

#[rustfmt::skip]
const GOLDEN: [&str; 22] = [
    "01 8619012d0719012d0c1a0001000003",
    "02000000000000012c 868f19012c02001909ed011903e81864001a0001117019100082010582201a3b9ac9ff8203058\
     2040505f606000707",
    "02000000000000012c 868f19012c02001909ed011903e81864001a0001117019100082010582201a3b9ac9ff8203058\
     204050501f6000707",
    "02000000000000012c 878f19012c02001909ed011903e81864001a0001117019100082010582201a3b9ac9ff8203058\
     2040505f60600070702",
    "02000000000000012c 888f19012c02001909ed011903e81864001a0001117019100082010582201a3b9ac9ff8203058\
     2040505f606000707f6820905",
    "03000000000000012c0102030405060708 818183416119012c02",
    "04000000000000012c0102030405060708 81818246757365722e6141ff",
    "05000000000000012c 8142746f",
    "06000000000000012c0000000000002000 841910008250abababababababababababababababab1901021106",
    "07abababababababababababababababab0000000000000102 8482820402192000040902",
    "080000000000000006 824301020301",
    "09abababababababababababababababab0000000000000102 8582820402192000040900820805",
    "0aabababababababababababababababab000000000000012c",
    "0aabababababababababababababababab000000000000012c 81f5",
    "0babababababababababababababababab 845003030303030303030303030303030303846168616209622f6df582010\
     5",
    "0cabababababababababababababababab0002 82184d8201818f19012c02001909ed011903e81864001a00011170191\
     00082010582201a3b9ac9ff82030582040505",
    "0cabababababababababababababababab0002 83184df601",
    "0d000000000000012c",
    "0e000000000000012c 8106",
    "0fabababababababababababababababab",
    "10abababababababababababababababab 81820805",
    "10abababababababababababababababab 82820805820905",
];
