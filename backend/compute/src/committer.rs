//! What makes batches durable: one in flight, while the next fills.

mod commits;
mod unapplied;
mod upkeep;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use weft_engine::{Index, Room, ShardLog};

use crate::rows::{Rows, Sealer};

pub use commits::Commits;
pub use upkeep::Upkeep;
pub use worker::Worker;

use unapplied::Unapplied;

/// How long an owner that closes waits for drives to take what is left.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// How far the commits of an owner are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last batch that is durable.
    pub durable: u64,
    /// Batches made durable by this owner.
    pub batches: u64,
    /// Nothing will become durable any more: the owner must go.
    pub failed: bool,
    /// Another ownership has begun.
    pub deposed: bool,
    /// How much room the log has.
    pub room: Room,
}

struct Inner {
    rows: Rows,
    stopping: bool,
}

/// What the owner and the worker share.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// There is something to commit, or the owner closes.
    wake: Notify,
    progress: weft_watch::Sender<Progress>,
    /// Nothing will become durable any more. Apart from the progress: who waits for the end alone sleeps on when a batch
    /// is durable, and no thread is woken for nothing.
    failed: weft_watch::Sender<bool>,
    unapplied: Unapplied,
    /// The worker has let go of the log and the index.
    ended: weft_watch::Sender<bool>,
}

/// The rows, locked.
pub(crate) struct RowsGuard<'a> {
    inner: MutexGuard<'a, Inner>,
    wake: &'a Notify,
}

impl std::ops::Deref for RowsGuard<'_> {
    type Target = Rows;

    fn deref(&self) -> &Rows {
        &self.inner.rows
    }
}

impl RowsGuard<'_> {
    /// Commits writes and sees to it that they get on their way. Answers the batch to wait for.
    pub(crate) fn commit(&mut self, writes: crate::rows::Writes) -> u64 {
        let seq = self.inner.rows.commit(writes);
        self.wake.notify_one();
        seq
    }
}

/// The owner's end. Dropping it ends the worker where it stands, as the end of the process would;
/// [`close`](Self::close) lets it finish.
pub(crate) struct Committer {
    shared: Arc<Shared>,
}

impl Committer {
    /// Begins to commit what is put into `rows`, as soon as the worker runs. The log takes batches of the sealer's
    /// epoch, and the index is at its end.
    pub(crate) fn new<L: ShardLog>(
        rows: Rows,
        index: Arc<Index>,
        log: L,
        sealer: Sealer,
    ) -> (Self, Worker<L>) {
        let durable = log.end().seq;
        let progress = Progress { durable, batches: 0, failed: false, deposed: false, room: Room::Ample };
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner { rows, stopping: false }),
            wake: Notify::new(),
            progress: weft_watch::Sender::new(progress),
            failed: weft_watch::Sender::new(false),
            unapplied: Unapplied::default(),
            ended: weft_watch::Sender::new(false),
        });
        let worker = Worker::new(Arc::clone(&shared), index, log, sealer);
        (Self { shared }, worker)
    }

    /// The rows, to be read and written.
    pub(crate) fn rows(&self) -> RowsGuard<'_> {
        RowsGuard { inner: self.shared.lock(), wake: &self.shared.wake }
    }

    /// How far it is, now and from now on.
    pub(crate) fn progress(&self) -> weft_watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Waits until nothing becomes durable any more.
    pub(crate) async fn failed(&self) {
        self.shared.abandoned().await;
    }

    /// Has all that is left committed and the index made durable, and waits for the end of the worker; nothing is
    /// committed any more. What drives do not take within ten seconds is given up.
    pub(crate) async fn close(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        let mut ended = self.shared.ended.subscribe();
        if tokio::time::timeout(CLOSE_MAX, ended.wait_for(|ended| *ended)).await.is_err() {
            self.shared.abandon(false);
            // The sender is in `self`.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.abandon(false);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing becomes durable and nothing is read.
    fn abandon(&self, deposed: bool) {
        self.lock().rows.let_go();
        self.progress.send_modify(|progress| {
            progress.failed = true;
            progress.deposed |= deposed;
        });
        self.failed.send_replace(true);
        self.wake.notify_one();
    }

    fn is_abandoned(&self) -> bool {
        self.progress.borrow().failed
    }

    /// Waits until nothing becomes durable any more.
    async fn abandoned(&self) {
        let mut failed = self.failed.subscribe();
        // The sender is in `self`.
        let _ = failed.wait_for(|failed| *failed).await;
    }
}
