//! Direct, buffered and mapped access to one file at once, while another mount reads it.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use weft_conformance::direct::{agree, touches};
use weft_conformance::{Mounts, is_long};
use weft_e2e::{Cluster, seed_of_this_run};

/// Longest sequence.
const TOUCHES_MAX: usize = 40;

#[test]
fn all_views_of_a_file_show_the_same_bytes() {
    let cluster = Cluster::up();
    let config = Config {
        cases: if is_long() { 2000 } else { 100 },
        failure_persistence: None,
        max_shrink_iters: 500,
        rng_seed: RngSeed::Fixed(seed_of_this_run()),
        ..Config::default()
    };
    let mounts = Mounts::of(&cluster);
    let numbers = AtomicUsize::new(0);
    let outcome = TestRunner::new(config).run(&touches(TOUCHES_MAX), |sequence| {
        let name = format!("direct-{}", numbers.fetch_add(1, Ordering::Relaxed));
        let result = agree(&sequence, &mounts, &name);
        std::fs::remove_file(mounts.a.join(&name)).expect("removed");
        result.map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, sequence)) => panic!("{why}\nin {sequence:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
