//! Shards that no row names.

use std::time::Duration;

use weft_layout::DriveState;
use weft_meta::session::{self, SessionState};

use super::world::{Keeper, World, session_id};

#[tokio::test(start_paused = true)]
async fn orphans_go_only_with_proof() {
    let world = World::new(6);
    (1..=4).for_each(|n| world.open_session(n));
    // Every session leaves something behind that it has committed, and something that it has not.
    let left: Vec<_> = (1..=4).map(|n| (world.write(n), world.put(n).0)).collect();
    let (foreign, _) = world.put(9);
    world.end_session(2);
    [3, 4].into_iter().for_each(|n| world.end_session(n));
    world.close_session(4);
    let keeper = Keeper::new(&world);
    keeper.run(10).await;
    assert!(world.deleted.borrow().is_empty(), "it is closed not long enough");
    world.close_session(3);
    keeper.run(60).await;
    let gone: std::collections::BTreeSet<_> =
        world.deleted.borrow().iter().map(|(_, key)| key.extent).collect();
    assert_eq!(gone, [left[2].1, left[3].1].into());
    assert!(!gone.contains(&foreign));
    assert_eq!(keeper.care.counts().orphans_deleted, world.deleted.borrow().len() as u64);
    world.check_readable();
}

#[tokio::test(start_paused = true)]
async fn a_session_is_forgotten_once_every_drive_was_looked_at() {
    let world = World::new(6);
    world.open_session(1);
    (0..6).for_each(|_| _ = world.put(1));
    world.end_session(1);
    world.close_session(1);
    world.set_state(4, DriveState::Down);
    let keeper = Keeper::new(&world);
    keeper.run(40).await;
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    keeper.run(5).await;
    let state = || world.read(|tx| session::state(tx, session_id(1)).expect("reads"));
    assert!(matches!(state(), SessionState::Closed(_)), "drive 4 may hold something");
    assert!(world.shard_count() > 0);
    world.set_state(4, DriveState::Up);
    keeper.run(5).await;
    assert_eq!((state(), world.shard_count()), (SessionState::Unknown, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_session_commits_late_is_not_taken_for_an_orphan() {
    let world = World::new(6);
    world.open_session(1);
    let ids: Vec<_> = (0..9).map(|_| world.write(1)).collect();
    world.end_session(1);
    world.close_session(1);
    Keeper::new(&world).run(100).await;
    assert!(world.deleted.borrow().is_empty());
    assert!(ids.iter().all(|id| world.row(*id).is_some()));
}

#[tokio::test(start_paused = true)]
async fn while_a_filesystem_is_dropped_it_is_told_where_things_lie_and_nothing_moves() {
    let world = World::new(8);
    world.open_session(1);
    (0..6).for_each(|_| _ = world.write(1));
    world.dropping.set(true);
    world.regroup(&[7, 2, 3, 4, 5, 8]);
    world.set_state(1, DriveState::Returning);
    world.drives.borrow_mut().values_mut().for_each(|drive| drive.shards.clear());
    let keeper = Keeper::new(&world);
    keeper.run(40).await;
    let reports = world.reports.borrow();
    let last = reports.last().expect("was told");
    assert_eq!(last.reconciled.iter().map(|told| told.missing).collect::<Vec<_>>(), [0], "nothing is missed");
    assert_eq!(last.floors.len(), 1);
}
