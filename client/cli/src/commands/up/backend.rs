//! Starting the containers of the backend that do not run.

use core::net::SocketAddr;

use weft_layout::Protection;
use weft_resources::{Container, ContainerName, Process};
use weft_types::Role;

use super::UpError;
use crate::cluster::Cluster;
use crate::container::State;
use crate::host::{launch, ports};
use crate::progress::Progress;
use crate::start::{self, Outcome, StartError};
use crate::stop;

/// What was started.
#[derive(Debug)]
pub(super) struct Started {
    /// These serve now.
    pub names: Vec<ContainerName>,
    /// These drives do not, and the cluster can do without them.
    pub failed: Vec<(ContainerName, StartError)>,
}

/// Starts what does not run, and waits until it serves.
///
/// A drive that does not start is no reason to keep the data from its owner, while the others can give it back; of a
/// cluster that was formed just now, everything must start.
///
/// # Errors
/// [`UpError`]; what was started is stopped again.
pub(super) fn start(cluster: &Cluster, formed: bool, progress: &Progress) -> Result<Started, UpError> {
    let missing = missing(cluster)?;
    if missing.is_empty() {
        return Ok(Started { names: Vec::new(), failed: Vec::new() });
    }
    // Files and ports of all are looked at before anything is started.
    let files: Vec<_> = missing.iter().map(|name| cluster.container_file(name)).collect::<Result<_, _>>()?;
    cluster.frontend()?;
    ports::check_free(files.iter().flat_map(listens))?;
    let weftd = launch::sibling("weftd")?;
    let mut starting = Vec::new();
    for name in &missing {
        match start::backend(cluster, &weftd, name.clone()) {
            Ok(one) => starting.push(one),
            Err(error) => {
                stop(cluster, &missing)?;
                return Err(error.into());
            }
        }
    }
    // Management waits for drives, so it would be waited for in vain.
    let hopeless =
        |done: &[Outcome]| done.iter().filter(|(_, outcome)| outcome.is_err()).count() > spare(cluster);
    let (mut names, mut failed) = (Vec::new(), Vec::new());
    for (name, outcome) in start::wait_for_all(&cluster.dir, starting, |what| progress.now(what), hopeless) {
        match outcome {
            Ok(()) => names.push(name),
            Err(error) => failed.push((name, error)),
        }
    }
    names.sort_by_key(|name| position(cluster, name));
    failed.sort_by_key(|(name, _)| position(cluster, name));
    let fatal = failed.iter().position(|(name, _)| formed || !is_drive(cluster, name));
    if fatal.is_some() || failed.len() > spare(cluster) {
        stop(cluster, &missing)?;
    }
    match fatal {
        Some(fatal) => Err(UpError::Start(failed.swap_remove(fatal).1)),
        None if failed.len() > spare(cluster) => Err(too_few(cluster, failed)),
        None => Ok(Started { names, failed }),
    }
}

fn too_few(cluster: &Cluster, mut failed: Vec<(ContainerName, StartError)>) -> UpError {
    let drives = failed.iter().map(|(name, _)| name.to_string()).collect();
    let (_, first) = failed.swap_remove(0);
    let first = crate::error::with_next_step(&first, first.next_step());
    UpError::TooFewDrives { drives, spare: spare(cluster), first }
}

/// Stops what this command started, when it cannot be used.
///
/// # Errors
/// [`UpError`]
pub(super) fn stop(cluster: &Cluster, names: &[ContainerName]) -> Result<(), UpError> {
    stop::stop(&cluster.dir, names, stop::SHORT_PATIENCE, true)?;
    Ok(())
}

/// The containers that do not run, in the order in which they are started. One that is ending is waited for.
fn missing(cluster: &Cluster) -> Result<Vec<ContainerName>, UpError> {
    let mut missing = Vec::new();
    for name in cluster.backend_names() {
        let observed = cluster.container(&name)?;
        if matches!(observed.state, State::Stopping | State::Failed) {
            stop::wait(&observed, stop::PATIENCE, false)?;
        }
        if cluster.container(&name)?.process.is_none() {
            missing.push(name);
        }
    }
    Ok(missing)
}

fn listens(container: &Container) -> Vec<SocketAddr> {
    container.processes.iter().filter_map(Process::listen).collect()
}

fn position(cluster: &Cluster, name: &ContainerName) -> Option<usize> {
    cluster.file.containers.iter().position(|entry| entry.name == *name)
}

fn is_drive(cluster: &Cluster, name: &ContainerName) -> bool {
    let entry = cluster.file.containers.iter().find(|entry| entry.name == *name);
    entry.is_some_and(|entry| entry.roles.as_slice() == [Role::Drive])
}

/// How many drives the cluster can do without.
pub(super) fn spare(cluster: &Cluster) -> usize {
    cluster.file.protection.parse::<Protection>().map_or(0, |protection| usize::from(protection.parity()))
}
