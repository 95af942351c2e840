//! What is wrong on purpose is found by the rule that it breaks, else the schedules that find nothing prove nothing.
//!
//! Each bug names a schedule that finds it. Which one does changes with the code: when it is another, the output names it.

use weft_sim::{Bug, Invariant, Options, Violation, simulate};

/// Schedules that are tried from the named one on.
const SEEDS: u64 = 100;

fn run(seed: u64, bug: Option<Bug>) -> Option<Violation> {
    simulate(seed, Options { bug, ..Options::default() }).err()
}

/// Finds the bug by this rule, and again; without the bug, the same schedule finds nothing.
fn caught(bug: Bug, invariant: Invariant, seed: u64) {
    let breaks = |seed| run(seed, Some(bug)).filter(|violation| violation.invariant == invariant);
    let found = (seed..seed + SEEDS).find_map(breaks);
    let violation = found.unwrap_or_else(|| panic!("no schedule of {SEEDS} breaks {invariant:?} by {bug:?}"));
    println!("{bug:?}: seed {}: {invariant:?}: {}", violation.seed, violation.what);
    assert_eq!(run(violation.seed, Some(bug)).as_ref(), Some(&violation), "it is found each time");
    assert_eq!(run(violation.seed, None), None, "it is the bug that is found");
}

#[test]
fn an_acknowledgement_before_the_flush_loses_what_was_acknowledged() {
    caught(Bug::EarlyFlush, Invariant::AcknowledgedStays, 26);
    caught(Bug::EarlyFlush, Invariant::AcknowledgedStays, 27);
}

#[test]
fn a_commit_under_an_old_epoch_forks_the_history() {
    caught(Bug::OldEpoch, Invariant::OneHistory, 0);
}

#[test]
fn a_delete_before_the_reference_is_gone_takes_a_needed_shard() {
    caught(Bug::EarlyDelete, Invariant::NeededShardStays, 16);
}

#[test]
fn a_nonce_counter_that_begins_anew_repeats_a_nonce() {
    caught(Bug::NonceReset, Invariant::NonceOnce, 2);
}

#[test]
fn a_retry_that_is_done_twice_is_answered_otherwise() {
    caught(Bug::RetryTwice, Invariant::DoneOnce, 0);
}
