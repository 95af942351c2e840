//! Reading a checkpoint back.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use weft_types::Digest;
use weft_wire::log::{GetObject, LogKey, ObjectKey};
use weft_wire::ownership::CheckpointRoot;

use super::LoadError;
use super::part::{self, Contents};
use crate::{DriveCallError, Index, LogDrives};

/// A drive that answers later is asked again after the others.
const SOON: Duration = Duration::from_secs(2);
/// How long the second attempt waits.
const LATE: Duration = Duration::from_secs(10);

/// Fills an empty index with the rows of a checkpoint, durably. Each part comes from any drive whose copy is whole. After
/// an error the index is of no use.
///
/// # Errors
/// [`LoadError`]
pub async fn load<D: LogDrives>(
    drives: &D,
    log: LogKey,
    root: &CheckpointRoot,
    into: &Index,
) -> Result<(), LoadError> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let mut salts = Vec::new();
    // The drive that answered last is asked first.
    let mut first = 0;
    for part in 0..root.parts {
        let key = ObjectKey { log, epoch: root.epoch, number: root.number, part };
        let (found, contents) = load_part(drives, root, key, &mut first).await?;
        hasher.update(&found);
        bytes += found.len() as u64;
        salts.extend(contents.salts);
        into.fill(&contents.rows)?;
    }
    if Digest(*hasher.finalize().as_bytes()) != root.digest || bytes != root.bytes {
        return Err(LoadError::Digest);
    }
    into.filled(root.position, &salts)?;
    Ok(())
}

async fn load_part<D: LogDrives>(
    drives: &D,
    root: &CheckpointRoot,
    key: ObjectKey,
    first: &mut usize,
) -> Result<(Bytes, Contents), LoadError> {
    let mut damage = "no drive has it".to_owned();
    let mut silent = None;
    for wait in [SOON, LATE] {
        for turn in 0..root.drives.len() {
            let at = (*first + turn) % root.drives.len();
            let home = root.drives[at];
            let reason = match timeout(wait, drives.get_object(home, GetObject { key })).await {
                Ok(Ok(bytes)) => match part::decode(&bytes, key, root.position) {
                    Ok(contents) => {
                        *first = at;
                        return Ok((bytes, contents));
                    }
                    Err(error) => error.to_string(),
                },
                Ok(Err(DriveCallError::Refused(refusal))) => refusal.to_string(),
                Ok(Err(DriveCallError::Unreachable(reason))) => {
                    silent = Some(format!("drive {}: {reason}", home.drive));
                    continue;
                }
                Err(_) => {
                    silent = Some(format!("drive {}: no answer in time", home.drive));
                    continue;
                }
            };
            damage = format!("drive {}: {reason}", home.drive);
        }
        if silent.is_none() {
            break;
        }
    }
    Err(match silent {
        Some(reason) => LoadError::Unavailable { part: key.part, reason },
        None => LoadError::Damaged { part: key.part, reason: damage },
    })
}
