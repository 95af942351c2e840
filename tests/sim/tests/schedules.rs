//! Seeded schedules. `WEFT_TEST_SEED=n` runs one and tells all its events, with `WEFT_TEST_DETAILS=1` every message and IO
//! too, and with `WEFT_TEST_BUG=name` with something wrong on purpose; `WEFT_TEST_LONG=1` runs thousands.

use core::ops::Range;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use weft_sim::{Bug, Options, Report, Told, Violation, simulate};

/// Set in the process that replays what another one has run: how many schedules.
const REPLAYED: &str = "WEFT_TEST_REPLAYED";

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn is_long() -> bool {
    variable("WEFT_TEST_LONG").is_some_and(|long| long > 0)
}

/// Runs schedules, on two threads; each of them stays on one.
fn run(seeds: impl Iterator<Item = u64> + Send) -> BTreeMap<u64, Result<Report, Violation>> {
    let (seeds, outcomes) = (Mutex::new(seeds), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = seeds.lock().expect("nobody panics").next();
                    let Some(seed) = seed else { return };
                    let outcome = simulate(seed, Options::default());
                    outcomes.lock().expect("nobody panics").insert(seed, outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("nobody panicked")
}

#[test]
fn what_was_acknowledged_stays_whatever_goes_wrong() {
    if let Some(seed) = variable("WEFT_TEST_SEED") {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
        let told = if variable("WEFT_TEST_DETAILS").is_some() { Told::Everything } else { Told::Events };
        let bug = std::env::var("WEFT_TEST_BUG").ok();
        let bug = bug.map(|name| Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name).expect("a bug"));
        let report = simulate(seed, Options { bug, told });
        println!("{:?}", report.unwrap_or_else(|violation| panic!("{violation}")));
        return;
    }
    let first = variable("WEFT_TEST_FIRST_SEED").unwrap_or(0);
    let count = if is_long() { 5000 } else { 200 };
    let outcomes = run(first..first + count);
    let (mut failed, mut events, mut faults) = (Vec::new(), 0, 0);
    for (seed, outcome) in &outcomes {
        match outcome {
            Ok(report) => (events, faults) = (events + report.events, faults + report.faults),
            Err(violation) => {
                println!("{violation}");
                failed.push(seed);
            }
        }
    }
    println!("{} schedules, {faults} faults, {events} events", outcomes.len());
    assert!(failed.is_empty(), "seeds {failed:?}: run one again with WEFT_TEST_SEED");
}

/// The hash over everything that happened.
fn hashes(seeds: impl Iterator<Item = u64> + Send) -> BTreeMap<u64, String> {
    let hash = |outcome: Result<Report, Violation>| match outcome {
        Ok(report) => report.hash,
        Err(violation) => violation.hash,
    };
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    run(seeds).into_iter().map(|(seed, outcome)| (seed, hex(hash(outcome)))).collect()
}

/// The hashes as another process finds them, which has another address space, other hash seeds, and nothing in memory.
fn hashes_elsewhere(test: &str, seeds: Range<u64>) -> BTreeMap<u64, String> {
    let mut other = Command::new(std::env::current_exe().expect("a test has a file"));
    other.args(["--exact", test, "--nocapture"]).env(REPLAYED, seeds.end.to_string());
    let output = other.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it tells numbers");
    let told = text.lines().filter_map(|line| line.split_once("replayed ")?.1.split_once(' '));
    told.map(|(seed, hash)| (seed.parse().expect("a number"), hash.to_owned())).collect()
}

#[test]
fn a_schedule_is_the_same_each_time() {
    if let Some(count) = variable(REPLAYED) {
        for (seed, hash) in hashes(0..count) {
            println!("replayed {seed} {hash}");
        }
        return;
    }
    let seeds = 0..if is_long() { 200 } else { 16 };
    let first = hashes(seeds.clone());
    assert_eq!(first.len() as u64, seeds.end);
    let distinct: std::collections::BTreeSet<_> = first.values().collect();
    assert_eq!(distinct.len(), first.len(), "the hash is of what happens");
    assert_eq!(hashes(seeds.clone().rev()), first, "in the same process, in another order");
    assert_eq!(hashes_elsewhere("a_schedule_is_the_same_each_time", seeds), first, "in another process");
}
