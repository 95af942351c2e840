//! Random sequences of operations through two mounts, held against the pure model of POSIX.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use weft_conformance::model::{Step, steps};
use weft_conformance::real::agree;
use weft_conformance::{Mounts, is_long};
use weft_e2e::{Cluster, Random, seed_of_this_run, wait_until};

/// Longest sequence.
const STEPS_MAX: usize = 60;

/// Sequences to run.
#[derive(Debug, Clone, Copy)]
struct Run {
    sequences: u32,
    /// The most that are tried in order to shorten one that differs.
    shorter: u32,
}

impl Run {
    /// So many sequences in CI, more in the long run.
    fn of(sequences: u32) -> Self {
        Self { sequences: if is_long() { 5000 } else { sequences }, shorter: 2000 }
    }
}

/// Runs sequences in folders of their own, which `folder` makes by their names; panics with the shortest one that
/// differs.
fn hold(folder: impl Fn(&str) -> Mounts, run: Run) {
    let config = Config {
        cases: run.sequences,
        failure_persistence: None,
        max_shrink_iters: run.shorter,
        rng_seed: RngSeed::Fixed(seed_of_this_run()),
        ..Config::default()
    };
    let numbers = AtomicUsize::new(0);
    let outcome = TestRunner::new(config).run(&steps(STEPS_MAX), |sequence: Vec<Step>| {
        let folder = folder(&format!("sequence-{}", numbers.fetch_add(1, Ordering::Relaxed)));
        let result = agree(&sequence, &folder);
        std::fs::remove_dir_all(&folder.a).expect("the folder goes");
        result.map_err(proptest::test_runner::TestCaseError::fail)
    });
    match outcome {
        Ok(()) => println!("{} sequences", run.sequences),
        Err(TestError::Fail(why, sequence)) => {
            let lines: Vec<_> = sequence.iter().map(|step| format!("  {step:?}")).collect();
            panic!("{why}\nin\n{}", lines.join("\n"));
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// The model would be worth little if it were wrong about Linux.
#[test]
fn the_hosts_own_filesystem_does_what_the_model_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let both = Mounts { a: folder.path().to_owned(), b: folder.path().to_owned() };
    hold(|name| both.folder(name), Run::of(500));
}

#[test]
fn two_mounts_do_what_the_model_says() {
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    hold(|name| mounts.folder(name), Run::of(200));
}

/// What is done to the cluster while sequences run: each waits until so many more have begun, and some random time more, so
/// that it comes in the middle of one.
const FAULTS: [Fault; 3] = [
    ("a drive dies", |cluster| cluster.kill("drive2")),
    ("the drive returns", |cluster| drop(cluster.start().success())),
    ("compute dies and starts again", |cluster| {
        cluster.kill("compute0");
        cluster.start().success();
    }),
];

/// A name, and what is done.
type Fault = (&'static str, fn(&Cluster));

/// Sequences between two faults.
const BETWEEN: usize = 5;

/// Does the faults in turn until it is over; tells how many it did.
fn disturb(cluster: &Cluster, begun: &AtomicUsize, is_over: &AtomicBool) -> usize {
    let mut random = Random::new(seed_of_this_run());
    let mut done = 0;
    loop {
        let next = begun.load(Ordering::Relaxed) + BETWEEN;
        wait_until("sequences go on", Duration::from_secs(300), || {
            (begun.load(Ordering::Relaxed) >= next || is_over.load(Ordering::Relaxed)).then_some(())
        });
        if is_over.load(Ordering::Relaxed) {
            return done;
        }
        thread::park_timeout(Duration::from_millis(random.below(300)));
        let (name, fault) = FAULTS[done % FAULTS.len()];
        println!("{name}");
        fault(cluster);
        done += 1;
    }
}

/// Whoever waits for what is gone gets its answer, and no other one. Shortening a sequence would want the same moment again.
#[test]
fn a_drive_that_dies_and_a_compute_that_restarts_change_no_answer() {
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    let (begun, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = thread::scope(|scope| {
        let disturbing = scope.spawn(|| disturb(&cluster, &begun, &is_over));
        let over = Over(&is_over);
        let folder = |name: &str| {
            begun.fetch_add(1, Ordering::Relaxed);
            mounts.folder(name)
        };
        hold(folder, Run { sequences: if is_long() { 2000 } else { 40 }, shorter: 0 });
        drop(over);
        disturbing.join().expect("the faults were done")
    });
    assert!(done >= FAULTS.len(), "only {done} faults");
}

/// Says that it is over when it goes, by a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two folders that have nothing to do with each other are told from two mounts of one filesystem.
#[test]
#[should_panic(expected = "expected")]
fn mounts_that_do_not_see_each_other_are_found_out() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let apart = Mounts { a: a.path().to_owned(), b: b.path().to_owned() };
    let folder = |name: &str| {
        std::fs::create_dir(apart.b.join(name)).expect("made");
        apart.folder(name)
    };
    hold(folder, Run { sequences: 50, shorter: 50 });
}

/// A file of so many that all want to make at once is made by one, and opened by all; with `O_EXCL` by one alone.
#[test]
fn a_file_that_both_mounts_make_at_once_is_one_file() {
    const FILES: usize = 200;
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster).folder("races");
    let barrier = Barrier::new(2);
    let made = |folder: &Path, exclusive: bool| {
        let open = |number: usize| {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).create_new(exclusive);
            barrier.wait();
            let file = match options.open(folder.join(format!("{exclusive}-{number}"))) {
                Ok(file) => file,
                Err(_) if exclusive => return false,
                Err(error) => {
                    // Whoever does not go on leaves the other one waiting.
                    println!("{number} on {}: {error}", folder.display());
                    return false;
                }
            };
            let at = u64::from(folder == mounts.b);
            file.write_all_at(&b"ab"[at as usize..][..1], at).is_ok()
        };
        (0..FILES).filter(|number| open(*number)).count()
    };
    for (exclusive, opened) in [(false, 2 * FILES), (true, FILES)] {
        let all = thread::scope(|scope| {
            let other = scope.spawn(|| made(&mounts.a, exclusive));
            made(&mounts.b, exclusive) + other.join().expect("it opened all")
        });
        assert_eq!(all, opened, "exclusive: {exclusive}");
    }
    for number in 0..FILES {
        let bytes = std::fs::read(mounts.a.join(format!("false-{number}"))).expect("read");
        assert_eq!(bytes, b"ab", "both wrote to file {number}");
    }
}
