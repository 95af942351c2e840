//! Random sequences of operations through two mounts, held against the pure model of POSIX.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use weft_conformance::model::{Step, steps};
use weft_conformance::real::agree;
use weft_conformance::{Mounts, is_long};
use weft_e2e::{Cluster, seed_of_this_run};

/// Longest sequence.
const STEPS_MAX: usize = 60;

/// Runs sequences in folders of their own, which `folder` makes by their names; panics with the shortest one that
/// differs.
fn hold(folder: impl Fn(&str) -> Mounts, sequences: u32) {
    let config = Config {
        cases: sequences,
        failure_persistence: None,
        max_shrink_iters: 2000,
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
        Ok(()) => println!("{sequences} sequences"),
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
    hold(|name| both.folder(name), if is_long() { 5000 } else { 500 });
}

#[test]
fn two_mounts_do_what_the_model_says() {
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    hold(|name| mounts.folder(name), if is_long() { 5000 } else { 300 });
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
    hold(folder, 50);
}
