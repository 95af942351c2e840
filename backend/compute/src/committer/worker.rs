//! What runs beside an owner: one half makes batches durable in the log, the other has the index follow.

use std::sync::Arc;

use futures_util::future::join;
use weft_engine::{AppendError, Deposed, Index, IndexError, ShardLog};

use super::Shared;
use super::commits::Commits;
use super::upkeep::Upkeep;
use crate::rows::{SealError, Sealer};

/// Why the owner gives up.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitError {
    #[error("a batch could not be sealed")]
    Seal(#[from] SealError),
    #[error("a batch could not be appended to the log")]
    Append(#[source] AppendError),
    #[error("a batch could not be applied to the index")]
    Index(#[from] IndexError),
    #[error("the ownership has ended")]
    Deposed(#[from] Deposed),
}

impl CommitError {
    const fn is_deposed(&self) -> bool {
        matches!(self, Self::Deposed(_) | Self::Append(AppendError::Deposed(_)))
    }
}

/// Commits an owner's batches for as long as it [runs](Self::run).
pub struct Worker<L> {
    commits: Commits<L>,
    upkeep: Upkeep<L>,
}

/// Held by each half, and dropped last: the end of one is the end of both.
pub(super) struct Half {
    shared: Arc<Shared>,
    _told: Arc<Told>,
}

/// Tells those who wait of the end, whatever it is, once both halves are dropped: they find the index and the log free.
struct Told(Arc<Shared>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.shared.abandon(false);
    }
}

impl Half {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The owner gives up.
    pub(super) fn fail(&self, error: &CommitError) {
        let deposed = error.is_deposed();
        tracing::error!(error = error as &dyn std::error::Error, "the owner of a metadata shard gives up");
        self.shared.abandon(deposed);
    }
}

impl<L: ShardLog> Worker<L> {
    pub(super) fn new(shared: Arc<Shared>, index: Arc<Index>, log: L, sealer: Sealer) -> Self {
        let (log, told) = (Arc::new(log), Arc::new(Told(Arc::clone(&shared))));
        let half = || Half { shared: Arc::clone(&shared), _told: Arc::clone(&told) };
        let commits = Commits::new(sealer, Arc::clone(&log), Arc::clone(&index), half());
        let upkeep = Upkeep::new(index, log, half());
        Self { commits, upkeep }
    }

    /// The two halves, to be run each as a task of its own. The first never blocks, and belongs on the thread of the
    /// owner: an operation then costs no switch of threads. The second reads and writes the index's file.
    pub fn split(self) -> (Commits<L>, Upkeep<L>) {
        (self.commits, self.upkeep)
    }

    /// Runs both halves until the owner is closed or dropped, or cannot go on. Dropping the future is the end of the
    /// process.
    pub async fn run(self) {
        join(self.commits.run(), self.upkeep.run()).await;
    }
}
