//! Dead extents: their shards are deleted from all drives that may hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use weft_layout::{ClusterMap, DriveState};
use weft_meta::{ExtentRow, reclaim};
use weft_types::{DriveId, ExtentId, MapVersion};
use weft_wire::drive::{DELETE_MAX, ShardKey};
use weft_wire::ownership::DriveHome;

use super::homes::{everywhere, home};
use super::seam::{changed, known};
use super::{Care, CareError, ExtentRows, ShardHomes, Unanswered};

/// Dead extents looked at in one go.
const PAGE: usize = 1024;
/// Drives that are asked at a time.
const DRIVES: usize = 64;
/// How long a drive that did not delete is left alone.
const BACK_OFF: Duration = Duration::from_secs(5);

/// Deletes shards, and remembers which drives do not answer.
#[derive(Debug)]
pub struct Deleter<H> {
    homes: H,
    /// Drives to leave alone until then.
    resting: Mutex<BTreeMap<DriveId, Instant>>,
}

impl<H: ShardHomes> Deleter<H> {
    /// Deletes at these drives.
    pub fn over(homes: H) -> Self {
        Self { homes, resting: Mutex::default() }
    }

    /// The drives.
    pub fn homes(&self) -> &H {
        &self.homes
    }

    /// Deletes all shards of these extents from every present and earlier member of their groups, and answers the
    /// extents of which every one of those drives has said that it holds nothing.
    ///
    /// A drive that has left the map holds nothing that counts; one that is down, or fails, keeps its extents out of
    /// the answer. That the extents are dead is durable before this is called.
    pub async fn delete(&self, extents: &[(ExtentId, ExtentRow)]) -> Vec<ExtentId> {
        let Some(map) = self.homes.map() else { return Vec::new() };
        let mut by_drive: BTreeMap<DriveId, Vec<ShardKey>> = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for (id, row) in extents {
            match everywhere(&map, *id, row) {
                Some(homes) => {
                    homes.into_iter().for_each(|(drive, key)| by_drive.entry(drive).or_default().push(key))
                }
                None => {
                    tracing::warn!(extent = %id, group = %row.group, "an extent's group is not in the map");
                    kept.insert(*id);
                }
            }
        }
        for keys in self.delete_at_drives(&map, by_drive).await {
            kept.extend(keys.into_iter().map(|key| key.extent));
        }
        extents.iter().map(|(id, _)| *id).filter(|id| !kept.contains(id)).collect()
    }

    /// Deletes shards by drive, all drives at once; answers those that may still be there.
    async fn delete_at_drives(
        &self,
        map: &ClusterMap,
        by_drive: BTreeMap<DriveId, Vec<ShardKey>>,
    ) -> Vec<Vec<ShardKey>> {
        let calls = by_drive.into_iter().filter_map(|(id, keys)| {
            let drive = map.drive(id)?;
            let rests = drive.state == DriveState::Down
                || self.resting().get(&id).is_some_and(|until| *until > Instant::now());
            Some((home(drive), rests, keys))
        });
        let calls: Vec<_> = calls.collect();
        let deletions = calls.into_iter().map(|(home, rests, keys)| self.delete_at(home, rests, keys));
        stream::iter(deletions).buffered(DRIVES).collect().await
    }

    async fn delete_at(&self, home: DriveHome, rests: bool, keys: Vec<ShardKey>) -> Vec<ShardKey> {
        if rests {
            return keys;
        }
        let mut left = keys.as_slice();
        while !left.is_empty() {
            let (some, rest) = left.split_at(left.len().min(DELETE_MAX));
            if let Err(Unanswered) = self.homes.delete(home, some.to_vec()).await {
                self.resting().insert(home.drive, Instant::now() + BACK_OFF);
                return left.to_vec();
            }
            left = rest;
        }
        Vec::new()
    }

    fn resting(&self) -> MutexGuard<'_, BTreeMap<DriveId, Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dead extents that drives kept.
#[derive(Debug)]
pub(super) struct LeftDead {
    left: u64,
    /// By this map.
    map: Option<MapVersion>,
    /// When to try again.
    again: Instant,
}

impl Care {
    /// Goes once through the dead extents that are old enough, and answers how many of them are left. When some are, drives
    /// are not bothered with them again before there is another map or some time has passed. While no drive counts nothing
    /// is deleted.
    ///
    /// # Errors
    /// [`CareError`]
    pub async fn reclaim<H: ShardHomes>(
        &self,
        rows: &impl ExtentRows,
        deleter: &Deleter<H>,
    ) -> Result<u64, CareError> {
        let map = deleter.homes.map();
        let is_suspended = map.as_ref().is_some_and(|map| !map.is_any_up());
        let map = map.map(|map| map.version);
        if let Some(tried) = &self.state().left_dead
            && (is_suspended || tried.map == map && tried.again > Instant::now())
        {
            return Ok(tried.left);
        }
        if is_suspended {
            return Ok(0);
        }
        let before = self.before(rows);
        let (mut after, mut left) = (None, 0);
        while rows.may_act() {
            let page = known(rows, |tx| reclaim::dead_extents(tx, before, after, PAGE)).await?;
            after = page.next;
            let found = page.extents.len();
            let (extents, taken): (Vec<_>, Vec<_>) = page
                .extents
                .into_iter()
                .filter_map(|extent| self.busy.take(extent.0).map(|taken| (extent, taken)))
                .unzip();
            let gone = if extents.is_empty() { Vec::new() } else { deleter.delete(&extents).await };
            left += (found - gone.len()) as u64;
            if !gone.is_empty() {
                changed(rows, |tx| reclaim::forget(tx, &gone)).await?;
            }
            drop(taken);
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let again = Instant::now() + self.settings.again;
        self.state().left_dead = (left > 0).then_some(LeftDead { left, map, again });
        Ok(left)
    }
}
