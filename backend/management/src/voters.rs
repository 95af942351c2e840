//! Which drives vote on the cluster store. Pure.

use std::collections::BTreeSet;

use weft_engine::store::Voters;
use weft_layout::{ClusterMap, DriveState};
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
    let homes = drives.into_iter().map(|drive| DriveHome { drive: drive.id, incarnation: drive.incarnation });
    Voters::of(homes.collect())
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
}
