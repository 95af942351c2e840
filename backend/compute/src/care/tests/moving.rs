//! Extents that move with their group.

use std::time::Duration;

use weft_layout::DriveState;
use weft_types::{Epoch, ExtentId, GroupId};

use super::world::{GROUP, Keeper, World, drive_id};

fn written(drives: u8, extents: usize) -> (World, Vec<ExtentId>) {
    let world = World::new(drives);
    world.open_session(1);
    let ids = (0..extents).map(|_| world.write(1)).collect();
    (world, ids)
}

fn floor(world: &World) -> Option<Epoch> {
    let reports = world.reports.borrow();
    let last = reports.last()?;
    last.floors.iter().find(|floor| floor.group == GROUP).map(|floor| floor.epoch)
}

#[tokio::test(start_paused = true)]
async fn extents_follow_their_group_and_leave_nothing_behind() {
    let (world, ids) = written(8, 20);
    world.regroup(&[1, 2, 7, 4, 5, 8]);
    let keeper = Keeper::new(&world);
    keeper.step().await;
    assert_eq!((floor(&world), keeper.care.counts().respread_left), (Some(Epoch::new(1)), 20));
    keeper.run(60).await;
    assert_eq!((floor(&world), keeper.care.counts().respread_left), (Some(Epoch::new(2)), 0));
    assert!(ids.iter().all(|id| world.row(*id).is_some()));
    world.check_settled();
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_was_put_for_another_group_first_moves_with_the_group_of_its_row() {
    let (world, _) = written(8, 5);
    for drive in world.drives.borrow_mut().values_mut() {
        drive.shards.values_mut().for_each(|(header, _)| header.group = GroupId::new(77));
    }
    world.regroup(&[1, 2, 7, 4, 5, 6]);
    let keeper = Keeper::new(&world);
    keeper.run(60).await;
    assert_eq!((floor(&world), keeper.care.counts().respread_left), (Some(Epoch::new(2)), 0));
    let drives = world.drives.borrow();
    assert!(drives[&drive_id(7)].shards.values().all(|(header, _)| header.group == GROUP));
}

#[tokio::test(start_paused = true)]
async fn what_lies_right_already_moves_on_without_a_call() {
    let (world, _) = written(8, 20);
    world.regroup(&[1, 2, 7, 4, 5, 6]);
    world.regroup(&[1, 2, 3, 4, 5, 6]);
    Keeper::new(&world).step().await;
    assert_eq!(floor(&world), Some(Epoch::new(3)), "at once");
    world.check_settled();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stays_and_holds_the_floor() {
    let (world, _) = written(8, 20);
    world.set_state(3, DriveState::Down);
    world.regroup(&[1, 2, 7, 4, 5, 6]);
    let newer = world.write(1);
    let keeper = Keeper::new(&world);
    keeper.run(60).await;
    assert_eq!(floor(&world), Some(Epoch::new(1)));
    assert_eq!(world.row(newer).expect("is there").group_epoch, Epoch::new(2));
    assert!(keeper.care.counts().respread_left > 0);
    world.set_state(3, DriveState::Returning);
    keeper.run(60).await;
    assert_eq!(floor(&world), Some(Epoch::new(2)));
    world.check_settled();
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_doubled_up_is_spread_again() {
    let (world, _) = written(6, 10);
    world.set_state(5, DriveState::Down);
    world.set_state(6, DriveState::Down);
    world.regroup(&[1, 2, 3, 4, 1, 2]);
    let keeper = Keeper::new(&world);
    (0..10).for_each(|_| _ = world.write(1));
    keeper.run(30).await;
    world.set_state(5, DriveState::Returning);
    world.set_state(6, DriveState::Returning);
    keeper.run(3).await;
    world.set_state(5, DriveState::Up);
    world.set_state(6, DriveState::Up);
    world.regroup(&[1, 2, 3, 4, 5, 6]);
    keeper.run(60).await;
    world.check_settled();
    let map = world.map.borrow().clone();
    assert_eq!(floor(&world), Some(map.groups[0].epoch));
}

#[tokio::test(start_paused = true)]
async fn a_move_that_broke_off_anywhere_is_finished_by_the_next_owner() {
    let mut calls = 0;
    loop {
        let (world, ids) = written(8, 4);
        world.regroup(&[8, 2, 7, 4, 5, 6]);
        let keeper = Keeper::new(&world);
        keeper.run(19).await;
        world.calls_left.set(Some(calls));
        keeper.run(40).await;
        let broke_off = world.calls_left.get() == Some(0);
        world.crash();
        world.check_readable();
        let next = Keeper::new(&world);
        next.run(100).await;
        assert!(ids.iter().all(|id| world.row(*id).is_some()));
        world.check_settled();
        if !broke_off {
            assert!(calls > 50, "there is something to break off");
            return;
        }
        calls += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_copy_is_not_spread() {
    let (world, ids) = written(8, 3);
    let mut hurt = Vec::new();
    for (key, (_, bytes)) in &mut world.drives.borrow_mut().get_mut(&drive_id(3)).expect("is there").shards {
        let mut damaged = bytes.to_vec();
        damaged[0] ^= 1;
        *bytes = damaged.into();
        hurt.push(key.extent);
    }
    world.regroup(&[1, 2, 7, 4, 5, 6]);
    let keeper = Keeper::new(&world);
    keeper.run(60).await;
    for id in ids {
        let epoch = world.row(id).expect("is there").group_epoch;
        assert_eq!(epoch == Epoch::new(1), hurt.contains(&id));
    }
}

#[tokio::test(start_paused = true)]
async fn floors_never_go_back_and_are_told_after_the_map_is_acted_on() {
    let (world, _) = written(8, 10);
    let keeper = Keeper::new(&world);
    let lists: [&[u8]; 4] =
        [&[1, 2, 7, 4, 5, 6], &[1, 2, 7, 8, 5, 6], &[1, 2, 3, 8, 5, 6], &[1, 2, 3, 4, 5, 6]];
    for list in lists {
        world.regroup(list);
        (0..3).for_each(|_| _ = world.write(1));
        keeper.run(25).await;
        let version = world.map.borrow().version;
        assert!(world.acted_on.get() >= version.get());
        assert_eq!(world.reports.borrow().last().expect("was told").map, version);
    }
    let reports = world.reports.borrow();
    let floors = reports.iter().flat_map(|report| report.floors.iter().map(|floor| floor.epoch));
    let floors: Vec<_> = floors.collect();
    assert!(floors.is_sorted(), "{floors:?}");
    assert!(reports.is_sorted_by_key(|report| report.map));
}

#[tokio::test(start_paused = true)]
async fn an_extent_that_dies_while_it_is_moved_leaves_nothing_behind() {
    let (world, ids) = written(8, 3);
    let keeper = Keeper::new(&world);
    keeper.run(21).await;
    world.put_takes.set(Duration::from_secs(30));
    world.regroup(&[7, 2, 3, 4, 5, 8]);
    let deaths = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ids.iter().for_each(|id| world.kill(*id));
        for _ in 0..25 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            keeper.care.reclaim(keeper.world, &keeper.deleter).await.expect("reclaims");
        }
    };
    let (placed, ()) = tokio::join!(keeper.care.place(keeper.world, &keeper.world), deaths);
    placed.expect("places");
    keeper.run(60).await;
    assert_eq!((world.extents(), world.shard_count()), (Vec::new(), 0));
}
