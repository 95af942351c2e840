//! What messages cost to encode and to decode.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use minicbor::{Decode, Encode};
use weft_layout::Geometry;
use weft_types::{
    ByteCount, DataKeyId, Digest, Epoch, ExtentId, ExtentSeq, FileOffset, FilesystemId, Generation, GroupId,
    Inode, SessionId, ShardIndex, SlotId, SlotSeq, Timestamp,
};
use weft_wire::coherence::Term;
use weft_wire::compute::Meta;
use weft_wire::drive::{GetShard, PutShard, ShardHeader, ShardKey};
use weft_wire::frame::RequestHeader;
use weft_wire::meta::{
    Attributes, Caller, Commit, FileKind, KeyGrant, MakeNode, MapEntry, MapPage, MetaOp, MetaReply, Name,
    NewExtent, NewNode, Opened,
};
use weft_wire::{CallTag, KeyBytes};

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SESSION: SessionId = SessionId::from_bytes([0x5e; 16]);
const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([0xf5; 16]);

fn extent(seq: u64) -> ExtentId {
    ExtentId { session: SESSION, seq: ExtentSeq::new(seq) }
}

fn geometry() -> Geometry {
    Geometry::new("4+2".parse().expect("offered"), ByteCount::new(4 << 20)).expect("a length")
}

/// Measures both ways, per message, and says how long it is.
fn both<T>(c: &mut Criterion, name: &str, message: &T)
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    let bytes = minicbor::to_vec(message).expect("encodes");
    let mut group = c.benchmark_group(format!("{name}, {} bytes", bytes.len()));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |b| b.iter(|| minicbor::to_vec(black_box(message)).expect("encodes")));
    group.bench_function("decode", |b| b.iter(|| minicbor::decode::<T>(black_box(&bytes)).expect("decodes")));
    group.finish();
}

fn drive_calls(c: &mut Criterion) {
    let key = ShardKey { extent: extent(1 << 20), index: ShardIndex::new(3) };
    let header = ShardHeader {
        key,
        filesystem: FILESYSTEM,
        geometry: geometry(),
        group: GroupId::new(7),
        group_epoch: Epoch::new(300),
        digests: vec![Digest([0xd1; 32]); 6],
    };
    both(c, "put-shard", &PutShard { header });
    both(c, "get-shard", &GetShard { key, start: 416_000, len: 4160 });
    let mut group = c.benchmark_group("request header");
    group.throughput(Throughput::Elements(1));
    let header = RequestHeader { tag: CallTag::PUT_SHARD, deadline_ms: 10_000, body: 260, bulk: 1 << 20 };
    group.bench_function("encode and decode", |b| {
        b.iter(|| RequestHeader::decode(&black_box(header).encode()).expect("bounded"));
    });
    group.finish();
}

fn meta(op: MetaOp) -> Meta {
    Meta {
        filesystem: FILESYSTEM,
        session: SESSION,
        slot: SlotId::new(12),
        seq: SlotSeq::new(100_000),
        caller: Caller { uid: 1000, gid: 1000 },
        op,
        term: Term::default(),
    }
}

fn commit(extents: u64) -> Meta {
    let extent = |seq: u64| NewExtent {
        offset: FileOffset::new(seq << 22),
        extent: extent(seq + (1 << 20)),
        geometry: geometry(),
        group: GroupId::new(7),
        group_epoch: Epoch::new(300),
        key: DataKeyId::new(8000),
    };
    let extents: Vec<_> = (0..extents).map(extent).collect();
    let size_min = (extents.len() as u64) << 22;
    let modified = Some(Timestamp { seconds: 1_790_000_000, nanos: 123_456_789 });
    meta(MetaOp::Commit(Commit { inode: Inode::new(100_000), extents, size_min, modified, attributes: None }))
}

fn attributes() -> Attributes {
    let at = Timestamp { seconds: 1_790_000_000, nanos: 123_456_789 };
    Attributes {
        inode: Inode::new(100_000),
        generation: Generation::new(100_000),
        kind: FileKind::File,
        mode: 0o644,
        links: 1,
        uid: 1000,
        gid: 1000,
        device: 0,
        size: 1 << 32,
        allocated: ByteCount::new(1 << 32),
        accessed: at,
        modified: at,
        changed: at,
        created: at,
        change: 100,
        no_xattrs: true,
    }
}

fn map(entries: u64) -> MetaReply {
    let entry = |seq: u64| MapEntry {
        offset: FileOffset::new(seq << 22),
        len: 4 << 20,
        extent: extent(seq + (1 << 20)),
        extent_offset: 0,
        geometry: geometry(),
        group: GroupId::new(7),
        key: DataKeyId::new(8000),
        group_epoch: Epoch::new(300),
    };
    let keys = vec![KeyGrant { id: DataKeyId::new(8000), key: KeyBytes::new([0xce; 32]) }];
    MetaReply::Map(MapPage { entries: (0..entries).map(entry).collect(), end: true, keys })
}

fn meta_calls(c: &mut Criterion) {
    let name = Name::new(b"a-file-of-a-tree.rs").expect("a name");
    let make = MakeNode { parent: Inode::new(99), name, node: NewNode::File, mode: 0o644, umask: 0 };
    both(c, "make-node", &meta(MetaOp::MakeNode(make)));
    both(c, "commit of 1 extent", &commit(1));
    both(c, "commit of 1,000 extents", &commit(1000));
    both(c, "attributes", &MetaReply::Attributes(attributes()));
    let key = KeyGrant { id: DataKeyId::new(8000), key: KeyBytes::new([0xce; 32]) };
    both(c, "opened", &MetaReply::Opened(Opened { attributes: attributes(), key }));
    both(c, "map of 1,000 entries", &map(1000));
}

criterion_group!(loops, drive_calls, meta_calls);
criterion_main!(loops);
