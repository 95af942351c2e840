//! The beginning of an ownership: where the log ends, and a full list of drives that hold its tail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use weft_types::{Digest, Epoch};
use weft_wire::log::{LogHeld, LogKey};
use weft_wire::ownership::{DriveGrant, DriveHome, LogSegment, ShardRow};

use super::append::MoveError;
use super::row::{RowCell, RowError};
use super::sealing::Failure;
use super::tail::{Damage, Tail, settle};
use super::together::Together;
use super::{LogSettings, Mark, Pending, ReplicatedLog, State, TooFewDrives, history};
use crate::{Deposed, LogDrives, Room, ShardRegistry};

/// How long to wait before drives that failed are tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Why an ownership did not begin.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// A later one began.
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// None of the drives that hold the end of the log could be sealed, or read: what they hold decides where the log
    /// ends. Try again when one of them serves.
    #[error("none of the drives with the end of the log can be used: {reason}")]
    NoCopy {
        /// What the last one said.
        reason: String,
    },
    /// Batch `seq` was durable once, or may have been, and no drive that answers has it whole.
    #[error("batch {seq} is damaged or missing on every drive of the log that answers: {reason}")]
    Damaged {
        /// The batch.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// The tail cannot be put on enough drives.
    #[error("the log needs more drives")]
    TooFew(#[source] TooFewDrives),
    /// Drives or management do not answer.
    #[error("the ownership cannot begin now: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
}

impl From<RowError> for TakeOverError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Deposed(deposed) => Self::Deposed(deposed),
            RowError::Unavailable(reason) => Self::Unavailable { reason },
        }
    }
}

/// What takeovers find.
struct Found {
    tail: Tail,
    end: Mark,
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    /// Begins an ownership: `row` is the shard's row as management answered it when it raised the epoch, `grants` those
    /// that came with it. On return no earlier ownership appends any more, the ends of all of them are recorded, the
    /// tail of the log is on M+1 drives, and the log is ready.
    ///
    /// An ownership begins once: after an error, or when the future is dropped, take a new epoch.
    ///
    /// # Errors
    /// [`TakeOverError`]
    pub async fn take_over(
        (drives, registry): (D, R),
        key: LogKey,
        row: ShardRow,
        grants: Vec<DriveGrant>,
        settings: LogSettings,
    ) -> Result<Self, TakeOverError> {
        let log = Self {
            drives,
            registry,
            key,
            epoch: row.epoch,
            settings,
            row: RowCell::new(row.clone()),
            appender: tokio::sync::Mutex::default(),
            checkpointing: tokio::sync::Mutex::default(),
            maintaining: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                end: Mark::default(),
                read: None,
                deposed: None,
                room: Room::Ample,
                bytes: 0,
                checkpoints: 0,
                checkpoint_thin: None,
                grants: grants.into_iter().map(|grant| (grant.home, grant.grant)).collect(),
                sealed: BTreeMap::new(),
                shunned: BTreeMap::new(),
                silent: BTreeSet::new(),
                swept: BTreeMap::new(),
            }),
        };
        let until = Instant::now() + settings.patience;
        let found = log.find_end(&row, until).await?;
        let segment = log.spread(&row, &found, until).await?;
        log.record(&row, segment.clone(), found.end.position.seq).await?;
        log.state().end = found.end;
        log.rid_of_void(&segment.drives, found.end.position.seq).await?;
        tracing::info!(shard = %key.shard, epoch = %row.epoch, end = %found.end.position, "the log was taken over");
        Ok(log)
    }

    /// Seals the last list, and finds the end in what its drives hold. One whole copy is enough: no append was done
    /// that it does not have. More are waited for only a little.
    async fn find_end(&self, row: &ShardRow, until: Instant) -> Result<Found, TakeOverError> {
        let Some(last) = row.segments.last() else {
            return Ok(Found { tail: Tail::default(), end: Mark::default() });
        };
        loop {
            let mut reason = "none answered in time".to_owned();
            let sealed = self.seal_list(&last.drives, until, &mut reason).await?;
            let complete = sealed.len() == last.drives.len();
            let error = match self.read_tail(row, last, &sealed).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            // Another drive may have what these lack.
            if complete || Instant::now() >= until {
                return Err(if sealed.is_empty() { TakeOverError::NoCopy { reason } } else { error });
            }
            sleep(AGAIN).await;
        }
    }

    /// Seals drives: all that answer in time, and at least one if any does.
    async fn seal_list(
        &self,
        list: &[DriveHome],
        until: Instant,
        reason: &mut String,
    ) -> Result<BTreeMap<DriveHome, LogHeld>, TakeOverError> {
        let mut calls = Together::new();
        for home in list {
            calls.add(*home, self.seal_until(*home, until));
        }
        let mut sealed = BTreeMap::new();
        let mut wait = until;
        while let Ok(Some((home, answer))) = timeout_at(wait, calls.next()).await {
            self.check()?;
            match answer {
                Ok(held) => {
                    if sealed.is_empty() {
                        wait = wait.min(Instant::now() + self.settings.settle);
                    }
                    sealed.insert(home, held);
                }
                Err(failure) => *reason = format!("drive {}: {failure}", home.drive),
            }
        }
        self.check()?;
        Ok(sealed)
    }

    /// Tries to seal a drive for as long as it is only silent.
    async fn seal_until(&self, home: DriveHome, until: Instant) -> Result<LogHeld, Failure> {
        loop {
            match self.seal(home).await {
                Err(Failure::Silent(_)) if Instant::now() < until => sleep(AGAIN).await,
                answer => return answer,
            }
        }
    }

    /// Reads what sealed drives hold of the last records, and the end from it.
    async fn read_tail(
        &self,
        row: &ShardRow,
        last: &LogSegment,
        sealed: &BTreeMap<DriveHome, LogHeld>,
    ) -> Result<Found, TakeOverError> {
        // All whole copies have everything but the last record in common, so only the end of each is looked at. A drive
        // whose highest record is void tells nothing of that.
        let counts =
            |held: &LogHeld| held.last.filter(|last| history::admits(row, *last)).map(|last| last.seq);
        let highest = sealed.values().filter_map(counts).max().unwrap_or(0);
        // Before a checkpoint there may be nothing any more; its own record is kept.
        let checkpoint = row.checkpoint.as_ref().map_or(0, |root| root.position.seq);
        let from = last.first.max(highest.saturating_sub(1)).max(checkpoint);
        let mut calls = Together::new();
        for home in sealed.keys() {
            calls.add(*home, self.copy_of(*home, from - 1));
        }
        let mut copies = Vec::new();
        let mut reason = "none was sealed".to_owned();
        for (home, copy) in calls.all().await {
            match copy {
                Ok(copy) => copies.push((home, copy)),
                Err(error) => reason = format!("drive {}: {error}", home.drive),
            }
        }
        if copies.is_empty() {
            return Err(TakeOverError::NoCopy { reason });
        }
        let before = if from == last.first { self.before(row, from).await } else { Ok(None) };
        let base = before.as_ref().ok().copied().flatten();
        let damaged = |Damage { seq, reason }| TakeOverError::Damaged { seq, reason };
        let tail =
            settle(from, base.map(|mark| mark.digest), copies, row, self.key.shard).map_err(damaged)?;
        let end = match tail.last() {
            Some(last) => Mark { position: last.position, digest: last.digest },
            None => before?.unwrap_or_default(),
        };
        // What was the end once, or is in a checkpoint, was on enough drives.
        let recorded = row.ends.last().map_or(0, |end| end.seq);
        let known = recorded.max(checkpoint);
        if end.position.seq < known {
            let reason = format!("the log once went to batch {known}");
            return Err(TakeOverError::Damaged { seq: end.position.seq + 1, reason });
        }
        Ok(Found { tail, end })
    }

    /// The record before the last segment.
    async fn before(&self, row: &ShardRow, first: u64) -> Result<Option<Mark>, TakeOverError> {
        if first == 1 {
            return Ok(Some(Mark { digest: Digest([0; 32]), ..Mark::default() }));
        }
        match self.fetch_one(row, first - 1).await {
            Ok(found) => Ok(Some(Mark { position: found.position, digest: found.digest })),
            Err(error) => Err(TakeOverError::Unavailable { reason: error.to_string() }),
        }
    }

    /// Puts the last record on M+1 drives. Answers the segment that is to be the last one.
    async fn spread(
        &self,
        row: &ShardRow,
        found: &Found,
        until: Instant,
    ) -> Result<LogSegment, TakeOverError> {
        let mut avoid: BTreeSet<DriveHome> = BTreeSet::new();
        loop {
            let error = match self.try_spread(row, found, &mut avoid).await {
                Ok(Some(segment)) => return Ok(segment),
                Ok(None) => continue,
                Err(error) => error,
            };
            self.check()?;
            if Instant::now() >= until {
                return Err(error);
            }
            avoid.clear();
            sleep(AGAIN).await;
        }
    }

    /// One attempt with one list; `None` when a drive of it failed, which is avoided then.
    async fn try_spread(
        &self,
        row: &ShardRow,
        found: &Found,
        avoid: &mut BTreeSet<DriveHome>,
    ) -> Result<Option<LogSegment>, TakeOverError> {
        let (old_first, old) = match row.segments.last() {
            Some(last) => (last.first, last.drives.as_slice()),
            None => (1, &[][..]),
        };
        let sealed: BTreeSet<_> = self.state().sealed.keys().copied().collect();
        let intact = |home: &DriveHome| sealed.contains(home) && found.tail.is_intact(*home);
        let good: Vec<_> = old.iter().copied().filter(|home| intact(home) && !avoid.contains(home)).collect();
        let (list, first) = if good.len() == old.len() && !old.is_empty() {
            (good, old_first)
        } else {
            // Those that do not answer now would not acknowledge an append either.
            let silent = old.iter().copied().filter(|home| !good.contains(home));
            let avoid = avoid.iter().copied().chain(silent).collect();
            let list = self.choose_for_log(&good, &avoid).map_err(TakeOverError::TooFew)?;
            (list, old_first.max(found.end.position.seq))
        };
        let last = found.tail.last().filter(|last| last.position.seq >= first);
        let last = last.map(|last| Pending {
            position: last.position,
            digest: last.digest,
            bytes: last.bytes.clone(),
        });
        let mut calls = Together::new();
        for home in &list {
            let (is_new, lacks) = (!old.contains(home), !found.tail.has_last(*home));
            let last = last.as_ref().filter(|_| lacks);
            calls.add(*home, async move {
                if is_new {
                    self.prepare(*home, first).await?;
                }
                match last {
                    Some(last) => self.put(*home, last.position, last.bytes.clone()).await.map(|_| ()),
                    None => Ok(()),
                }
            });
        }
        let mut failed = false;
        for (home, done) in calls.all().await {
            if let Err(failure) = done {
                self.shun(home, &failure);
                avoid.insert(home);
                failed = true;
            }
        }
        self.check()?;
        Ok((!failed).then_some(LogSegment { first, drives: list }))
    }

    /// Swaps in the ends of all earlier ownerships, and the list.
    async fn record(&self, base: &ShardRow, segment: LogSegment, end: u64) -> Result<(), TakeOverError> {
        let mut wanted = base.clone();
        wanted.version += 1;
        history::record_end(&mut wanted.ends, Epoch::new(self.epoch.get().saturating_sub(1)), end);
        if wanted.segments.last().is_some_and(|last| last.first == segment.first) {
            wanted.segments.pop();
        }
        wanted.segments.push(segment);
        let row = self.change_row(|row| (row == base).then(|| wanted.clone())).await?;
        if *row == wanted {
            return Ok(());
        }
        Err(TakeOverError::Unavailable { reason: "somebody else changed the row".to_owned() })
    }

    /// Deletes what drives of the list hold past the end, so that nothing stands where batches will be appended.
    async fn rid_of_void(&self, list: &[DriveHome], end: u64) -> Result<(), TakeOverError> {
        let mut calls = Together::new();
        for home in list {
            let held = self.state().sealed.get(home).copied();
            if held.and_then(|held| held.last).is_some_and(|last| last.seq > end) {
                calls.add(*home, self.void(*home, end));
            }
        }
        for (home, done) in calls.all().await {
            if let Err(failure) = done {
                // The first append will leave it, if the records are in the way.
                tracing::warn!(drive = %home.drive, reason = %failure, "void records were not deleted");
            }
        }
        Ok(self.check()?)
    }
}

impl From<MoveError> for TakeOverError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Deposed(deposed) => Self::Deposed(deposed),
            MoveError::TooFew(few) => Self::TooFew(few),
            MoveError::Unavailable(reason) => Self::Unavailable { reason },
        }
    }
}
