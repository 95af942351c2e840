//! Which drives hold a log.

use std::collections::{BTreeMap, BTreeSet};

use weft_layout::{ClusterMap, DriveEntry, DriveState, Protection};
use weft_wire::log::LogKey;
use weft_wire::ownership::DriveHome;

/// There are not enough drives for another list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{copies} drives are needed, at most {per_domain} of one failure domain; {found} serve")]
pub struct TooFewDrives {
    /// How many drives a list has: M+1.
    pub copies: usize,
    /// How many may share a failure domain: M.
    pub per_domain: usize,
    /// How many could be found.
    pub found: usize,
}

/// The drive as the map has it.
pub(super) const fn home(drive: &DriveEntry) -> DriveHome {
    DriveHome { drive: drive.id, incarnation: drive.incarnation }
}

/// How many drives hold each record: M+1.
pub(super) fn copies(protection: Protection) -> usize {
    usize::from(protection.parity()) + 1
}

/// Whether the map knows of nothing that keeps a drive from holding records.
pub(super) fn serves(map: &ClusterMap, wanted: DriveHome) -> bool {
    let drive = map.drives.iter().find(|drive| home(drive) == wanted);
    drive.is_some_and(|drive| matches!(drive.state, DriveState::Up | DriveState::Returning))
}

/// Chooses M+1 drives for a log: those of `present` first, in their order, whatever the map says of their state; then
/// drives that are up, then drives that are returning (what they missed of a log is known, unlike what they missed of
/// shards), each by a hash of drive and log, so that logs are spread over all drives. Never one of `avoid`, nor one
/// that the map does not have. Failure domains of their own as far as there are enough; at most M in one otherwise.
///
/// # Errors
/// [`TooFewDrives`]
pub fn choose(
    map: &ClusterMap,
    log: LogKey,
    present: &[DriveHome],
    avoid: &BTreeSet<DriveHome>,
) -> Result<Vec<DriveHome>, TooFewDrives> {
    let copies = copies(map.protection);
    let per_domain = usize::from(map.protection.parity());
    let mut candidates: Vec<(usize, [u8; 32], &DriveEntry)> = Vec::new();
    for drive in map.drives.iter().filter(|drive| !avoid.contains(&home(drive))) {
        let rank = match present.iter().position(|one| *one == home(drive)) {
            Some(at) => at,
            None if drive.state == DriveState::Up => present.len(),
            None if drive.state == DriveState::Returning => present.len() + 1,
            None => continue,
        };
        candidates.push((rank, hash(log, home(drive)), drive));
    }
    candidates.sort_by_key(|(rank, hash, _)| (*rank, *hash));
    let mut chosen: Vec<DriveHome> = Vec::new();
    let mut domains: BTreeMap<&str, usize> = BTreeMap::new();
    for most in 1..=per_domain {
        for (.., drive) in &candidates {
            let held = domains.entry(&drive.failure_domain).or_default();
            if chosen.len() < copies && *held < most && !chosen.contains(&home(drive)) {
                *held += 1;
                chosen.push(home(drive));
            }
        }
    }
    let found = chosen.len();
    if found == copies { Ok(chosen) } else { Err(TooFewDrives { copies, per_domain, found }) }
}

fn hash(log: LogKey, home: DriveHome) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&log.filesystem.to_bytes());
    hasher.update(&log.shard.get().to_le_bytes());
    hasher.update(&home.drive.to_bytes());
    hasher.update(&home.incarnation.get().to_le_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_types::{
        ByteCount, ClusterId, DriveId, FilesystemId, Incarnation, MapVersion, MetadataShard, NodeId,
    };

    use super::*;

    const LOG: LogKey =
        LogKey { filesystem: FilesystemId::from_bytes([7; 16]), shard: MetadataShard::new(0) };

    fn drive(n: u8, domain: u8, state: DriveState) -> DriveEntry {
        DriveEntry {
            id: DriveId::from_bytes([n; 16]),
            node: NodeId::from_bytes([n; 16]),
            incarnation: Incarnation::new(1),
            name: format!("drives{n}"),
            address: String::new(),
            failure_domain: format!("host{domain}"),
            capacity: ByteCount::new(1 << 30),
            state,
            returned: MapVersion::default(),
            missing: 0,
        }
    }

    fn map(protection: &str, drives: Vec<DriveEntry>) -> ClusterMap {
        let node = NodeId::from_bytes([0; 16]);
        ClusterMap {
            cluster: ClusterId::from_bytes([9; 16]),
            version: MapVersion::new(1),
            protection: protection.parse().expect("offered"),
            drives,
            groups: Vec::new(),
            computes: Vec::new(),
            management: weft_layout::NodeEntry { node, name: String::new(), address: String::new() },
        }
    }

    fn any_map() -> impl Strategy<Value = ClusterMap> {
        let states = vec![
            DriveState::Up,
            DriveState::Up,
            DriveState::Down,
            DriveState::Draining,
            DriveState::Returning,
        ];
        let drives = prop::collection::vec((0..5_u8, prop::sample::select(states)), 0..9);
        (prop::sample::select(vec!["2+1", "4+2", "6+4"]), drives).prop_map(|(protection, drives)| {
            let drives = drives.into_iter().zip(0..).map(|((domain, state), n)| drive(n, domain, state));
            map(protection, drives.collect())
        })
    }

    proptest! {
        #[test]
        fn lists_span_domains_with_at_most_m_copies_in_one(
            map in any_map(), avoid: prop::sample::Index, present: prop::sample::Index,
        ) {
            let homes: Vec<_> = map.drives.iter().map(home).collect();
            let one = |at: prop::sample::Index| homes.get(at.index(homes.len().max(1))).copied();
            let (avoid, present): (BTreeSet<_>, Vec<_>) =
                (one(avoid).into_iter().collect(), one(present).into_iter().collect());
            let usable = |drive: &&DriveEntry| {
                let serves = matches!(drive.state, DriveState::Up | DriveState::Returning);
                !avoid.contains(&home(drive)) && (serves || present.contains(&home(drive)))
            };
            let mut domains: BTreeMap<&str, usize> = BTreeMap::new();
            map.drives.iter().filter(usable).for_each(|drive| *domains.entry(&drive.failure_domain).or_default() += 1);
            let (copies, most) = (copies(map.protection), usize::from(map.protection.parity()));
            let possible: usize = domains.values().map(|drives| most.min(*drives)).sum();
            match choose(&map, LOG, &present, &avoid) {
                Err(few) => prop_assert!(possible < copies && few.found == possible),
                Ok(list) => {
                    prop_assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), copies);
                    let chosen = |home: &DriveHome| map.drive(home.drive).expect("in the map");
                    prop_assert!(list.iter().all(|home| usable(&chosen(home))));
                    prop_assert!(present.iter().all(|home| avoid.contains(home) || list.contains(home)));
                    let spread: BTreeSet<_> = list.iter().map(|home| &chosen(home).failure_domain).collect();
                    prop_assert_eq!(spread.len(), copies.min(domains.len()), "as far as there are enough");
                    for domain in spread {
                        let held = list.iter().filter(|home| chosen(home).failure_domain == *domain).count();
                        prop_assert!(held <= most);
                    }
                }
            }
        }
    }

    #[test]
    fn logs_are_spread_over_all_drives() {
        let map = map("4+2", (0..12).map(|n| drive(n, n, DriveState::Up)).collect());
        let mut held: BTreeMap<DriveHome, usize> = BTreeMap::new();
        for n in 0..200 {
            let log = LogKey { filesystem: FilesystemId::from_bytes([n; 16]), ..LOG };
            for home in choose(&map, log, &[], &BTreeSet::new()).expect("enough") {
                *held.entry(home).or_default() += 1;
            }
        }
        // 50 each, were it even.
        assert!(held.len() == 12 && held.values().all(|count| (25..=80).contains(count)), "{held:?}");
    }
}
