//! The loop that seals batches and has the log take them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_engine::{AppendError, Batch, Index, Room, ShardLog};

use super::worker::{CommitError, Half};
use crate::rows::{Sealer, Taken};

/// How often the log is asked for room while nothing is committed.
const ROOM_EVERY: Duration = Duration::from_secs(3);
/// How long to wait before a batch that found no space is tried again, and before the log is asked for room again.
const SPACE_EVERY: Duration = Duration::from_millis(500);
/// How long to wait before a batch that too few drives took is tried again.
const DRIVES_EVERY: Duration = Duration::from_millis(100);

/// Commits an owner's batches, one in flight while the next fills. Nothing in it blocks.
pub struct Commits<L> {
    sealer: Sealer,
    log: Arc<L>,
    index: Arc<Index>,
    /// The last to be dropped.
    half: Half,
}

/// What there is to do.
enum Next {
    Commit(Taken),
    /// There may be more room, or less.
    Idle,
    /// The owner closes: finish.
    Stop,
    /// The owner is gone, or has failed: what is not durable yet is nobody's.
    Abandoned,
}

impl<L: ShardLog> Commits<L> {
    pub(super) const fn new(sealer: Sealer, log: Arc<L>, index: Arc<Index>, half: Half) -> Self {
        Self { sealer, log, index, half }
    }

    /// Commits until the owner is closed or dropped, or cannot go on. Dropping the future is the end of the process.
    pub async fn run(mut self) {
        if let Err(error) = self.commit().await {
            self.half.fail(&error);
        }
    }

    async fn commit(&mut self) -> Result<(), CommitError> {
        loop {
            match self.next().await {
                Next::Commit(taken) => {
                    let batch = self.sealer.seal(taken)?;
                    if !self.append(&batch).await? {
                        break;
                    }
                    self.half.shared().unapplied.push(batch);
                    tokio::select! {
                        biased;
                        () = self.half.shared().unapplied.has_room() => {}
                        () = self.half.shared().abandoned() => return Ok(()),
                    }
                }
                Next::Idle => self.ask_for_room().await,
                Next::Stop => break,
                Next::Abandoned => return Ok(()),
            }
        }
        self.half.shared().unapplied.finish();
        // The other half ends once the index has all that is durable.
        self.half.shared().abandoned().await;
        Ok(())
    }

    /// Waits for a batch, or for time to pass.
    async fn next(&self) -> Next {
        let shared = self.half.shared();
        let limited = shared.progress.borrow().room < Room::Ample;
        let until = Instant::now() + if limited { SPACE_EVERY } else { ROOM_EVERY };
        loop {
            if shared.is_abandoned() {
                return Next::Abandoned;
            }
            {
                let mut inner = shared.lock();
                if let Some(taken) = inner.rows.take() {
                    return Next::Commit(taken);
                }
                if inner.stopping {
                    return Next::Stop;
                }
            }
            if tokio::time::timeout_at(until, shared.wake.notified()).await.is_err() {
                return Next::Idle;
            }
        }
    }

    /// Makes a batch durable. What drives do not take is tried again, the same bytes each time; false: meanwhile the
    /// owner is gone, or closes. Nobody was answered for what is in the batch.
    async fn append(&self, batch: &Batch) -> Result<bool, CommitError> {
        let shared = self.half.shared();
        let mut waits = false;
        loop {
            let appended = tokio::select! {
                biased;
                appended = self.log.append(batch) => appended,
                () = shared.abandoned() => return Ok(false),
            };
            let pause = match appended {
                Ok(position) => {
                    shared.progress.send_modify(|progress| {
                        progress.durable = position.seq;
                        progress.batches += 1;
                    });
                    self.ask_for_room().await;
                    return Ok(true);
                }
                Err(AppendError::NoSpace) => {
                    shared.progress.send_modify(|progress| progress.room = Room::None);
                    SPACE_EVERY
                }
                Err(AppendError::Unavailable { .. }) => DRIVES_EVERY,
                Err(error) => return Err(CommitError::Append(error)),
            };
            if shared.lock().stopping {
                return Ok(false);
            }
            if !waits {
                tracing::warn!(batch = %batch.position, "a batch waits for drives, or for space on them");
                waits = true;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = shared.abandoned() => return Ok(false),
            }
        }
    }

    async fn ask_for_room(&self) {
        // What the log takes and the index does not would wait in memory.
        let room = self.log.room().await.min(self.index.room());
        self.half.shared().progress.send_if_modified(|progress| {
            let changed = progress.room != room;
            progress.room = room;
            changed
        });
    }
}
