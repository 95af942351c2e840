//! Drives that come back: what they hold is compared with what they should hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_layout::{ClusterMap, DriveEntry, DriveState};
use weft_meta::ExtentRow;
use weft_meta::placed::{self, Cursor};
use weft_types::{DriveId, ExtentId};
use weft_wire::drive::ShardKey;
use weft_wire::ownership::Reconciled;

use super::homes::{expected_at, home};
use super::seam::known;
use super::{Care, CareError, ExtentRows, ShardHomes};

/// Extent rows read in one go.
const PAGE: usize = 512;

/// A drive's shards beside the extents in use, both in the order of their ids. Pure.
///
/// For every stretch of ids the drive must have been asked before the rows are read: what is missing then was not there
/// while its extent was in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Comparison {
    /// Shards that the drive said it has, of extents that were not compared yet.
    held: BTreeSet<ShardKey>,
    missing: u64,
    compared: u64,
}

impl Comparison {
    /// The drive has these.
    fn hold(&mut self, keys: Vec<ShardKey>) {
        self.held.extend(keys);
    }

    /// An extent in use; all shards of it that the drive has were [held](Self::hold).
    fn compare(&mut self, map: &ClusterMap, drive: DriveId, id: ExtentId, row: &ExtentRow) {
        for key in expected_at(map, drive, id, row) {
            self.compared += 1;
            if !self.held.contains(&key) {
                self.missing += 1;
            }
        }
    }

    /// All extents before this one are compared.
    fn forget_before(&mut self, id: ExtentId) {
        self.held.retain(|key| key.extent >= id);
    }
}

impl Care {
    /// Compares drives that have come back with the extent rows, one after the other; management hears of it with the next
    /// [report](Self::report).
    ///
    /// # Errors
    /// [`CareError`]; the drive is compared anew when this is called again.
    pub async fn compare(&self, rows: &impl ExtentRows, homes: &impl ShardHomes) -> Result<(), CareError> {
        // Under a map that is acted upon nothing new is committed for a drive that is only coming back.
        let Some(map) = self.state().acted.clone() else { return Ok(()) };
        let returning = map.drives.iter().filter(|drive| drive.state == DriveState::Returning);
        let is_done = |drive: &&DriveEntry| {
            let state = self.state();
            state.reconciled.get(&home(drive)).is_some_and(|done| done.returned == drive.returned)
        };
        let due: Vec<_> = returning.filter(|drive| !is_done(drive)).collect();
        self.state().reconciling = due.iter().map(|drive| home(drive)).collect();
        for drive in due {
            // What is being deleted is not missed.
            let found = if rows.is_dropping() {
                Comparison::default()
            } else {
                self.compare_drive(rows, homes, &map, drive).await?
            };
            let reconciled =
                Reconciled { home: home(drive), returned: drive.returned, missing: found.missing };
            tracing::info!(
                drive = %drive.id, compared = found.compared, missing = found.missing,
                "a drive that came back was compared"
            );
            let mut state = self.state();
            state.reconciling.remove(&reconciled.home);
            state.reconciled.insert(reconciled.home, reconciled);
            // What it still has of extents that went meanwhile is found by looking at all that it has.
            state.next_scrub.remove(&reconciled.home);
        }
        Ok(())
    }

    async fn compare_drive(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        map: &Arc<ClusterMap>,
        drive: &DriveEntry,
    ) -> Result<Comparison, CareError> {
        let mut comparison = Comparison::default();
        let mut next = Some(Cursor::START);
        let mut after = None;
        loop {
            let keys = homes.list(home(drive), after).await?;
            after = keys.last().copied();
            // Further shards of the last extent may be on the next page.
            let until = after.map(|key| key.extent);
            comparison.hold(keys);
            while let Some(from @ Cursor::InUse(_)) = next {
                let page = known(rows, |tx| placed::extents(tx, from, PAGE)).await?;
                let mut last = None;
                let mut beyond = false;
                for (id, row) in &page.extents {
                    beyond = until.is_some_and(|until| *id >= until);
                    if beyond {
                        break;
                    }
                    comparison.compare(map, drive.id, *id, row);
                    last = Some(*id);
                }
                if beyond {
                    next = last.map_or(next, |last| Some(Cursor::InUse(Some(last))));
                    break;
                }
                next = page.next;
                tokio::task::yield_now().await;
            }
            match until {
                Some(until) => comparison.forget_before(until),
                None => return Ok(comparison),
            }
        }
    }
}
