//! One metadata shard under this process's ownership.

mod open;
mod operations;
mod sessions;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, watch};
use weft_engine::Room;
use weft_meta::{Progress as Work, continue_work};
use weft_types::{FilesystemId, SessionId, Timestamp};
use weft_wire::Fault;
use weft_wire::meta::MetaError;

use crate::committer::{Committer, Progress};
use crate::keys::Keys;
use crate::rows::{Tx, WRITES_BYTES_MAX};
use crate::settings::ComputeSettings;

pub(crate) use open::{OpenOwnerError, SHARD};
pub(crate) use operations::{must_wait, needs_newer_map};
pub(crate) use sessions::Opening;

/// Rows that are removed in one go for work that was left.
const WORK_ROWS: usize = 256;
/// The first bytes of the keys of rows that stand for work.
const WORK_KINDS: std::ops::RangeInclusive<u8> = 13..=15;

/// Owns the one metadata shard of a filesystem.
///
/// Reading and changing rows is quick and never waits for the disk's flush; who is to be answered waits with
/// [`durable`](Self::durable). When the owner has failed it serves nothing any more, and must be opened anew.
pub(crate) struct Owner {
    filesystem: FilesystemId,
    /// `None`: only rows in clear can be read; enough to drop the filesystem.
    keys: Option<Keys>,
    settings: ComputeSettings,
    committer: Committer,
    /// When each open session ends if it is not renewed.
    leases: Mutex<HashMap<SessionId, Instant>>,
    /// There is work for [`work`](Self::work).
    work: Notify,
    dropping: AtomicBool,
    operations: AtomicU64,
    /// Dead extents that the last look found and left.
    garbage: AtomicU64,
}

impl Owner {
    /// Whose shard it is.
    pub(crate) const fn filesystem(&self) -> FilesystemId {
        self.filesystem
    }

    /// Whether it can still promise anything.
    pub(crate) fn is_serving(&self) -> bool {
        !self.progress().borrow().failed
    }

    /// From now on it only drops the filesystem.
    pub(crate) fn begin_dropping(&self) {
        self.dropping.store(true, Ordering::Relaxed);
    }

    /// Whether it only drops the filesystem.
    pub(crate) fn is_dropping(&self) -> bool {
        self.dropping.load(Ordering::Relaxed)
    }

    /// How far its commits are.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.committer.progress()
    }

    /// Waits until a batch is durable, and with it all before it.
    ///
    /// # Errors
    /// [`Fault::NotServing`] when the owner fails before. A mutation may have been done or not; the same call, to
    /// whoever owns the shard next, finds out by its slot.
    pub(crate) async fn durable(&self, seq: u64) -> Result<(), Fault> {
        let mut progress = self.progress();
        let reached = progress.wait_for(|progress| progress.durable >= seq || progress.failed).await;
        match reached {
            Ok(progress) if progress.durable >= seq => Ok(()),
            _ => Err(Fault::NotServing),
        }
    }

    /// Reads rows. What was read may not be durable yet.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Tx<'_>) -> Result<T, MetaError>) -> Result<T, MetaError> {
        read(&self.committer.rows().begin())
    }

    /// Changes rows, all or none, and answers the batch that it is durable with.
    ///
    /// # Errors
    /// What `change` says, and [`MetaError::NoSpace`] for more than fits into a batch; nothing has changed then.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        let mut rows = self.committer.rows();
        let mut tx = rows.begin();
        let value = change(&mut tx)?;
        if tx.bytes() > WRITES_BYTES_MAX {
            tracing::error!(filesystem = %self.filesystem, bytes = tx.bytes(), "a change is too large for a batch");
            return Err(MetaError::NoSpace);
        }
        if tx.has_written(WORK_KINDS) {
            self.work.notify_one();
        }
        let writes = tx.finish();
        Ok((value, rows.commit(writes)))
    }

    /// Waits until there may be work; false: there never will be.
    pub(crate) async fn has_work(&self) -> bool {
        let mut progress = self.progress();
        tokio::select! {
            () = self.work.notified() => true,
            _ = progress.wait_for(|progress| progress.failed) => false,
        }
    }

    /// Does a piece of the work that operations and sessions have left; answers the batch to wait for, or `None`
    /// when nothing is left.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]; the work stays.
    pub(crate) fn work(&self) -> Result<Option<u64>, MetaError> {
        let (work, seq) = self.change(|tx| continue_work(tx, now(), WORK_ROWS))?;
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

    /// A look at the dead extents has left so many.
    pub(crate) fn set_garbage(&self, extents: u64) {
        self.garbage.store(extents, Ordering::Relaxed);
    }

    /// Room of the log.
    pub(crate) fn room(&self) -> Room {
        self.progress().borrow().room
    }

    /// Finishes what was begun and lets go of the files. Blocks.
    pub(crate) fn close(&self) {
        self.committer.close();
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<SessionId, Instant>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owner({})", self.filesystem)
    }
}

/// The owner's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests;
