//! The bytes of messages, written down: a change of any of them is a change of the protocol.
//!
//! A new optional field at the end of a message leaves the old bytes decodable; anything else needs a new
//! protocol version.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use proptest::prelude::*;
use weft_layout::{Geometry, Protection};
use weft_types::{
    ByteCount, DataKeyId, Digest, DriveId, Epoch, ExtentId, ExtentSeq, FileOffset, FilesystemId, Generation,
    GroupId, Incarnation, Inode, LOCK_END_MAX, LockKind, LockMode, LockOwner, LockRange, NodeId, SessionId,
    ShardIndex, SlotId, SlotSeq, Timestamp,
};
use weft_wire::coherence::{
    Ack, AckRecalls, Attach, Hold, HoldMode, Place, Recall, Recalls, Stamp, Term, WatchRecalls, What,
};
use weft_wire::compute::{Meta, MetaDone, OpenRefusal, OpenSession, OtherSession, SessionHolder};
use weft_wire::drive::{GetRefusal, GetShard, PutShard, PutShards, ShardHeader, ShardKey};
use weft_wire::locks::{HeldLock, Lock, LockConflict, LockOp, LockOutcome, LockRefusal, Locked, Reclaim};
use weft_wire::management::{DeviceReport, DriveReport, Heartbeat, NodeReport};
use weft_wire::meta::{
    Access, Allocate, AllocateMode, AttributeChanges, Attributes, Caller, Commit, CopyRange, Covered,
    FileKind, Found, KeyGrant, MakeNode, MakeUnnamed, MapEntry, MapPage, MetaError, MetaOp, MetaReply, Name,
    NewExtent, NewNode, Opened, Rename, RenameMode, TimeChange,
};
use weft_wire::{Features, Hello, KeyBytes};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[track_caller]
fn golden<T>(value: &T, expected: &str)
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let bytes = minicbor::to_vec(value).expect("encodes");
    assert_eq!(hex(&bytes), expected, "{value:?}");
    assert_eq!(&minicbor::decode::<T>(&bytes).expect("decodes"), value);
}

fn extent() -> ExtentId {
    ExtentId { session: SessionId::from_bytes([0x5e; 16]), seq: ExtentSeq::new(9) }
}

fn geometry() -> Geometry {
    let protection: Protection = "4+2".parse().expect("4+2 is a protection");
    Geometry::new(protection, weft_types::ByteCount::new(10_000)).expect("10000 bytes are an extent")
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn attributes() -> Attributes {
    let at = |seconds| Timestamp { seconds, nanos: 1 };
    Attributes {
        inode: Inode::new(2),
        generation: Generation::new(1),
        kind: FileKind::File,
        mode: 0o644,
        links: 1,
        uid: 1000,
        gid: 1000,
        device: 0,
        size: 5,
        allocated: ByteCount::new(5),
        accessed: at(1),
        modified: at(-2),
        changed: at(3),
        created: at(4),
        change: 6,
        no_xattrs: false,
    }
}

#[test]
fn golden_hello() {
    golden(&Hello::ours("0.1.0", 5), include_str!("golden/hello.hex").trim());
    assert_eq!(minicbor::to_vec(Features::OURS).expect("encodes"), [0x01]);
}

#[test]
fn golden_drive_calls() {
    let key = ShardKey { extent: extent(), index: ShardIndex::new(3) };
    let header = ShardHeader {
        key,
        filesystem: FilesystemId::from_bytes([0xf5; 16]),
        geometry: geometry(),
        group: GroupId::new(7),
        group_epoch: Epoch::new(1),
        digests: vec![Digest([0xd1; 32]); 2],
    };
    golden(&PutShard { header: header.clone() }, include_str!("golden/put-shard.hex").trim());
    golden(&PutShards { headers: vec![header; 2] }, include_str!("golden/put-shards.hex").trim());
    golden(&GetShard { key, start: 4160, len: 4160 }, include_str!("golden/get-shard.hex").trim());
    golden(&GetRefusal::Damaged, "01");
}

#[test]
fn golden_session_calls() {
    let holder =
        SessionHolder { host: "h".to_owned(), boot: "b".to_owned(), pid: 77, mount: "/m".to_owned() };
    let open = OpenSession {
        filesystem: "default".to_owned(),
        read_only: false,
        holder: holder.clone(),
        replaces: Some(SessionId::from_bytes([1; 16])),
    };
    golden(&open, include_str!("golden/open-session.hex").trim());
    let other = OtherSession { session: SessionId::from_bytes([2; 16]), holder };
    golden(&other, "8250020202020202020202020202020202028461686162184d622f6d");
    golden(&OpenRefusal::NotYours, "820280");
}

#[test]
fn golden_lock_calls() {
    let (filesystem, session) = (FilesystemId::from_bytes([0xf5; 16]), SessionId::from_bytes([0x5e; 16]));
    let epoch = Epoch::new(4);
    let lock = |op| Lock {
        filesystem,
        session,
        epoch,
        slot: SlotId::new(1),
        seq: SlotSeq::new(2),
        inode: Inode::new(9),
        kind: LockKind::Flock,
        owner: LockOwner::new(0xabcd),
        op,
    };
    let (range, mode) = (LockRange::new(5, LOCK_END_MAX).expect("a range"), LockMode::Exclusive);
    let set = lock(LockOp::Set { range, mode, pid: 77, wait: true });
    golden(&set, include_str!("golden/lock.hex").trim());
    let cancel = LockOp::Cancel { slot: SlotId::new(3), seq: SlotSeq::new(4) };
    for (op, expected) in [
        (LockOp::Test { range, mode: LockMode::Shared }, "82008282051b7fffffffffffffff00"),
        (LockOp::Unlock { range }, "82028182051b7fffffffffffffff"),
        (LockOp::Release {}, "820380"),
        (cancel, "8204820304"),
    ] {
        golden(&op, expected);
    }
    let with = LockConflict { range, mode, pid: 77, session };
    golden(
        &Locked { at: 6, outcome: LockOutcome::Conflict { with } },
        include_str!("golden/locked.hex").trim(),
    );
    golden(&LockRefusal::ReclaimFirst { epoch }, "82018104");
    let (kind, owner) = (LockKind::Posix, LockOwner::new(1));
    let held = HeldLock { inode: Inode::new(9), kind, owner, range, mode, pid: 77 };
    let reclaim = Reclaim { filesystem, session, epoch, last: true, locks: vec![held] };
    golden(&reclaim, include_str!("golden/reclaim.hex").trim());
}

#[test]
fn golden_meta_calls() {
    let meta = |op| Meta {
        filesystem: FilesystemId::from_bytes([0xf5; 16]),
        session: SessionId::from_bytes([0x5e; 16]),
        slot: SlotId::new(1),
        seq: SlotSeq::new(2),
        caller: Caller { uid: 3, gid: 4 },
        op,
        term: Term { epoch: Epoch::new(5), number: 6 },
    };
    let node = NewNode::Symlink { target: ByteVec::from(b"to".to_vec()) };
    let make = MakeNode { parent: Inode::ROOT, name: name("n"), node, mode: 0o777, umask: 0 };
    golden(&meta(MetaOp::MakeNode(make)), include_str!("golden/make-node.hex").trim());
    let rename = Rename {
        parent: Inode::ROOT,
        name: name("a"),
        new_parent: Inode::new(2),
        new_name: name("b"),
        mode: RenameMode::Exchange,
    };
    golden(&meta(MetaOp::Rename(rename)), include_str!("golden/rename.hex").trim());
    let new = NewExtent {
        offset: FileOffset::new(4096),
        extent: extent(),
        geometry: geometry(),
        group: GroupId::new(7),
        group_epoch: Epoch::new(1),
        key: DataKeyId::new(8),
    };
    let commit = Commit {
        inode: Inode::new(2),
        extents: vec![new],
        size_min: 14_096,
        modified: None,
        attributes: None,
    };
    golden(&meta(MetaOp::Commit(commit.clone())), include_str!("golden/commit.hex").trim());
    let time = Some(TimeChange::At(Timestamp { seconds: 7, nanos: 1 }));
    let set =
        AttributeChanges { mode: Some(0o600), uid: Some(3), modified: time, ..AttributeChanges::default() };
    let unpacked = Commit { attributes: Some(set), ..commit.clone() };
    golden(&meta(MetaOp::Commit(unpacked)), include_str!("golden/commit-attributes.hex").trim());
    let several = MetaOp::CommitFiles(vec![commit; 2]);
    golden(&meta(several), include_str!("golden/commit-files.hex").trim());
}

#[test]
fn golden_ranges() {
    let allocate = Allocate {
        inode: Inode::new(2),
        mode: AllocateMode::PunchHole,
        offset: FileOffset::new(4096),
        len: 1 << 32,
    };
    golden(&MetaOp::Allocate(allocate), "8215818402021910001b0000000100000000");
    let copy = CopyRange {
        from: Inode::new(2),
        from_offset: FileOffset::new(1),
        to: Inode::new(3),
        to_offset: FileOffset::new(256),
        len: 9,
    };
    golden(&MetaOp::CopyRange(copy), "8216818502010319010009");
    let unnamed = MakeUnnamed { parent: Inode::ROOT, mode: 0o600, umask: 0o22 };
    golden(&MetaOp::MakeUnnamed(unnamed), "821781830119018012");
    let access = Access { inode: Inode::new(2), at: Timestamp { seconds: 7, nanos: 1 } };
    golden(&MetaOp::Accessed(vec![access]), "82181881818202820701");
    let covered = MetaReply::Covered(Covered { attributes: attributes(), len: 4096 });
    golden(&covered, include_str!("golden/covered.hex").trim());
}

#[test]
fn golden_meta_answers() {
    let key = KeyGrant { id: DataKeyId::new(8), key: KeyBytes::new([0xce; 32]) };
    let opened = MetaReply::Opened(Opened { attributes: attributes(), key });
    golden(&opened, include_str!("golden/opened.hex").trim());
    let committed = MetaReply::Committed(vec![attributes()]);
    golden(&committed, include_str!("golden/committed.hex").trim());
    let plain = Attributes { no_xattrs: true, ..attributes() };
    golden(&plain, include_str!("golden/attributes-without-xattrs.hex").trim());
    golden(&MetaError::NoSpace, "08");
    let kill = AttributeChanges { kill_privileges: true, ..AttributeChanges::default() };
    golden(&kill, "87f6f6f6f6f6f6f5");
    let made = AttributeChanges {
        mode: Some(0o600),
        made: Some(Timestamp { seconds: 7, nanos: 1 }),
        ..AttributeChanges::default()
    };
    golden(&made, "88190180f6f6f6f6f6f4820701");
    assert_eq!(minicbor::to_vec(AttributeChanges::default()).expect("encodes"), [0x80]);
    let inherited =
        MetaDone { reply: MetaReply::Done, touched: vec![], inherited: true, stamp: Stamp::default() };
    golden(&inherited, "8482008080f58382000000f4");
    let term = Term { epoch: Epoch::new(5), number: 6 };
    let stamp = Stamp { term, recalled: 7, leased: true };
    let done = MetaDone { reply: MetaReply::Done, touched: vec![attributes()], inherited: false, stamp };
    golden(&done, include_str!("golden/meta-done.hex").trim());
}

#[test]
fn golden_coherence() {
    let (filesystem, session) = (FilesystemId::from_bytes([0xf5; 16]), SessionId::from_bytes([0x5e; 16]));
    let term = Term { epoch: Epoch::new(5), number: 6 };
    let holds = [HoldMode::Open, HoldMode::Shared, HoldMode::Exclusive];
    let holds = holds.map(|mode| Hold { inode: Inode::new(9), mode }).to_vec();
    golden(
        &Attach { filesystem, session, holds },
        "8350f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5505e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e83820900820901820902",
    );
    golden(&Place { term, alone: true }, "82820506f5");
    golden(
        &WatchRecalls { filesystem, session, term, after: 3 },
        "8450f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5505e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e82050603",
    );
    let what = [What::Name(name("n")), What::Attributes, What::Writing, What::All, What::Gone, What::Writers];
    let recalls = (4..).zip(what).map(|(number, what)| Recall { number, inode: Inode::new(9), what });
    golden(
        &Recalls { recalls: recalls.collect(), attach: true },
        "8286830409820081416e830509820180830609820280830709820380830809820480830909820580f5",
    );
    golden(
        &AckRecalls { filesystem, session, term, acks: vec![Ack { number: 4, open: true }] },
        "8450f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5505e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e820506818204f5",
    );
    golden(&MetaOp::Write { inode: Inode::new(9) }, "8218198109");
    golden(&MetaOp::OpenWriting { inode: Inode::new(9) }, "82181a8109");
    golden(&MetaReply::Writers { others: true }, "820f81f5");
    golden(&MetaReply::Absent, "820e80");
    golden(&MetaError::NotAttached, "181e");
}

#[test]
fn golden_lookups() {
    let lookup = |map_entries| MetaOp::Lookup { parent: Inode::ROOT, name: Some(name("n")), map_entries };
    golden(&lookup(None), include_str!("golden/lookup.hex").trim());
    golden(&lookup(Some(4)), include_str!("golden/lookup-map.hex").trim());
    let entry = MapEntry {
        offset: FileOffset::new(0),
        len: 5,
        extent: extent(),
        extent_offset: 1,
        geometry: geometry(),
        group: GroupId::new(7),
        key: DataKeyId::new(8),
        group_epoch: Epoch::new(1),
    };
    let key = KeyGrant { id: DataKeyId::new(8), key: KeyBytes::new([0xce; 32]) };
    let map = MapPage { entries: vec![entry], end: true, keys: vec![key] };
    let found = MetaReply::Found(Found { attributes: attributes(), map });
    golden(&found, include_str!("golden/found.hex").trim());
}

#[test]
fn a_lookup_that_asks_for_a_map_is_one_that_does_not_to_an_earlier_peer() {
    #[derive(Debug, PartialEq, Decode)]
    enum Earlier {
        #[n(1)]
        Lookup {
            #[n(0)]
            parent: Inode,
            #[n(1)]
            name: Option<Name>,
        },
    }
    let asks = MetaOp::Lookup { parent: Inode::ROOT, name: Some(name("n")), map_entries: Some(4) };
    let bytes = minicbor::to_vec(asks).expect("encodes");
    let known = Earlier::Lookup { parent: Inode::ROOT, name: Some(name("n")) };
    assert_eq!(minicbor::decode::<Earlier>(&bytes).expect("decodes"), known);
}

#[test]
fn golden_heartbeat() {
    let report = DriveReport {
        drive: DriveId::from_bytes([0xdd; 16]),
        incarnation: Incarnation::new(1),
        capacity: ByteCount::new(1 << 30),
        used: ByteCount::new(4160),
        shards: 1,
        damaged: 0,
        puts: 1,
        gets: 2,
        warning: None,
        writable: ByteCount::new(1 << 29),
        device: DeviceReport { mode: "direct".to_owned(), errors: 3, stalls: 2, stuck: 1 },
    };
    let heartbeat = Heartbeat {
        node: NodeId::from_bytes([0x0d; 16]),
        container: "drive0".to_owned(),
        pid: 77,
        started: Timestamp { seconds: 1, nanos: 2 },
        report: NodeReport::Drive(report),
    };
    golden(&heartbeat, include_str!("golden/heartbeat.hex").trim());
}

#[test]
fn a_field_from_a_later_version_is_skipped() {
    // GetShard has fields 0 to 2; a later peer sends a fourth.
    let mut bytes = minicbor::to_vec(GetShard {
        key: ShardKey { extent: extent(), index: ShardIndex::new(3) },
        start: 0,
        len: 1,
    })
    .expect("encodes");
    assert_eq!(bytes[0], 0x83, "an array of three fields");
    bytes[0] = 0x84;
    bytes.extend_from_slice(&[0x65, b'l', b'a', b't', b'e', b'r']);
    assert_eq!(minicbor::decode::<GetShard>(&bytes).expect("decodes").len, 1);
}

#[test]
fn an_operation_from_a_later_version_is_refused() {
    // [99, [..]]: an operation number that no version has given.
    assert!(minicbor::decode::<MetaOp>(&[0x82, 0x18, 99, 0x80]).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = minicbor::decode::<Meta>(&bytes);
        let _ = minicbor::decode::<MetaReply>(&bytes);
        let _ = minicbor::decode::<PutShard>(&bytes);
        let _ = minicbor::decode::<PutShards>(&bytes);
        let _ = minicbor::decode::<Heartbeat>(&bytes);
        let _ = minicbor::decode::<weft_layout::ClusterMap>(&bytes);
    }

    /// A length that the message does not have room for must fail before anything is allocated for it.
    #[test]
    fn a_lying_length_is_refused(len in 1_000_000_u32..) {
        let mut bytes = vec![0x81, 0x9a];
        bytes.extend_from_slice(&len.to_be_bytes());
        prop_assert!(minicbor::decode::<weft_wire::drive::ShardsListed>(&bytes).is_err());
    }
}
