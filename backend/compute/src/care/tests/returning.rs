//! Drives that come back.

use weft_layout::DriveState;
use weft_wire::ownership::Reconciled;

use super::world::{Keeper, World, drive_id, home_of};

fn told(world: &World) -> Vec<Reconciled> {
    world.reports.borrow().last().map(|report| report.reconciled.clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_has_everything_misses_nothing() {
    let world = World::new(7);
    world.open_session(1);
    let ids: Vec<_> = (0..40).map(|_| world.write(1)).collect();
    world.set_state(3, DriveState::Down);
    world.regroup(&[1, 2, 7, 4, 5, 6]);
    (0..10).for_each(|_| _ = world.write(1));
    // Some went while it was away.
    ids.iter().step_by(3).for_each(|id| world.kill(*id));
    world.set_state(3, DriveState::Returning);
    let returned = world.map.borrow().drive(drive_id(3)).expect("is there").returned;
    let keeper = Keeper::new(&world);
    keeper.run(2).await;
    assert_eq!(told(&world), [Reconciled { home: home_of(3), returned, missing: 0 }]);
    keeper.run(60).await;
    assert!(ids.iter().step_by(3).all(|id| world.row(*id).is_none()), "leftovers go");
    assert_eq!(told(&world).len(), 1, "it is told again and again");
}

#[tokio::test(start_paused = true)]
async fn what_a_drive_lost_is_counted() {
    let world = World::new(6);
    world.open_session(1);
    (0..40).for_each(|_| _ = world.write(1));
    world.set_state(3, DriveState::Down);
    let mut lost = 0;
    world.drives.borrow_mut().get_mut(&drive_id(3)).expect("is there").shards.retain(|key, _| {
        let keep = key.extent.seq.get() % 4 != 0;
        lost += u64::from(!keep);
        keep
    });
    assert!(lost > 3);
    world.set_state(3, DriveState::Returning);
    let keeper = Keeper::new(&world);
    keeper.run(3).await;
    assert_eq!(told(&world).first().map(|told| told.missing), Some(lost));
    assert_eq!(keeper.care.counts().reconciling, 0);
    // It went and came back once more: it is compared once more.
    world.set_state(3, DriveState::Down);
    world.drives.borrow_mut().get_mut(&drive_id(3)).expect("is there").shards.clear();
    keeper.run(2).await;
    world.set_state(3, DriveState::Returning);
    keeper.run(3).await;
    assert!(told(&world).first().is_some_and(|told| told.missing > lost));
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_does_not_answer_is_not_told_of() {
    let world = World::new(6);
    world.open_session(1);
    (0..10).for_each(|_| _ = world.write(1));
    world.set_state(3, DriveState::Returning);
    world.drives.borrow_mut().get_mut(&drive_id(3)).expect("is there").silent = true;
    let keeper = Keeper::new(&world);
    keeper.run(5).await;
    assert_eq!((told(&world), keeper.care.counts().reconciling), (Vec::new(), 1));
    world.drives.borrow_mut().get_mut(&drive_id(3)).expect("is there").silent = false;
    keeper.run(2).await;
    assert_eq!(told(&world).len(), 1);
}
