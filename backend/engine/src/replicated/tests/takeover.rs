//! Where a log ends, whoever is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;
use weft_types::{Epoch, Position};
use weft_wire::ownership::DriveHome;

use super::sim::{Fault, Sim};
use super::{append, batch, contents, log_of, next};
use crate::{AppendError, ReadError, ShardLog, TakeOverError};

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_acknowledged_is_on_all_drives_of_the_list() {
    let sim = Sim::new("4+2", 6);
    let (log, all) = log_of(&sim, 3).await;
    assert_eq!(log.end(), all[2].position);
    for seq in 1..=3 {
        assert_eq!(sim.holders(seq), sim.list().into_iter().collect());
    }
    assert_eq!(sim.list().len(), 3, "M+1");
    assert_eq!(contents(&log).await, all);
}

#[tokio::test(start_paused = true)]
async fn one_intact_drive_is_necessary_and_sufficient_for_a_takeover() {
    for alone in 0..3 {
        let sim = Sim::new("4+2", 6);
        let (_, all) = log_of(&sim, 5).await;
        let list = sim.list();
        for home in list.iter().filter(|home| **home != list[alone]) {
            sim.set_fault(*home, Some(Fault::Silent));
        }
        let log = sim.take_over().await.expect("one is sufficient");
        assert_eq!(contents(&log).await, all);
        // What it serves is on M+1 drives that answer before it does.
        assert_eq!(sim.holders(5).into_iter().filter(|home| sim.list().contains(home)).count(), 3);
        append(&log, "more").await.expect("appends");
    }
    let sim = Sim::new("4+2", 6);
    log_of(&sim, 5).await;
    sim.list().into_iter().for_each(|home| sim.set_fault(home, Some(Fault::Silent)));
    let error = sim.take_over().await.expect_err("one is necessary");
    assert!(matches!(error, TakeOverError::NoCopy { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_does_not_wait_long_for_drives_that_are_not_needed() {
    let sim = Sim::new("4+2", 6);
    log_of(&sim, 2).await;
    let list = sim.list();
    list[1..].iter().for_each(|home| sim.set_fault(*home, Some(Fault::Silent)));
    let begun = tokio::time::Instant::now();
    sim.take_over().await.expect("takes over");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// A log whose last batch is on the first drive of the list alone.
async fn with_an_open_batch() -> (Sim, crate::Batch) {
    let sim = Sim::new("4+2", 6);
    let (log, _) = log_of(&sim, 2).await;
    let list = sim.list();
    list[1..].iter().for_each(|home| sim.set_fault(*home, Some(Fault::Silent)));
    let open = next(&log, "open");
    let given_up = timeout(Duration::from_millis(500), log.append(&open)).await;
    assert!(given_up.is_err(), "the owner dies while it waits");
    assert_eq!(sim.holders(3), BTreeSet::from([list[0]]));
    list.iter().for_each(|home| sim.set_fault(*home, None));
    (sim, open)
}

#[tokio::test(start_paused = true)]
async fn an_unacknowledged_batch_that_was_found_stays() {
    let (sim, open) = with_an_open_batch().await;
    let list = sim.list();
    let log = sim.take_over().await.expect("takes over");
    assert_eq!(contents(&log).await.last(), Some(&open));
    assert_eq!(sim.holders(3), list.iter().copied().collect(), "before it is served it is on all");
    // The only one that had it goes.
    sim.set_fault(list[0], Some(Fault::Silent));
    let log = sim.take_over().await.expect("takes over");
    assert_eq!(contents(&log).await.last(), Some(&open));
}

#[tokio::test(start_paused = true)]
async fn records_past_a_recorded_end_are_void_wherever_they_reappear() {
    let (sim, open) = with_an_open_batch().await;
    let list = sim.list();
    sim.set_fault(list[0], Some(Fault::Silent));
    let log = sim.take_over().await.expect("takes over");
    assert_eq!(log.end().seq, 2, "nobody who answers has it");
    let mine = append(&log, "mine").await.expect("appends");
    assert_eq!(mine.position.seq, open.position.seq);
    // Copies of the void record, and more behind it, on every drive that will be asked.
    let old = sim.with(list[0], |drive| drive.records[&3].clone());
    sim.set_fault(list[0], None);
    for home in sim.homes() {
        sim.with(home, |drive| {
            drive.records.entry(3).or_insert_with(|| old.clone());
            drive.records.entry(4).or_insert_with(|| old.clone());
        });
    }
    for _ in 0..2 {
        let log = sim.take_over().await.expect("takes over");
        assert_eq!(log.end(), mine.position);
        assert_eq!(contents(&log).await.last(), Some(&mine));
    }
    let log = sim.take_over().await.expect("takes over");
    append(&log, "behind").await.expect("nothing stands in the way");
    let error = log.read(open.position, 0).await.expect_err("void");
    assert!(matches!(error, ReadError::NoSuchPosition(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn damage_below_a_flushed_mark_is_never_an_end() {
    let spoil = |sim: &Sim, seq: u64, drives: &[DriveHome]| {
        for home in drives {
            sim.with(*home, |drive| drive.records.get_mut(&seq).expect("there").damaged = true);
        }
    };
    let sim = Sim::new("4+2", 6);
    let (_, all) = log_of(&sim, 4).await;
    spoil(&sim, 3, &sim.list()[..2]);
    let log = sim.take_over().await.expect("one copy is whole");
    assert_eq!(contents(&log).await, all);
    // The last record, and one that a later one follows.
    for seq in [3, 4] {
        let sim = Sim::new("4+2", 6);
        log_of(&sim, 4).await;
        spoil(&sim, seq, &sim.list());
        let error = sim.take_over().await.expect_err("no copy is whole");
        assert!(matches!(error, TakeOverError::Damaged { seq: at, .. } if at == seq), "{error}");
    }
    // Far from the end it is found when it is read.
    let sim = Sim::new("4+2", 6);
    let (_, all) = log_of(&sim, 4).await;
    spoil(&sim, 1, &sim.list());
    let log = sim.take_over().await.expect("the end is whole");
    assert_eq!(log.end(), all[3].position);
    let error = log.read(Position::default(), 0).await.expect_err("no copy is whole");
    assert!(matches!(error, ReadError::Lost { seq: 1, .. }), "{error}");
    // Bytes that are not what they say they are count as damage, too.
    let list = sim.list();
    let last = sim.with(list[0], |drive| drive.records[&4].clone());
    let mut bytes = last.bytes.to_vec();
    bytes[130] ^= 1;
    for home in &list {
        sim.with(*home, |drive| drive.records.get_mut(&4).expect("there").bytes = bytes.clone().into());
    }
    let error = sim.take_over().await.expect_err("no copy is whole");
    assert!(matches!(error, TakeOverError::Damaged { seq: 4, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_behind_what_was_recorded_is_refused() {
    let sim = Sim::new("4+2", 6);
    log_of(&sim, 4).await;
    sim.take_over().await.expect("takes over");
    // All drives are put back to an earlier day.
    for home in sim.homes() {
        sim.with(home, |drive| drive.records.retain(|seq, _| *seq <= 2));
    }
    let error = sim.take_over().await.expect_err("batches that were served are gone");
    assert!(matches!(error, TakeOverError::Damaged { seq: 3, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deposed_owner_appends_nothing_and_knows_it() {
    let sim = Sim::new("4+2", 6);
    let (old, _) = log_of(&sim, 2).await;
    let log = sim.take_over().await.expect("takes over");
    let error = append(&old, "late").await.expect_err("sealed");
    assert!(matches!(error, AppendError::Deposed(deposed) if deposed.by == log.epoch()), "{error}");
    let error = append(&old, "later").await.expect_err("for ever");
    assert!(matches!(error, AppendError::Deposed(_)), "{error}");
    assert!(old.maintain().await.is_err());
    assert_eq!(log.end().seq, 2);
    let mine = append(&log, "mine").await.expect("appends");
    assert_eq!(contents(&log).await.last(), Some(&mine));
}

#[tokio::test(start_paused = true)]
async fn an_ownership_that_never_served_leaves_nothing() {
    let sim = Sim::new("2+1", 4);
    let (_, mut all) = log_of(&sim, 2).await;
    // It dies at every point of its takeover.
    for millis in 0..12 {
        let died = timeout(Duration::from_millis(millis), sim.take_over()).await;
        drop(died);
    }
    let log = sim.take_over().await.expect("takes over");
    assert_eq!(contents(&log).await, all);
    all.push(append(&log, "on").await.expect("appends"));
    assert_eq!(contents(&log).await, all);
    let ends: Vec<_> = sim.row().ends.iter().map(|end| (end.epoch, end.seq)).collect();
    assert_eq!(ends.last(), Some(&(Epoch::new(log.epoch().get() - 1), 2)));
}

#[tokio::test(start_paused = true)]
async fn a_sequence_is_never_reused_with_other_bytes() {
    let sim = Sim::new("4+2", 6);
    let (log, _) = log_of(&sim, 1).await;
    let list = sim.list();
    sim.set_fault(list[2], Some(Fault::Silent));
    let first = next(&log, "first");
    assert!(timeout(Duration::from_millis(300), log.append(&first)).await.is_err());
    let other = batch(first.position, "other");
    let error = log.append(&other).await.expect_err("a drive has the first");
    assert!(matches!(error, AppendError::Conflict(_)), "{error}");
    log.append(&first).await.expect("the same bytes");
    log.append(&first).await.expect("again");
    let error = log.append(&other).await.expect_err("still");
    assert!(matches!(error, AppendError::Conflict(_)), "{error}");
    assert_eq!(contents(&log).await.last(), Some(&first));
}

#[tokio::test(start_paused = true)]
async fn only_the_next_batch_is_taken() {
    let sim = Sim::new("4+2", 6);
    let (log, _) = log_of(&sim, 2).await;
    for wrong in [(1, 4), (2, 3), (1, 1), (0, 3)] {
        let position = Position { epoch: Epoch::new(wrong.0), seq: wrong.1 };
        log.append(&batch(position, "wrong")).await.expect_err("not the next");
    }
    let mut large = next(&log, "large");
    large.rows[0].value = Some(vec![0; crate::BATCH_BYTES_MAX]);
    let error = log.append(&large).await.expect_err("too large");
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    append(&log, "right").await.expect("appends");
    let error = log.read(Position { epoch: Epoch::new(1), seq: 9 }, 0).await.expect_err("beyond");
    assert!(matches!(error, ReadError::NoSuchPosition(_)), "{error}");
}
