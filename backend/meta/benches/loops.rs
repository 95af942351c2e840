//! What operations on metadata cost, over rows in memory that are neither sealed nor kept.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use weft_layout::Geometry;
use weft_meta::{
    Context, GroupEpochs, InodeRow, KeyMaker, NewKey, RowKey, SessionRow, SpaceView, Transaction, execute,
    format, session,
};
use weft_types::{
    ByteCount, DataKeyId, Epoch, ExtentId, ExtentSeq, FileOffset, FilesystemId, GroupId, Inode, NameHash,
    NodeId, SessionId, Timestamp,
};
use weft_wire::KeyBytes;
use weft_wire::compute::SessionHolder;
use weft_wire::meta::{
    Caller, Commit, ListDirectory, MakeNode, MetaError, MetaOp, MetaReply, Name, NewExtent, NewNode, ReadMap,
};

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SESSION: SessionId = SessionId::from_bytes([1; 16]);
const GROUP: GroupId = GroupId::new(4);

/// Rows under their encoded keys.
#[derive(Default)]
struct Rows(BTreeMap<Vec<u8>, Vec<u8>>);

impl Transaction for Rows {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.0.get(&key.encode()).cloned())
    }

    fn put(&mut self, key: RowKey, value: Vec<u8>) {
        self.0.insert(key.encode(), value);
    }

    fn delete(&mut self, key: RowKey) {
        self.0.remove(&key.encode());
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(RowKey, Vec<u8>)>, MetaError> {
        let rows = self.0.range(from.to_vec()..until.to_vec()).take(limit);
        rows.map(|(key, value)| Ok((RowKey::decode(key).map_err(|_| MetaError::Damaged)?, value.clone())))
            .collect()
    }
}

/// Everything that costs time of its own elsewhere: hashes, keys, groups.
struct Free;

impl weft_meta::NameHasher for Free {
    fn hash(&self, parent: Inode, name: &[u8]) -> NameHash {
        let seed = 0xcbf2_9ce4_8422_2325 ^ parent.get();
        let mixed = name.iter().fold(seed, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        NameHash::new(NameHash::MIN.get() + (mixed >> 2)).expect("within the bounds")
    }
}

impl KeyMaker for Free {
    fn fresh(&self, _: DataKeyId) -> Result<NewKey, MetaError> {
        Ok(NewKey { key: KeyBytes::new([7; 32]), wrapped: vec![8; 64] })
    }

    fn unwrap(&self, _: DataKeyId, _: &[u8]) -> Result<KeyBytes, MetaError> {
        Ok(KeyBytes::new([7; 32]))
    }
}

impl GroupEpochs for Free {
    fn floor(&self, _: GroupId) -> Option<Epoch> {
        Some(Epoch::new(1))
    }
}

struct World {
    rows: Rows,
    made: u64,
}

impl World {
    /// A formatted filesystem with one session.
    fn new() -> Self {
        let mut world = Self { rows: Rows::default(), made: 0 };
        world.with(format).expect("formats");
        let holder =
            SessionHolder { host: "h".to_owned(), boot: "b".to_owned(), pid: 9, mount: "/m".to_owned() };
        let opened = Timestamp { seconds: 1, nanos: 0 };
        let row = SessionRow { node: NodeId::from_bytes([3; 16]), holder, read_only: false, opened };
        session::open(&mut world.rows, SESSION, &row);
        world
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut dyn Transaction, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: Timestamp { seconds: 1_790_000_000, nanos: 123_456_789 },
            caller: Caller { uid: 1000, gid: 1000 },
            session: SESSION,
            users: &[],
            filesystem: FilesystemId::from_bytes([2; 16]),
            names: &Free,
            keys: &Free,
            groups: &Free,
            space: SpaceView { capacity: ByteCount::new(1 << 40), free: ByteCount::new(1 << 39) },
        };
        act(&mut self.rows, &mut cx)
    }

    fn run(&mut self, op: &MetaOp) -> MetaReply {
        self.with(|rows, cx| execute(rows, cx, op)).expect("is done")
    }

    /// A new file of the root directory.
    fn create(&mut self) -> Inode {
        self.made += 1;
        let make = MakeNode {
            parent: Inode::ROOT,
            name: name(self.made),
            node: NewNode::File,
            mode: 0o644,
            umask: 0,
        };
        match self.run(&MetaOp::MakeNode(make)) {
            MetaReply::Opened(opened) => opened.attributes.inode,
            other => panic!("not a file: {other:?}"),
        }
    }

    /// Commits one extent of 4 KiB.
    fn commit(&mut self, inode: Inode, offset: u64) {
        self.made += 1;
        let key = self.rows.get(&RowKey::Inode(inode)).expect("reads").expect("a file");
        let row: InodeRow = minicbor::decode(&key).expect("an inode's row");
        let geometry = Geometry::new("4+2".parse().expect("offered"), ByteCount::new(4096));
        let extent = NewExtent {
            offset: FileOffset::new(offset),
            extent: ExtentId { session: SESSION, seq: ExtentSeq::new(self.made) },
            geometry: geometry.expect("a length"),
            group: GROUP,
            group_epoch: Epoch::new(1),
            key: row.key.expect("a file has a key"),
        };
        let commit = Commit {
            inode,
            extents: vec![extent],
            size_min: offset + 4096,
            modified: None,
            attributes: None,
        };
        self.run(&MetaOp::Commit(commit));
    }
}

fn name(number: u64) -> Name {
    Name::new(std::format!("a-file-of-a-tree-{number}.rs").as_bytes()).expect("a name")
}

/// Each of them changes the filesystem, which grows meanwhile.
fn mutations(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut world = World::new();
    group.bench_function("create", |b| b.iter(|| world.create()));
    let mut world = World::new();
    group.bench_function("create and unlink", |b| {
        b.iter(|| {
            world.create();
            let name = name(world.made);
            world.run(&MetaOp::Unlink { parent: Inode::ROOT, name })
        });
    });
    let mut world = World::new();
    group.bench_function("create, commit 4 KiB", |b| {
        b.iter(|| {
            let inode = world.create();
            world.commit(inode, 0);
        });
    });
    for entries in [1, 1000, 100_000] {
        let mut world = World::new();
        let inode = world.create();
        (0..entries).for_each(|entry| world.commit(inode, entry * 4096));
        let mut at = 0;
        group.bench_function(std::format!("overwrite 4 KiB in a map of {entries}"), |b| {
            b.iter(|| {
                at = (at + 7919) % entries;
                world.commit(inode, at * 4096);
            });
        });
    }
}

fn reads(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut world = World::new();
    let inode = world.create();
    (0..1000).for_each(|entry| world.commit(inode, entry * 4096));
    (0..10_000).for_each(|_| {
        world.create();
    });
    let found = name(world.made);
    let op = MetaOp::Lookup { parent: Inode::ROOT, name: Some(found), map_entries: None };
    group.bench_function("lookup among 10,000", |b| b.iter(|| world.run(black_box(&op))));
    let op = MetaOp::GetAttributes { inode };
    group.bench_function("get attributes", |b| b.iter(|| world.run(black_box(&op))));
    let op = MetaOp::ReadMap(ReadMap { inode, from: 1 << 20, until: (1 << 20) + 1, limit: 1 });
    group.bench_function("read 1 map entry of 1,000", |b| b.iter(|| world.run(black_box(&op))));
    group.throughput(Throughput::Elements(1000));
    let op = MetaOp::ReadMap(ReadMap { inode, from: 0, until: u64::MAX, limit: 1000 });
    group.bench_function("read 1,000 map entries", |b| b.iter(|| world.run(black_box(&op))));
    let op = MetaOp::ListDirectory(ListDirectory {
        inode: Inode::ROOT,
        after: 0,
        limit: 1000,
        with_attributes: true,
    });
    group.bench_function("list 1,000 names", |b| b.iter(|| world.run(black_box(&op))));
}

fn rows(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut world = World::new();
    let key = RowKey::Inode(world.create());
    let bytes = world.rows.get(&key).expect("reads").expect("a file");
    let row: InodeRow = minicbor::decode(&bytes).expect("an inode's row");
    group.bench_function("encode a key", |b| b.iter(|| black_box(&key).encode()));
    group.bench_function("encode an inode's row", |b| {
        b.iter(|| minicbor::to_vec(black_box(&row)).expect("encodes"));
    });
    group.bench_function("decode an inode's row", |b| {
        b.iter(|| minicbor::decode::<InodeRow>(black_box(&bytes)).expect("decodes"));
    });
}

fn operations(c: &mut Criterion) {
    let mut group = c.benchmark_group("meta");
    group.throughput(Throughput::Elements(1));
    mutations(&mut group);
    rows(&mut group);
    reads(&mut group);
    group.finish();
}

criterion_group!(loops, operations);
criterion_main!(loops);
