//! Stopping containers.

use core::time::Duration;
use std::path::Path;

use rustix::process::Signal;
use weft_resources::{ClusterDir, ContainerName};

use crate::container::{self, Observed, State};
use crate::host::files::{self, FileError};

/// How long a container of the backend may take to finish what is under way.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take when it is killed otherwise.
pub(crate) const SHORT_PATIENCE: Duration = Duration::from_secs(15);
/// How long a killed process may take to be gone.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// Why a container did not stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopError {
    /// Its run state cannot be read or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The host does not let it be signalled.
    #[error("{container} (process {pid}) cannot be told to stop")]
    Signal {
        /// The container.
        container: ContainerName,
        /// Its process.
        pid: u32,
        /// What the host said.
        #[source]
        source: std::io::Error,
    },
    /// It goes on.
    #[error("{container} (process {pid}) did not stop within {} s", patience.as_secs())]
    Stuck {
        /// The container.
        container: ContainerName,
        /// Its process.
        pid: u32,
        /// How long it had.
        patience: Duration,
    },
    /// It stopped, and said that something is lost.
    #[error("{container}: {reason}")]
    Failed {
        /// The container.
        container: ContainerName,
        /// One line.
        reason: String,
    },
}

impl StopError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Stuck { container, .. } => {
                Some(format!("see `weft logs {container}`, or kill it with `weft down --force`"))
            }
            Self::Signal { .. } => Some("run as the user that started the cluster".to_owned()),
            Self::File(_) | Self::Failed { .. } => None,
        }
    }
}

/// Tells containers to stop and waits until all of them have; with `force`, kills those that do not. What was stopped
/// is returned; containers that do not run are none of it.
///
/// # Errors
/// [`StopError`] of the first that did not stop; all were told.
pub(crate) fn stop(
    dir: &ClusterDir,
    names: &[ContainerName],
    patience: Duration,
    force: bool,
) -> Result<Vec<ContainerName>, StopError> {
    let observed: Vec<_> =
        names.iter().map(|name| container::observe(dir, name)).collect::<Result<_, FileError>>()?;
    let told = observed.iter().filter_map(|one| tell(one).transpose()).collect::<Result<Vec<_>, _>>()?;
    let mut stopped = Vec::new();
    for one in told {
        wait(one, patience, force)?;
        stopped.push(one.name.clone());
    }
    for one in &observed {
        tidy(dir, one)?;
    }
    Ok(stopped)
}

/// Tells a container's process to stop, when there is one.
fn tell(one: &Observed) -> Result<Option<&Observed>, StopError> {
    let Some(process) = one.process else { return Ok(None) };
    let refused = |source| StopError::Signal { container: one.name.clone(), pid: process.pid, source };
    process.signal(Signal::TERM).map_err(refused)?;
    Ok(Some(one))
}

/// Waits until a container's process has ended.
pub(crate) fn wait(one: &Observed, patience: Duration, force: bool) -> Result<(), StopError> {
    let Some(process) = one.process else { return Ok(()) };
    if process.wait_until_gone(patience) {
        return Ok(());
    }
    let (container, pid) = (one.name.clone(), process.pid);
    if force {
        process.signal(Signal::KILL).map_err(|source| StopError::Signal { container, pid, source })?;
        if process.wait_until_gone(AFTER_KILL) {
            return Ok(());
        }
    }
    Err(StopError::Stuck { container: one.name.clone(), pid, patience })
}

/// Removes what a process left behind that did not end cleanly. The reason of one that gave up stays for those who
/// look, unless it was stopped just now.
fn tidy(dir: &ClusterDir, one: &Observed) -> Result<(), FileError> {
    let now = container::observe(dir, &one.name)?;
    if now.process.is_none() && now.state == State::Died {
        forget(dir, &one.name)?;
    }
    Ok(())
}

/// Removes the run state of a container that does not run.
pub(crate) fn forget(dir: &ClusterDir, name: &ContainerName) -> Result<(), FileError> {
    files::remove(&dir.pid_file(name))?;
    files::remove(&dir.run_state(name))
}

/// The frontends that have their filesystem mounted at this path, by what they said of themselves.
pub(crate) fn frontends_at(dir: &ClusterDir, at: &Path) -> Result<Vec<Observed>, FileError> {
    Ok(said_to_be_at(dir, at)?.into_iter().filter(|one| one.process.is_some()).collect())
}

/// The frontends whose processes ended with their filesystem mounted at this path.
pub(crate) fn dead_frontends_at(dir: &ClusterDir, at: &Path) -> Result<Vec<ContainerName>, FileError> {
    let dead = said_to_be_at(dir, at)?.into_iter().filter(|one| one.process.is_none());
    Ok(dead.map(|one| one.name).collect())
}

fn said_to_be_at(dir: &ClusterDir, at: &Path) -> Result<Vec<Observed>, FileError> {
    let all = container::frontends_started(dir).into_iter().map(|name| container::observe(dir, &name));
    let all: Vec<_> = all.collect::<Result<_, FileError>>()?;
    Ok(all.into_iter().filter(|one| one.mount.as_deref() == Some(at)).collect())
}
