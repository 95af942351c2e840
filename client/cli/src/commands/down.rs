//! `weft down`

mod destroy;

use core::time::Duration;
use std::path::{Path, PathBuf};

use serde::Serialize;
use weft_resources::{ClusterDir, ContainerName, DocumentError};
use weft_types::Role;

use crate::arguments::DownArguments;
use crate::cluster::{self, Cluster, Presence};
use crate::container;
use crate::error::CommandError;
use crate::host::files::{self, FileError, Lock};
use crate::host::{mounts, waiting};
use crate::output;
use crate::progress::Progress;
use crate::stop::{self, StopError};
use crate::unmount::{self, UnmountError};
use destroy::DestroyError;

/// How long another command that starts or stops the cluster is waited for.
const TURN_PATIENCE: Duration = Duration::from_secs(120);

/// Why a cluster was not stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownError {
    /// A mount stays.
    #[error(transparent)]
    Unmount(#[from] UnmountError),
    /// A container goes on.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// It is stopped, but not removed.
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another command is at work.
    #[error("another `weft up` or `weft down` is at work in {}", .0.display())]
    Busy(PathBuf),
}

impl DownError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Unmount(error) => error.next_step("`weft down --force`"),
            Self::Stop(error) => error.next_step(),
            Self::Destroy(error) => error.next_step(),
            Self::File(_) => None,
            Self::Busy(_) => Some("try again when it is done".to_owned()),
        }
    }
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Done {
    /// There was a cluster.
    found: bool,
    unmounted: Vec<PathBuf>,
    stopped: Vec<ContainerName>,
    destroyed: bool,
    /// What was found in the directory and is not Weft's.
    kept: Vec<PathBuf>,
}

/// Unmounts and stops everything of the cluster, whatever is left of it. Everything written is durable on return.
///
/// # Errors
/// [`CommandError`]; what was not reached yet goes on serving.
pub(crate) fn run(path: &Path, options: &DownArguments, json: bool) -> Result<(), CommandError> {
    let done = bring_down(path, options)?;
    if json {
        return Ok(output::json(&done)?);
    }
    Ok(output::line(summary(path, &done))?)
}

fn summary(path: &Path, done: &Done) -> String {
    let dir = mounts::shown(path);
    let kept: Vec<_> = done.kept.iter().map(|path| mounts::shown(path)).collect();
    if !done.found {
        return format!("there is no cluster in {dir}: nothing to stop");
    }
    match (done.destroyed, done.stopped.len() + done.unmounted.len()) {
        (true, _) if kept.is_empty() => format!("the cluster in {dir} is destroyed"),
        (true, _) => {
            format!("the cluster in {dir} is destroyed; kept, as it is not Weft's: {}", kept.join(", "))
        }
        (false, 0) => format!("nothing runs in {dir}"),
        (false, _) => format!("the cluster in {dir} is stopped; `weft up` resumes it with its data"),
    }
}

fn bring_down(path: &Path, options: &DownArguments) -> Result<Done, DownError> {
    let progress = Progress::new("looking");
    let dir = cluster::directory(path);
    // What runs can be stopped without the state file; only destroying asks for more.
    let (cluster, is_cluster) = match cluster::presence(path) {
        Ok(Presence::Formed(cluster)) => (Some(*cluster), true),
        Ok(Presence::HalfFormed) => (None, true),
        Ok(Presence::Absent) => (None, false),
        Err(error @ FileError::Document(DocumentError::NewerFormat { .. })) if options.destroy => {
            return Err(error.into());
        }
        Err(_) => (None, true),
    };
    let mut done = Done { found: is_cluster, ..Done::default() };
    if !is_cluster {
        return Ok(done);
    }
    let _turn = take_turn(&dir)?;
    let lost = unmount_all(&dir, cluster.as_ref(), options, &progress, &mut done)?;
    stop_backend(&dir, cluster.as_ref(), options, &progress, &mut done)?;
    if let Some(lost) = lost {
        return Err(lost.into());
    }
    if options.destroy {
        drop(progress);
        done.kept = destroy::destroy(&dir, options.yes)?;
        done.destroyed = true;
    }
    Ok(done)
}

/// Unmounts and stops everything of a cluster, which is to be started again soon. Everything written is durable on
/// return.
///
/// # Errors
/// [`DownError`]; when a mount is in use, nothing was stopped.
pub(crate) fn stop_all(cluster: &Cluster) -> Result<(), DownError> {
    let (options, progress) = (DownArguments::default(), Progress::hidden());
    let mut done = Done::default();
    let _turn = take_turn(&cluster.dir)?;
    let lost = unmount_all(&cluster.dir, Some(cluster), &options, &progress, &mut done)?;
    stop_backend(&cluster.dir, Some(cluster), &options, &progress, &mut done)?;
    lost.map_or(Ok(()), |lost| Err(lost.into()))
}

/// One command at a time starts and stops the containers of a cluster.
pub(crate) fn take_turn(dir: &ClusterDir) -> Result<Option<Lock>, DownError> {
    let folder = dir.root().join("run");
    if !folder.is_dir() {
        return Ok(None);
    }
    let file = folder.join("command.lock");
    let turn = waiting::poll(TURN_PATIENCE, || files::try_lock(&file).transpose());
    match turn {
        Some(lock) => Ok(Some(lock?)),
        None => Err(DownError::Busy(dir.root().to_owned())),
    }
}

/// Unmounts every filesystem. Says at the end what one of them has lost: the others are no better off for going on.
fn unmount_all(
    dir: &ClusterDir,
    cluster: Option<&Cluster>,
    options: &DownArguments,
    progress: &Progress,
    done: &mut Done,
) -> Result<Option<UnmountError>, DownError> {
    let frontends: Vec<_> = container::frontends_started(dir)
        .iter()
        .map(|name| container::observe(dir, name))
        .collect::<Result<_, _>>()?;
    // All are looked at before the first one goes.
    for frontend in frontends.iter().filter(|one| one.process.is_some() && !options.force) {
        unmount::check_unused(frontend)?;
    }
    let mut lost = None;
    for frontend in &frontends {
        progress.now(format!("unmounting {}", frontend.name));
        match unmount::end(dir, frontend, options.force) {
            Ok(()) => {}
            Err(error @ UnmountError::Stop(StopError::Failed { .. })) => lost = Some(error),
            Err(error) => return Err(error.into()),
        }
        if frontend.process.is_some() {
            done.unmounted.extend(frontend.mount.clone());
        }
    }
    if let Some(cluster) = cluster {
        let at = mounts::real_path(&cluster.mount_point()).unwrap_or_else(|_| cluster.mount_point());
        if unmount::bury_mount(&at)? {
            done.unmounted.push(at);
        }
    }
    Ok(lost)
}

/// Stops what serves metadata, then what serves data.
fn stop_backend(
    dir: &ClusterDir,
    cluster: Option<&Cluster>,
    options: &DownArguments,
    progress: &Progress,
    done: &mut Done,
) -> Result<(), DownError> {
    let mut names = cluster.map(Cluster::backend_names).unwrap_or_default();
    let frontends = container::frontends_started(dir);
    names.extend(container::started(dir).into_iter().filter(|name| !frontends.contains(name)));
    names.sort();
    names.dedup();
    let observed: Vec<_> =
        names.iter().map(|name| container::observe(dir, name)).collect::<Result<_, _>>()?;
    let (drives, others): (Vec<_>, Vec<_>) =
        observed.into_iter().partition(|one| one.roles.as_slice() == [Role::Drive]);
    let patience = if options.force { stop::SHORT_PATIENCE } else { stop::PATIENCE };
    for stage in [others, drives] {
        let names: Vec<_> = stage.into_iter().map(|one| one.name).collect();
        progress.now(format!(
            "stopping {}",
            names.iter().map(ContainerName::as_str).collect::<Vec<_>>().join(", ")
        ));
        done.stopped.extend(stop::stop(dir, &names, patience, options.force)?);
    }
    Ok(())
}
