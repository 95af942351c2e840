//! The open cluster store, as its users have it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weft_types::{Epoch, StoreVersion};
use weft_wire::ownership::DriveHome;

use super::WriteError;
use super::drives::StoreContents;
use super::voters::Voters;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// The version that counts.
    pub version: StoreVersion,
    /// Whose majority decides.
    pub voters: BTreeSet<DriveHome>,
    /// The voters that were last known to hold that version.
    pub holding: BTreeSet<DriveHome>,
    /// Why the last change was not made; `None` when it was.
    pub fault: Option<String>,
    /// Another management process has opened the store, under this term.
    pub fenced: Option<Epoch>,
    /// When it was last certain that no other process had opened the store.
    pub confirmed: Instant,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<R> {
    /// The change itself says no; nothing was written.
    #[error("refused")]
    Refused(R),
    /// It was not written, or may not have been: it may count later.
    #[error("the cluster store was not written")]
    Write(#[source] WriteError),
}

/// What driver and users share.
pub(super) struct Shared<C> {
    contents: RwLock<Arc<C>>,
    status: Mutex<StoreStatus>,
}

impl<C> Shared<C> {
    pub(super) fn new(contents: Arc<C>, version: StoreVersion, voters: &Voters) -> Self {
        let holding = BTreeSet::new();
        let confirmed = Instant::now();
        let status =
            StoreStatus { version, voters: voters.all(), holding, fault: None, fenced: None, confirmed };
        Self { contents: RwLock::new(contents), status: Mutex::new(status) }
    }

    pub(super) fn contents(&self) -> Arc<C> {
        Arc::clone(&self.contents.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn publish(&self, contents: Arc<C>, version: StoreVersion) {
        *self.contents.write().unwrap_or_else(PoisonError::into_inner) = contents;
        self.update(|status| (status.version, status.fault) = (version, None));
    }

    pub(super) fn update(&self, update: impl FnOnce(&mut StoreStatus)) {
        update(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A change that waits for its turn.
pub(super) trait Change<C>: Send {
    /// Changes the contents; says whether it did.
    fn apply(&mut self, contents: &mut C) -> bool;
    /// Tells who waits for it.
    fn finish(self: Box<Self>, error: Option<WriteError>);
}

struct Job<T, R, F> {
    change: Option<F>,
    outcome: Option<Result<T, R>>,
    reply: oneshot::Sender<Result<T, ChangeError<R>>>,
}

impl<C, T, R, F> Change<C> for Job<T, R, F>
where
    T: Send,
    R: Send,
    F: FnOnce(&mut C) -> Result<T, R> + Send,
{
    fn apply(&mut self, contents: &mut C) -> bool {
        self.outcome = self.change.take().map(|change| change(contents));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, error: Option<WriteError>) {
        let reply = match (error, self.outcome) {
            (Some(error), _) => Err(ChangeError::Write(error)),
            (None, Some(outcome)) => outcome.map_err(ChangeError::Refused),
            (None, None) => Err(ChangeError::Write(WriteError::Stopped)),
        };
        // Nobody waits any more; the change stands all the same.
        let _ = self.reply.send(reply);
    }
}

/// The open cluster store. Cheap to clone; all clones are one.
pub struct QuorumStore<C> {
    shared: Arc<Shared<C>>,
    changes: mpsc::Sender<Box<dyn Change<C>>>,
}

impl<C> Clone for QuorumStore<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), changes: self.changes.clone() }
    }
}

impl<C: StoreContents> QuorumStore<C> {
    pub(super) fn new(shared: Arc<Shared<C>>, changes: mpsc::Sender<Box<dyn Change<C>>>) -> Self {
        Self { shared, changes }
    }

    /// The contents that count.
    pub fn contents(&self) -> Arc<C> {
        self.shared.contents()
    }

    /// How the store is.
    pub fn status(&self) -> StoreStatus {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies a change to the newest contents. When this returns `Ok` the change is durable on a majority, and visible
    /// to [`contents`](Self::contents). A change that was begun is finished also when nobody waits for it any more.
    ///
    /// # Errors
    /// The change's own refusal, which leaves no trace; or [`ChangeError::Write`]: the change may come back when the
    /// store is opened again, but nobody was told that it was made, and the next change takes its place.
    pub async fn change<T, R>(
        &self,
        change: impl FnOnce(&mut C) -> Result<T, R> + Send + 'static,
    ) -> Result<T, ChangeError<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Job { change: Some(change), outcome: None, reply });
        if self.changes.send(job).await.is_err() {
            return Err(ChangeError::Write(self.stopped()));
        }
        answer.await.unwrap_or_else(|_| Err(ChangeError::Write(self.stopped())))
    }

    fn stopped(&self) -> WriteError {
        self.status().fenced.map_or(WriteError::Stopped, |by| WriteError::Fenced { by })
    }
}
