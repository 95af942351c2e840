use proptest::prelude::*;
use weft_types::{Epoch, FilesystemId, MapVersion, MetadataShard};
use weft_wire::ownership::{DriveHome, GroupFloor, Held, Reconciled, ReportCare};

use super::*;
use crate::fixture;

const SHARD: MetadataShard = MetadataShard::new(0);

fn owner() -> Owned {
    let shard = (FilesystemId::from_bytes([1; 16]), SHARD);
    Owned { shard, epoch: Epoch::new(1), name: "home".to_owned() }
}

/// The owner has compared these drives, and moved everything to where it belongs now.
fn cared_for(map: &ClusterMap, missing: u64) -> Care {
    let mut care = compared(map, missing);
    let owner = Held { filesystem: owner().shard.0, shard: SHARD, epoch: Epoch::new(1) };
    let floors = map.groups.iter().map(|group| GroupFloor { group: group.id, epoch: group.epoch });
    let (floors, map) = (floors.collect(), map.version);
    care.report(&ReportCare { owner, map, floors, reconciled: Vec::new() });
    care
}

/// The owner has compared these drives.
fn compared(map: &ClusterMap, missing: u64) -> Care {
    let returning = map.drives.iter().filter(|drive| drive.state == DriveState::Returning);
    let reconciled = returning.map(|drive| Reconciled {
        home: DriveHome { drive: drive.id, incarnation: drive.incarnation },
        returned: drive.returned,
        missing,
    });
    let owner = Held { filesystem: owner().shard.0, shard: SHARD, epoch: Epoch::new(1) };
    let mut care = Care::default();
    let reconciled = reconciled.collect();
    care.report(&ReportCare { owner, map: map.version, floors: Vec::new(), reconciled });
    care
}

fn states(map: &ClusterMap) -> Vec<DriveState> {
    map.drives.iter().map(|drive| drive.state).collect()
}

#[test]
fn drives_that_die_together_make_one_version_with_new_homes() {
    let map = fixture::map();
    let found = [(map.drives[1].id, DriveState::Down), (map.drives[3].id, DriveState::Down)];
    let next = next_map(&map, &found, &Care::default(), &[owner()], Stragglers::Awaited).expect("changed");
    assert_eq!(next.map.version, map.version.next());
    assert_eq!((next.states.len(), next.not_placed), (2, None));
    assert!(!next.moves.is_empty());
    assert_eq!(next.map.validate(), Ok(()));
    let gone = [map.drives[1].id, map.drives[3].id];
    assert!(next.map.groups.iter().all(|group| !group.members.iter().any(|id| gone.contains(id))));
    assert!(next.map.groups.iter().all(|group| group.history.len() == 1));
    assert_eq!(
        next_map(&next.map, &[], &Care::default(), &[owner()], Stragglers::Awaited),
        None,
        "nothing else is to do"
    );
}

#[test]
fn too_few_domains_change_states_alone_and_say_the_numbers() {
    let map = fixture::map();
    let found: Vec<_> = map.drives[..4].iter().map(|drive| (drive.id, DriveState::Down)).collect();
    let next = next_map(&map, &found, &Care::default(), &[owner()], Stragglers::Awaited).expect("changed");
    assert_eq!(next.map.groups, map.groups);
    assert_eq!(next.map.version, map.version.next());
    let error = next.not_placed.expect("said").to_string();
    assert!(error.contains("needs 3 healthy failure domains") && error.contains("2 have"), "{error}");
}

#[test]
fn a_drive_counts_again_once_every_owner_has_compared_it() {
    let map = fixture::map();
    let drive = map.drives[2].id;
    let step = |map: &ClusterMap, state, care: &Care| {
        next_map(map, &[(drive, state)], care, &[owner()], Stragglers::Awaited).map(|next| next.map)
    };
    let down = step(&map, DriveState::Down, &Care::default()).expect("down");
    let back = step(&down, DriveState::Returning, &Care::default()).expect("returning");
    let entry = back.drive(drive).expect("there").clone();
    assert_eq!((entry.state, entry.returned), (DriveState::Returning, back.version));
    assert_eq!(back.groups, down.groups, "it takes no shards yet");
    assert_eq!(step(&back, DriveState::Returning, &compared(&down, 0)), None, "not compared since");
    let again = step(&back, DriveState::Down, &Care::default()).expect("down");
    let later = step(&again, DriveState::Returning, &compared(&back, 0)).expect("returning");
    assert_eq!(later.drive(drive).map(|drive| drive.state), Some(DriveState::Returning), "compared before");
    let up = step(&later, DriveState::Returning, &compared(&later, 2)).expect("up");
    let entry = up.drive(drive).expect("there");
    assert_eq!((entry.state, entry.missing, entry.counts()), (DriveState::Up, 2, false));
    let home = map.groups.iter().zip(&up.groups).all(|(old, new)| old.members == new.members);
    assert!(home, "groups that doubled up are spread as they were");
    let rebuilt =
        next_map(&up, &[], &compared(&later, 0), &[owner()], Stragglers::Awaited).expect("rebuilt").map;
    assert!(rebuilt.drive(drive).is_some_and(|drive| drive.counts()));
    assert!(rebuilt.groups.iter().any(|group| !group.history.is_empty()));
    let proven = next_map(&rebuilt, &[], &cared_for(&rebuilt, 0), &[owner()], Stragglers::Awaited)
        .expect("proven")
        .map;
    assert!(proven.groups.iter().all(|group| group.history.is_empty()));
    assert_eq!(proven.losses_survived_by_all(), Some(2));
}

#[test]
fn when_no_drive_counts_all_do_together() {
    let map = fixture::map();
    let all = |state| map.drives.iter().map(|drive| (drive.id, state)).collect::<Vec<_>>();
    let step = |map: &ClusterMap, found: &[_], care: &Care| {
        next_map(map, found, care, &[owner()], Stragglers::Awaited).map(|next| next.map)
    };
    let down = step(&map, &all(DriveState::Down), &Care::default()).expect("down");
    let back = step(&down, &all(DriveState::Returning), &Care::default()).expect("returning");
    assert!(!back.is_any_up());
    let some = ClusterMap { drives: back.drives[..4].to_vec(), ..back.clone() };
    assert_eq!(step(&back, &[], &compared(&some, 0)), None, "two are not compared");
    let up = step(&back, &[], &compared(&back, 0)).expect("up");
    assert_eq!(states(&up), [DriveState::Up; 6]);
    assert_eq!(up.groups, map.groups, "no group has moved meanwhile");
    let left = next_map(&back, &[], &compared(&some, 0), &[owner()], Stragglers::Left).expect("up").map;
    assert_eq!(left.drives.iter().filter(|drive| drive.state == DriveState::Up).count(), 4);
    // One that falls silent again is not waited for.
    let found = [(map.drives[5].id, DriveState::Down)];
    let five = ClusterMap { drives: back.drives[..5].to_vec(), ..back.clone() };
    let up = step(&back, &found, &compared(&five, 0)).expect("up");
    assert_eq!(states(&up)[..5], [DriveState::Up; 5]);
}

#[test]
fn without_extents_a_drive_is_up_at_once() {
    let map = fixture::map();
    let drive = map.drives[2].id;
    let down = next_map(&map, &[(drive, DriveState::Down)], &Care::default(), &[], Stragglers::Awaited)
        .expect("down")
        .map;
    let back = next_map(&down, &[(drive, DriveState::Returning)], &Care::default(), &[], Stragglers::Awaited)
        .expect("up")
        .map;
    assert_eq!(states(&back), [DriveState::Up; 6]);
    assert!(back.groups.iter().all(|group| group.history.is_empty()), "nothing lies anywhere");
}

/// What happens to a cluster.
#[derive(Debug, Clone)]
enum Event {
    Heard(usize),
    Silent(Vec<usize>),
    Cared(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..6_usize).prop_map(Event::Heard),
        2 => proptest::collection::vec(0..6_usize, 1..4).prop_map(Event::Silent),
        2 => (0..2_u64).prop_map(Event::Cared),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_domain_ever_holds_more_than_may_be_lost(events in proptest::collection::vec(any_event(), 1..40)) {
        let mut map = fixture::map();
        let owned = [owner()];
        for event in events {
            let (found, care) = match event {
                Event::Heard(n) if map.drives[n].state == DriveState::Down => {
                    (vec![(map.drives[n].id, DriveState::Returning)], Care::default())
                }
                Event::Heard(_) => continue,
                Event::Silent(drives) => {
                    (drives.into_iter().map(|n| (map.drives[n].id, DriveState::Down)).collect(), Care::default())
                }
                Event::Cared(missing) => (Vec::new(), cared_for(&map, missing)),
            };
            let (one, other) = (next_map(&map, &found, &care, &owned, Stragglers::Awaited), next_map(&map, &found, &care, &owned, Stragglers::Awaited));
            prop_assert_eq!(&one, &other, "the same comes to the same");
            let Some(next) = one else { continue };
            // Checks too that no domain holds more than M shards of a group.
            prop_assert_eq!(next.map.validate(), Ok(()));
            prop_assert_eq!(next.map.version, map.version.next());
            if next.not_placed.is_none() && next.held_back.is_empty() {
                let up = |id: &DriveId| next.map.drive(*id).is_some_and(|drive| drive.state == DriveState::Up);
                prop_assert!(next.map.groups.iter().all(|group| group.members.iter().all(up)));
            }
            for (was, is) in map.groups.iter().zip(&next.map.groups) {
                let kept = was.history.iter().all(|list| is.history.contains(list));
                prop_assert!(kept || care.floor(was.id, &owned).is_some(), "a list is kept until proven");
            }
            map = next.map;
        }
        prop_assert!(map.version >= MapVersion::new(1));
    }
}
