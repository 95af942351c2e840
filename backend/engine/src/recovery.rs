//! Bringing the index up to the end of the log.

use std::fs;
use std::path::{Path, PathBuf};

use weft_types::{FilesystemId, Position};
use weft_wire::log::LogKey;

use crate::{Index, IndexError, Log, OpenIndexError, ReadError};

/// Bytes of batches that are applied at once.
const REPLAY_BYTES: usize = 4 << 20;

/// An index at the end of its log.
#[derive(Debug)]
pub struct Recovered {
    /// The index.
    pub index: Index,
    /// Batches that it lacked.
    pub replayed: u64,
    /// Why the file that was there was set aside, and the index made anew from the whole log.
    pub set_aside: Option<String>,
}

/// Why an index cannot be brought to the end of its log.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The index lacks what the log has let go: the file was lost or damaged, or an older copy was put in its place.
    #[error(
        "the index {} is needed and not usable ({reason}): the log begins after batch {start}; restore the file from a copy",
        path.display()
    )]
    Lost {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where the log begins.
        start: Position,
    },
    /// A newer version of the software wrote it, or it cannot be opened.
    #[error(transparent)]
    Open(OpenIndexError),
    /// The index failed while batches were applied.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The log could not be read.
    #[error("the log cannot be read")]
    Log(#[source] ReadError),
    /// The file could not be set aside.
    #[error("{} cannot be renamed", path.display())]
    SetAside {
        /// The index.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Opens the index at `path` and replays what it lacks. All of it is durable on return.
///
/// An index that is damaged, another shard's, or beyond the log's end is renamed to `<path>.damaged` and made anew,
/// which needs the log from its beginning: whoever trims the log makes the index durable first, and from then on the
/// index file is as precious as the log.
///
/// # Errors
/// [`RecoverError`]
pub fn recover(log: &impl Log, path: &Path) -> Result<Recovered, RecoverError> {
    let reason =
        match Index::open(path, LogKey { filesystem: FilesystemId::from_bytes([0; 16]), shard: log.shard() })
        {
            Ok(index) => match log.read(index.applied(), 0) {
                Ok(_) => return replay(log, index, None),
                Err(ReadError::NoSuchPosition(applied)) => {
                    format!("it is at batch {applied}, which the log does not have")
                }
                Err(ReadError::Trimmed { after, start }) => {
                    let reason = format!("it ends at batch {after}");
                    return Err(RecoverError::Lost { path: path.to_path_buf(), reason, start });
                }
                Err(error) => return Err(RecoverError::Log(error)),
            },
            Err(error @ OpenIndexError::OtherShard { .. }) => error.to_string(),
            Err(OpenIndexError::Index(IndexError::Damaged { reason, .. })) => reason,
            Err(error) => return Err(RecoverError::Open(error)),
        };
    let start = log.start();
    if start.seq > 0 {
        return Err(RecoverError::Lost { path: path.to_path_buf(), reason, start });
    }
    tracing::warn!(index = %path.display(), reason, "the index is set aside and made anew from the log");
    fs::rename(path, set_aside_path(path))
        .map_err(|source| RecoverError::SetAside { path: path.to_path_buf(), source })?;
    let index =
        Index::open(path, LogKey { filesystem: FilesystemId::from_bytes([0; 16]), shard: log.shard() })
            .map_err(RecoverError::Open)?;
    replay(log, index, Some(reason))
}

fn set_aside_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

fn replay(log: &impl Log, index: Index, set_aside: Option<String>) -> Result<Recovered, RecoverError> {
    let mut replayed = 0;
    loop {
        let batches = log.read(index.applied(), REPLAY_BYTES).map_err(RecoverError::Log)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::batch;
    use crate::{MemoryLog, Room};
    use weft_types::{Epoch, MetadataShard};

    fn log_of(epoch: u64, batches: u64) -> MemoryLog {
        let mut log = MemoryLog::new(MetadataShard::new(0));
        log.seal(Epoch::new(epoch)).expect("seals");
        for seq in 1..=batches {
            log.append(&batch(epoch, seq), Room::Ample).expect("appends");
        }
        log
    }

    #[test]
    fn an_index_behind_the_log_catches_up_and_one_at_its_end_has_nothing_to_do() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("index");
        let mut log = log_of(1, 3);
        assert_eq!(recover(&log, &path).expect("recovers").replayed, 3);
        log.append(&batch(1, 4), Room::Ample).expect("appends");
        assert_eq!(recover(&log, &path).expect("recovers").replayed, 1);
        let recovered = recover(&log, &path).expect("recovers");
        assert_eq!((recovered.replayed, recovered.set_aside), (0, None));
    }

    #[test]
    fn an_index_ahead_of_the_log_or_of_another_history_is_made_anew() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("index");
        recover(&log_of(1, 3), &path).expect("recovers");
        for other in [log_of(1, 2), log_of(2, 3)] {
            let recovered = recover(&other, &path).expect("recovers");
            assert!(recovered.set_aside.is_some());
            assert_eq!(recovered.index.applied(), other.end());
            assert!(set_aside_path(&path).exists());
        }
    }

    #[test]
    fn a_damaged_index_is_made_anew_and_set_aside() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("index");
        let log = log_of(1, 3);
        for damage in [&b"this is no index"[..], &[]] {
            fs::write(&path, damage).expect("writes");
            let recovered = recover(&log, &path).expect("recovers");
            assert_eq!(recovered.replayed, 3);
        }
        let mut bytes = fs::read(&path).expect("reads");
        bytes[..512].fill(0xee);
        fs::write(&path, &bytes).expect("writes");
        let recovered = recover(&log, &path).expect("recovers");
        assert!(recovered.set_aside.is_some());
        assert_eq!(recovered.index.scan(&[], None, 9).expect("scans").len(), 3);
    }

    #[test]
    fn an_index_that_lacks_what_was_trimmed_is_named_and_left_where_it_is() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("index");
        let mut log = log_of(1, 3);
        drop(recover(&log, &path).expect("recovers"));
        log.trim(log.end()).expect("trims");
        assert_eq!(recover(&log, &path).expect("needs nothing").replayed, 0);
        fs::write(&path, b"this is no index").expect("writes");
        let error = recover(&log, &path).expect_err("damaged");
        assert!(matches!(&error, RecoverError::Lost { .. }), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), b"this is no index");
        fs::remove_file(&path).expect("removes");
        let error = recover(&log, &path).expect_err("lost").to_string();
        assert!(error.contains("index") && error.contains("restore the file"), "{error}");
    }
}
