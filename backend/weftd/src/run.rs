//! Running a container: one OS process, each of its processes on a thread of its own, all alive or none.

mod claim;
mod compute;
mod drive;
mod explain;
mod heartbeat;
mod management;
mod process;
mod supervise;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_resources::{ClusterDir, ClusterFile, Container, ContainerName, Process};
use weft_types::{ClusterId, Role};

use crate::files::{self, FileError};
use claim::{Claim, ClaimError};
use process::ProcessError;

pub(crate) use explain::explained;

/// Why a container does not run, or ran no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A resource file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file lies under another name than its contents say.
    #[error("{} describes container {name}", file.display())]
    OtherName {
        /// The file.
        file: PathBuf,
        /// The name in it.
        name: ContainerName,
    },
    /// The container is another cluster's.
    #[error("{} is of cluster {found}, and {} of cluster {expected}", file.display(), dir.display())]
    OtherCluster {
        /// The file.
        file: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// The directory.
        dir: PathBuf,
        /// The directory's cluster.
        expected: ClusterId,
    },
    /// It has a process that is not for this program.
    #[error("container {name} has a frontend, which `weft` runs")]
    Frontend {
        /// The container.
        name: ContainerName,
    },
    /// It has nothing to run.
    #[error("container {name} has no processes")]
    Nothing {
        /// The container.
        name: ContainerName,
    },
    /// Its place among what runs cannot be taken.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// One of its processes did not start, or failed.
    #[error("{role} of container {name}")]
    Process {
        /// The container.
        name: ContainerName,
        /// What the process does.
        role: Role,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// The host gives no thread or no signals.
    #[error("container {name} cannot be run")]
    Host {
        /// The container.
        name: ContainerName,
        /// What the host said.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time when told to stop. What it answered is durable all the same.
    #[error("container {name} did not stop within {} s", supervise::STOP_MAX.as_secs())]
    Stuck {
        /// The container.
        name: ContainerName,
    },
}

/// Runs the container of this file until it is told to stop.
///
/// # Errors
/// [`RunError`]
pub(crate) fn run(file: &Path) -> Result<(), RunError> {
    let container: Container = files::read_document(file)?;
    let dir = container.cluster_dir(file);
    check(&container, &dir, file)?;
    let mut claim = Claim::take(&dir, &container)?;
    claim::announce_panics(&claim);
    let outcome = supervise::supervise(Arc::new(container), dir, &mut claim);
    match &outcome {
        Ok(()) => claim.release(),
        Err(error) => claim.fail(&format!("{:#}", explained(error))),
    }
    outcome
}

/// Whether a container is one of this directory's, and for this program.
fn check(container: &Container, dir: &ClusterDir, file: &Path) -> Result<(), RunError> {
    let name = || container.name.clone();
    if file.file_stem().and_then(|stem| stem.to_str()) != Some(container.name.as_str()) {
        return Err(RunError::OtherName { file: file.to_owned(), name: name() });
    }
    let state: ClusterFile = files::read_document(&dir.cluster_file())?;
    if state.cluster != container.cluster {
        return Err(RunError::OtherCluster {
            file: file.to_owned(),
            found: container.cluster,
            dir: dir.root().to_owned(),
            expected: state.cluster,
        });
    }
    if container.processes.iter().any(|process| process.role() == Role::Frontend) {
        return Err(RunError::Frontend { name: name() });
    }
    if container.processes.is_empty() { Err(RunError::Nothing { name: name() }) } else { Ok(()) }
}

/// What a process of a container is and where it stands.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) container: Arc<Container>,
    pub(crate) dir: ClusterDir,
    /// Which of the container's processes.
    pub(crate) index: usize,
}

impl Place {
    fn process(&self) -> &Process {
        &self.container.processes[self.index]
    }
}
