//! Dropping a filesystem: first its extents on the drives, then its log and checkpoints, at last the row that says where
//! they are.
//!
//! That it is to be dropped says management, and asks until it is done. So each step may be cut off anywhere and is done
//! again: the log is forgotten in the shard's row before any drive lets go of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use weft_engine::DriveCallError;
use weft_meta::drop;
use weft_transport::{Bulk, CallError};
use weft_types::Epoch;
use weft_wire::compute::DropProgress;
use weft_wire::log::{DeleteObjects, ListObjects, LogKey, LogRefusal, ReadLogRefusal, SealLog, TrimLog};
use weft_wire::meta::MetaError;
use weft_wire::ownership::{DriveGrant, DriveHome, GetShardRow, Held, ShardRow, SwapRefusal, SwapShard};

use crate::care::CareError;
use crate::closing::{Closing, ClosingError};
use crate::cluster::Cluster;
use crate::drives::{Drives, home};
use crate::owner::{Lease, Owner};
use crate::reclaimer::sweep_dropped;
use crate::shards::ShardDeleter;

/// Extents whose shards are deleted in one go.
const PAGE: usize = 1024;
/// How long to wait when no drive deletes anything.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a drive may take to let go of a log.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How far a drop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Extents are being deleted.
    Deleting,
    /// No extent is left. The owner is being closed, and must not be taken for one that failed.
    Removing,
    Done,
    Failed,
}

/// Why a drop did not come to its end. It is begun again when it is asked for.
#[derive(Debug, thiserror::Error)]
enum DropError {
    #[error("metadata cannot be read or changed")]
    Rows(#[from] MetaError),
    #[error("the owner has ended")]
    OwnerEnded,
    #[error("ended sessions cannot be closed")]
    Closing(#[from] ClosingError),
    #[error(transparent)]
    Care(#[from] CareError),
    #[error("the shard's row cannot be changed")]
    Row(#[source] CallError<SwapRefusal>),
    #[error("the folder of the index cannot be removed")]
    Folder(#[source] io::Error),
}

/// Why a drive keeps a log.
#[derive(Debug, thiserror::Error)]
enum KeptError {
    #[error(transparent)]
    Write(#[from] DriveCallError<LogRefusal>),
    #[error(transparent)]
    List(#[from] DriveCallError<ReadLogRefusal>),
}

/// A drop under way.
#[derive(Debug)]
pub(crate) struct Dropping {
    lease: Arc<Lease>,
    /// `None`: no extent and no log is left.
    owner: Option<Arc<Owner>>,
    /// Where the index is.
    dir: PathBuf,
    stage: Mutex<Stage>,
}

impl Dropping {
    /// Of an owner that serves nobody any more.
    pub(crate) fn new(owner: Arc<Owner>, dir: PathBuf) -> Self {
        owner.begin_dropping();
        let lease = Arc::clone(owner.lease());
        Self { lease, owner: Some(owner), dir, stage: Mutex::new(Stage::Deleting) }
    }

    /// Of what may be left at drives of a log that is forgotten already.
    pub(crate) const fn of_the_rest(lease: Arc<Lease>, dir: PathBuf) -> Self {
        Self { lease, owner: None, dir, stage: Mutex::new(Stage::Removing) }
    }

    /// The owner that it goes on with.
    pub(crate) fn owner(&self) -> Option<Arc<Owner>> {
        self.owner.clone()
    }

    /// Under which ownership it is done.
    pub(crate) const fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Result<DropProgress, MetaError> {
        // Held while rows are read: the owner is closed only after this.
        let stage = self.stage();
        let extents_left = match (*stage, &self.owner) {
            (Stage::Deleting | Stage::Failed, Some(owner)) => owner.read(|tx| drop::extents_left(tx))?,
            _ => 0,
        };
        Ok(DropProgress { done: *stage == Stage::Done, extents_left })
    }

    /// Whether it failed; it can be begun again.
    pub(crate) fn has_failed(&self) -> bool {
        *self.stage() == Stage::Failed
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        *self.stage() == Stage::Done
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes all extents, and at last the log.
    pub(crate) async fn run(&self, drives: &Drives, cluster: &Cluster, deleter: &ShardDeleter) {
        let filesystem = self.lease.held().filesystem;
        let stage = match self.drop_all(drives, cluster, deleter).await {
            Ok(()) => {
                tracing::info!(%filesystem, "a filesystem was dropped");
                Stage::Done
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, %filesystem, "a filesystem cannot be dropped yet");
                Stage::Failed
            }
        };
        *self.stage() = stage;
    }

    async fn drop_all(
        &self,
        drives: &Drives,
        cluster: &Cluster,
        deleter: &ShardDeleter,
    ) -> Result<(), DropError> {
        if let Some(owner) = &self.owner {
            delete_extents(owner, deleter).await?;
            close_sessions(owner, drives).await?;
            sweep_dropped(owner, deleter).await?;
            *self.stage() = Stage::Removing;
            owner.close().await;
        }
        remove(&self.dir).map_err(DropError::Folder)?;
        let held = self.lease.held();
        forget_log(held, cluster).await?;
        loop {
            let grants = grants(held, cluster).await?;
            let Some(map) = drives.map() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let mut left = 0;
            for home in map.drives.iter().map(home) {
                let grant = grants.iter().find(|grant| grant.home == home);
                let dropped = match grant {
                    Some(grant) => drop_log_at(drives, held, grant).await,
                    // The map changed meanwhile.
                    None => Err(DriveCallError::Refused(LogRefusal::NotGranted).into()),
                };
                if let Err(error) = dropped {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(drive = %home.drive, error, "a drive keeps a dropped log");
                    left += 1;
                }
            }
            if left == 0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn delete_extents(owner: &Owner, deleter: &ShardDeleter) -> Result<(), DropError> {
    loop {
        let extents = owner.read(|tx| drop::extents(tx, PAGE))?;
        if extents.is_empty() {
            return Ok(());
        }
        let gone = deleter.delete(&extents).await;
        if gone.is_empty() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let ((), seq) = owner.change(|tx| drop::forget(tx, &gone))?;
        owner.durable(seq).await.map_err(|_| DropError::OwnerEnded)?;
    }
}

async fn close_sessions(owner: &Owner, drives: &Drives) -> Result<(), DropError> {
    let mut closing = Closing::default();
    while closing.step(owner, drives).await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn grants(held: Held, cluster: &Cluster) -> Result<Vec<DriveGrant>, DropError> {
    let Held { filesystem, shard, epoch } = held;
    let reply = cluster.ask(&GetShardRow { filesystem, shard, epoch }).await.map_err(DropError::Row)?;
    Ok(reply.grants)
}

/// Takes the log out of the shard's row: from now on nobody looks for it.
async fn forget_log(held: Held, cluster: &Cluster) -> Result<(), DropError> {
    let Held { filesystem, shard, epoch } = held;
    let row = cluster.ask(&GetShardRow { filesystem, shard, epoch }).await.map_err(DropError::Row)?.row;
    if row.segments.is_empty() && row.checkpoint.is_none() {
        return Ok(());
    }
    let version = row.version + 1;
    let row = ShardRow { version, segments: Vec::new(), ends: Vec::new(), checkpoint: None, ..row };
    cluster.ask(&SwapShard { filesystem, shard, row }).await.map_err(DropError::Row)?;
    Ok(())
}

/// Has a drive let go of all records and checkpoints.
async fn drop_log_at(drives: &Drives, held: Held, grant: &DriveGrant) -> Result<(), KeptError> {
    let (home, epoch): (DriveHome, Epoch) = (grant.home, held.epoch);
    let log = LogKey { filesystem: held.filesystem, shard: held.shard };
    drives.call(home, &SealLog { grant: grant.grant.clone() }, Bulk::none(), ANSWER_MAX).await?;
    let trim = TrimLog { log, epoch, up_to: u64::MAX, void_after: None };
    drives.call(home, &trim, Bulk::none(), ANSWER_MAX).await?;
    let mut after = None;
    loop {
        let (page, _) = drives.call(home, &ListObjects { log, after }, Bulk::none(), ANSWER_MAX).await?;
        after = page.keys.last().copied();
        if after.is_none() {
            return Ok(());
        }
        for keys in page.keys.chunks(DELETE_OBJECTS_MAX) {
            let delete = DeleteObjects { epoch, keys: keys.to_vec() };
            drives.call(home, &delete, Bulk::none(), ANSWER_MAX).await?;
        }
    }
}

/// Most keys of one [`DeleteObjects`].
const DELETE_OBJECTS_MAX: usize = 4096;

/// Removes the folder of the index, if it is there.
fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
