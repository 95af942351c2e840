//! Appending: a record to all drives of the last list, and to another list when one of them fails.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use weft_types::Position;
use weft_wire::ownership::{DriveHome, LogSegment, ShardRow};

use super::row::RowError;
use super::sealing::Failure;
use super::together::Together;
use super::{Appender, Mark, Pending, ReplicatedLog, TooFewDrives, choose};
use crate::log::{check_order, record};
use crate::{AppendError, BATCH_BYTES_MAX, Batch, Deposed, LogDrives, Room, ShardRegistry};

/// How long to wait before drives that failed are tried again, when there are no others.
const AGAIN: Duration = Duration::from_millis(200);

/// Why the log was not moved to another list.
#[derive(Debug, thiserror::Error)]
pub(super) enum MoveError {
    #[error(transparent)]
    Deposed(#[from] Deposed),
    #[error(transparent)]
    TooFew(#[from] TooFewDrives),
    #[error("{0}")]
    Unavailable(String),
}

impl From<RowError> for MoveError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Deposed(deposed) => Self::Deposed(deposed),
            RowError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// What became of a record that was put to a list.
#[derive(Debug, Default)]
pub(super) struct PutOutcome {
    tight: bool,
    pub(super) failed: Vec<(DriveHome, Failure)>,
}

/// The drives of the last segment.
fn last_list(row: &ShardRow) -> &[DriveHome] {
    row.segments.last().map(|segment| segment.drives.as_slice()).unwrap_or_default()
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    /// [`ShardLog::append`](crate::ShardLog::append)
    pub(super) async fn append_batch(&self, batch: &Batch) -> Result<Position, AppendError> {
        self.check()?;
        let mut appender = self.appender.lock().await;
        self.check()?;
        let end = self.state().end;
        let again = batch.position == end.position && end.position.epoch == self.epoch;
        let predecessor = match &appender.last {
            Some(last) if again => {
                record::decode(&last.bytes, self.key.shard).map(|(header, ..)| header.predecessor)
            }
            _ => Ok(end.digest),
        };
        if !again {
            check_order(batch.position, self.epoch, end.position)?;
        }
        let encoded = predecessor.ok().and_then(|before| record::encode_batch(batch, self.key.shard, before));
        let Some((bytes, digest)) = encoded else {
            return Err(AppendError::TooLarge { bytes: batch.encoded_len(), max: BATCH_BYTES_MAX });
        };
        let pending = Pending { position: batch.position, digest, bytes: Bytes::from(bytes) };
        let standing = if again { &appender.last } else { &appender.pending };
        if standing.as_ref().is_some_and(|standing| standing.digest != digest) {
            // Some drive may hold the other bytes already: two batches would claim one position.
            return Err(AppendError::Conflict(batch.position));
        }
        if !again {
            appender.pending = Some(pending.clone());
            self.store(&mut appender, &pending).await?;
            let mut state = self.state();
            state.end = Mark { position: pending.position, digest };
            state.bytes += pending.bytes.len() as u64;
            drop(state);
            appender.pending = None;
            appender.last = Some(pending);
        }
        Ok(batch.position)
    }

    /// Makes a record durable, on whichever list.
    async fn store(&self, appender: &mut Appender, record: &Pending) -> Result<(), AppendError> {
        let until = Instant::now() + self.settings.patience;
        let mut failed: BTreeSet<DriveHome> = BTreeSet::new();
        loop {
            if appender.moving {
                // Where the record belongs must be known before it counts anywhere.
                let resolved = self.change_row(|_| None).await;
                resolved.map_err(|error| append_error(error.into()))?;
                appender.moving = false;
            }
            let row = self.row();
            let outcome = self.put_to_all(last_list(&row), record).await;
            self.check()?;
            if outcome.failed.is_empty() {
                self.state().room = if outcome.tight { Room::Reserve } else { Room::Ample };
                return Ok(());
            }
            let full = outcome.failed.iter().any(|(_, failure)| *failure == Failure::NoSpace);
            for (home, failure) in &outcome.failed {
                self.shun(*home, failure);
                failed.insert(*home);
            }
            let moved = self.move_to_others(appender, record.position.seq, &failed).await;
            match moved {
                Ok(()) => {}
                Err(MoveError::TooFew(_)) if full => {
                    self.state().room = Room::None;
                    return Err(AppendError::NoSpace);
                }
                Err(error @ MoveError::Deposed(_)) => return Err(append_error(error)),
                Err(error) if Instant::now() >= until => return Err(append_error(error)),
                Err(_) => {
                    // The same drives again: one of them may have recovered.
                    failed.clear();
                    sleep(AGAIN).await;
                }
            }
            if Instant::now() >= until {
                let reason = "drives fail one after the other".to_owned();
                return Err(AppendError::Unavailable { reason });
            }
        }
    }

    /// Puts a record to drives at the same time. One that is not done a second after the record was sent, while another
    /// is, counts as failed.
    pub(super) async fn put_to_all(&self, list: &[DriveHome], record: &Pending) -> PutOutcome {
        let mut outcome = PutOutcome::default();
        let mut calls = Together::new();
        for home in list {
            calls.add(*home, self.put(*home, record.position, record.bytes.clone()));
        }
        let late = Instant::now() + self.settings.late;
        let mut stored = 0;
        loop {
            let next =
                if stored == 0 { Ok(calls.next().await) } else { timeout_at(late, calls.next()).await };
            match next {
                Ok(None) => return outcome,
                Ok(Some((_, Ok(tight)))) => {
                    stored += 1;
                    outcome.tight |= tight;
                }
                Ok(Some((home, Err(failure)))) => outcome.failed.push((home, failure)),
                Err(_) => {
                    let silent = |home| (home, Failure::Silent("it is late".to_owned()));
                    outcome.failed.extend(calls.left().into_iter().map(silent));
                    return outcome;
                }
            }
        }
    }

    /// Swaps in a list without `failed` drives, from sequence `first` on: the lowest that is not acknowledged.
    pub(super) async fn move_to_others(
        &self,
        appender: &mut Appender,
        first: u64,
        failed: &BTreeSet<DriveHome>,
    ) -> Result<(), MoveError> {
        let mut avoid = failed.clone();
        let row = self.row();
        let present: Vec<_> = last_list(&row).iter().copied().filter(|home| !avoid.contains(home)).collect();
        let list = loop {
            let list = self.choose_for_log(&present, &avoid)?;
            let new = || list.iter().filter(|home| !present.contains(home));
            let mut calls = Together::new();
            for home in new() {
                calls.add(*home, self.prepare_in_time(*home, first));
            }
            let failures: Vec<_> =
                calls.all().await.into_iter().filter_map(|(home, done)| Some((home, done.err()?))).collect();
            self.check()?;
            if failures.is_empty() {
                break list;
            }
            for (home, failure) in failures {
                self.shun(home, &failure);
                avoid.insert(home);
            }
        };
        appender.moving = true;
        let wanted = LogSegment { first, drives: list };
        let row = self
            .change_row(|row| {
                let mut row = row.clone();
                let last = row.segments.last()?;
                if *last == wanted || last.first > first {
                    return None;
                }
                if last.first == first {
                    row.segments.pop();
                }
                row.segments.push(wanted.clone());
                Some(row)
            })
            .await?;
        appender.moving = false;
        let drives: Vec<_> = last_list(&row).iter().map(|home| home.drive.short()).collect();
        tracing::info!(shard = %self.key.shard, first, ?drives, "the log was moved");
        Ok(())
    }

    /// Drives for the log, without those that failed lately unless there are no others.
    pub(super) fn choose_for_log(
        &self,
        present: &[DriveHome],
        avoid: &BTreeSet<DriveHome>,
    ) -> Result<Vec<DriveHome>, TooFewDrives> {
        let map = self.drives.map();
        let without = |shunned: BTreeSet<DriveHome>| {
            let shunned = shunned.into_iter().filter(|home| !present.contains(home));
            avoid.iter().copied().chain(shunned).collect::<BTreeSet<_>>()
        };
        choose(&map, self.key, present, &without(self.shunned(false)))
            .or_else(|_| choose(&map, self.key, present, &without(self.shunned(true))))
    }

    async fn prepare_in_time(&self, home: DriveHome, first: u64) -> Result<(), Failure> {
        match tokio::time::timeout(self.settings.late, self.prepare(home, first)).await {
            Ok(done) => done,
            Err(_) => Err(Failure::Silent("it is late".to_owned())),
        }
    }

    /// How much room there is. When there was little, the last record is put again: it changes nothing, and the drives
    /// tell how they stand.
    pub(super) async fn probe_room(&self) -> Room {
        if self.state().room == Room::Ample {
            return Room::Ample;
        }
        let appender = self.appender.lock().await;
        let Some(last) = &appender.last else { return self.state().room };
        let row = self.row();
        let segment = row.segments.last();
        if appender.pending.is_some() {
            return self.state().room;
        }
        // A list that begins behind the record does not hold it: the next append tells how its drives stand.
        if segment.is_none_or(|segment| segment.first > last.position.seq) {
            self.state().room = Room::Ample;
            return Room::Ample;
        }
        let outcome = self.put_to_all(last_list(&row), last).await;
        let full = outcome.failed.iter().any(|(_, failure)| *failure == Failure::NoSpace);
        let room = match (full, outcome.tight) {
            (true, _) => Room::None,
            (false, true) => Room::Reserve,
            (false, false) => Room::Ample,
        };
        self.state().room = room;
        room
    }
}

fn append_error(error: MoveError) -> AppendError {
    match error {
        MoveError::Deposed(deposed) => AppendError::Deposed(deposed),
        MoveError::TooFew(few) => AppendError::Unavailable { reason: few.to_string() },
        MoveError::Unavailable(reason) => AppendError::Unavailable { reason },
    }
}
