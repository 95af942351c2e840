//! What is wrong on purpose is found, each within a few schedules: else the schedules that find nothing prove nothing.

use weft_sim::{Bug, Options, Violation, simulate};

/// Schedules that may pass before.
const SEEDS: u64 = 60;

fn first_found(bug: Bug) -> (u64, Violation) {
    let options = Options { bug: Some(bug), ..Options::default() };
    let found = (0..SEEDS).find_map(|seed| Some((seed, simulate(seed, options).err()?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} schedules"));
    println!("{bug:?}: seed {seed}: {}", violation.what);
    (seed, violation)
}

#[test]
fn an_acknowledgement_before_the_flush_is_found() {
    first_found(Bug::LyingFlush);
}

#[test]
fn a_commit_under_an_old_epoch_is_found() {
    first_found(Bug::OldEpoch);
}

#[test]
fn a_delete_before_the_reference_is_gone_is_found() {
    let (_, violation) = first_found(Bug::EarlyDelete);
    assert!(violation.what.contains("deleted"), "{violation}");
}

#[test]
fn a_nonce_counter_that_begins_anew_is_found() {
    let (_, violation) = first_found(Bug::NonceReset);
    assert!(violation.what.contains("nonce"), "{violation}");
}

#[test]
fn a_retry_that_is_done_twice_is_found() {
    first_found(Bug::RetryTwice);
}
