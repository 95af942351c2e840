//! Writing a checkpoint while the log goes on, and publishing it.

use std::collections::BTreeSet;

use weft_wire::log::{DeleteObjects, ObjectKey};
use weft_wire::ownership::{CheckpointRoot, DriveHome, ShardRow};

use super::ReplicatedLog;
use super::history::forget_ends;
use super::row::RowError;
use super::sealing::Failure;
use super::together::Together;
use crate::checkpoint::{CheckpointError, Name, Parts};
use crate::{Index, LogDrives, ShardRegistry, Snapshot};

/// How many lists of drives are tried.
const ATTEMPTS: usize = 4;
/// A row with so many ends or segments is worth a checkpoint, which makes it short again.
const ROW_ENTRIES: usize = 16;

impl From<RowError> for CheckpointError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Deposed(deposed) => Self::Deposed(deposed),
            RowError::Unavailable(reason) => Self::Unavailable { reason },
        }
    }
}

/// Whether a checkpoint is worth its price: the log since the last one is longer than `least` and than the last one
/// itself, so that writing them costs at most as much again as the log; or the row has become long.
pub fn checkpoint_is_due(row: &ShardRow, bytes: u64, least: u64) -> bool {
    let last = row.checkpoint.as_ref().map_or(0, |root| root.bytes);
    bytes > least.max(last) || row.ends.len() >= ROW_ENTRIES || row.segments.len() >= ROW_ENTRIES
}

/// The row once a checkpoint is published; `None` when it has one that is as new.
fn published(row: &ShardRow, root: &CheckpointRoot) -> Option<ShardRow> {
    let known = row.checkpoint.as_ref();
    let newer = |known: &CheckpointRoot| {
        (root.position.seq, root.epoch, root.number) > (known.position.seq, known.epoch, known.number)
    };
    if !known.is_none_or(newer) {
        return None;
    }
    let mut row = row.clone();
    forget_ends(&mut row.ends, root.position);
    // The record at the checkpoint is kept, and so is the segment that has it.
    let behind = row.segments.iter().take_while(|segment| segment.first <= root.position.seq).count();
    row.segments.drain(..behind.saturating_sub(1));
    row.checkpoint = Some(root.clone());
    Some(row)
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    pub(super) fn is_checkpoint_due(&self) -> bool {
        let row = self.row();
        let state = self.state();
        let thin = state.checkpoint_thin.is_some_and(|since| since.elapsed() >= self.settings.rewrite);
        let at_end = row.checkpoint.as_ref().is_some_and(|root| root.position == state.end.position);
        thin || (!at_end && checkpoint_is_due(&row, state.bytes, self.settings.checkpoint_bytes))
    }

    /// [`ShardLog::checkpoint`](crate::ShardLog::checkpoint)
    pub(super) async fn write_checkpoint(&self, index: &Index) -> Result<(), CheckpointError> {
        self.check()?;
        let _one = self.checkpointing.lock().await;
        // Once the log is trimmed, a crash must not throw the index back behind its start.
        index.apply(&[], true)?;
        let bytes_before = self.state().bytes;
        let snapshot = index.snapshot()?;
        let mut failed = BTreeSet::new();
        let mut reason = String::new();
        let mut full = false;
        for _ in 0..ATTEMPTS {
            let chosen = self.choose_for_log(&[], &failed);
            let drives = match chosen {
                Ok(drives) => drives,
                Err(_) if full => return Err(CheckpointError::NoSpace),
                Err(few) => return Err(CheckpointError::Unavailable { reason: few.to_string() }),
            };
            let number = {
                let mut state = self.state();
                state.checkpoints += 1;
                state.checkpoints
            };
            let name = Name { log: self.key, epoch: self.epoch, number };
            match self.write_parts(&snapshot, name, &drives).await? {
                Ok(root) => return self.publish(root, bytes_before).await,
                Err(failures) => {
                    for (home, failure) in failures {
                        full |= failure == Failure::NoSpace;
                        reason = format!("drive {}: {failure}", home.drive);
                        self.shun(home, &failure);
                        failed.insert(home);
                    }
                    // What some of them have is deleted once the next one is published.
                }
            }
            self.check()?;
        }
        Err(if full { CheckpointError::NoSpace } else { CheckpointError::Unavailable { reason } })
    }

    /// Streams the parts to all drives; answers the root, or which drives failed.
    async fn write_parts(
        &self,
        snapshot: &Snapshot,
        name: Name,
        drives: &[DriveHome],
    ) -> Result<Result<CheckpointRoot, Vec<(DriveHome, Failure)>>, CheckpointError> {
        let mut parts = Parts::new(snapshot, name)?;
        while let Some((call, part)) = parts.next()? {
            let mut calls = Together::new();
            for home in drives {
                let part = part.clone();
                calls.add(*home, async move {
                    self.seal(*home).await?;
                    self.within(self.drives.put_object(*home, call, part)).await
                });
            }
            let done = calls.all().await;
            self.check()?;
            let failed: Vec<_> =
                done.into_iter().filter_map(|(home, done)| Some((home, done.err()?))).collect();
            if !failed.is_empty() {
                return Ok(Err(failed));
            }
        }
        Ok(Ok(parts.root(drives)))
    }

    /// Swaps the root in; then what it replaces goes.
    async fn publish(&self, root: CheckpointRoot, bytes_before: u64) -> Result<(), CheckpointError> {
        let old = self.row().checkpoint.clone();
        let row = self.change_row(|row| published(row, &root)).await?;
        if row.checkpoint.as_ref() != Some(&root) {
            return Ok(());
        }
        {
            let mut state = self.state();
            state.bytes -= bytes_before.min(state.bytes);
            state.checkpoint_thin = None;
        }
        tracing::info!(shard = %self.key.shard, position = %root.position, bytes = root.bytes, "checkpoint published");
        if let Some(old) = old {
            self.delete_checkpoint(&old).await;
        }
        Ok(())
    }

    /// Deletes the objects of a checkpoint that was replaced. What cannot be deleted now is, when its drive is swept.
    async fn delete_checkpoint(&self, root: &CheckpointRoot) {
        let key = |part| ObjectKey { log: self.key, epoch: root.epoch, number: root.number, part };
        let keys: Vec<_> = (0..root.parts).map(key).collect();
        let mut calls = Together::new();
        for home in &root.drives {
            let keys = &keys;
            calls.add(*home, async move {
                self.seal(*home).await?;
                for keys in keys.chunks(4096) {
                    let call = DeleteObjects { epoch: self.epoch, keys: keys.to_vec() };
                    self.within(self.drives.delete_objects(*home, call)).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        calls.all().await;
    }
}
