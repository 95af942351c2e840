//! What `weftd recover` is told, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_types::{ClusterId, DriveId};

use crate::{ClusterFile, ContainerName};

/// A cluster to be made again on this host from its drives' devices and its KMS key alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverSpec {
    /// Its directory: missing, empty, or what is left of the same cluster's; nothing of it may run.
    pub directory: PathBuf,
    /// The devices that are there, in any order.
    pub devices: Vec<PathBuf>,
    /// The key of the local KMS.
    pub kms_key: PathBuf,
    /// Goes on with less than a majority of the copies of the cluster store.
    pub accept_loss: bool,
    /// Where the filesystem `default` is to be mounted; absent: where it was, as far as the directory still says.
    pub mount: Option<PathBuf>,
}

/// A cluster was made again: printed as JSON on standard output. Nothing of it runs yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// The cluster.
    pub cluster: ClusterId,
    /// What `cluster.json` says.
    pub state: ClusterFile,
    /// The version of the cluster store that counts now, as `term.count`.
    pub store_version: String,
    /// How many of the voting drives were read.
    pub voters_read: u32,
    /// How many voting drives there are.
    pub voters: u32,
    /// Every drive that the cluster store knows.
    pub drives: Vec<RecoveredDrive>,
    /// What is not as it should be, and what may be lost, a line each.
    pub warnings: Vec<String>,
}

/// A drive of a cluster that was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveredDrive {
    /// The drive.
    pub drive: DriveId,
    /// Its container.
    pub container: ContainerName,
    /// Its device; absent when none of those named is it.
    pub device: Option<PathBuf>,
}
