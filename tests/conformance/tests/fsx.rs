//! The published exerciser `fsx`: random operations on one file, every read compared with what must be there.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use weft_conformance::exceptions::exceptions;
use weft_conformance::{Mapping, Mounts, Running, is_long, suite};
use weft_e2e::{Cluster, Random, run};

/// How often each operation comes, and how the suite calls it in its log.
const WEIGHTS: [(&str, u32, &str); 14] = [
    ("close_open", 2, "close/open"),
    ("read", 10, "read"),
    ("write", 10, "write"),
    ("mapread", 10, "mapread"),
    ("mapwrite", 10, "mapwrite"),
    ("invalidate", 2, "msync"),
    ("truncate", 5, "truncate"),
    ("fsync", 1, "fsync"),
    ("fdatasync", 1, "fdatasync"),
    ("posix_fallocate", 5, "posix_fallocate"),
    ("punch_hole", 10, "punch_hole"),
    ("sendfile", 5, "sendfile"),
    ("posix_fadvise", 2, "posix_fadvise"),
    ("copy_file_range", 10, "copy_file_range"),
];

/// The file lies within one extent of 4 MiB, or, for the first seed alone since that takes longer, spans several.
const SHAPES: [&str; 2] = ["flen = 262144\n", "flen = 9000000\nopsize.max = 300000\n"];

/// `held`: the suite is stopped now and then. Whoever sends to a socket and is stopped sends less, and the suite waits for more
/// for ever.
fn configuration(shape: &str, held: bool) -> String {
    let mut off = exceptions("fsx");
    off.extend(held.then(|| "sendfile".to_owned()));
    let weights = WEIGHTS.iter().map(|(operation, weight, _)| {
        let weight = if off.contains(*operation) { 0 } else { *weight };
        format!("{operation} = {weight}\n")
    });
    format!("{shape}[weights]\n{}", weights.collect::<String>())
}

/// The suite's command line, but for the file.
fn fsx(scratch: &Path, seed: u64, operations: u32, held: bool) -> Command {
    let config = scratch.join(format!("fsx-{seed}.toml"));
    fs::write(&config, configuration(SHAPES[usize::from(seed == 1)], held)).expect("written");
    let mut command = Command::new(suite("fsx"));
    command.arg("-f").arg(config).args(["-S", &seed.to_string(), "-N", &operations.to_string()]);
    command.arg("-P").arg(scratch).env("RUST_BACKTRACE", "0");
    command
}

#[test]
fn no_read_differs_from_what_was_written() {
    let (seeds, operations) = if is_long() { (5, 100_000) } else { (2, 5_000) };
    let cluster = Cluster::up();
    for seed in 1..=seeds {
        println!("fsx: seed {seed}, {operations} operations");
        let file = cluster.mount().join(format!("fsx-{seed}"));
        let outcome = run(fsx(cluster.scratch(), seed, operations, false).arg(&file)).success();
        assert!(outcome.stdout.contains("A-OK") || outcome.stderr.contains("A-OK"), "{outcome:?}");
        fs::remove_file(&file).expect("removed");
    }
}

/// The suite looks at the file through one mount, and another one reads it all the time: what each of them sees is held
/// against the other while the suite holds still, and in the end against a file of the host with which the same was done.
#[test]
fn another_mount_sees_what_was_written() {
    let (seeds, operations) = if is_long() { (5, 100_000) } else { (2, 1_500) };
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    for seed in 1..=seeds {
        let file = |folder: &Path| folder.join(format!("fsx-{seed}"));
        let expected = file(cluster.scratch());
        run(fsx(cluster.scratch(), seed, operations, true).arg(&expected)).success();
        let running = Running::start(fsx(cluster.scratch(), seed, operations, true).arg(file(&mounts.a)));
        let views = Views::of(&file(&mounts.a), &file(&mounts.b));
        let (reads, comparisons) = views.look_at(&running, &mut Random::new(seed));
        running.finish();
        println!(
            "fsx: seed {seed}, {operations} operations, {reads} reads elsewhere, {comparisons} comparisons"
        );
        assert!(comparisons > 5, "the other mount hardly looked");
        let expected = fs::read(expected).expect("read");
        for folder in [&mounts.b, &mounts.a] {
            let found = fs::read(file(folder)).expect("read");
            assert!(found == expected, "{}: {}", folder.display(), first_difference(&expected, &found));
        }
        fs::remove_file(file(&mounts.b)).expect("removed");
    }
}

/// Changes that the other mount has seen between two comparisons.
const CHANGES_BETWEEN: u64 = 30;

/// One file through both mounts.
struct Views {
    worked_on: File,
    looked_at: File,
}

impl Views {
    /// Waits for the file.
    fn of(worked_on: &Path, looked_at: &Path) -> Self {
        let is_there = || File::open(looked_at).ok();
        let looked_at =
            weft_e2e::wait_until("the suite begins", std::time::Duration::from_secs(60), is_there);
        Self { worked_on: File::open(worked_on).expect("open"), looked_at }
    }

    /// Reads here and there until the suite ends, and compares all after some changes; tells how often.
    fn look_at(&self, running: &Running, random: &mut Random) -> (u64, u64) {
        let (mut reads, mut changes, mut comparisons) = (0, 0, 0);
        let (mut bytes, mut last) = (vec![0; 20_000], (0, 0));
        while running.is_running() {
            let found = self.looked_at.metadata().expect("fstat");
            self.looked_at.read_at(&mut bytes, random.below(found.len() + 1)).expect("read");
            reads += 1;
            let changed = (found.ctime(), found.ctime_nsec());
            changes += u64::from(changed != last);
            last = changed;
            if changes >= CHANGES_BETWEEN && running.hold() {
                self.compare();
                running.go_on();
                (changes, comparisons) = (0, comparisons + 1);
            }
        }
        (reads, comparisons)
    }

    /// What was written through a mapping is elsewhere after a sync, which the suite may not have come to.
    fn compare(&self) {
        self.worked_on.sync_all().expect("fsync");
        let (expected, found) = (all(&self.worked_on), all(&self.looked_at));
        assert!(expected == found, "read: {}", first_difference(&expected, &found));
        if !expected.is_empty() {
            let found =
                Mapping::to_read(&self.looked_at, expected.len()).expect("mapped").read(0, expected.len());
            assert!(expected == found, "mapped: {}", first_difference(&expected, &found));
        }
    }
}

fn all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().expect("fstat").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn first_difference(expected: &[u8], found: &[u8]) -> String {
    let at = expected.iter().zip(found).position(|(expected, found)| expected != found);
    format!("{} bytes expected, {} found, the first other one at {at:?}", expected.len(), found.len())
}

/// The suite drops operations that it does not know without a word, and finds nothing when it is not looked at.
#[test]
fn every_operation_is_done_and_a_wrong_byte_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome =
        run(fsx(folder.path(), 2, 2_000, false).arg("-v").arg(folder.path().join("file"))).success();
    let off = exceptions("fsx");
    for (operation, _, shown) in WEIGHTS {
        let is_it =
            |line: &&str| line.split([' ', '(']).filter(|word| !word.is_empty()).nth(3) == Some(shown);
        let times = outcome.stderr.lines().filter(is_it).count();
        assert_eq!(times > 10, !off.contains(operation), "{operation} is done {times} times");
    }
    let known = |name: &String| WEIGHTS.iter().any(|(operation, ..)| operation == name);
    assert!(off.iter().all(known), "{off:?} lists what is no operation of fsx");
    // What is left out in place of a write is missed later.
    let write = outcome.stderr.lines().find(|line| line.contains(" write ")).expect("there are writes");
    let step = write.split_whitespace().nth(2).expect("its number");
    let wrong =
        run(fsx(folder.path(), 2, 2_000, false).args(["--inject", step]).arg(folder.path().join("file")));
    assert_ne!(wrong.code, 0, "{wrong:?}");
}
