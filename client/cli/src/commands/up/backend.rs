//! Starting the containers of the backend that do not run.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

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

/// How long management may take when more drives are missing than the cluster can do without.
const FEW_PATIENCE: Duration = Duration::from_secs(15);

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
    let addresses: Vec<_> = files.iter().flat_map(listens).collect();
    ports::check_free_again(&addresses)?;
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
    let drives = missing.iter().filter(|name| is_drive(cluster, name)).count();
    let mut hopeless = Hopeless { cluster, drives, since: None };
    let (mut names, mut failed) = (Vec::new(), Vec::new());
    for (name, outcome) in
        start::wait_for_all(&cluster.dir, starting, |what| progress.now(what), |done| hopeless.look(done))
    {
        match outcome {
            Ok(()) => names.push(name),
            Err(error) => failed.push((name, error)),
        }
    }
    names.sort_by_key(|name| position(cluster, name));
    failed.sort_by_key(|(name, _)| position(cluster, name));
    let fatal = failed.iter().position(|(name, _)| formed || !is_drive(cluster, name));
    let managed = missing.iter().all(|name| is_drive(cluster, name) || names.contains(name));
    if fatal.is_some() || !managed {
        stop(cluster, &missing)?;
    }
    match fatal {
        Some(fatal) => Err(UpError::Start(failed.swap_remove(fatal).1)),
        None if !managed => Err(too_few(cluster, &failed)),
        None => Ok(Started { names, failed }),
    }
}

/// Whether to wait no longer: so many drives are missing that management may wait for them in vain.
struct Hopeless<'a> {
    cluster: &'a Cluster,
    /// How many drives were started.
    drives: usize,
    /// Since when all drives serve or have failed, too many of them.
    since: Option<Instant>,
}

impl Hopeless<'_> {
    fn look(&mut self, done: &[Outcome]) -> bool {
        let drives = || done.iter().filter(|(name, _)| is_drive(self.cluster, name));
        let failed = drives().filter(|(_, outcome)| outcome.is_err()).count();
        if failed <= spare(self.cluster) || drives().count() < self.drives {
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= FEW_PATIENCE
    }
}

/// What is missing, when that is more than the cluster can do without.
pub(super) fn too_few(cluster: &Cluster, failed: &[(ContainerName, StartError)]) -> UpError {
    let drives = failed.iter().map(|(name, _)| name.to_string()).collect();
    let first = failed.first().map(|(_, error)| crate::error::with_next_step(error, error.next_step()));
    UpError::TooFewDrives { drives, spare: spare(cluster), first: first.unwrap_or_default() }
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
