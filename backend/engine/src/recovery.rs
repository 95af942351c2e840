//! Bringing the index up to the end of the log.

use std::fs;
use std::path::{Path, PathBuf};

use weft_types::Position;

use crate::checkpoint::LoadError;
use crate::{Index, IndexError, OpenIndexError, ReadError, ShardLog, directory};

/// Bytes of batches that are applied at once.
const REPLAY_BYTES: usize = 4 << 20;

/// An index at the end of its log.
#[derive(Debug)]
pub struct Recovered {
    /// The index.
    pub index: Index,
    /// Batches that it lacked.
    pub replayed: u64,
    /// Why the file that was there was set aside, and the index made anew.
    pub set_aside: Option<String>,
}

/// Why an index cannot be brought to the end of its log.
#[derive(Debug, thiserror::Error)]
pub enum RecoverIndexError {
    /// It cannot be opened, for a reason that making it anew would not mend.
    #[error(transparent)]
    Open(OpenIndexError),
    /// The index failed while batches were applied.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The log could not be read.
    #[error("the log cannot be read")]
    Log(#[from] ReadError),
    /// The checkpoint could not be loaded.
    #[error("the checkpoint cannot be loaded")]
    Checkpoint(#[from] LoadError),
    /// A file could not be renamed or removed.
    #[error("{} cannot be renamed or removed", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Opens the index at `path`, or makes it, and brings it to the end of the log. All of it is durable on return.
///
/// The index is a cache. One that is damaged, of another format, another shard's, beyond the end that is recorded for
/// its epoch, or from before the log's start is renamed to `<path>.damaged` and made anew from the checkpoint and the
/// log. Blocks for as long as writing the index takes, besides waiting for the log.
///
/// # Errors
/// [`RecoverIndexError`]; what was usable is still where it was.
pub async fn recover_index<L: ShardLog>(log: &L, path: &Path) -> Result<Recovered, RecoverIndexError> {
    let existed = path.exists();
    let reason = match Index::open(path, log.key()) {
        Ok(index) => match usable(log, &index).await? {
            None => return replay(log, index, None).await,
            Some(reason) => reason,
        },
        Err(error @ (OpenIndexError::OtherShard { .. } | OpenIndexError::OtherFormat { .. })) => {
            error.to_string()
        }
        Err(OpenIndexError::Index(IndexError::Damaged { reason, .. })) => reason,
        Err(error) => return Err(RecoverIndexError::Open(error)),
    };
    if existed {
        tracing::warn!(index = %path.display(), reason, "the index is set aside and made anew");
    }
    let index = made_anew(log, path).await?;
    replay(log, index, existed.then_some(reason)).await
}

/// `None`, or why the index is of no use.
async fn usable<L: ShardLog>(log: &L, index: &Index) -> Result<Option<String>, RecoverIndexError> {
    let applied = index.applied();
    match log.read(applied, 0).await {
        Ok(_) => Ok(None),
        Err(ReadError::NoSuchPosition(_)) => {
            Ok(Some(format!("it is at batch {applied}, which does not count")))
        }
        Err(ReadError::Trimmed { start, .. }) => {
            Ok(Some(format!("it ends at batch {applied}, and the log begins after {start}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Fills a new index beside the old one from the checkpoint, and puts it into its place.
async fn made_anew<L: ShardLog>(log: &L, path: &Path) -> Result<Index, RecoverIndexError> {
    let loading = with_suffix(path, ".loading");
    match fs::remove_file(&loading) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(RecoverIndexError::File { path: loading, source: error });
        }
        _ => {}
    }
    let index = Index::open(&loading, log.key()).map_err(RecoverIndexError::Open)?;
    log.load_checkpoint(&index).await?;
    // Until here nothing that could be used was touched.
    drop(index);
    if path.exists() {
        rename(path, &with_suffix(path, ".damaged"))?;
    }
    rename(&loading, path)?;
    Index::open(path, log.key()).map_err(RecoverIndexError::Open)
}

fn rename(from: &Path, to: &Path) -> Result<(), RecoverIndexError> {
    let file = |source| RecoverIndexError::File { path: from.to_path_buf(), source };
    fs::rename(from, to).map_err(file)?;
    match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => directory::sync(dir).map_err(file),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn replay<L: ShardLog>(
    log: &L,
    index: Index,
    set_aside: Option<String>,
) -> Result<Recovered, RecoverIndexError> {
    let mut replayed = 0;
    let end: Position = log.end();
    while index.applied().seq < end.seq {
        let batches = log.read(index.applied(), REPLAY_BYTES).await?;
        if batches.is_empty() {
            break;
        }
        index.apply(&batches, false)?;
        replayed += batches.len() as u64;
    }
    if replayed > 0 {
        index.apply(&[], true)?;
    }
    Ok(Recovered { index, replayed, set_aside })
}
