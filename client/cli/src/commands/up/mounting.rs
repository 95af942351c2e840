//! Mounting the filesystem `default`, in place of a mount of its own that is dead.

use std::fs;
use std::path::PathBuf;

use weft_resources::ContainerName;

use super::UpError;
use crate::cluster::Cluster;
use crate::commands::mount::{self, DEFAULT, MountCommandError, MountPointError};
use crate::container::State;
use crate::host::mounts::{self, Mount};
use crate::start::{self, MountPlan};
use crate::unmount;

/// Whether the mount is there and served.
///
/// # Errors
/// [`UpError`] when that cannot be told.
pub(super) fn is_served(cluster: &Cluster) -> Result<bool, UpError> {
    let frontend = cluster.container(&ContainerName::frontend0())?;
    let is_mounted = unmount::table()?.at(&at(cluster)).is_some_and(Mount::is_weft);
    Ok(frontend.is_running() && is_mounted && frontend.mount == Some(at(cluster)))
}

/// Refuses a mount point that cannot be used, before anything is started for it. Of what is mounted there, only a
/// dead mount of the cluster's own is no reason.
///
/// # Errors
/// [`UpError::Point`]
pub(super) fn check_point(cluster: &Cluster) -> Result<(), UpError> {
    match mount::check_point(&at(cluster)) {
        Ok(_) | Err(MountPointError::Missing(_) | MountPointError::Dead(_)) => Ok(()),
        // Its process is there, and only not done with starting or ending.
        Err(MountPointError::Occupied { .. }) if has_process(cluster)? => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Mounts unless that is done already; true when it was done now.
///
/// # Errors
/// [`UpError`]
pub(super) fn mount(cluster: &Cluster) -> Result<bool, UpError> {
    if is_served(cluster)? {
        return Ok(false);
    }
    clear(cluster)?;
    let point = at(cluster);
    unmount::bury_mount(&point)?;
    fs::create_dir_all(&point).map_err(|source| UpError::MakePoint { path: point.clone(), source })?;
    let at = mount::check_point(&point)?;
    let container = ContainerName::frontend0();
    let plan = MountPlan { container, filesystem: DEFAULT.to_owned(), at, options: String::new() };
    start::mount(cluster, &plan).map_err(MountCommandError::from)?;
    Ok(true)
}

/// Ends a process that is still there without serving the mount: it serves files of a detached one, or is ending.
fn clear(cluster: &Cluster) -> Result<(), UpError> {
    let frontend = cluster.container(&ContainerName::frontend0())?;
    // Its reason is of the past, and is told by whatever fails now.
    if frontend.process.is_none() || frontend.state == State::Stopping {
        crate::stop::wait(&frontend, crate::stop::PATIENCE, false)?;
        return Ok(());
    }
    Ok(unmount::end(&cluster.dir, &frontend, false)?)
}

fn has_process(cluster: &Cluster) -> Result<bool, UpError> {
    Ok(cluster.container(&ContainerName::frontend0())?.process.is_some())
}

/// The mount point as the mount table spells it.
fn at(cluster: &Cluster) -> PathBuf {
    mounts::real_path(&cluster.mount_point()).unwrap_or_else(|_| cluster.mount_point())
}
