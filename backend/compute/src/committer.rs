//! The thread that makes batches durable: one in flight, while the next fills.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weft_engine::{AppendError, BATCH_BYTES_MAX, Batch, Index, IndexError, Log, Room};

use crate::rows::{Rows, SealError, Sealer, Taken};

/// The index is made durable this often while batches come, and this long after the last one.
const INDEX_EVERY: Duration = Duration::from_secs(3);
/// How long to wait before a batch that found no space is tried again.
const SPACE_EVERY: Duration = Duration::from_millis(500);

/// How far the committer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last batch that is durable.
    pub(crate) durable: u64,
    /// Batches made durable by this owner.
    pub(crate) batches: u64,
    /// Nothing will become durable any more: the owner must go.
    pub(crate) failed: bool,
    /// How much room the log has.
    pub(crate) room: Room,
}

/// Why the committer gave up.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("a batch could not be sealed")]
    Seal(#[from] SealError),
    #[error("a batch could not be appended to the log")]
    Append(#[from] AppendError),
    #[error("the log's room could not be learnt")]
    Room(#[from] std::io::Error),
    #[error("a batch could not be applied to the index")]
    Index(#[from] IndexError),
}

struct Inner {
    rows: Rows,
    stopping: bool,
}

/// What the owner and the committer's thread share.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

/// The rows, locked.
pub(crate) struct RowsGuard<'a> {
    inner: MutexGuard<'a, Inner>,
    wake: &'a Condvar,
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

/// The owner's end of the committer. Dropping it kills the committer where it stands, as the end of the process would;
/// [`close`](Self::close) lets it finish.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    /// Begins to commit what is in `rows`. The log is sealed with the sealer's epoch.
    pub(crate) fn start(
        rows: Rows,
        index: Arc<Index>,
        mut log: impl Log + 'static,
        sealer: Sealer,
    ) -> std::io::Result<Self> {
        let room = log.room(BATCH_BYTES_MAX)?;
        let progress = Progress { durable: log.end().seq, batches: 0, failed: false, room };
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner { rows, stopping: false }),
            wake: Condvar::new(),
            progress: watch::Sender::new(progress),
        });
        let worker =
            Worker { shared: Arc::clone(&shared), index, log, sealer, durable_at: Instant::now(), lag: 0 };
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The rows, to be read and written.
    pub(crate) fn rows(&self) -> RowsGuard<'_> {
        RowsGuard { inner: self.shared.lock(), wake: &self.shared.wake }
    }

    /// How far it is, now and from now on.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Commits all that is left, makes the index durable, and ends the thread; nothing is committed any more. Blocks.
    pub(crate) fn close(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        self.join();
    }

    /// Waits for the end of the thread, which lets go of the log.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Of what it panicked, the panic hook has told.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.abandon();
        self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self) {
        let mut inner = self.lock();
        self.progress.send_modify(|progress| progress.failed = true);
        inner.rows.let_go();
        self.wake.notify_one();
    }
}

/// Abandons when dropped.
struct Abandon<'a>(&'a Shared);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Worker<L> {
    shared: Arc<Shared>,
    index: Arc<Index>,
    log: L,
    sealer: Sealer,
    /// When the index was durable last.
    durable_at: Instant,
    /// Batches that the index would lose in a crash.
    lag: u64,
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

impl<L: Log> Worker<L> {
    fn run(mut self) {
        // Whatever ends the thread, those who wait for it are told.
        let shared = Arc::clone(&self.shared);
        let _told = Abandon(&shared);
        if let Err(error) = self.work() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the owner of a metadata shard gives up"
            );
        }
    }

    fn work(&mut self) -> Result<(), CommitError> {
        loop {
            match self.next() {
                Next::Commit(taken) => {
                    let batch = self.sealer.seal(&taken)?;
                    if !self.append(&batch)? {
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
                    self.ask_for_room()?;
                }
                Next::Stop => {
                    self.index.apply(&[], true)?;
                    self.index_is_durable();
                    return Ok(());
                }
                Next::Abandoned => return Ok(()),
            }
        }
    }

    /// Waits for a batch, or for time to pass.
    fn next(&self) -> Next {
        let mut inner = self.shared.lock();
        let limited = self.shared.progress.borrow().room < Room::Ample;
        let until = Instant::now() + if limited { SPACE_EVERY } else { INDEX_EVERY };
        loop {
            if self.shared.progress.borrow().failed {
                return Next::Abandoned;
            }
            if let Some(taken) = inner.rows.take() {
                return Next::Commit(taken);
            }
            if inner.stopping {
                return Next::Stop;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Idle;
            }
            inner = self.shared.wake.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes a batch durable. Without space it is tried again, the same bytes each time; false: meanwhile the owner is
    /// gone, or closes. Nobody was answered for what is in the batch.
    fn append(&mut self, batch: &Batch) -> Result<bool, CommitError> {
        loop {
            match self.log.append(batch, Room::Reserve) {
                Ok(position) => {
                    self.shared.progress.send_modify(|progress| {
                        progress.durable = position.seq;
                        progress.batches += 1;
                    });
                    self.ask_for_room()?;
                    return Ok(true);
                }
                Err(AppendError::NoSpace) => {
                    tracing::warn!(batch = %batch.position, "no space for a batch; waiting for some");
                    self.shared.progress.send_modify(|progress| progress.room = Room::None);
                    let inner = self.shared.lock();
                    if inner.stopping || self.shared.progress.borrow().failed {
                        return Ok(false);
                    }
                    drop(
                        self.shared
                            .wake
                            .wait_timeout(inner, SPACE_EVERY)
                            .unwrap_or_else(PoisonError::into_inner),
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask_for_room(&mut self) -> Result<(), CommitError> {
        let room = self.log.room(BATCH_BYTES_MAX)?;
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.room != room;
            progress.room = room;
            changed
        });
        Ok(())
    }

    /// The log before what the index has durably is not needed any more.
    fn index_is_durable(&mut self) {
        self.durable_at = Instant::now();
        self.lag = 0;
        if let Err(error) = self.log.trim(self.index.applied()) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the log was not trimmed");
        }
    }
}
