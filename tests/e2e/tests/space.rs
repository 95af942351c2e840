//! Space: it comes back when files go, a full filesystem says so in time, and `df` is true throughout.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use weft_e2e::{Cluster, ClusterOptions, Random, seed_of_this_run, wait_until};

fn small() -> ClusterOptions {
    ClusterOptions { drive_size: "64MiB", ..ClusterOptions::default() }
}

/// Capacity and free bytes, as `df` has them.
fn df(path: &Path) -> (u64, u64) {
    let stat = rustix::fs::statvfs(path).expect("statfs");
    (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)
}

/// Bytes in use on all drives together.
fn used(cluster: &Cluster) -> u64 {
    let drives = cluster.json(&["drive", "list"]);
    drives
        .as_array()
        .expect("an array")
        .iter()
        .map(|drive| drive["used_bytes"].as_u64().unwrap_or_default())
        .sum()
}

/// Writes a file; answers how many bytes it took, and whether it was refused for want of space.
fn fill(path: &Path, len: u64, random: &mut Random) -> (u64, bool) {
    let mut file = File::create(path).expect("create");
    let mut written = 0;
    while written < len {
        let piece = random.bytes(1 << 20);
        match file.write(&piece) {
            Ok(taken) => written += taken as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "only ENOSPC: {error}");
                file.sync_all().expect("what write() took, fsync keeps");
                return (written, true);
            }
        }
    }
    file.sync_all().expect("what write() took, fsync keeps");
    (written, false)
}

#[test]
fn three_times_the_capacity_can_be_written_and_deleted_and_all_of_it_comes_back() {
    let mut random = Random::new(seed_of_this_run());
    let cluster = Cluster::up_with(small());
    let empty = used(&cluster);
    let (capacity, free) = df(&cluster.mount());
    assert!(free > capacity / 2, "a new filesystem is empty: {free} of {capacity}");
    let piece = capacity / 8;
    let mut written = 0;
    let mut number = 0;
    while written < 3 * capacity {
        let path = cluster.mount().join(format!("f{number}"));
        let (took, full) = fill(&path, piece, &mut random);
        written += took;
        number += 1;
        if number >= 5 {
            fs::remove_file(cluster.mount().join(format!("f{}", number - 5))).expect("deleted");
        }
        assert!(!full || took > 0 || number > 4, "refused long before it is full");
        if full {
            // Deleted space comes back after the time that readers may still be at it.
            wait_until("space comes back", Duration::from_secs(60), || {
                (df(&cluster.mount()).1 > piece * 2).then_some(())
            });
        }
    }
    for entry in fs::read_dir(cluster.mount()).expect("list") {
        fs::remove_file(entry.expect("entry").path()).expect("deleted");
    }
    let whole: u64 = 6 * (64 << 20);
    wait_until("the drives are as empty as at first", Duration::from_secs(90), || {
        (used(&cluster) <= empty + whole / 50).then_some(())
    });
    wait_until("df says so", Duration::from_secs(30), || {
        (df(&cluster.mount()).1 + capacity / 50 >= free).then_some(())
    });
}

#[test]
fn a_full_filesystem_refuses_at_write_and_deletes_still_work() {
    let mut random = Random::new(seed_of_this_run());
    let cluster = Cluster::up_with(small());
    let mount = cluster.mount();
    fs::write(mount.join("kept"), b"kept").expect("write");
    let (capacity, free) = df(&mount);
    let (took, full) = fill(&mount.join("big"), 2 * capacity, &mut random);
    assert!(full, "twice the capacity does not fit");
    assert!(took + capacity / 10 >= free, "df promised {free}, {took} went in");
    let left = df(&mount).1;
    assert!(left <= capacity / 10, "df says that {left} of {capacity} are free on a full filesystem");
    // Small files until nothing goes any more: names need room too, and must be refused, not broken.
    let mut files = 0;
    while files < 20_000 {
        let name = mount.join(format!("small{files}"));
        let Err(error) = File::create(&name).and_then(|mut file| file.write_all(&[7; 9000])) else {
            files += 1;
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        break;
    }
    assert!(files < 20_000, "the filesystem never filled");
    cluster.down();
    cluster.start().success();
    assert_eq!(fs::read(mount.join("kept")).expect("read"), b"kept");
    assert_eq!(fs::metadata(mount.join("big")).expect("stat").len(), took);
    fs::remove_file(mount.join("big")).expect("deletes work on a full filesystem");
    wait_until("space comes back", Duration::from_secs(60), || (df(&mount).1 > free / 2).then_some(()));
    let (_, full) = fill(&mount.join("again"), free / 3, &mut random);
    assert!(!full, "there is room again");
}
