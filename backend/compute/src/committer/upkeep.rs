//! The loop that has the index follow the log, and sees to the log's upkeep.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use weft_engine::{CheckpointError, Deposed, Index, MaintainError, ShardLog};

use super::unapplied::Fill;
use super::worker::{CommitError, Half};

/// The index is made durable this long after the first batch that it would lose in a crash.
const INDEX_EVERY: Duration = Duration::from_secs(3);
/// How often the log's upkeep is seen to.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);
/// How long to wait after a checkpoint that was not written.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(10);

/// Applies to the index what is durable in the log, keeps the log up, and writes checkpoints. Blocks while it reads or
/// writes the index.
pub struct Upkeep<L> {
    index: Arc<Index>,
    log: Arc<L>,
    /// The last to be dropped.
    half: Half,
}

impl<L: ShardLog> Upkeep<L> {
    pub(super) const fn new(index: Arc<Index>, log: Arc<L>, half: Half) -> Self {
        Self { index, log, half }
    }

    /// Goes on until the owner is closed or dropped, or cannot go on. Dropping the future is the end of the process.
    pub async fn run(self) {
        let outcome = tokio::select! {
            biased;
            () = self.half.shared().abandoned() => Ok(()),
            applied = self.apply() => applied,
            kept = keep(&*self.log, &self.index) => kept.map_err(CommitError::from),
        };
        if let Err(error) = outcome {
            self.half.fail(&error);
        }
    }

    async fn apply(&self) -> Result<(), CommitError> {
        let shared = self.half.shared();
        // When what the index would lose in a crash is to be made durable.
        let mut due: Option<Instant> = None;
        loop {
            let fill = shared.unapplied.fill();
            let now = Instant::now();
            match (fill, due) {
                (Fill::Empty, None) => {
                    shared.unapplied.changed().await;
                    continue;
                }
                (Fill::Some, None) => due = Some(now + INDEX_EVERY),
                (Fill::Some | Fill::Empty, Some(at)) if now < at => {
                    // Whichever it is, the next look tells.
                    let _ = timeout_at(at, shared.unapplied.changed()).await;
                }
                _ => {
                    let durable = fill == Fill::Finished || due.is_some_and(|at| now >= at);
                    let left = self.apply_some(durable)?;
                    due = if durable { None } else { Some(due.unwrap_or(now + INDEX_EVERY)) };
                    if fill == Fill::Finished && !left {
                        return Ok(());
                    }
                    // Many batches are no reason to hold up what else runs here.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Applies what waits, or as much of it as is applied together; answers whether anything was there.
    fn apply_some(&self, durable: bool) -> Result<bool, CommitError> {
        let shared = self.half.shared();
        let batches = shared.unapplied.take();
        if batches.is_empty() && !durable {
            return Ok(false);
        }
        self.index.apply(&batches, durable)?;
        for batch in &batches {
            shared.lock().rows.applied(batch);
            shared.unapplied.applied(batch);
        }
        Ok(!batches.is_empty())
    }
}

/// Sees to the log's upkeep and writes checkpoints, beside the commits, until the ownership has ended.
async fn keep(log: &impl ShardLog, index: &Index) -> Result<(), Deposed> {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut not_before = Instant::now();
    loop {
        ticks.tick().await;
        if let Err(error) = index.refill_reserve() {
            tracing::warn!(error = &error as &dyn std::error::Error, "no room is set aside for an index");
        }
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
