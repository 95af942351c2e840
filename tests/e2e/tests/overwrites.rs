//! Random overwrites fragment a file; compaction makes it whole again, and metadata stays bounded.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use weft_e2e::{Cluster, ClusterOptions, Random, seed_of_this_run, wait_until};

const BLOCK: u64 = 4096;
/// Threads that overwrite at the same time.
const WRITERS: usize = 8;

/// File size and overwrites: a small run in CI, the whole one in the long tests.
fn scale() -> (u64, u64) {
    if std::env::var_os("WEFT_TEST_LONG").is_none() { (32 << 20, 8_000) } else { (1 << 30, 1_000_000) }
}

#[test]
fn a_file_of_random_overwrites_is_compacted_and_reads_as_fast_as_before() {
    let seed = seed_of_this_run();
    let (size, overwrites) = scale();
    let cluster = Cluster::up_with(ClusterOptions { drive_size: "2GiB", ..ClusterOptions::default() });
    let path = cluster.mount().join("f");
    let mut expected = Random::new(seed).bytes(usize::try_from(size).expect("fits"));
    fs::write(&path, &expected).expect("write");
    File::open(&path).expect("open").sync_all().expect("fsync");
    let before = read_all(&cluster, &expected);
    let extents_before = extents(&cluster);
    let began = Instant::now();
    thread::scope(|scope| {
        // Each writer has every eighth MiB to itself.
        let mut shares: Vec<Vec<_>> = (0..WRITERS).map(|_| Vec::new()).collect();
        for (number, piece) in expected.chunks_mut(1 << 20).enumerate() {
            shares[number % WRITERS].push(((number as u64) << 20, piece));
        }
        for (share, number) in shares.into_iter().zip(1..) {
            let path = &path;
            scope.spawn(move || overwrite(path, share, overwrites / WRITERS as u64, seed ^ number));
        }
    });
    println!("{overwrites} fsynced overwrites in {:?}", began.elapsed());
    // Whole extents again: at most four where there was one.
    wait_until("compaction is through", Duration::from_secs(600), || {
        (extents(&cluster) <= extents_before * 4 + 64).then_some(())
    });
    let after = read_all(&cluster, &expected);
    println!("sequential read: {before:?} before, {after:?} after compaction");
}

/// Overwrites random blocks of some pieces of the file, each durable before the next.
fn overwrite(path: &Path, mut pieces: Vec<(u64, &mut [u8])>, overwrites: u64, seed: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("open");
    let mut random = Random::new(seed);
    for _ in 0..overwrites {
        let piece = random.below(pieces.len() as u64) as usize;
        let (start, content) = &mut pieces[piece];
        let at = random.below(content.len() as u64 / BLOCK) * BLOCK;
        let bytes = random.bytes(BLOCK as usize);
        file.write_all_at(&bytes, *start + at).expect("write");
        file.sync_data().expect("fsync");
        content[at as usize..(at + BLOCK) as usize].copy_from_slice(&bytes);
    }
}

/// Reads the file cold and compares it; answers how long reading took.
fn read_all(cluster: &Cluster, expected: &[u8]) -> Duration {
    cluster.down();
    cluster.start().success();
    cluster.forget_caches();
    let began = Instant::now();
    let got = fs::read(cluster.mount().join("f")).expect("read");
    let took = began.elapsed();
    assert!(got == expected, "the content is not what was written");
    took
}

/// Extents that the filesystem's metadata knows, dead ones that wait for their deletion included.
fn extents(cluster: &Cluster) -> u64 {
    cluster.json(&["status"])["care"]["extents"].as_u64().expect("status counts extents")
}
