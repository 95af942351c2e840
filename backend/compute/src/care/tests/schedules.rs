//! Any schedule of writes, deaths, changed groups, drives that go and come, and owners that end in the middle.

use std::time::Duration;

use proptest::prelude::*;
use weft_layout::DriveState;

use super::world::{Keeper, World, regroup};

#[derive(Debug, Clone)]
enum Step {
    Write,
    /// Something is put and never committed.
    Abandon,
    Kill(usize),
    /// The group gets another list.
    Regroup(Vec<u8>),
    /// A drive stops answering, or answers again.
    Silence(u8),
    NewSession,
    /// The owner's process ends after so many calls.
    Crash(u32),
    Run(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let list = Just((1_u8..=8).collect::<Vec<_>>()).prop_shuffle();
    prop_oneof![
        5 => Just(Step::Write),
        1 => Just(Step::Abandon),
        3 => any::<usize>().prop_map(Step::Kill),
        2 => list.prop_map(|mut list| {
            list.truncate(6);
            Step::Regroup(list)
        }),
        2 => (1_u8..=8).prop_map(Step::Silence),
        1 => Just(Step::NewSession),
        2 => (0_u32..120).prop_map(Step::Crash),
        3 => (1_u64..30).prop_map(Step::Run),
    ]
}

async fn play(steps: Vec<Step>) {
    let world = World::new(8);
    let (mut session, mut ids) = (1, Vec::new());
    world.open_session(session);
    let mut keeper = Keeper::new(&world);
    for step in steps {
        match step {
            Step::Write => ids.push(world.write(session)),
            Step::Abandon => _ = world.put(session),
            Step::Kill(which) if !ids.is_empty() => world.kill(ids.swap_remove(which % ids.len())),
            Step::Kill(_) => {}
            Step::Regroup(list) => world.regroup(&list),
            Step::Silence(n) => {
                let down = world.map.borrow().drives[usize::from(n) - 1].state == DriveState::Down;
                world.set_state(n, if down { DriveState::Up } else { DriveState::Down });
            }
            Step::NewSession => {
                world.end_session(session);
                world.close_session(session);
                session += 1;
                world.open_session(session);
            }
            Step::Crash(calls) => {
                world.calls_left.set(Some(calls));
                keeper.run(25).await;
                world.crash();
                keeper = Keeper::new(&world);
            }
            Step::Run(seconds) => keeper.run(seconds).await,
        }
        world.check_readable();
    }
    // Everybody is there, and it heals.
    for n in 1..=8 {
        world.set_state(n, DriveState::Up);
    }
    world.end_session(session);
    world.close_session(session);
    world.change_map(|map| regroup(map, &[8, 7, 6, 5, 4, 3]));
    keeper.run(100).await;
    // What could not be deleted from a drive that was away is found by the next look at all of it.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    keeper.run(60).await;
    assert_eq!(world.extents().len(), ids.len(), "none was lost, and all dead ones are gone");
    world.check_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_needed_is_deleted_and_it_heals(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps));
    }
}
