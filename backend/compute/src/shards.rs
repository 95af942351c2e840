//! Deleting the shards of extents from all drives that may hold them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use weft_layout::{ClusterMap, DriveEntry, DriveState};
use weft_meta::ExtentRow;
use weft_pki::NodeIdentity;
use weft_transport::{Bulk, Peer};
use weft_types::{DriveId, ExtentId, Role};
use weft_wire::drive::{DELETE_MAX, DeleteShards, ShardKey};

use crate::cluster::Cluster;

/// How long a drive may take to delete a batch of shards.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a drive that did not delete is left alone.
const BACK_OFF: Duration = Duration::from_secs(5);

/// Deletes shards, and remembers which drives do not answer.
#[derive(Debug)]
pub(crate) struct ShardDeleter {
    cluster: Arc<Cluster>,
    /// Drives to leave alone until then.
    resting: Mutex<HashMap<DriveId, Instant>>,
}

impl ShardDeleter {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, resting: Mutex::default() }
    }

    /// Deletes all shards of these extents from every present and earlier member of their groups, and answers the
    /// extents of which every one of those drives has said that it holds nothing.
    ///
    /// A drive that has left the map holds nothing that counts; one that is down, or fails, keeps its extents out of
    /// the answer.
    pub(crate) async fn delete(&self, extents: &[(ExtentId, ExtentRow)]) -> Vec<ExtentId> {
        let Some(map) = self.cluster.view().map else { return Vec::new() };
        let mut by_drive: BTreeMap<DriveId, Vec<ShardKey>> = BTreeMap::new();
        let mut unplaced = BTreeSet::new();
        for (id, row) in extents {
            match homes(&map, *id, row) {
                Some(homes) => {
                    homes.into_iter().for_each(|(drive, key)| by_drive.entry(drive).or_default().push(key))
                }
                None => drop(unplaced.insert(*id)),
            }
        }
        let kept = self.delete_keys(&map, by_drive).await;
        let gone = extents.iter().map(|(id, _)| *id);
        gone.filter(|id| !unplaced.contains(id) && !kept.contains(id)).collect()
    }

    /// Deletes shards by drive, all drives at once; answers the extents that may still have shards.
    async fn delete_keys(
        &self,
        map: &ClusterMap,
        by_drive: BTreeMap<DriveId, Vec<ShardKey>>,
    ) -> BTreeSet<ExtentId> {
        let mut kept = BTreeSet::new();
        let mut calls = JoinSet::new();
        for (id, keys) in by_drive {
            match map.drive(id) {
                None => {}
                Some(drive) if self.is_resting(drive) => kept.extend(keys.iter().map(|key| key.extent)),
                Some(drive) => match peer(map, drive) {
                    Some(peer) => drop(calls.spawn(delete_on(Arc::clone(&self.cluster), id, peer, keys))),
                    None => kept.extend(keys.iter().map(|key| key.extent)),
                },
            }
        }
        while let Some(outcome) = calls.join_next().await {
            let Ok(outcome) = outcome else { continue };
            if !outcome.left.is_empty() {
                let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
                resting.insert(outcome.drive, Instant::now() + BACK_OFF);
            }
            kept.extend(outcome.left.iter().map(|key| key.extent));
        }
        kept
    }

    fn is_resting(&self, drive: &DriveEntry) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        drive.state == DriveState::Down || resting.get(&drive.id).is_some_and(|until| *until > Instant::now())
    }
}

/// Where shards of an extent may be; `None` when the map does not know its group.
fn homes(map: &ClusterMap, id: ExtentId, row: &ExtentRow) -> Option<BTreeSet<(DriveId, ShardKey)>> {
    let Some(group) = map.group(row.group) else {
        tracing::warn!(extent = %id, group = %row.group, "an extent's placement group is not in the map");
        return None;
    };
    let protection = row.geometry.protection();
    let mut homes = BTreeSet::new();
    for index in row.geometry.stored_shards() {
        let drives = group.holder(protection, index, id.seq).into_iter();
        let drives = drives.chain(group.earlier_holders(protection, index, id.seq));
        homes.extend(drives.map(|drive| (drive, ShardKey { extent: id, index })));
    }
    Some(homes)
}

fn peer(map: &ClusterMap, drive: &DriveEntry) -> Option<Peer> {
    let identity = NodeIdentity { cluster: map.cluster, role: Role::Drive, node: drive.node };
    Some(Peer { identity, address: drive.address.parse().ok()? })
}

/// What became of one drive's shards.
struct Outcome {
    drive: DriveId,
    /// Those that it did not say it has deleted.
    left: Vec<ShardKey>,
}

async fn delete_on(cluster: Arc<Cluster>, drive: DriveId, peer: Peer, mut keys: Vec<ShardKey>) -> Outcome {
    let pool = cluster.pool.failing_fast();
    while !keys.is_empty() {
        let rest = keys.split_off(keys.len().min(DELETE_MAX));
        let call = DeleteShards { keys };
        if let Err(error) = pool.call(&peer, &call, Bulk::none(), ANSWER_MAX).await {
            tracing::debug!(%drive, error = &error as &dyn std::error::Error, "a drive does not delete");
            let mut left = call.keys;
            left.extend(rest);
            return Outcome { drive, left };
        }
        keys = rest;
    }
    Outcome { drive, left: Vec::new() }
}
