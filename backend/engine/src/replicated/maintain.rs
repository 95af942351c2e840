//! Upkeep: copies on enough drives, and nothing kept that is not needed.

use std::collections::BTreeSet;

use tokio::time::Instant;
use weft_types::Position;
use weft_wire::log::{DeleteObjects, ListObjects, ObjectKey, TrimLog};
use weft_wire::ownership::{DriveHome, LogSegment, ShardRow};

use super::append::MoveError;
use super::choose::{home, serves};
use super::row::RowError;
use super::sealing::Failure;
use super::together::Together;
use super::{Pending, ReplicatedLog};
use crate::{LogDrives, MaintainError, ReadError, ShardRegistry};

/// Bytes of records that are copied at once.
const COPY_BYTES: usize = 2 << 20;
/// Drives that are swept at the same time.
const SWEEP_DRIVES: usize = 8;
/// Most objects of one call.
const DELETE_MAX: usize = 4096;

impl From<RowError> for MaintainError {
    fn from(error: RowError) -> Self {
        MoveError::from(error).into()
    }
}

impl From<MoveError> for MaintainError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Deposed(deposed) => Self::Deposed(deposed),
            MoveError::TooFew(few) => Self::Unavailable { reason: few.to_string() },
            MoveError::Unavailable(reason) => Self::Unavailable { reason },
        }
    }
}

/// Swaps the list of the segment that begins at `first` and has the list `old`, and joins segments that lie on the same
/// drives then.
fn with_list(row: &ShardRow, first: u64, old: &[DriveHome], new: &[DriveHome]) -> Option<ShardRow> {
    let mut row = row.clone();
    let segment = row.segments.iter_mut().find(|segment| segment.first == first)?;
    if segment.drives != old {
        return None;
    }
    segment.drives = new.to_vec();
    let same = |a: &LogSegment, b: &LogSegment| {
        a.drives.iter().collect::<BTreeSet<_>>() == b.drives.iter().collect::<BTreeSet<_>>()
    };
    row.segments.dedup_by(|later, earlier| same(later, earlier));
    Some(row)
}

/// Whether a drive may hold records of earlier ownerships from `first` on that are needed there: a segment says that it
/// does, and was not begun by the ownership that the row is of.
fn needs_earlier(row: &ShardRow, home: DriveHome, first: u64) -> bool {
    let own = match (row.ends.last(), &row.checkpoint) {
        (Some(end), _) if end.epoch.next() == row.epoch => end.seq + 1,
        (_, Some(root)) if root.position.epoch == row.epoch => first,
        _ => u64::MAX,
    };
    row.segments.iter().enumerate().any(|(at, segment)| {
        let ends_before = row.segments.get(at + 1).is_some_and(|next| next.first <= first);
        segment.drives.contains(&home) && !ends_before && segment.first < own
    })
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    /// [`ShardLog::maintain`](crate::ShardLog::maintain)
    pub(super) async fn keep_up(&self) -> Result<(), MaintainError> {
        self.check()?;
        let _one = self.maintaining.lock().await;
        self.note_checkpoint_drives();
        self.leave_bad_drives().await?;
        self.copy_behind().await?;
        self.sweep().await?;
        Ok(self.check()?)
    }

    /// Leaves drives of the last list that the map counts as gone, without waiting for an append to fail.
    async fn leave_bad_drives(&self) -> Result<(), MaintainError> {
        let map = self.drives.map();
        let bad = |row: &ShardRow| -> BTreeSet<DriveHome> {
            let list = row.segments.last().map(|last| last.drives.as_slice()).unwrap_or_default();
            list.iter().copied().filter(|home| !serves(&map, *home)).collect()
        };
        if bad(&self.row()).is_empty() {
            return Ok(());
        }
        // An append that is under way finds out by itself.
        let Ok(mut appender) = self.appender.try_lock() else { return Ok(()) };
        if appender.pending.is_some() {
            return Ok(());
        }
        let (bad, first) = (bad(&self.row()), self.state().end.position.seq + 1);
        match self.move_to_others(&mut appender, first, &bad).await {
            // As long as there are no others, these go on.
            Ok(()) | Err(MoveError::TooFew(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies segments before the last one to other drives in the place of those that are gone.
    async fn copy_behind(&self) -> Result<(), MaintainError> {
        let map = self.drives.map();
        let firsts: Vec<_> = self.row().segments.iter().map(|segment| segment.first).collect();
        for first in firsts {
            let row = self.row();
            let Some(at) = row.segments.iter().position(|segment| segment.first == first) else { continue };
            let (segment, Some(next)) = (&row.segments[at], row.segments.get(at + 1)) else { continue };
            let good: Vec<_> = segment.drives.iter().copied().filter(|home| serves(&map, *home)).collect();
            if good.len() == segment.drives.len() {
                continue;
            }
            let until = next.first - 1;
            // On the drives of the next segment, as far as there is a choice: then the two are one.
            let mut wanted = good.clone();
            wanted.extend(next.drives.iter().filter(|home| serves(&map, **home) && !good.contains(home)));
            let shunned = self.shunned(false).into_iter().filter(|home| !good.contains(home)).collect();
            let Ok(list) = super::choose(&map, self.key, &wanted, &shunned) else { continue };
            let new: Vec<_> = list.iter().copied().filter(|home| !segment.drives.contains(home)).collect();
            self.copy_segment(&row, (first, until), &new).await?;
            self.change_row(|row| with_list(row, first, &segment.drives, &list)).await?;
            tracing::info!(shard = %self.key.shard, first, until, "a segment of the log was copied");
        }
        Ok(())
    }

    /// Puts records of a segment on drives that did not have it.
    async fn copy_segment(
        &self,
        row: &ShardRow,
        (first, until): (u64, u64),
        new: &[DriveHome],
    ) -> Result<(), MaintainError> {
        let mut next = row.checkpoint.as_ref().map_or(first, |root| first.max(root.position.seq));
        let failed = |home: DriveHome, failure: Failure| {
            self.shun(home, &failure);
            MaintainError::Unavailable { reason: format!("drive {}: {failure}", home.drive) }
        };
        for home in new {
            let ready = match needs_earlier(row, *home, next) {
                true => self.seal(*home).await.map(|_| ()),
                false => self.prepare(*home, next).await,
            };
            self.check()?;
            ready.map_err(|failure| failed(*home, failure))?;
        }
        let mut before = None;
        while next <= until {
            let run =
                self.fetch(row, (next, until), COPY_BYTES, before).await.map_err(MaintainError::Read)?;
            for whole in run {
                before = Some(whole.digest);
                next = whole.position.seq + 1;
                let record = Pending { position: whole.position, digest: whole.digest, bytes: whole.bytes };
                let mut calls = Together::new();
                for home in new {
                    calls.add(*home, self.put(*home, record.position, record.bytes.clone()));
                }
                for (home, done) in calls.all().await {
                    self.check()?;
                    done.map_err(|failure| failed(home, failure))?;
                }
            }
        }
        Ok(())
    }

    /// Rids drives of what is not needed: records before the checkpoint, void records, and objects of checkpoints that
    /// do not count. Once for each drive and checkpoint; nothing while no drive counts, since the row may be an older one.
    async fn sweep(&self) -> Result<(), MaintainError> {
        let map = self.drives.map();
        if !map.is_any_up() {
            return Ok(());
        }
        let row = self.row();
        let start = row.checkpoint.as_ref().map(|root| root.position).unwrap_or_default();
        let due: Vec<_> = {
            let state = self.state();
            let served = map.drives.iter().map(home).filter(|home| serves(&map, *home));
            served.filter(|home| state.swept.get(home) != Some(&start)).collect()
        };
        for some in due.chunks(SWEEP_DRIVES) {
            let mut calls = Together::new();
            for home in some {
                calls.add(*home, self.sweep_drive(*home, start));
            }
            for (home, done) in calls.all().await {
                self.check()?;
                match done {
                    Ok(()) => drop(self.state().swept.insert(home, start)),
                    Err(reason) => tracing::debug!(drive = %home.drive, reason, "a drive was not swept"),
                }
            }
        }
        Ok(())
    }

    async fn sweep_drive(&self, home: DriveHome, start: Position) -> Result<(), String> {
        let held = self.seal_again(home).await.map_err(|failure| failure.to_string())?;
        let row = self.row();
        let named = row.segments.iter().any(|segment| segment.drives.contains(&home));
        let up_to = start.seq.saturating_sub(1);
        let trim = match held.first {
            None => None,
            // Nothing that it holds of earlier ownerships is needed there.
            Some(_) if !named => {
                Some(TrimLog { log: self.key, epoch: self.epoch, up_to, void_after: Some(up_to) })
            }
            // The record at the checkpoint stays: what follows it is checked against it.
            Some(first) if first <= up_to => {
                Some(TrimLog { log: self.key, epoch: self.epoch, up_to, void_after: None })
            }
            Some(_) => None,
        };
        if let Some(call) = trim {
            self.within(self.drives.trim(home, call)).await.map_err(|failure| failure.to_string())?;
        }
        let root = row.checkpoint.as_ref().map(|root| (root.epoch, root.number));
        let garbage = |key: &ObjectKey| {
            let name = (key.epoch, key.number);
            root != Some(name) && (key.epoch < self.epoch || root.is_some_and(|root| name < root))
        };
        self.delete_objects_of(home, garbage).await
    }

    /// Deletes the objects of a drive that `which` names.
    async fn delete_objects_of(
        &self,
        home: DriveHome,
        which: impl Fn(&ObjectKey) -> bool + Send,
    ) -> Result<(), String> {
        let mut after = None;
        loop {
            let call = self.drives.list_objects(home, ListObjects { log: self.key, after });
            let page = match tokio::time::timeout(self.settings.call, call).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("no answer in time".to_owned()),
            };
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let keys: Vec<_> = page.into_iter().filter(&which).collect();
            for keys in keys.chunks(DELETE_MAX) {
                let call = DeleteObjects { epoch: self.epoch, keys: keys.to_vec() };
                let deleted = self.within(self.drives.delete_objects(home, call)).await;
                deleted.map_err(|failure| failure.to_string())?;
            }
        }
    }

    /// Notes since when a drive of the checkpoint is gone.
    fn note_checkpoint_drives(&self) {
        let (map, row) = (self.drives.map(), self.row());
        let thin =
            row.checkpoint.as_ref().is_some_and(|root| root.drives.iter().any(|home| !serves(&map, *home)));
        let mut state = self.state();
        state.checkpoint_thin = thin.then(|| state.checkpoint_thin.unwrap_or_else(Instant::now));
    }
}

impl From<ReadError> for MaintainError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
