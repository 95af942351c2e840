//! Which drives vote on the cluster store. Pure.

use std::collections::BTreeSet;

use weft_engine::store::Voters;
use weft_layout::{ClusterMap, DriveEntry, DriveState};
use weft_wire::ownership::DriveHome;

/// The voters of a cluster with this map: of N+M protection 2M+1 drives, each in a failure domain of its own, of which
/// any M may be lost and M+1, the majority, are left. With fewer domains as many as there are, one less when that
/// number is even, since it bridges no more losses than the odd number below: of D domains (D-1)/2 may be lost.
///
/// Drives that are up are taken before others, else the first by their place in the map.
pub(crate) fn choose_voters(map: &ClusterMap) -> Voters {
    let wanted = 2 * usize::from(map.protection.parity()) + 1;
    let mut drives: Vec<_> = map.drives.iter().collect();
    drives.sort_by_key(|drive| drive.state != DriveState::Up);
    let mut domains = BTreeSet::new();
    drives.retain(|drive| domains.insert(drive.failure_domain.as_str()));
    let available = drives.len().min(wanted);
    drives.truncate(if available.is_multiple_of(2) { available.saturating_sub(1) } else { available });
    Voters::of(drives.into_iter().map(home_of).collect())
}

/// The voters to go on to, when some that vote now are gone for good: the map has them no more, or they came back
/// blank; or when too few vote since a loss was accepted. Drives that are up take their places. First both sets decide
/// together, then the new one alone.
///
/// A voter that is only down keeps its vote. Were it given to others, or fewer left to vote, those that were down could
/// come back to a cluster whose few new voters are lost, although no more drives were lost than it promises to bridge.
pub(crate) fn next_voters(voters: &Voters, map: &ClusterMap) -> Option<Voters> {
    if let Some(next) = &voters.next {
        return Some(Voters::of(next.clone()));
    }
    let known = |home: &&DriveHome| map.drives.iter().any(|drive| home_of(drive) == **home);
    let kept = voters.current.iter().filter(known).count();
    let next = completed(&voters.current, map);
    (next.len() > kept).then(|| Voters { current: voters.current.clone(), next: Some(next) })
}

fn home_of(drive: &DriveEntry) -> DriveHome {
    DriveHome { drive: drive.id, incarnation: drive.incarnation }
}

/// Those of these that the map has, and drives that are up of other failure domains: as many as should vote, an odd
/// number.
fn completed(voters: &[DriveHome], map: &ClusterMap) -> Vec<DriveHome> {
    let wanted = 2 * usize::from(map.protection.parity()) + 1;
    let entry = |home: &DriveHome| map.drives.iter().find(|drive| home_of(drive) == *home);
    let mut next: Vec<_> = voters.iter().copied().filter(|home| entry(home).is_some()).collect();
    let mut domains: BTreeSet<_> = next.iter().filter_map(entry).map(|drive| &drive.failure_domain).collect();
    for drive in map.drives.iter().filter(|drive| drive.state == DriveState::Up) {
        if next.len() < wanted && domains.insert(&drive.failure_domain) {
            next.push(home_of(drive));
        }
    }
    if next.len().is_multiple_of(2) {
        next.pop();
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn any_parity_many_drives_may_be_lost() {
        let map = fixture::map();
        let voters = choose_voters(&map);
        assert_eq!(voters.current.len(), 5);
        for a in &voters.current {
            for b in &voters.current {
                let left = voters.current.iter().copied().filter(|home| home != a && home != b);
                assert!(voters.agree(&left.collect()), "without {a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn few_domains_give_an_odd_number_and_no_domain_votes_twice() {
        let mut map = fixture::map();
        map.drives[0].state = DriveState::Down;
        map.drives[1].failure_domain = map.drives[2].failure_domain.clone();
        let voters = choose_voters(&map);
        assert_eq!(voters.current.len(), 5, "of five domains every one");
        map.drives[3].failure_domain = map.drives[2].failure_domain.clone();
        let voters = choose_voters(&map);
        assert_eq!(voters.current.len(), 3, "of four domains three");
        assert!(
            voters.current.iter().all(|home| home.drive != map.drives[0].id),
            "one that is down comes last"
        );
    }

    fn homes(map: &ClusterMap, list: &[usize]) -> Vec<DriveHome> {
        list.iter().map(|n| home_of(&map.drives[*n])).collect()
    }

    /// Both sets, and the one that decides alone afterwards.
    fn go_on(voters: &Voters, map: &ClusterMap) -> Voters {
        let both = next_voters(voters, map).expect("others bridge more");
        let alone = next_voters(&both, map).expect("the new ones");
        assert!(voters.may_become(&both) && both.may_become(&alone));
        assert_eq!(next_voters(&alone, map), None);
        alone
    }

    #[test]
    fn after_an_accepted_loss_drives_that_return_vote_again() {
        let mut map = fixture::map();
        assert_eq!(next_voters(&choose_voters(&map), &map), None, "there are enough");
        let few = Voters::of(homes(&map, &[0, 1, 5]));
        for drive in [2, 3, 4] {
            map.drives[drive].state = DriveState::Down;
        }
        assert_eq!(next_voters(&few, &map), None, "nobody else is there");
        map.drives[3].state = DriveState::Up;
        assert_eq!(next_voters(&few, &map), None, "four bridge no more losses than three");
        map.drives[2].state = DriveState::Up;
        assert_eq!(go_on(&few, &map), Voters::of(homes(&map, &[0, 1, 5, 2, 3])));
    }

    #[test]
    fn others_stand_in_for_a_drive_that_came_back_blank_and_for_none_that_is_down() {
        let mut map = fixture::map();
        let voters = choose_voters(&map);
        for drive in [1, 4] {
            map.drives[drive].state = DriveState::Down;
            assert_eq!(next_voters(&voters, &map), None, "its vote waits for it");
        }
        for drive in [1, 4] {
            map.drives[drive].state = DriveState::Up;
        }
        map.drives[0].incarnation = map.drives[0].incarnation.next();
        let anew = go_on(&voters, &map);
        assert_eq!(anew.current.len(), 5);
        assert!(!anew.current.contains(&voters.current[0]), "what it promised it has forgotten");
    }

    #[test]
    fn while_voters_are_away_any_others_up_to_the_parity_may_be_lost_for_good() {
        let mut map = fixture::map();
        let voters = choose_voters(&map);
        let of = |home: &DriveHome, map: &ClusterMap| {
            map.drives.iter().position(|drive| home_of(drive) == *home).expect("known")
        };
        for away in &voters.current[3..] {
            let away = of(away, &map);
            map.drives[away].state = DriveState::Down;
        }
        let deciding = next_voters(&voters, &map).unwrap_or(voters.clone());
        // Now two of those that stayed are lost, and the two come back.
        let left = voters.current[2..].iter().copied().collect();
        assert!(deciding.agree(&left), "two lost of six are bridged");
    }
}
