//! Drives die and come back while applications write.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use weft_e2e::{Cluster, Random, seed_of_this_run, wait_until};

/// The longest that one write with its fsync may take.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Writes and fsyncs `count` pieces; answers the longest time that one took.
fn write_pieces(file: &File, from: u64, count: u64, content: &[u8]) -> Duration {
    let mut longest = Duration::ZERO;
    for piece in from..from + count {
        let began = Instant::now();
        file.write_all_at(content, piece * content.len() as u64).expect("write");
        file.sync_data().expect("fsync");
        longest = longest.max(began.elapsed());
    }
    longest
}

fn assert_pieces(path: &Path, pieces: u64, content: &[u8]) {
    let file = File::open(path).expect("open");
    let mut got = vec![0; content.len()];
    for piece in 0..pieces {
        file.read_exact_at(&mut got, piece * content.len() as u64).expect("read");
        assert!(got == content, "piece {piece} of {} is not what was written", path.display());
    }
}

fn survivable(cluster: &Cluster) -> Option<u64> {
    cluster.json(&["status"])["losses_survived"].as_u64()
}

#[test]
fn writes_go_on_with_one_and_with_two_drives_dead_and_other_two_may_die_after_they_returned() {
    let seed = seed_of_this_run();
    let content = Random::new(seed).bytes(300_000);
    let small = Random::new(seed ^ 1).bytes(3000);
    let cluster = Cluster::up();
    let open = |name: &str| {
        let path = cluster.mount().join(name);
        OpenOptions::new().write(true).create(true).truncate(false).open(path).expect("open")
    };
    let (large_file, small_file) = (open("large"), open("small"));
    write_pieces(&large_file, 0, 10, &content);
    write_pieces(&small_file, 0, 10, &small);
    for (dead, from) in [("drive1", 10), ("drive4", 20)] {
        cluster.kill(dead);
        let longest =
            write_pieces(&large_file, from, 10, &content).max(write_pieces(&small_file, from, 10, &small));
        println!("{dead} dead: the longest write took {longest:?}");
        assert!(longest <= STALL_MAX, "{dead} dead: a write took {longest:?}");
        fs::create_dir(cluster.mount().join(dead)).expect("names change too");
    }
    let degraded = survivable(&cluster).expect("some data would be out of reach otherwise");
    assert!(degraded <= 1, "two of six domains are gone: {degraded}");
    cluster.start().success();
    wait_until(
        "the drives are back, reconciled, and groups are spread again",
        Duration::from_secs(60),
        || (survivable(&cluster) == Some(2)).then_some(()),
    );
    for dead in ["drive0", "drive3"] {
        cluster.kill(dead);
    }
    cluster.forget_caches();
    assert_pieces(&cluster.mount().join("large"), 30, &content);
    assert_pieces(&cluster.mount().join("small"), 30, &small);
    assert!(cluster.mount().join("drive1").is_dir() && cluster.mount().join("drive4").is_dir());
    let longest = write_pieces(&large_file, 30, 5, &content);
    assert!(longest <= STALL_MAX, "other two dead: a write took {longest:?}");
    assert_pieces(&cluster.mount().join("large"), 35, &content);
}

#[test]
fn a_blank_device_is_not_taken_for_the_drive_that_it_was() {
    let cluster = Cluster::up();
    let content = Random::new(3).bytes(5 << 20);
    fs::write(cluster.mount().join("f"), &content).expect("write");
    File::open(cluster.mount().join("f")).expect("open").sync_all().expect("fsync");
    cluster.down();
    let device = cluster.device("drive2");
    let len = fs::metadata(&device).expect("stat").len();
    File::create(&device).expect("emptied").set_len(len).expect("its length again");
    let up = cluster.start().success();
    assert!(up.stdout.contains("drive2"), "up says what is wrong: {}", up.stdout);
    assert!(fs::read(cluster.mount().join("f")).expect("read") == content);
    wait_until("the blank drive does not count", Duration::from_secs(30), || {
        survivable(&cluster).filter(|losses| *losses <= 1)
    });
}
