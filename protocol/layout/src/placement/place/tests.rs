use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::DriveEntry;
use crate::placement::fixture;
use crate::protection::tests::any_protection;

fn form(map: &ClusterMap) -> ClusterMap {
    place(map).expect("enough failure domains").map
}

/// The same map with a drive in another state.
fn with_state(map: &ClusterMap, drive: usize, state: DriveState) -> ClusterMap {
    let mut next = map.clone();
    next.drives[drive].state = state;
    next
}

/// Slots held, by drive in the order of the map.
fn loads(map: &ClusterMap) -> Vec<usize> {
    let held =
        |id| map.groups.iter().flat_map(|group| &group.members).filter(|member| **member == id).count();
    map.drives.iter().map(|drive| held(drive.id)).collect()
}

fn imbalance(loads: &[usize]) -> usize {
    loads.iter().max().expect("a drive") - loads.iter().min().expect("a drive")
}

/// Shards in the most crowded failure domain of any group.
fn crowd(map: &ClusterMap) -> usize {
    let domain = |id: &DriveId| map.drive(*id).expect("in the map").failure_domain.as_str();
    let most = |group: &PlacementGroup| {
        let domains: Vec<_> = group.members.iter().map(domain).collect();
        domains.iter().map(|one| domains.iter().filter(|other| *other == one).count()).max()
    };
    map.groups.iter().filter_map(most).max().expect("a group")
}

/// Slots that would change hands if the groups were formed anew.
fn moves_of_forming_anew(map: &ClusterMap) -> usize {
    let mut blank = map.clone();
    blank.groups.clear();
    let anew = form(&blank);
    let pairs = map.groups.iter().zip(&anew.groups);
    pairs.flat_map(|(old, new)| old.members.iter().zip(&new.members)).filter(|(old, new)| old != new).count()
}

/// The least losses any group survives; `None` when some group is out of order.
fn worst(map: &ClusterMap) -> Option<u8> {
    map.groups.iter().map(|group| map.losses_survived(group)).min().expect("a group")
}

/// A cluster with enough failure domains, each of one to three drives of some size.
fn any_cluster() -> impl Strategy<Value = ClusterMap> {
    (any_protection(), 0..5_usize).prop_flat_map(|(protection, extra)| {
        let domains = usize::from(protection.width()) + extra;
        let drives = prop::collection::vec((1..=3_u8, 1..=4_u64), domains);
        drives.prop_map(move |domains| {
            let drives = domains.into_iter().zip(0..).flat_map(|((count, capacity), domain)| {
                (0..count).map(move |n| fixture::drive(domain * 3 + n, domain, capacity << 30))
            });
            fixture::map(&protection.to_string(), drives.collect())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shards_of_a_group_are_in_failure_domains_of_their_own(map in any_cluster()) {
        let formed = form(&map);
        prop_assert_eq!(formed.validate(), Ok(()));
        prop_assert_eq!(crowd(&formed), 1);
        prop_assert_eq!(worst(&formed), Some(map.protection.parity()));
        prop_assert_eq!(formed.groups.len(), map.drives.len() * GROUPS_PER_DRIVE);
    }

    #[test]
    fn the_same_drives_in_any_order_give_the_same_groups(map in any_cluster(), turn: prop::sample::Index) {
        let mut turned = map.clone();
        turned.drives.rotate_left(turn.index(map.drives.len()));
        prop_assert_eq!(form(&map).groups, form(&turned).groups);
        let formed = form(&map);
        prop_assert_eq!(place(&formed), Ok(Placement { map: formed, moves: Vec::new(), held_back: Vec::new() }), "a second time");
    }

    #[test]
    fn equal_drives_hold_equal_shares(protection in any_protection(), extra in 0..10_u8) {
        let map = fixture::equal(&protection.to_string(), protection.width() + extra);
        prop_assert!(imbalance(&loads(&form(&map))) <= 1);
    }

    #[test]
    fn a_new_drive_takes_its_share_and_nobody_else_moves(protection in any_protection(), extra in 0..10_u8) {
        let count = protection.width() + extra;
        let mut map = form(&fixture::equal(&protection.to_string(), count));
        map.drives.push(fixture::drive(count, count, 1 << 30));
        let placed = place(&map).expect("enough failure domains");
        let loads = loads(&placed.map);
        prop_assert!(imbalance(&loads) <= 1);
        prop_assert!(placed.moves.iter().all(|m| m.to == map.drives[usize::from(count)].id));
        prop_assert!(placed.moves.iter().all(|m| m.reason == MoveReason::Balance));
        prop_assert_eq!(placed.moves.len(), loads[usize::from(count)]);
        prop_assert!(placed.moves.len() <= moves_of_forming_anew(&map));
    }

    #[test]
    fn a_lost_drive_is_shared_out_and_little_else_moves(
        protection in any_protection(), extra in 1..10_u8, lost: prop::sample::Index,
    ) {
        let formed = form(&fixture::equal(&protection.to_string(), protection.width() + extra));
        let lost = lost.index(formed.drives.len());
        let down = with_state(&formed, lost, DriveState::Down);
        let placed = place(&down).expect("enough failure domains");
        let held = loads(&formed)[lost];
        let others = placed.moves.iter().filter(|m| m.reason != MoveReason::DriveDown).count();
        prop_assert_eq!(placed.moves.len() - others, held);
        prop_assert!(others <= formed.drives.len(), "{} others moved", others);
        prop_assert!(placed.moves.len() <= moves_of_forming_anew(&down));
        let mut left = loads(&placed.map);
        prop_assert_eq!(left.remove(lost), 0);
        prop_assert!(imbalance(&left) <= 1);
    }
}

/// What happens to a cluster.
#[derive(Debug, Clone)]
enum Event {
    State(prop::sample::Index, DriveState),
    Remove(prop::sample::Index),
    Add { domain: u8, capacity: u64 },
    Relabel(prop::sample::Index, u8),
}

fn any_event() -> impl Strategy<Value = Event> {
    let state =
        prop::sample::select(vec![DriveState::Up, DriveState::Up, DriveState::Down, DriveState::Draining]);
    prop_oneof![
        6 => (any::<prop::sample::Index>(), state).prop_map(|(drive, state)| Event::State(drive, state)),
        1 => any::<prop::sample::Index>().prop_map(Event::Remove),
        2 => (0..12_u8, 1..=4_u64).prop_map(|(domain, gib)| Event::Add { domain, capacity: gib << 30 }),
        1 => (any::<prop::sample::Index>(), 0..12_u8).prop_map(|(drive, domain)| Event::Relabel(drive, domain)),
    ]
}

fn happen(map: &mut ClusterMap, event: &Event, number: u8) {
    let at = |index: &prop::sample::Index, drives: &[DriveEntry]| index.index(drives.len());
    match event {
        Event::State(drive, state) => {
            let drive = at(drive, &map.drives);
            map.drives[drive].state = *state;
        }
        Event::Remove(drive) if map.drives.len() > 1 => drop(map.drives.remove(at(drive, &map.drives))),
        Event::Remove(_) => {}
        Event::Add { domain, capacity } => map.drives.push(fixture::drive(100 + number, *domain, *capacity)),
        Event::Relabel(drive, domain) => {
            let drive = at(drive, &map.drives);
            map.drives[drive].failure_domain = format!("host{domain}");
        }
    }
}

/// What must hold of every placement, whatever came before.
fn check(before: &ClusterMap, placed: &Placement) -> Result<(), TestCaseError> {
    let after = &placed.map;
    prop_assert_eq!(after.validate(), Ok(()));
    prop_assert!(crowd(after) <= usize::from(after.protection.width()).div_ceil(after.healthy_domains()));
    let mut moves = placed.moves.iter();
    for (old, new) in before.groups.iter().zip(&after.groups) {
        let state = |id: &DriveId| before.drive(*id).map(|drive| drive.state);
        prop_assert!(new.members.iter().all(|member| state(member) == Some(DriveState::Up)));
        for (slot, (from, to)) in (0..).zip(old.members.iter().zip(&new.members)).filter(|(_, (a, b))| a != b)
        {
            let expected = moves.next().expect("a move for every difference");
            let slot = GroupSlot::new(slot);
            prop_assert_eq!(
                (expected.group, expected.slot, expected.from, expected.to),
                (old.id, slot, *from, *to)
            );
            let kept = matches!(expected.reason, MoveReason::Respread | MoveReason::Balance);
            prop_assert_eq!(kept, state(from) == Some(DriveState::Up), "{}", expected.reason);
        }
        if old.members == new.members {
            prop_assert_eq!(old, new);
        } else {
            prop_assert_eq!(new.epoch, old.epoch.next());
            let last = Membership { epoch: old.epoch, members: old.members.clone() };
            prop_assert_eq!(&new.history, &[&[last], &old.history[..]].concat());
        }
    }
    prop_assert!(moves.next().is_none());
    prop_assert_eq!(after.version.get() - before.version.get(), u64::from(!placed.moves.is_empty()));
    let again = place(after).expect("it was possible before");
    prop_assert!(again.moves.is_empty(), "a second time moves {:?}", again.moves);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_of_a_cluster_keeps_its_groups_in_order(
        protection in prop::sample::select(vec!["2+1", "3+2", "4+2", "4+4"]),
        events in prop::collection::vec(any_event(), 1..24),
    ) {
        let mut map = form(&fixture::equal(protection, 9));
        for (event, number) in events.iter().zip(0..) {
            happen(&mut map, event, number);
            match place(&map) {
                Ok(placed) => {
                    check(&map, &placed)?;
                    map = placed.map;
                }
                Err(PlaceError::TooFewToServe { healthy, .. }) => {
                    prop_assert!(healthy < usize::from(map.protection.domains_min_for_writes()));
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}

#[test]
fn a_drive_of_twice_the_size_holds_twice_as_much() {
    let mut map = fixture::equal("4+2", 12);
    map.drives[0].capacity = weft_types::ByteCount::new(2 << 30);
    let loads = loads(&form(&map));
    let share = (96 * 6) as f64 / 13.0;
    for (load, share) in loads.iter().zip([2.0 * share].into_iter().chain([share; 11])) {
        assert!((*load as f64 - share).abs() <= 1.0, "{load} instead of {share}");
    }
}

#[test]
fn groups_double_up_while_domains_are_missing_and_spread_when_they_return() {
    let formed = form(&fixture::equal("4+2", 6));
    assert_eq!((formed.groups.len(), worst(&formed)), (48, Some(2)));
    let mut map = formed.clone();
    for lost in 0..3 {
        map = place(&with_state(&map, lost, DriveState::Down)).expect("three domains are enough").map;
        assert_eq!((crowd(&map), worst(&map)), (2, Some(1)), "{} down", lost + 1);
    }
    let error = place(&with_state(&map, 3, DriveState::Down)).expect_err("two domains are too few");
    assert_eq!(
        error.to_string(),
        "protection 4+2 needs 3 healthy failure domains (6 shards, at most 2 in one domain); 2 have a drive that is up"
    );
    map.drives.iter_mut().for_each(|drive| drive.state = DriveState::Up);
    let placed = place(&map).expect("six domains");
    assert!(placed.moves.iter().all(|m| m.reason == MoveReason::Respread));
    let home = formed.groups.iter().zip(&placed.map.groups).all(|(old, new)| old.members == new.members);
    assert!(home, "drives that return take the slots they held");
    assert_eq!(worst(&placed.map), Some(2));
}

#[test]
fn three_nodes_go_on_unprotected_with_one_down() {
    let formed = form(&fixture::equal("2+1", 3));
    assert_eq!(worst(&formed), Some(1));
    let down = with_state(&formed, 0, DriveState::Down);
    assert_eq!(worst(&down), Some(0));
    let placed = place(&down).expect("two domains are enough");
    assert_eq!((placed.map.validate(), worst(&placed.map)), (Ok(()), Some(0)));
    let error = place(&with_state(&placed.map, 1, DriveState::Down)).expect_err("one domain is too few");
    assert_eq!(error, PlaceError::TooFewToServe { protection: Protection::DEVELOPMENT, healthy: 1 });
}

#[test]
fn a_group_that_lost_more_than_it_can_says_so() {
    let mut map = form(&fixture::equal("4+2", 6));
    map.drives.iter_mut().take(2).for_each(|drive| drive.state = DriveState::Down);
    assert_eq!(worst(&map), Some(0));
    map.drives[2].state = DriveState::Draining;
    assert_eq!(worst(&map), Some(0), "a drive that drains still serves");
    map.drives[2].state = DriveState::Down;
    assert_eq!(worst(&map), None);
}

#[test]
fn forming_needs_a_domain_for_every_shard() {
    let mut map = fixture::equal("4+2", 6);
    map.drives[5].failure_domain = "host0".to_owned();
    let error = place(&map).expect_err("five domains");
    assert_eq!(
        error.to_string(),
        "protection 4+2 needs 6 failure domains (4 data + 2 parity shards, each in its own); 5 have a drive that is up"
    );
}

#[test]
fn a_group_whose_history_is_full_stays_and_the_others_go_on() {
    let mut map = form(&fixture::equal("4+2", 7));
    let members = map.groups[0].members.clone();
    map.groups[0].epoch = Epoch::new(5000);
    let list = |n| Membership { epoch: Epoch::new(n), members: members.clone() };
    map.groups[0].history = (0..64).rev().map(list).collect();
    let member = map.drives.iter().position(|drive| drive.id == members[0]).expect("in the map");
    let down = with_state(&map, member, DriveState::Down);
    let placed = place(&down).expect("six domains");
    assert_eq!(placed.held_back, [GroupId::new(0)]);
    assert_eq!(placed.map.groups[0], map.groups[0]);
    assert_eq!(placed.map.validate(), Ok(()));
    let gone = map.drives[member].id;
    assert!(placed.map.groups[1..].iter().all(|group| !group.members.contains(&gone)));
    map.groups[0].history.pop();
    let placed = place(&with_state(&map, member, DriveState::Down)).expect("six domains");
    assert!(placed.held_back.is_empty() && !placed.map.groups[0].members.contains(&gone));
}

#[test]
fn two_of_six_drives_go_at_once_and_come_back() {
    let formed = form(&fixture::equal("4+2", 6));
    let mut down = with_state(&formed, 1, DriveState::Down);
    down.drives[4].state = DriveState::Down;
    assert_eq!(down.losses_survived_by_all(), Some(0));
    let degraded = place(&down).expect("four domains").map;
    assert_eq!((crowd(&degraded), worst(&degraded)), (2, Some(1)));
    assert_eq!(degraded.losses_survived_by_all(), Some(0), "shards may lie by the earlier lists still");
    let mut back = degraded.clone();
    for drive in [1, 4] {
        back.drives[drive].state = DriveState::Returning;
    }
    assert!(place(&back).expect("four domains").moves.is_empty(), "they take nothing yet");
    for drive in [1, 4] {
        back.drives[drive].state = DriveState::Up;
    }
    let mut settled = place(&back).expect("six domains").map;
    let home = formed.groups.iter().zip(&settled.groups).all(|(old, new)| old.members == new.members);
    assert!(home && worst(&settled) == Some(2), "everything is as it was");
    assert_eq!(settled.losses_survived_by_all(), Some(1), "what was written meanwhile lies two by two");
    settled.groups.iter_mut().for_each(|group| group.history.clear());
    assert_eq!(settled.losses_survived_by_all(), Some(2));
    settled.drives[0].missing = 1;
    assert_eq!(settled.losses_survived_by_all(), Some(1), "a drive without some shards does not count");
}

#[test]
fn a_drive_that_comes_and_goes_fills_no_history_beyond_its_bound() {
    let mut map = form(&fixture::equal("4+2", 6));
    for round in 0..200 {
        let state = if round % 2 == 0 { DriveState::Down } else { DriveState::Up };
        let placed = place(&with_state(&map, 3, state)).expect("five domains");
        map = placed.map;
        assert_eq!(map.validate(), Ok(()), "round {round}");
        assert!(crowd(&map) <= 2);
    }
    assert!(map.groups.iter().any(|group| group.history.len() == crate::MAX_HISTORY));
}

#[test]
fn a_reader_finds_present_and_earlier_holders() {
    let formed = form(&fixture::equal("4+2", 7));
    let moved = place(&with_state(&formed, 0, DriveState::Down)).expect("six domains").map;
    let (old, new) = formed.groups.iter().zip(&moved.groups).find(|(a, b)| a != b).expect("a change");
    let seq = weft_types::ExtentSeq::new(8);
    assert_eq!(new.holder(moved.protection, weft_types::ShardIndex::new(6), seq), None);
    let shards: BTreeSet<_> = (0..6).map(weft_types::ShardIndex::new).collect();
    for shard in shards {
        let before = old.holder(formed.protection, shard, seq).expect("a shard");
        assert_eq!(new.earlier_holders(moved.protection, shard, seq).collect::<Vec<_>>(), [before]);
        assert!(new.holder(moved.protection, shard, seq).is_some_and(|now| now != moved.drives[0].id));
    }
}

#[test]
fn a_vacant_slot_goes_to_a_drive_that_held_it_before() {
    let mut map = form(&fixture::equal("4+2", 10));
    let members = map.groups[7].members.clone();
    let at = |id| map.drives.iter().position(|drive| drive.id == id).expect("in the map");
    let down = at(members[2]);
    map.groups[7].epoch = Epoch::new(2);
    let others: Vec<_> = map.drives.iter().map(|drive| drive.id).filter(|id| !members.contains(id)).collect();
    for earlier in others {
        let mut list = members.clone();
        list[2] = earlier;
        map.groups[7].history = vec![Membership { epoch: Epoch::new(1), members: list }];
        let placed = place(&with_state(&map, down, DriveState::Down)).expect("nine domains").map;
        assert_eq!(placed.groups[7].members[2], earlier);
    }
}
