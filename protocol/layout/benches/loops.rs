//! What the arithmetic of layout, the erasure code and placement cost.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weft_layout::{
    ClusterMap, Codec, Column, DriveEntry, DriveState, Geometry, MAX_EXTENT_BYTES, NodeEntry, Protection,
    SLOT_BYTES, place,
};
use weft_types::{ByteCount, ClusterId, DriveId, ExtentSeq, Incarnation, MapVersion, NodeId, ShardIndex};

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn protection(text: &str) -> Protection {
    text.parse().expect("offered")
}

fn geometry(protection: Protection, bytes: u32) -> Geometry {
    Geometry::new(protection, ByteCount::new(bytes.into())).expect("a length")
}

/// From bytes of an extent to shards, their columns and the members of the group that hold them.
fn arithmetic(c: &mut Criterion) {
    let mut group = c.benchmark_group("geometry");
    let whole = geometry(protection("4+2"), MAX_EXTENT_BYTES);
    for (name, len) in [("runs of 4 KiB", 4096), ("runs of 1 MiB", 1 << 20), ("runs of 4 MiB", 4 << 20)] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            let mut at = 0;
            b.iter(|| {
                at = (at + len) % MAX_EXTENT_BYTES;
                black_box(whole).runs(at..at + len).map(|run| run.column.len()).sum::<u32>()
            });
        });
    }
    group.bench_function("holders of an extent", |b| {
        let mut seq = 0;
        b.iter(|| {
            seq += 1;
            black_box(whole).holders(ExtentSeq::new(seq)).map(|(_, slot)| slot.get()).sum::<usize>()
        });
    });
    group.throughput(Throughput::Elements(whole.block_count().into()));
    group.bench_function("location of every block", |b| {
        let blocks = 0..whole.block_count();
        b.iter(|| blocks.clone().filter_map(|block| black_box(whole).block_location(block)).count());
    });
    group.finish();
}

/// Bytes that repeat seldom.
fn shard(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(seed * 2 + 7) >> 3) as u8).collect()
}

/// All shards of a stripe.
fn stripe(codec: &mut Codec, len: usize) -> Vec<Vec<u8>> {
    let n = codec.protection().data();
    let mut shards: Vec<_> = (0..n.into()).map(|seed| shard(seed, len)).collect();
    let data: Vec<&[u8]> = shards.iter().map(Vec::as_slice).collect();
    let mut parity = codec.encode(&data, len).expect("encodes");
    shards.append(&mut parity);
    shards
}

/// The bytes of a column: one block's slot, 64 KiB, and the shard of a whole extent of 4+2.
const COLUMNS: [(&str, u32); 3] =
    [("one slot", SLOT_BYTES), ("16 slots", 16 * SLOT_BYTES), ("256 slots", 256 * SLOT_BYTES)];

/// Throughput is in bytes of data.
fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (code, (name, len)) in ["2+1", "4+2", "8+2"].into_iter().flat_map(|code| COLUMNS.map(|c| (code, c))) {
        let mut codec = Codec::new(protection(code));
        let shards = stripe(&mut codec, len as usize);
        let n = codec.protection().data();
        let data: Vec<&[u8]> = shards[..n.into()].iter().map(Vec::as_slice).collect();
        group.throughput(Throughput::Bytes(u64::from(len) * u64::from(n)));
        group.bench_function(format!("{code}, {name}"), |b| {
            b.iter(|| codec.encode(&data, len as usize).expect("encodes"));
        });
    }
    group.finish();
}

/// One data shard, or one parity shard, from N others. Throughput is in bytes that are read for it.
fn reconstruct(c: &mut Criterion) {
    let mut group = c.benchmark_group("reconstruct");
    for (code, (name, len)) in ["2+1", "4+2", "8+2"].into_iter().flat_map(|code| COLUMNS.map(|c| (code, c))) {
        let mut codec = Codec::new(protection(code));
        let shards = stripe(&mut codec, len as usize);
        let n = codec.protection().data();
        let column = Column::new(0, len).expect("aligned");
        for (what, lost) in [("data", 0), ("parity", n)] {
            let left = (0..).zip(&shards).filter(|(index, _)| *index != lost);
            let left: Vec<(ShardIndex, &[u8])> =
                left.take(n.into()).map(|(index, shard)| (ShardIndex::new(index), &shard[..])).collect();
            group.throughput(Throughput::Bytes(u64::from(len) * u64::from(n)));
            group.bench_function(format!("{code}, {what}, {name}"), |b| {
                b.iter(|| codec.reconstruct(column, &left, &[ShardIndex::new(lost)]).expect("enough"));
            });
        }
    }
    group.finish();
}

/// The erasures of every decode are others: what a decode costs whose start is not remembered.
fn first_decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("reconstruct");
    let mut codec = Codec::new(protection("4+2"));
    let shards = stripe(&mut codec, SLOT_BYTES as usize);
    let column = Column::new(0, SLOT_BYTES).expect("aligned");
    let left: Vec<_> =
        (1..5).map(|index| (ShardIndex::new(index), &shards[usize::from(index)][..])).collect();
    group.throughput(Throughput::Elements(1));
    group.bench_function("4+2, data, one slot, on a new thread", |b| {
        b.iter_batched(
            || Codec::new(protection("4+2")),
            |mut codec| {
                let wanted = [ShardIndex::new(0)];
                std::thread::scope(|scope| {
                    scope
                        .spawn(|| codec.reconstruct(column, &left, &wanted).expect("enough"))
                        .join()
                        .expect("no panic")
                })
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A map of drives, four to a host, without groups.
fn vacant(drives: u16) -> ClusterMap {
    let id = |n: u16| {
        let mut bytes = [0x5a; 16];
        bytes[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
        bytes
    };
    let per_host = if drives < 24 { 1 } else { 4 };
    let drive = |n: u16| DriveEntry {
        id: DriveId::from_bytes(id(n)),
        node: NodeId::from_bytes(id(n + 1000)),
        incarnation: Incarnation::new(1),
        name: format!("drive{n}"),
        address: format!("127.0.0.1:{}", 7000 + n),
        failure_domain: format!("host{}", n / per_host),
        capacity: ByteCount::new(1 << 40),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    };
    ClusterMap {
        cluster: ClusterId::from_bytes([9; 16]),
        version: MapVersion::new(1),
        protection: protection("4+2"),
        drives: (0..drives).map(drive).collect(),
        groups: Vec::new(),
        computes: Vec::new(),
        management: NodeEntry {
            node: NodeId::from_bytes([2; 16]),
            name: "management".to_owned(),
            address: "[::1]:8000".to_owned(),
        },
    }
}

/// Maps of 6, 24 and 200 drives: formed, kept, with one drive down, and looked up in.
fn placement(c: &mut Criterion) {
    let mut group = c.benchmark_group("placement");
    for drives in [6, 24, 200] {
        let vacant = vacant(drives);
        let formed = place(&vacant).expect("enough drives").map;
        group.throughput(Throughput::Elements(formed.groups.len() as u64));
        group.bench_function(format!("form, {drives} drives"), |b| b.iter(|| place(&vacant)));
        group.bench_function(format!("nothing changes, {drives} drives"), |b| b.iter(|| place(&formed)));
        let mut down = formed.clone();
        down.drives[0].state = DriveState::Down;
        group.bench_function(format!("one drive down, {drives} drives"), |b| b.iter(|| place(&down)));
        group.bench_function(format!("validate, {drives} drives"), |b| b.iter(|| formed.validate()));
        group.throughput(Throughput::Elements(1));
        let mut turn = 0;
        group.bench_function(format!("look up a group and its drives, {drives} drives"), |b| {
            b.iter(|| {
                turn = (turn + 7) % formed.groups.len();
                let group = formed.group(formed.groups[turn].id).expect("in the map");
                group.members.iter().filter(|member| formed.drive(**member).is_some()).count()
            });
        });
    }
    group.finish();
}

criterion_group!(loops, arithmetic, encode, reconstruct, first_decode, placement);
criterion_main!(loops);
