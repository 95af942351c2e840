//! What sealing and opening cost.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weft_keys::{
    DataKey, EpochSalt, ExtentSealer, MetadataKey, NameHasher, NameKey, OwnershipSealer, SealedRow, pad,
    unpad,
};
use weft_types::{BLOCK_BYTES, Epoch, ExtentId, ExtentSeq, FilesystemId, Inode, MetadataShard, SessionId};

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([2; 16]);
const BLOCK: usize = BLOCK_BYTES as usize;
/// A block, its tag, and padding to a multiple of 64.
const SLOT: usize = BLOCK + 64;

fn extent(seq: u64) -> ExtentId {
    ExtentId { session: SessionId::from_bytes([3; 16]), seq: ExtentSeq::new(seq) }
}

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("block");
    let key = DataKey::from_bytes(&[5; 32]);
    group.throughput(Throughput::Elements(1));
    group.bench_function("the key of an extent", |b| {
        let mut seq = 0;
        b.iter(|| {
            seq += 1;
            ExtentSealer::new(&key, FILESYSTEM, extent(seq))
        });
    });
    let sealer = ExtentSealer::new(&key, FILESYSTEM, extent(1));
    let (plaintext, mut slot, mut out) = (vec![7; BLOCK], vec![0; SLOT], vec![0; BLOCK]);
    group.throughput(Throughput::Bytes(BLOCK_BYTES));
    group.bench_function("seal 4 KiB", |b| {
        b.iter(|| sealer.seal_into(1, black_box(&plaintext), &mut slot).expect("fits"));
    });
    group.bench_function("seal 4 KiB where it stands", |b| {
        b.iter(|| sealer.seal_block(1, black_box(&mut out)).expect("fits"));
    });
    group.bench_function("open 4 KiB", |b| {
        b.iter(|| sealer.open_from(1, black_box(&slot), &mut out).expect("authentic"));
    });
    group.bench_function("key and open 4 KiB", |b| {
        b.iter(|| {
            let sealer = ExtentSealer::new(&key, FILESYSTEM, extent(1));
            sealer.open_from(1, black_box(&slot), &mut out).expect("authentic");
        });
    });
    group.finish();
}

/// Rows as metadata has them: an inode's of about 70 bytes, a name's of 128 with its padding.
fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("row");
    let key = MetadataKey::from_bytes(&[1; 32]);
    let salt = EpochSalt::from_random([4; 32]);
    let mut sealer = OwnershipSealer::new(&key, FILESYSTEM, MetadataShard::new(0), Epoch::new(3), salt);
    let row_key = [9; 17];
    for bytes in [70, 128] {
        let plaintext = vec![7; bytes];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("seal {bytes} bytes"), |b| {
            b.iter(|| sealer.seal(&row_key, 5, black_box(&plaintext)).expect("not exhausted"));
        });
        let sealed = sealer.seal(&row_key, 5, &plaintext).expect("not exhausted");
        group.bench_function(format!("open {bytes} bytes"), |b| {
            b.iter(|| sealer.opener().open(&row_key, black_box(&sealed)).expect("authentic"));
        });
        group.bench_function(format!("parse {bytes} bytes"), |b| {
            b.iter(|| SealedRow::parse(black_box(&sealed)).expect("whole").position());
        });
    }
    group.bench_function("pad and unpad 40 bytes", |b| {
        b.iter(|| unpad(&pad(black_box(&[7; 40]))).expect("padded").len());
    });
    group.finish();
}

fn names(c: &mut Criterion) {
    let mut group = c.benchmark_group("name");
    let hasher = NameHasher::new(&NameKey::from_bytes(&[6; 32]));
    for bytes in [12, 60, 255] {
        let name = vec![b'n'; bytes];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("hash {bytes} bytes"), |b| {
            b.iter(|| hasher.hash(black_box(Inode::ROOT), &name));
        });
    }
    group.finish();
}

criterion_group!(loops, blocks, rows, names);
criterion_main!(loops);
