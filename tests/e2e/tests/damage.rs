//! Damage on devices: repaired from the stripe and counted, or EIO; never wrong bytes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use weft_e2e::{Cluster, SourceTree, TreeSize, compare, copy_tree};

const BLOCK: u64 = 4096;

/// A container's device, and how many blocks it has.
fn device(cluster: &Cluster, container: &str) -> (File, u64) {
    let drives = cluster.json(&["drive", "list"]);
    let row =
        drives.as_array().expect("an array").iter().find(|d| d["container"] == container).expect("a drive");
    let path = row["path"].as_str().expect("a path").to_owned();
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the device opens");
    let blocks = file.metadata().expect("stat").len() / BLOCK;
    (file, blocks)
}

/// Flips one byte in every `step`-th block of a container's device, from block `from` on; returns how many.
fn flip(cluster: &Cluster, container: &str, from: u64, step: usize) -> u64 {
    let (file, blocks) = device(cluster, container);
    let allocated = allocated_blocks(&file, blocks);
    let mut flipped = 0;
    for block in (from..blocks).step_by(step).filter(|block| allocated(*block)) {
        let at = block * BLOCK + (block * 7919) % BLOCK;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("write");
        flipped += 1;
    }
    file.sync_all().expect("sync");
    flipped
}

/// Whether a block of a sparse file has data: holes have nothing to damage, and filling them fills the host.
fn allocated_blocks(file: &File, blocks: u64) -> impl Fn(u64) -> bool + use<> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < blocks * BLOCK {
        let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) else { break };
        let hole = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(data)).expect("a hole follows");
        ranges.push(data / BLOCK..hole.div_ceil(BLOCK));
        at = hole;
    }
    move |block| ranges.iter().any(|range| range.contains(&block))
}

#[test]
fn one_byte_in_every_tenth_block_of_two_drives_is_repaired_and_counted() {
    let cluster = Cluster::up();
    let source = SourceTree::make(cluster.scratch(), TreeSize { files: 1500, bytes: 120_000_000 });
    copy_tree(source.path(), &cluster.mount().join("tree")).success();
    cluster.down();
    let flipped = flip(&cluster, "drive1", 0, 10) + flip(&cluster, "drive4", 0, 10);
    assert!(flipped > 1000, "{flipped} bytes flipped");
    cluster.start().success();
    cluster.forget_caches();
    let outcome = compare(source.path(), &cluster.mount().join("tree")).success();
    assert!(outcome.stdout.is_empty(), "differences:\n{}", outcome.stdout);
    let status = cluster.json(&["status"]);
    // A range with several damaged blocks is refused, counted and rebuilt once.
    assert!(status["damaged"].as_u64().expect("a number") > 20, "{status}");
    assert!(status["reconstructions"].as_u64().expect("a number") > 20, "{status}");
}

#[test]
fn damage_under_a_running_cluster_is_repaired_too() {
    let cluster = Cluster::up();
    let content: Vec<u8> = (0..40_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = cluster.mount().join("f");
    fs::write(&file, &content).expect("write");
    File::open(&file).expect("open").sync_all().expect("fsync");
    flip(&cluster, "drive0", 3, 10);
    flip(&cluster, "drive5", 5, 10);
    // A new mount has cached nothing.
    cluster.kill("frontend0");
    cluster.start().success();
    assert!(fs::read(&file).expect("read") == content, "the content changed");
}

#[test]
fn damage_beyond_repair_is_eio_never_wrong_bytes() {
    // Drive 5 does not vote: a majority of the five voters remembers the cluster store, and the log may be whole.
    damage_beyond_repair(&["drive1", "drive4", "drive5"]);
}

#[test]
fn a_cluster_store_damaged_on_too_many_voters_is_refused_at_once() {
    let cluster = Cluster::up();
    cluster.down();
    for drive in ["drive0", "drive2", "drive3"] {
        flip_copies_of_the_store(&cluster, drive);
    }
    let started = cluster.start();
    let said = "3 of 5 drives that hold the cluster store say that it is damaged there";
    assert!(started.code == 1 && started.stderr.contains(said), "{started:?}");
}

/// Flips one byte in every copy of the cluster store on a container's device, those that were replaced among them.
fn flip_copies_of_the_store(cluster: &Cluster, container: &str) {
    const MAGIC: &[u8] = b"WEFTSTOR";
    let (file, blocks) = device(cluster, container);
    let is_allocated = allocated_blocks(&file, blocks);
    let mut flipped = 0;
    for block in (0..blocks).filter(|block| is_allocated(*block)) {
        // A copy begins within its block: a record's header is in front of it.
        let mut bytes = [0; BLOCK as usize];
        file.read_exact_at(&mut bytes, block * BLOCK).expect("read");
        for at in bytes.windows(MAGIC.len()).enumerate().filter(|(_, run)| *run == MAGIC).map(|(at, _)| at) {
            file.write_all_at(b"X", block * BLOCK + at as u64).expect("write");
            flipped += 1;
        }
    }
    file.sync_all().expect("sync");
    assert!(flipped >= 2, "{flipped} copies on {container}");
}

fn damage_beyond_repair(drives: &[&str]) {
    let cluster = Cluster::up();
    let content: Vec<u8> = (0..24_u32 << 20).map(|n| (n.wrapping_mul(2_246_822_519) >> 24) as u8).collect();
    fs::write(cluster.mount().join("f"), &content).expect("write");
    cluster.down();
    for drive in drives {
        flip(&cluster, drive, 0, 2);
    }
    let started = cluster.start();
    assert!(started.code == 0 || started.stderr.contains("damaged"), "{started:?}");
    if started.code != 0 {
        eprintln!("refused: {}", started.stderr);
        return;
    }
    let Ok(file) = File::open(cluster.mount().join("f")) else { return };
    let mut errors = 0;
    for (n, expected) in content.chunks(64 << 10).enumerate() {
        let mut got = vec![0; expected.len()];
        match file.read_exact_at(&mut got, (n * (64 << 10)) as u64) {
            Ok(()) => assert!(got == expected, "wrong bytes in chunk {n}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(5), "EIO, not {error}");
                errors += 1;
            }
        }
    }
    assert!(errors > 0, "damage of four drives cannot all be repaired");
}
