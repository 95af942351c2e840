//! Leaving drives that fail.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use weft_layout::DriveState;

use super::sim::{Fault, Sim};
use super::{append, contents, log_of, next};
use crate::{AppendError, Room, ShardLog};

#[tokio::test(start_paused = true)]
async fn a_drive_that_is_late_by_a_second_is_left_without_waiting_for_down() {
    for fault in [Fault::Silent, Fault::Mute, Fault::Delayed, Fault::Slow(Duration::from_secs(3))] {
        let sim = Sim::new("4+2", 6);
        let (log, mut all) = log_of(&sim, 3).await;
        let old = sim.list();
        sim.set_fault(old[1], Some(fault));
        let begun = Instant::now();
        all.push(append(&log, "moved").await.expect("appends"));
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        let segments = sim.row().segments;
        assert_eq!(segments.iter().map(|segment| segment.first).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(segments[0].drives, old);
        assert!(!segments[1].drives.contains(&old[1]));
        assert!(segments[1].drives.iter().all(|home| sim.holders(4).contains(home)));
        all.push(append(&log, "on").await.expect("appends"));
        sim.deliver();
        assert_eq!(contents(&log).await, all);
        let log = sim.take_over().await.expect("takes over");
        assert_eq!(contents(&log).await, all);
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_is_swapped_in_before_its_batch_counts() {
    let sim = Sim::new("4+2", 6);
    let (log, all) = log_of(&sim, 3).await;
    let old = sim.list();
    sim.set_fault(old[1], Some(Fault::Silent));
    sim.world().store = Some(Fault::Silent);
    let error = append(&log, "held").await.expect_err("the row cannot be changed");
    assert!(matches!(error, AppendError::Unavailable { .. }), "{error}");
    assert_eq!(sim.list(), old);
    let others: Vec<_> = sim.homes().into_iter().filter(|home| !old.contains(home)).collect();
    assert!(
        sim.holders(4).iter().all(|home| !others.contains(home)),
        "nothing is on drives that nobody would ask"
    );
    let log = {
        sim.world().store = None;
        sim.take_over().await.expect("takes over")
    };
    let found = contents(&log).await;
    assert_eq!(found[..3], all);
}

#[tokio::test(start_paused = true)]
async fn a_swap_of_unknown_outcome_is_settled_before_anything_counts() {
    for fault in [Fault::Mute, Fault::Delayed, Fault::Silent] {
        let sim = Sim::new("4+2", 6);
        let (log, mut all) = log_of(&sim, 3).await;
        let old = sim.list();
        sim.set_fault(old[1], Some(Fault::Silent));
        sim.world().store = Some(fault);
        let moved = next(&log, "moved");
        // The owner gives the append up while the swap is under way, and tries again when the drive is well.
        assert!(timeout(Duration::from_secs(3), log.append(&moved)).await.is_err());
        sim.set_fault(old[1], None);
        sim.world().store = None;
        log.append(&moved).await.expect("appends");
        all.push(moved);
        all.push(append(&log, "on").await.expect("appends"));
        sim.deliver();
        // Were it on the old list, and the swap done since, its successor would look for it where it is not.
        let list = sim.list();
        assert!(list.iter().all(|home| sim.holders(5).contains(home)), "{fault:?}");
        for home in old.iter().filter(|home| !list.contains(home)) {
            sim.set_fault(*home, Some(Fault::Silent));
        }
        let log = sim.take_over().await.expect("takes over");
        assert_eq!(contents(&log).await, all, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_swap_deposes() {
    let sim = Sim::new("4+2", 6);
    let (log, _) = log_of(&sim, 3).await;
    let old = sim.list();
    sim.set_fault(old[1], Some(Fault::Silent));
    // Another ownership is granted, and has sealed nothing yet.
    sim.raise();
    let error = append(&log, "late").await.expect_err("deposed");
    assert!(matches!(error, AppendError::Deposed(_)), "{error}");
    sim.set_fault(old[1], None);
    let error = append(&log, "late").await.expect_err("for ever");
    assert!(matches!(error, AppendError::Deposed(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn older_segments_are_copied_behind() {
    let sim = Sim::new("4+2", 6);
    let (log, mut all) = log_of(&sim, 5).await;
    let gone = sim.list()[0];
    sim.set_fault(gone, Some(Fault::Silent));
    all.push(append(&log, "moved").await.expect("appends"));
    log.maintain().await.expect("nothing to do yet");
    assert!(sim.row().segments[0].drives.contains(&gone), "it may come back");
    sim.set_state(gone, Some(DriveState::Down));
    log.maintain().await.expect("copies");
    let row = sim.row();
    for segment in &row.segments {
        assert!(!segment.drives.contains(&gone));
        assert_eq!(segment.drives.len(), 3);
    }
    assert_eq!(row.segments.len(), 1, "on the same drives: {row:?}");
    for seq in 1..=6 {
        assert!(row.segments[0].drives.iter().all(|home| sim.holders(seq).contains(home)));
    }
    // Any two of those can go now.
    for home in &row.segments[0].drives[..2] {
        sim.set_fault(*home, Some(Fault::Silent));
    }
    let log = sim.take_over().await.expect("takes over");
    assert_eq!(contents(&log).await, all);
}

#[tokio::test(start_paused = true)]
async fn an_idle_log_leaves_a_drive_that_the_map_counts_as_gone() {
    for state in [Some(DriveState::Down), Some(DriveState::Draining), None] {
        let sim = Sim::new("4+2", 6);
        let (log, mut all) = log_of(&sim, 3).await;
        let gone = sim.list()[2];
        sim.set_state(gone, state);
        log.maintain().await.expect("moves");
        assert!(sim.row().segments.iter().all(|segment| !segment.drives.contains(&gone)));
        all.push(append(&log, "on").await.expect("appends"));
        assert_eq!(contents(&log).await, all);
    }
}

#[tokio::test(start_paused = true)]
async fn full_drives_are_left_and_told_when_there_are_no_others() {
    let sim = Sim::new("2+1", 3);
    let (log, _) = log_of(&sim, 2).await;
    assert_eq!(log.room().await, Room::Ample);
    let old = sim.list();
    sim.set_fault(old[0], Some(Fault::Full));
    append(&log, "moved").await.expect("another has room");
    assert_ne!(sim.list(), old);
    sim.homes().into_iter().for_each(|home| sim.set_fault(home, Some(Fault::Full)));
    let waits = next(&log, "waits");
    let error = log.append(&waits).await.expect_err("full");
    assert!(matches!(error, AppendError::NoSpace), "{error}");
    assert_eq!(log.room().await, Room::None);
    let error = log.append(&waits).await.expect_err("full");
    assert!(matches!(error, AppendError::NoSpace), "{error}");
    sim.homes().into_iter().for_each(|home| sim.set_fault(home, Some(Fault::Tight)));
    log.append(&waits).await.expect("there is a reserve");
    assert_eq!(log.room().await, Room::Reserve);
    sim.homes().into_iter().for_each(|home| sim.set_fault(home, None));
    assert_eq!(log.room().await, Room::Ample);
    assert_eq!(contents(&log).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn void_records_of_a_drive_do_not_keep_it_from_being_chosen() {
    let sim = Sim::new("2+1", 3);
    let (log, _) = log_of(&sim, 2).await;
    let list = sim.list();
    // A record of an ownership that ended before it was acknowledged.
    sim.set_fault(list[1], Some(Fault::Silent));
    let open = next(&log, "open");
    assert!(timeout(Duration::from_millis(300), log.append(&open)).await.is_err());
    sim.set_fault(list[1], None);
    sim.set_fault(list[0], Some(Fault::Silent));
    let log = sim.take_over().await.expect("takes over");
    let mine = append(&log, "mine").await.expect("appends");
    // The third drive goes, and the one with the void record is all there is.
    sim.set_fault(list[0], None);
    let third = sim.list().into_iter().find(|home| *home != list[1]).expect("two drives");
    assert_ne!(third, list[0]);
    sim.set_fault(third, Some(Fault::Silent));
    let on = append(&log, "on").await.expect("appends");
    assert_eq!(sim.list().into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([list[0], list[1]]));
    sim.set_state(third, Some(DriveState::Down));
    log.maintain().await.expect("the void record makes way");
    assert!(sim.holders(3).contains(&list[0]));
    assert!(sim.row().segments.iter().all(|segment| !segment.drives.contains(&third)), "{:?}", sim.row());
    assert_eq!(contents(&log).await[2..], [mine, on]);
}
