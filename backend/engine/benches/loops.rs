//! What records of the log and parts of checkpoints cost. They are private to the crate, and so compiled into this
//! bench.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weft_engine::{Batch, Row, RowChange};
use weft_keys::EpochSalt;
use weft_types::{Digest, Epoch, FilesystemId, KeyVersion, MetadataShard, Position};
use weft_wire::log::{LogKey, ObjectKey};

#[allow(dead_code, unreachable_pub, reason = "only some of it is measured")]
#[path = "../src/checkpoint/part.rs"]
mod part;
#[allow(dead_code, unreachable_pub, reason = "only some of it is measured")]
#[path = "../src/log/record.rs"]
mod record;

/// Where a part finds its types.
mod index {
    pub(crate) use weft_engine::{Row, Salt};
}

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARD: MetadataShard = MetadataShard::new(0);
const POSITION: Position = Position { epoch: Epoch::new(3), seq: 7 };

/// Rows as they lie in the log: keys of 17 bytes, sealed values of 110.
fn rows(count: u32) -> Vec<Row> {
    let row = |number: u32| {
        let mut key = vec![2; 17];
        key[13..].copy_from_slice(&number.to_be_bytes());
        (key, vec![number as u8; 110])
    };
    (0..count).map(row).collect()
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for count in [6, 384, 10_000] {
        let change = |(key, value)| RowChange { key, value: Some(value) };
        let batch = Batch {
            position: POSITION,
            salt: EpochSalt::from_random([4; 32]),
            key_version: KeyVersion::new(1),
            rows: rows(count).into_iter().map(change).collect(),
        };
        let predecessor = Digest([1; 32]);
        group.throughput(Throughput::Bytes(batch.encoded_len() as u64));
        group.bench_function(format!("encode {count} rows"), |b| {
            b.iter(|| record::encode_batch(black_box(&batch), SHARD, predecessor).expect("bounded"));
        });
        let (bytes, _) = record::encode_batch(&batch, SHARD, predecessor).expect("bounded");
        group.bench_function(format!("decode {count} rows"), |b| {
            b.iter(|| record::decode(black_box(&bytes), SHARD).expect("a record"));
        });
    }
    group.finish();
}

fn checkpoints(c: &mut Criterion) {
    let mut group = c.benchmark_group("part of a checkpoint");
    let log = LogKey { filesystem: FilesystemId::from_bytes([5; 16]), shard: SHARD };
    let key = ObjectKey { log, epoch: Epoch::new(3), number: 1, part: 0 };
    let rows = rows(30_000);
    let fill = || {
        let mut body = part::Body::default();
        assert!(rows.iter().all(|row| body.add_row(row)));
        body
    };
    let bytes = fill().finish(key, POSITION);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("add 30,000 rows", |b| b.iter(fill));
    group.bench_function("finish", |b| {
        b.iter_batched(fill, |body| body.finish(key, POSITION), BatchSize::LargeInput);
    });
    group.bench_function("decode 30,000 rows", |b| {
        b.iter(|| part::decode(black_box(&bytes), key, POSITION).expect("a part"));
    });
    group.finish();
}

criterion_group!(loops, records, checkpoints);
criterion_main!(loops);
