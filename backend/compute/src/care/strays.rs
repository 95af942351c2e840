//! Shards that are to be deleted once no reader can be at them any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use weft_layout::ClusterMap;
use weft_meta::{ExtentRow, placed, session};
use weft_types::ExtentId;
use weft_wire::drive::ShardKey;
use weft_wire::ownership::DriveHome;

use super::homes::{everywhere, home};
use super::seam::known;
use super::verdict::{Verdict, verdict};
use super::{Care, CareError, ExtentRows, ShardHomes, Unanswered};

/// Most that are remembered; others are found again.
const STRAYS_MAX: usize = 1 << 16;
/// Strays that are deleted in one go.
const AT_ONCE: usize = 256;
/// When a stray is tried again that a drive did not delete.
const AGAIN: Duration = Duration::from_secs(10);

/// A shard on a drive that nobody will look for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stray {
    /// When it may go.
    pub(super) due: Instant,
    /// Where it is.
    pub(super) home: DriveHome,
    /// Which it is.
    pub(super) key: ShardKey,
}

/// Strays in the order in which they are due, or nearly.
#[derive(Debug, Default)]
pub(super) struct Strays(VecDeque<Stray>);

impl Strays {
    /// Remembers one.
    pub(super) fn push(&mut self, stray: Stray) {
        if self.0.len() < STRAYS_MAX {
            self.0.push_back(stray);
        }
    }

    /// Takes at most `limit` that are due from the front.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<Stray> {
        let due = self.0.iter().take(limit).take_while(|stray| stray.due <= now).count();
        self.0.drain(..due).collect()
    }
}

impl Care {
    /// Remembers what is left of an extent where it does not belong any more.
    pub(super) fn leave_strays(&self, map: &ClusterMap, id: ExtentId, row: &ExtentRow) {
        let Some(group) = map.group(row.group) else { return };
        let due = Instant::now() + self.settings.deletion_delay;
        for (drive, key) in everywhere(map, id, row).into_iter().flatten() {
            let holder = group.holder(row.geometry.protection(), key.index, id.seq);
            let Some(drive) = map.drive(drive).filter(|drive| Some(drive.id) != holder) else { continue };
            self.state().strays.push(Stray { due, home: home(drive), key });
        }
    }

    /// Deletes strays that are due and still are strays by this map.
    pub(super) async fn delete_strays(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        map: &ClusterMap,
    ) -> Result<(), CareError> {
        while self.has_settled() && rows.may_act() && !rows.is_dropping() {
            let due = self.state().strays.take_due(Instant::now(), AT_ONCE);
            if due.is_empty() {
                break;
            }
            for (home, keys) in by_home(due) {
                let answered = self.delete_if_stray(rows, homes, map, home, &keys).await?;
                if answered.is_err() {
                    let due = Instant::now() + AGAIN;
                    keys.into_iter().for_each(|key| self.state().strays.push(Stray { due, home, key }));
                }
            }
        }
        Ok(())
    }

    /// Deletes those of a drive's shards that are strays or orphans by this map and the rows as they are now.
    async fn delete_if_stray(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        map: &ClusterMap,
        home: DriveHome,
        keys: &[ShardKey],
    ) -> Result<Result<(), Unanswered>, CareError> {
        let extents: BTreeSet<_> = keys.iter().map(|key| key.extent).collect();
        let taken: Vec<_> = extents.iter().filter_map(|id| self.busy.take(*id)).collect();
        if taken.len() < extents.len() {
            return Ok(Err(Unanswered));
        }
        let before = self.before(rows);
        let proven = known(rows, |tx| {
            let mut proven = Vec::new();
            for key in keys {
                let row = placed::find(tx, key.extent)?;
                let session = session::state(tx, key.extent.session)?;
                let found = verdict(map, home.drive, *key, row.as_ref(), session, before);
                // What was a stray and has lost its row was deleted elsewhere: it never gets a row again.
                if found != Verdict::Keep || row.is_none() {
                    proven.push(*key);
                }
            }
            Ok(proven)
        });
        let proven = proven.await?;
        let newest = homes.map().is_some_and(|newest| newest.version == map.version);
        if !newest || !rows.may_act() {
            return Ok(Err(Unanswered));
        }
        let count = proven.len();
        let answer = if proven.is_empty() { Ok(()) } else { homes.delete(home, proven).await };
        if answer.is_ok() {
            self.count_deleted(count);
        }
        Ok(answer)
    }
}

fn by_home(strays: Vec<Stray>) -> BTreeMap<DriveHome, Vec<ShardKey>> {
    let mut by_home: BTreeMap<_, Vec<_>> = BTreeMap::new();
    strays.into_iter().for_each(|stray| by_home.entry(stray.home).or_default().push(stray.key));
    by_home
}
