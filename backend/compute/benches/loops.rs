//! What operations cost the owner of a metadata shard: executed, gathered in a batch, sealed, taken by a log in memory
//! and applied to the index.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use weft_compute::{
    Attempt, ComputeSettings, Keys, Lease, Opened, Opening, Owner, SHARD, SessionOpening, Sources, View,
};
use weft_engine::{Index, MemoryLog};
use weft_keys::{FilesystemKey, MetadataKey, NameKey};
use weft_layout::{ClusterMap, Geometry, NodeEntry, PlacementGroup};
use weft_types::{
    ByteCount, ClusterId, DataKeyId, Epoch, ExtentId, ExtentSeq, FileOffset, FilesystemId, GroupId, Inode,
    KeyVersion, MapVersion, NodeId, SessionId, SlotId, SlotSeq,
};
use weft_wire::coherence::Term;
use weft_wire::compute::{Meta, OpenSession, SessionHolder};
use weft_wire::log::LogKey;
use weft_wire::meta::{Caller, Commit, MakeNode, MetaOp, MetaReply, Name, NewExtent, NewNode};
use weft_wire::ownership::Held;

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([5; 16]);
const NODE: NodeId = NodeId::from_bytes([6; 16]);
const SESSION: SessionId = SessionId::from_bytes([7; 16]);
const EPOCH: Epoch = Epoch::new(1);
const GROUP: GroupId = GroupId::new(4);
/// Slots of the session that ask in turn.
const SLOTS: u64 = 64;
const HOUR: Duration = Duration::from_secs(3600);

struct Compute {
    runtime: Runtime,
    owner: Owner,
    term: Term,
    view: View,
    calls: u64,
    _folder: tempfile::TempDir,
}

impl Compute {
    /// An owner of an empty filesystem with one session.
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let key = LogKey { filesystem: FILESYSTEM, shard: SHARD };
        let index = Index::open(&folder.path().join("index"), key).expect("opens");
        let log = MemoryLog::new(key);
        log.take_over(EPOCH).expect("nobody else has it");
        let sources = Sources::of_the_host();
        let filesystem = FilesystemKey::from_bytes(FILESYSTEM, KeyVersion::new(1), &[1; 32]);
        let metadata = MetadataKey::from_bytes(&[2; 32]);
        let keys = Keys::new(filesystem, metadata, &NameKey::from_bytes(&[3; 32]), sources.clone());
        let settings = ComputeSettings { lease: HOUR, ..ComputeSettings::default() };
        let (owner, term) = runtime.block_on(async {
            let now = Instant::now();
            let held = Held { filesystem: FILESYSTEM, shard: SHARD, epoch: EPOCH };
            let lease = Arc::new(Lease::new(held, now, HOUR, now, Duration::ZERO));
            let opening = Opening { lease, keys: Some(keys), sources, settings, deleting: false };
            let Opened { owner, worker } = opening.start(log, index).expect("starts");
            tokio::spawn(worker.run());
            let term = attach(&owner).await;
            (owner, term)
        });
        Self { runtime, owner, term, view: view(), calls: 0, _folder: folder }
    }

    /// Executes it; answers what it was told and the batch that it waits for.
    fn execute(&mut self, op: MetaOp) -> (MetaReply, u64) {
        let number = self.calls;
        self.calls += 1;
        let slot = SlotId::new(u16::try_from(number % SLOTS).expect("small"));
        let seq = SlotSeq::new(1 + number / SLOTS);
        let caller = Caller { uid: 1000, gid: 1000 };
        let call = Meta { filesystem: FILESYSTEM, session: SESSION, slot, seq, caller, op, term: self.term };
        loop {
            match self.owner.execute(NODE, &call, &self.view, None).expect("serves") {
                Attempt::Answer { answer, durable_with, .. } => {
                    return (answer.expect("is done"), durable_with);
                }
                // The batch is full.
                _ => self.runtime.block_on(tokio::task::yield_now()),
            }
        }
    }

    fn create(&mut self) -> (Inode, DataKeyId, u64) {
        let name = Name::new(format!("a-file-of-a-tree-{}.rs", self.calls).as_bytes()).expect("a name");
        let make = MakeNode { parent: Inode::ROOT, name, node: NewNode::File, mode: 0o644, umask: 0 };
        match self.execute(MetaOp::MakeNode(make)) {
            (MetaReply::Opened(opened), seq) => (opened.attributes.inode, opened.key.id, seq),
            (other, _) => panic!("not a file: {other:?}"),
        }
    }

    /// Commits one extent of 4 KiB.
    fn commit(&mut self, inode: Inode, key: DataKeyId, offset: u64) -> u64 {
        let geometry = Geometry::new("4+2".parse().expect("offered"), ByteCount::new(4096));
        let extent = NewExtent {
            offset: FileOffset::new(offset),
            extent: ExtentId { session: SESSION, seq: ExtentSeq::new(self.calls) },
            geometry: geometry.expect("a length"),
            group: GROUP,
            group_epoch: Epoch::new(1),
            key,
        };
        let commit = Commit {
            inode,
            extents: vec![extent],
            size_min: offset + 4096,
            modified: None,
            attributes: None,
        };
        self.execute(MetaOp::Commit(commit)).1
    }

    fn durable(&self, seq: u64) {
        self.runtime.block_on(self.owner.durable(seq)).expect("serves");
    }
}

async fn attach(owner: &Owner) -> Term {
    let holder = SessionHolder { host: "h".to_owned(), boot: "b".to_owned(), pid: 7, mount: "/m".to_owned() };
    let call = OpenSession { filesystem: "default".to_owned(), read_only: false, holder, replaces: None };
    let opened = owner.open_session(NODE, &call, SESSION, Instant::now()).expect("no fault");
    let SessionOpening::Opened { durable_with, place, .. } = opened else { panic!("refused") };
    owner.answerable(durable_with).await.expect("durable");
    place.term
}

/// One placement group.
fn view() -> View {
    let group = PlacementGroup { id: GROUP, epoch: Epoch::new(1), members: Vec::new(), history: Vec::new() };
    let management =
        NodeEntry { node: NODE, name: "management".to_owned(), address: "[::1]:8000".to_owned() };
    let map = ClusterMap {
        cluster: ClusterId::from_bytes([9; 16]),
        version: MapVersion::new(1),
        protection: "4+2".parse().expect("offered"),
        drives: Vec::new(),
        groups: vec![group],
        computes: Vec::new(),
        management,
    };
    View { map: Some(Arc::new(map)), space: None }
}

/// Per operation; a batch has as many as one session has under way.
fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("owner");
    for count in [1, SLOTS] {
        group.throughput(Throughput::Elements(count));
        let mut compute = Compute::new();
        group.bench_function(format!("create, {count} to a batch"), |b| {
            b.iter(|| {
                let last = (0..count).map(|_| compute.create().2).max().expect("some");
                compute.durable(last);
            });
        });
        let mut compute = Compute::new();
        let (inode, key, _) = compute.create();
        let mut at = 0;
        group.bench_function(format!("commit 4 KiB, {count} to a batch"), |b| {
            b.iter(|| {
                let mut last = 0;
                for _ in 0..count {
                    at = (at + 7919) % 10_000;
                    last = compute.commit(inode, key, at * 4096);
                }
                compute.durable(last);
            });
        });
    }
    let mut compute = Compute::new();
    let (inode, _, seq) = compute.create();
    compute.durable(seq);
    group.throughput(Throughput::Elements(1));
    group.bench_function("get attributes", |b| {
        b.iter(|| compute.execute(MetaOp::GetAttributes { inode }));
    });
    group.finish();
}

criterion_group!(loops, batches);
criterion_main!(loops);
