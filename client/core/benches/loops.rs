//! What the client's pure cores cost. They are private to the crate, and so compiled into this bench.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weft_keys::{DataKey, ExtentSealer};
use weft_layout::{Codec, Geometry, Protection};
use weft_types::{
    ByteCount, DataKeyId, Epoch, ExtentId, ExtentSeq, FileOffset, FilesystemId, GroupId, SessionId,
};
use weft_wire::meta::MapEntry;

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "only some of it is measured, and nothing is tested"
)]
#[path = "../src"]
mod src {
    pub(super) mod buffers;
    pub(super) mod dirty;
    pub(super) mod error;
    pub(super) mod map;
    pub(super) mod ranges;
    pub(super) mod seal;
}

use src::buffers;
use src::dirty::{DirtyRuns, Take};
use src::error::FsError;
use src::map::{ExtentMap, Segment};
use src::ranges;
use src::seal::{open_run, seal};

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCK: u64 = 4096;
const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([2; 16]);

fn protection() -> Protection {
    "4+2".parse().expect("offered")
}

fn geometry(bytes: u64) -> Geometry {
    Geometry::new(protection(), ByteCount::new(bytes)).expect("a length")
}

fn extent(seq: u64) -> ExtentId {
    ExtentId { session: SessionId::from_bytes([3; 16]), seq: ExtentSeq::new(seq) }
}

fn entry(offset: u64, seq: u64) -> MapEntry {
    MapEntry {
        offset: FileOffset::new(offset),
        len: BLOCK as u32,
        extent: extent(seq),
        extent_offset: 0,
        geometry: geometry(BLOCK),
        group: GroupId::new(4),
        key: DataKeyId::new(6),
        group_epoch: Epoch::new(1),
    }
}

/// From plaintext to shards with their digests, and back. Throughput is in bytes of plaintext.
fn extents(c: &mut Criterion) {
    let mut group = c.benchmark_group("extent 4+2");
    let key = DataKey::from_bytes(&[5; 32]);
    for (name, len) in [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20), ("4 MiB", 4 << 20)] {
        let geometry = geometry(len);
        let plaintext: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let mut codec = Codec::new(protection());
        group.throughput(Throughput::Bytes(len));
        group.bench_function(format!("seal, code and digest {name}"), |b| {
            b.iter(|| seal(&mut codec, &key, FILESYSTEM, extent(9), geometry, black_box(&plaintext)));
        });
        let sealed = seal(&mut codec, &key, FILESYSTEM, extent(9), geometry, &plaintext).expect("seals");
        let mut out = vec![0; plaintext.len()];
        group.bench_function(format!("open {name}"), |b| {
            b.iter(|| {
                let sealer = ExtentSealer::new(&key, FILESYSTEM, extent(9));
                geometry.runs(0..len as u32).all(|run| {
                    let slots = &sealed.shards[run.shard.get()][run.column.range()];
                    open_run(&sealer, geometry, &run, slots, 0, &mut out)
                })
            });
        });
        group.throughput(Throughput::Bytes(sealed.shards.iter().map(|shard| shard.len() as u64).sum()));
        group.bench_function(format!("digests alone {name}, per stored byte"), |b| {
            b.iter(|| sealed.shards.iter().map(|shard| blake3::hash(shard).as_bytes()[0]).fold(0, u8::max));
        });
    }
    group.finish();
}

/// Maps of as many extents of 4 KiB without a gap.
fn maps(c: &mut Criterion) {
    let mut group = c.benchmark_group("extent map");
    for entries in [1, 1000, 60_000, 100_000] {
        let mut map = ExtentMap::of_new_file();
        (0..entries).for_each(|number| drop(map.place(entry(number * BLOCK, number))));
        let held = map.entries_from(0).count() as u64;
        let first = map.entries_from(0).next().expect("some are held").offset.get() / BLOCK;
        let (mut at, mut seq) = (0, entries);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("overwrite one of {entries} ({held} held)"), |b| {
            b.iter(|| {
                (at, seq) = ((at + 7919) % held, seq + 1);
                map.place(entry((first + at) * BLOCK, seq))
            });
        });
        let found = |segments: Result<Vec<Segment>, _>| segments.map_or(0, |segments| segments.len());
        group.bench_function(format!("look up one of {entries}"), |b| {
            b.iter(|| {
                at = (at + 7919) % held;
                let start = (first + at) * BLOCK;
                found(map.segments(start..start + BLOCK))
            });
        });
        group.throughput(Throughput::Elements(held));
        group.bench_function(format!("walk all of {entries} ({held} held)"), |b| {
            b.iter(|| map.entries_from(0).map(|entry| u64::from(entry.len)).sum::<u64>());
        });
    }
    group.throughput(Throughput::Elements(1000));
    let page: Vec<_> = (0..1000).map(|number| entry(number * BLOCK, number)).collect();
    group.bench_function("take in a page of 1,000", |b| {
        b.iter_batched(
            || (ExtentMap::default(), page.clone()),
            |(mut map, page)| {
                assert!(map.page(map.version(), 0..1000 * BLOCK, page, true));
                map
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Bytes on their way to the drives: a stream of 1 MiB requests, and blocks all over the file.
fn dirty_bytes(c: &mut Criterion) {
    let mut group = c.benchmark_group("dirty bytes");
    let request = vec![7; 1 << 20];
    group.throughput(Throughput::Bytes(64 << 20));
    group.bench_function("write and take a stream of 1 MiB requests", |b| {
        b.iter(|| {
            let mut runs = DirtyRuns::default();
            for number in 0..64 {
                runs.write(number << 20, &request);
                if runs.has_full_run() {
                    let taken: Vec<(u64, Bytes)> = runs
                        .take(Take::Full, 4)
                        .into_iter()
                        .map(|piece| (piece.offset, piece.data))
                        .collect();
                    runs.arrive(taken.iter().map(|(offset, _)| *offset));
                }
            }
            runs.held()
        });
    });
    for blocks in [1000, 30_000_u64] {
        group.throughput(Throughput::Elements(blocks));
        group.bench_function(format!("write {blocks} scattered blocks, take them 64 at a time"), |b| {
            b.iter(|| {
                let mut runs = DirtyRuns::default();
                for number in 0..blocks {
                    runs.write((number * 7919 % blocks) * 2 * BLOCK, &request[..4096]);
                }
                while runs.dirty() > 0 {
                    let taken: Vec<u64> =
                        runs.take(Take::All, 64).into_iter().map(|piece| piece.offset).collect();
                    runs.arrive(taken.into_iter());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(loops, extents, maps, dirty_bytes);
criterion_main!(loops);
