//! Dropping a filesystem: first its extents on the drives, then its metadata as a whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_meta::drop;
use weft_wire::compute::DropProgress;
use weft_wire::meta::MetaError;

use crate::owner::Owner;
use crate::shards::ShardDeleter;

/// Extents whose shards are deleted in one go.
const PAGE: usize = 1024;
/// How long to wait when no drive deletes anything.
const PAUSE: Duration = Duration::from_secs(1);
/// The file in a shard's directory that says that the filesystem is being dropped.
const MARK: &str = "dropping";
/// What the directory's name ends in once nothing of it is needed any more.
const REMOVED: &str = "removed";

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

/// A drop under way.
#[derive(Debug)]
pub(crate) struct Dropping {
    owner: Arc<Owner>,
    stage: Mutex<Stage>,
}

impl Dropping {
    /// Of an owner that serves nobody any more.
    pub(crate) fn new(owner: Arc<Owner>) -> Self {
        owner.begin_dropping();
        Self { owner, stage: Mutex::new(Stage::Deleting) }
    }

    /// The owner that it goes on with.
    pub(crate) fn owner(&self) -> Arc<Owner> {
        Arc::clone(&self.owner)
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Result<DropProgress, MetaError> {
        // Held while rows are read: the owner is closed only after this.
        let stage = self.stage();
        let extents_left = match *stage {
            Stage::Deleting | Stage::Failed => self.owner.read(|tx| drop::extents_left(tx))?,
            Stage::Removing | Stage::Done => 0,
        };
        Ok(DropProgress { done: *stage == Stage::Done, extents_left })
    }

    /// Whether it failed; it can be begun again.
    pub(crate) fn has_failed(&self) -> bool {
        *self.stage() == Stage::Failed
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes all extents, and at last the directory.
    pub(crate) async fn run(self: Arc<Self>, dir: PathBuf, deleter: Arc<ShardDeleter>) {
        if let Err(error) = self.delete_extents(&deleter).await {
            tracing::error!(%error, owner = ?self.owner, "a filesystem cannot be dropped");
            *self.stage() = Stage::Failed;
            return;
        }
        *self.stage() = Stage::Removing;
        let this = Arc::clone(&self);
        let removed = tokio::task::spawn_blocking(move || {
            this.owner.close();
            remove(&dir)
        });
        let stage = match removed.await {
            Ok(Ok(())) => {
                tracing::info!(filesystem = %self.owner.filesystem(), "a filesystem was dropped");
                Stage::Done
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the directory of a dropped filesystem cannot be removed");
                Stage::Failed
            }
            Err(error) => {
                tracing::error!(%error, "removing a dropped filesystem failed");
                Stage::Failed
            }
        };
        *self.stage() = stage;
    }

    async fn delete_extents(&self, deleter: &ShardDeleter) -> Result<(), MetaError> {
        loop {
            let extents = self.owner.read(|tx| drop::extents(tx, PAGE))?;
            if extents.is_empty() {
                return Ok(());
            }
            let gone = deleter.delete(&extents).await;
            if gone.is_empty() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let ((), seq) = self.owner.change(|tx| drop::forget(tx, &gone))?;
            self.owner.durable(seq).await.map_err(|_| MetaError::Damaged)?;
        }
    }
}

/// Marks a shard's directory: whatever happens, the filesystem is never served again. Durable on return.
pub(crate) fn mark(dir: &Path) -> io::Result<()> {
    File::create(dir.join(MARK))?.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Whether a directory is marked.
pub(crate) fn is_marked(dir: &Path) -> bool {
    dir.join(MARK).exists()
}

/// Removes a shard's directory: from one moment to the next it is not there any more.
fn remove(dir: &Path) -> io::Result<()> {
    let aside = dir.with_extension(REMOVED);
    fs::rename(dir, &aside)?;
    if let Some(parent) = dir.parent() {
        File::open(parent)?.sync_all()?;
    }
    fs::remove_dir_all(aside)
}

/// Removes what an earlier process did not come round to.
pub(crate) fn clear(state: &Path) -> io::Result<()> {
    for entry in state.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == REMOVED) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
