//! One metadata shard under this process's ownership.

mod coherence;
mod lease;
mod locks;
mod open;
mod operations;
mod sessions;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use weft_engine::Room;
use weft_leases::Leases;
use weft_meta::{Progress as Work, continue_work};
use weft_types::{FilesystemId, MapVersion, SessionId, Timestamp};
use weft_wire::Fault;
use weft_wire::meta::MetaError;
use weft_wire::ownership::Held;

use crate::care::CareCounts;
use crate::committer::{Committer, Progress};
use crate::keys::Keys;
use crate::rows::{Tx, WRITES_BYTES_MAX};
use crate::settings::ComputeSettings;
use crate::sources::Sources;

use locks::Locks;

pub use lease::Lease;
pub use open::{OpenOwnerError, Opened, Opening, SHARD};
pub use operations::{Attempt, must_wait, needs_newer_map};
pub use sessions::SessionOpening;

/// Rows that are removed in one go for work that was left.
const WORK_ROWS: usize = 256;
/// The first bytes of the keys of rows that stand for work.
const WORK_KINDS: std::ops::RangeInclusive<u8> = 13..=15;

/// Owns the one metadata shard of a filesystem.
///
/// Reading and changing rows is quick and never waits for a drive; who is to be answered waits with
/// [`answerable`](Self::answerable). When the owner has failed it serves nothing any more, and must be opened anew.
///
/// All of it runs on one thread just as well as on several, with no clock but [`tokio::time`] and no chance but its
/// [`Sources`]: a simulation drives it without a network. Of what [`open`](Self::open) gives, it runs the
/// [`Worker`](crate::Worker) as a task of its own beside the calls of [`meta`](Self::meta); dropping that task is what
/// the end of the process is.
pub struct Owner {
    lease: Arc<Lease>,
    /// `None`: only rows in clear can be read; enough to drop the filesystem.
    keys: Option<Keys>,
    sources: Sources,
    settings: ComputeSettings,
    committer: Committer,
    /// What sessions remember. Locked after the rows.
    coherence: Mutex<Leases>,
    /// Counts what those that wait for others to forget something have to look at again.
    coherence_changes: weft_watch::Sender<u64>,
    /// When each open session ends if it is not renewed.
    leases: Mutex<BTreeMap<SessionId, Instant>>,
    /// When it was last seen to serve; `None` as long as nobody looks.
    attended: Mutex<Option<Instant>>,
    locks: Locks,
    /// There is work for [`work`](Self::work).
    work: Notify,
    dropping: AtomicBool,
    /// Management says that the filesystem is being deleted: nobody opens it any more.
    deleting: bool,
    operations: AtomicU64,
    /// Dead extents that the last look found and left.
    garbage: AtomicU64,
    /// What care had to tell last.
    care: Mutex<CareCounts>,
    /// Nothing is executed under an older map. Changed and looked at only while the rows are locked.
    acted_on: AtomicU64,
}

impl Owner {
    /// Whose shard it is.
    pub fn filesystem(&self) -> FilesystemId {
        self.held().filesystem
    }

    /// Under which ownership.
    pub fn held(&self) -> Held {
        self.lease.held()
    }

    /// Until when it answers.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.sources.now()
    }

    /// Whether it can still promise anything.
    pub fn is_serving(&self) -> bool {
        !self.progress().borrow().failed && !self.lease.has_ended()
    }

    /// From now on it only drops the filesystem.
    pub(crate) fn begin_dropping(&self) {
        self.dropping.store(true, Ordering::Relaxed);
    }

    /// Whether it only drops the filesystem.
    pub fn is_dropping(&self) -> bool {
        self.dropping.load(Ordering::Relaxed)
    }

    /// Whether the filesystem was being deleted already when it was taken over.
    pub(crate) const fn is_deleting(&self) -> bool {
        self.deleting
    }

    /// How far its commits are.
    pub fn progress(&self) -> weft_watch::Receiver<Progress> {
        self.committer.progress()
    }

    /// Waits until a batch is durable, and with it all before it.
    ///
    /// # Errors
    /// [`Fault::NotServing`] when the owner fails before. A mutation may have been done or not; the same call, to
    /// whoever owns the shard next, finds out by its slot.
    pub async fn durable(&self, seq: u64) -> Result<(), Fault> {
        let mut progress = self.progress();
        let reached = progress.wait_for(|progress| progress.durable >= seq || progress.failed).await;
        match reached {
            Ok(progress) if progress.durable >= seq => Ok(()),
            _ => Err(Fault::NotServing),
        }
    }

    /// Waits until an answer that depends on a batch may be given: the batch is durable, and the owner's lease holds at
    /// this moment.
    ///
    /// # Errors
    /// As [`durable`](Self::durable), and [`Fault::NotServing`] outside of the lease.
    pub async fn answerable(&self, seq: u64) -> Result<(), Fault> {
        self.durable(seq).await?;
        self.lease.check(Instant::now())
    }

    /// Waits until an answer may be given that depends on whatever was executed so far.
    ///
    /// # Errors
    /// As [`answerable`](Self::answerable).
    pub async fn settled(&self) -> Result<(), Fault> {
        let last = self.committer.rows().last();
        self.answerable(last).await
    }

    /// Reads rows. What was read may not be durable yet.
    ///
    /// # Errors
    /// What `read` says.
    pub fn read<T>(&self, read: impl FnOnce(&Tx<'_>) -> Result<T, MetaError>) -> Result<T, MetaError> {
        self.look(read).map(|(value, _)| value)
    }

    /// Reads rows, and answers the batch with which what was read is durable.
    ///
    /// # Errors
    /// What `read` says.
    pub fn look<T>(&self, read: impl FnOnce(&Tx<'_>) -> Result<T, MetaError>) -> Result<(T, u64), MetaError> {
        let rows = self.committer.rows();
        let tx = rows.begin();
        let value = read(&tx)?;
        Ok((value, tx.depends()))
    }

    /// Changes rows, all or none, and answers the batch that it is durable with.
    ///
    /// # Errors
    /// What `change` says, and [`MetaError::NoSpace`] for more than fits into a batch; nothing has changed then.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        let mut rows = self.committer.rows();
        let mut tx = rows.begin();
        let value = change(&mut tx)?;
        if tx.bytes() > WRITES_BYTES_MAX {
            let filesystem = self.filesystem();
            tracing::error!(%filesystem, bytes = tx.bytes(), "a change is too large for a batch");
            return Err(MetaError::NoSpace);
        }
        if tx.has_written(WORK_KINDS) {
            self.work.notify_one();
        }
        let writes = tx.finish();
        Ok((value, rows.commit(writes)))
    }

    /// From now on nothing is executed under an older map than this one. Answers the batch with which all is durable
    /// that was executed before: after it, nothing is committed any more that was written before a change in this map.
    pub fn act_on(&self, map: MapVersion) -> u64 {
        let rows = self.committer.rows();
        self.acted_on.fetch_max(map.get(), Ordering::Relaxed);
        rows.last()
    }

    /// Waits until there may be work; false: there never will be.
    pub(crate) async fn has_work(&self) -> bool {
        tokio::select! {
            biased;
            () = self.work.notified() => true,
            () = self.committer.failed() => false,
        }
    }

    /// Does a piece of the work that operations and sessions have left; answers the batch to wait for, or `None`
    /// when nothing is left.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]; the work stays.
    pub fn work(&self) -> Result<Option<u64>, MetaError> {
        let (work, seq) = self.change(|tx| continue_work(tx, self.now(), WORK_ROWS))?;
        Ok((work == Work::More).then_some(seq))
    }

    /// Operations answered.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Dead extents that wait for their shards to be deleted.
    pub(crate) fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }

    /// What care had to tell last.
    pub(crate) fn care(&self) -> CareCounts {
        *self.care.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Care has this to tell.
    pub(crate) fn set_care(&self, counts: CareCounts) {
        *self.care.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// A look at the dead extents has left so many.
    pub(crate) fn set_garbage(&self, extents: u64) {
        self.garbage.store(extents, Ordering::Relaxed);
    }

    /// Room of the log.
    pub fn room(&self) -> Room {
        self.progress().borrow().room
    }

    /// Whether another ownership has begun.
    pub fn is_deposed(&self) -> bool {
        self.progress().borrow().deposed || self.lease.is_deposed()
    }

    /// Has what was begun committed, and waits until the worker has let go of the log and the index. Nothing is answered
    /// any more.
    pub async fn close(&self) {
        self.lease.end();
        self.committer.close().await;
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<SessionId, Instant>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owner({})", self.filesystem())
    }
}

#[cfg(test)]
mod tests;
