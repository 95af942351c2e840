//! The loop that seals batches, has the log take them, and applies to the index what is durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use weft_engine::{AppendError, Batch, CheckpointError, Index, IndexError, MaintainError, Room, ShardLog};

use super::Shared;
use crate::rows::{SealError, Sealer, Taken};

/// The index is made durable this often while batches come, and this long after the last one.
const INDEX_EVERY: Duration = Duration::from_secs(3);
/// How long to wait before a batch that found no space is tried again.
const SPACE_EVERY: Duration = Duration::from_millis(500);
/// How long to wait before a batch that too few drives took is tried again.
const DRIVES_EVERY: Duration = Duration::from_millis(100);
/// How often the log's upkeep is seen to.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);
/// How long to wait after a checkpoint that was not written.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(10);

/// Why the owner gives up.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("a batch could not be sealed")]
    Seal(#[from] SealError),
    #[error("a batch could not be appended to the log")]
    Append(#[source] AppendError),
    #[error("a batch could not be applied to the index")]
    Index(#[from] IndexError),
    #[error("the ownership has ended")]
    Deposed(#[from] weft_engine::Deposed),
}

/// Commits an owner's batches for as long as it [runs](Self::run).
pub struct Worker<L> {
    committing: Committing,
    log: L,
    /// The last to be dropped.
    told: Told,
}

struct Committing {
    shared: Arc<Shared>,
    index: Arc<Index>,
    sealer: Sealer,
    /// When the index was durable last.
    durable_at: Instant,
    /// Batches that the index would lose in a crash.
    lag: u64,
}

/// Tells those who wait of the end, whatever it is, when dropped.
struct Told(Arc<Shared>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.abandon(false);
        self.0.ended.send_replace(true);
    }
}

/// What there is to do.
enum Next {
    Commit(Taken),
    Idle,
    /// The owner closes: finish.
    Stop,
    /// The owner is gone, or has failed: what is not durable yet is nobody's.
    Abandoned,
}

impl<L: ShardLog> Worker<L> {
    pub(super) fn new(shared: Arc<Shared>, index: Arc<Index>, log: L, sealer: Sealer) -> Self {
        let told = Told(Arc::clone(&shared));
        let committing = Committing { shared, index, sealer, durable_at: Instant::now(), lag: 0 };
        Self { committing, log, told }
    }

    /// Commits until the owner is closed or dropped, or cannot go on. Dropping the future is the end of the process.
    pub async fn run(self) {
        // Dropped in the opposite order: who is told finds the index and the log free.
        let Self { told, log, mut committing } = self;
        let index = Arc::clone(&committing.index);
        let outcome = tokio::select! {
            biased;
            committed = committing.commit(&log) => committed,
            kept = keep(&log, &index) => kept.map_err(CommitError::from),
        };
        if let Err(error) = outcome {
            let deposed =
                matches!(error, CommitError::Deposed(_) | CommitError::Append(AppendError::Deposed(_)));
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the owner of a metadata shard gives up");
            told.0.abandon(deposed);
        }
    }
}

impl Committing {
    async fn commit(&mut self, log: &impl ShardLog) -> Result<(), CommitError> {
        loop {
            match self.next().await {
                Next::Commit(taken) => {
                    let batch = self.sealer.seal(&taken)?;
                    if !self.append(log, &batch).await? {
                        return Ok(());
                    }
                    let durable = self.durable_at.elapsed() >= INDEX_EVERY;
                    self.index.apply(&[batch], durable)?;
                    self.lag += 1;
                    self.shared.lock().rows.applied(taken);
                    if durable {
                        self.index_is_durable();
                    }
                }
                Next::Idle => {
                    if self.lag > 0 {
                        self.index.apply(&[], true)?;
                        self.index_is_durable();
                    }
                    self.ask_for_room(log).await;
                }
                Next::Stop => {
                    self.index.apply(&[], true)?;
                    return Ok(());
                }
                Next::Abandoned => return Ok(()),
            }
        }
    }

    /// Waits for a batch, or for time to pass.
    async fn next(&self) -> Next {
        let limited = self.shared.progress.borrow().room < Room::Ample;
        let until = Instant::now() + if limited { SPACE_EVERY } else { INDEX_EVERY };
        loop {
            if self.is_abandoned() {
                return Next::Abandoned;
            }
            {
                let mut inner = self.shared.lock();
                if let Some(taken) = inner.rows.take() {
                    return Next::Commit(taken);
                }
                if inner.stopping {
                    return Next::Stop;
                }
            }
            if tokio::time::timeout_at(until, self.shared.wake.notified()).await.is_err() {
                return Next::Idle;
            }
        }
    }

    /// Makes a batch durable. What drives do not take is tried again, the same bytes each time; false: meanwhile the
    /// owner is gone, or closes. Nobody was answered for what is in the batch.
    async fn append(&self, log: &impl ShardLog, batch: &Batch) -> Result<bool, CommitError> {
        let mut waits = false;
        loop {
            let appended = tokio::select! {
                biased;
                appended = log.append(batch) => appended,
                () = self.abandoned() => return Ok(false),
            };
            let pause = match appended {
                Ok(position) => {
                    self.shared.progress.send_modify(|progress| {
                        progress.durable = position.seq;
                        progress.batches += 1;
                    });
                    self.ask_for_room(log).await;
                    return Ok(true);
                }
                Err(AppendError::NoSpace) => {
                    self.shared.progress.send_modify(|progress| progress.room = Room::None);
                    SPACE_EVERY
                }
                Err(AppendError::Unavailable { .. }) => DRIVES_EVERY,
                Err(error) => return Err(CommitError::Append(error)),
            };
            if self.shared.lock().stopping {
                return Ok(false);
            }
            if !waits {
                tracing::warn!(batch = %batch.position, "a batch waits for drives, or for space on them");
                waits = true;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = self.abandoned() => return Ok(false),
            }
        }
    }

    async fn ask_for_room(&self, log: &impl ShardLog) {
        let room = log.room().await;
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.room != room;
            progress.room = room;
            changed
        });
    }

    fn index_is_durable(&mut self) {
        self.durable_at = Instant::now();
        self.lag = 0;
    }

    fn is_abandoned(&self) -> bool {
        self.shared.progress.borrow().failed
    }

    async fn abandoned(&self) {
        let mut progress = self.shared.progress.subscribe();
        // The sender is in `self`.
        let _ = progress.wait_for(|progress| progress.failed).await;
    }
}

/// Sees to the log's upkeep and writes checkpoints, beside the commits, until the ownership has ended.
async fn keep(log: &impl ShardLog, index: &Index) -> Result<(), weft_engine::Deposed> {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut not_before = Instant::now();
    loop {
        ticks.tick().await;
        match log.maintain().await {
            Ok(()) => {}
            Err(MaintainError::Deposed(deposed)) => return Err(deposed),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the upkeep of a log waits");
            }
        }
        if !log.checkpoint_due() || Instant::now() < not_before {
            continue;
        }
        match log.checkpoint(index).await {
            Ok(()) => {}
            Err(CheckpointError::Deposed(deposed)) => return Err(deposed),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a checkpoint was not written");
                not_before = Instant::now() + CHECKPOINT_PAUSE;
            }
        }
    }
}
