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
    let per_domain = usize::from(map.protection.max_shards_per_domain()).max(1);
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
    candidates.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
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
