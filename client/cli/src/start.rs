//! Starting containers and waiting until they serve.

use core::time::Duration;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use weft_resources::{ClusterDir, ContainerName};

use crate::cluster::Cluster;
use crate::container::{self, State};
use crate::host::files::FileError;
use crate::host::launch::{self, LaunchError, Launched};
use crate::host::{mounts, waiting};
use crate::stop;

/// How long a container may take from its start until it serves. Opening a large, badly closed drive reads all of it.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a mount may take. Its process gives up by itself before, and says why.
const MOUNT_PATIENCE: Duration = Duration::from_secs(120);
/// How long the look at one of several containers takes.
const GLANCE: Duration = Duration::from_millis(20);

/// Why a container does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Its program was not run.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its run state cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It gave up, for this reason.
    #[error("{}", explained(container, reason))]
    Failed {
        /// The container.
        container: ContainerName,
        /// One line, with the next step.
        reason: String,
    },
    /// It takes too long.
    #[error("{container} does not serve after {} s", patience.as_secs())]
    Slow {
        /// How long it had.
        patience: Duration,
        /// The container.
        container: ContainerName,
        /// Its log.
        log: PathBuf,
    },
}

impl StartError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Launch(error) => error.next_step(),
            Self::Slow { log, .. } => Some(format!("see what it does in {}", mounts::shown(log))),
            Self::File(_) | Self::Failed { .. } => None,
        }
    }
}

/// The reason, with the container that gave it where it is not plain: a mount is what the person asked for.
fn explained(name: &ContainerName, reason: &str) -> String {
    let plain = container::is_frontend(name) || reason.contains(name.as_str());
    if plain { reason.to_owned() } else { format!("{name}: {reason}") }
}

/// A container whose process was started.
#[derive(Debug)]
pub(crate) struct Starting {
    /// Its name.
    pub name: ContainerName,
    launched: Launched,
}

/// A mount to be made.
#[derive(Debug, Clone)]
pub(crate) struct MountPlan {
    /// The container that it is.
    pub container: ContainerName,
    /// The filesystem's name.
    pub filesystem: String,
    /// Where; as the mount table spells it.
    pub at: PathBuf,
    /// Mount options.
    pub options: String,
}

/// Starts a container of the backend by the `weftd` beside this program.
pub(crate) fn backend(cluster: &Cluster, weftd: &Path, name: ContainerName) -> Result<Starting, LaunchError> {
    let file = cluster.dir.container_file(&name);
    let arguments = [OsStr::new("run"), file.as_os_str()];
    let launched = launch::detached(weftd, &arguments, &cluster.dir.log_file(&name))?;
    Ok(Starting { name, launched })
}

/// Starts the process behind a mount.
fn frontend(cluster: &Cluster, plan: &MountPlan) -> Result<Starting, LaunchError> {
    let options = format!("-o{}", plan.options);
    let mut arguments = vec![OsStr::new("--dir"), cluster.dir.root().as_os_str(), OsStr::new("frontend")];
    arguments.extend([OsStr::new("--container"), OsStr::new(plan.container.as_str())]);
    arguments.extend([OsStr::new("--filesystem"), OsStr::new(&plan.filesystem)]);
    arguments.extend([OsStr::new("--at"), plan.at.as_os_str()]);
    if !plan.options.is_empty() {
        arguments.push(OsStr::new(&options));
    }
    let log = cluster.dir.log_file(&plan.container);
    let launched = launch::detached(&launch::own_program(), &arguments, &log)?;
    Ok(Starting { name: plan.container.clone(), launched })
}

/// Mounts a filesystem in the background; it is served on return.
///
/// # Errors
/// [`StartError`]; then nothing is left of the attempt.
pub(crate) fn mount(cluster: &Cluster, plan: &MountPlan) -> Result<(), StartError> {
    let mut starting = frontend(cluster, plan)?;
    let slow = || StartError::Slow {
        patience: MOUNT_PATIENCE,
        container: plan.container.clone(),
        log: cluster.dir.log_file(&plan.container),
    };
    let started = waiting::poll(MOUNT_PATIENCE, || starting.outcome(&cluster.dir));
    let started = started.unwrap_or_else(|| Err(slow()));
    if started.is_err() {
        starting.launched.kill();
        // The reason is told here; a container that never was is nothing to be listed.
        if starting.is_of_this_start(&cluster.dir) {
            stop::forget(&cluster.dir, &plan.container)?;
        }
        if mounts::is_dead(&plan.at) {
            // Without its process it serves nobody, and the next attempt would do the same.
            let _ = mounts::detach(&plan.at);
        }
    }
    started
}

impl Starting {
    /// What has become of it; `None` while it is starting.
    fn outcome(&mut self, dir: &ClusterDir) -> Option<Result<(), StartError>> {
        // Looked at first: a process that has ended has written its last state before.
        let ended = self.launched.ended();
        let observed = match container::observe(dir, &self.name) {
            Ok(observed) => observed,
            Err(error) => return Some(Err(error.into())),
        };
        let failed = |reason| Some(Err(StartError::Failed { container: self.name.clone(), reason }));
        match (observed.state, observed.reason, ended) {
            (State::Failed, Some(reason), _) if self.is_of_this_start(dir) => failed(reason),
            (_, _, Some(words)) => failed(words),
            (State::Running, _, None) if self.is_of_this_start(dir) => Some(Ok(())),
            _ => None,
        }
    }

    /// Whether the run state was written by the process that was started, and not by one before it.
    fn is_of_this_start(&self, dir: &ClusterDir) -> bool {
        container::writer(dir, &self.name) == Some(self.launched.pid())
    }
}

/// How the start of a container ended.
pub(crate) type Outcome = (ContainerName, Result<(), StartError>);

/// Waits until each serves or has failed, or until `hopeless` says of those that are done that the others need not be
/// waited for; says which are still starting.
pub(crate) fn wait_for_all(
    dir: &ClusterDir,
    mut starting: Vec<Starting>,
    now: impl Fn(String),
    mut hopeless: impl FnMut(&[Outcome]) -> bool,
) -> Vec<Outcome> {
    let end = Instant::now() + PATIENCE;
    let mut done = Vec::new();
    while !starting.is_empty() && !hopeless(&done) {
        let names: Vec<_> = starting.iter().map(|one| one.name.as_str()).collect();
        now(format!("waiting for {}", names.join(", ")));
        let mut open = Vec::new();
        for mut one in starting {
            match one.outcome(dir) {
                Some(outcome) => done.push((one.name, outcome)),
                None if Instant::now() >= end => {
                    let log = dir.log_file(&one.name);
                    let slow = StartError::Slow { patience: PATIENCE, log, container: one.name.clone() };
                    done.push((one.name, Err(slow)));
                }
                None => open.push(one),
            }
        }
        starting = open;
        if !starting.is_empty() {
            std::thread::sleep(GLANCE);
        }
    }
    done
}
