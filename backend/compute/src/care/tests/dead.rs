//! Dead extents.

use weft_layout::DriveState;

use super::world::{Keeper, World, drive_id};

#[tokio::test(start_paused = true)]
async fn a_dead_extent_goes_after_the_delay_and_one_in_use_stays() {
    let world = World::new(6);
    world.open_session(1);
    let (dead, kept) = (world.write(1), world.write(1));
    let keeper = Keeper::new(&world);
    world.kill(dead);
    keeper.run(14).await;
    assert!(world.deleted.borrow().is_empty(), "a reader may still be at it");
    keeper.run(4).await;
    assert_eq!(world.row(dead), None);
    assert!(world.deleted.borrow().iter().all(|(_, key)| key.extent == dead));
    assert!(world.row(kept).is_some());
    world.check_settled();
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_is_down_keeps_the_row() {
    let world = World::new(6);
    world.open_session(1);
    // Striped over all six.
    let on_all = |id: &_| world.row(*id).is_some_and(|row| row.geometry.stored_shards().count() == 6);
    let dead = (0..3).map(|_| world.write(1)).find(on_all).expect("one of them is long enough");
    world.set_state(2, DriveState::Down);
    world.kill(dead);
    let keeper = Keeper::new(&world);
    keeper.run(40).await;
    assert!(world.row(dead).is_some());
    assert!(world.drives.borrow()[&drive_id(2)].shards.keys().any(|key| key.extent == dead));
    assert!(world.drives.borrow()[&drive_id(1)].shards.keys().all(|key| key.extent != dead));
    world.set_state(2, DriveState::Returning);
    keeper.run(10).await;
    assert_eq!(world.row(dead), None, "a drive that comes back deletes");
}

#[tokio::test(start_paused = true)]
async fn while_no_drive_counts_nothing_is_deleted() {
    let world = World::new(6);
    (1..=2).for_each(|n| world.open_session(n));
    let dead = world.write(1);
    let (orphan, _) = world.put(2);
    world.kill(dead);
    world.end_session(2);
    world.close_session(2);
    (1..=6).for_each(|n| world.set_state(n, DriveState::Returning));
    let keeper = Keeper::new(&world);
    keeper.run(100).await;
    assert!(world.deleted.borrow().is_empty(), "what metadata says was compared with no drive");
    (1..=6).for_each(|n| world.set_state(n, DriveState::Up));
    keeper.run(100).await;
    let gone: std::collections::BTreeSet<_> =
        world.deleted.borrow().iter().map(|(_, key)| key.extent).collect();
    assert_eq!(gone, [dead, orphan].into());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_changed_is_asked_everywhere() {
    let world = World::new(8);
    world.open_session(1);
    let ids: Vec<_> = (0..6).map(|_| world.write(1)).collect();
    world.regroup(&[1, 2, 3, 7, 5, 6]);
    world.regroup(&[1, 2, 3, 7, 8, 6]);
    ids.iter().for_each(|id| world.kill(*id));
    Keeper::new(&world).run(40).await;
    assert_eq!((world.extents(), world.shard_count()), (Vec::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_written_by_a_newer_map_waits_for_it() {
    let world = World::new(8);
    world.open_session(1);
    let old = world.map.borrow().clone();
    world.regroup(&[7, 2, 3, 4, 5, 6]);
    let ids: Vec<_> = (0..6).map(|_| world.write(1)).collect();
    let new = world.map.replace(old);
    ids.iter().for_each(|id| world.kill(*id));
    let keeper = Keeper::new(&world);
    keeper.run(30).await;
    assert_eq!(world.extents().len(), 6);
    *world.map.borrow_mut() = new;
    keeper.run(30).await;
    assert_eq!((world.extents(), world.shard_count()), (Vec::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_the_death_is_durable_or_outside_of_the_lease() {
    let world = World::new(6);
    world.open_session(1);
    let dead = world.write(1);
    world.kill(dead);
    let keeper = Keeper::new(&world);
    world.deposed.set(true);
    keeper.run(40).await;
    world.deposed.set(false);
    world.calls_left.set(Some(0));
    keeper.run(5).await;
    assert!(world.deleted.borrow().is_empty() && world.row(dead).is_some());
}
