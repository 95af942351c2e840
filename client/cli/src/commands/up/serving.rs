//! Waiting until a cluster whose containers run can be used.

use core::time::Duration;

use weft_resources::ContainerName;
use weft_types::Role;
use weft_wire::management::{CreateFilesystem, FilesystemRefusal, Status};

use super::UpError;
use crate::admin::{Admin, AdminError};
use crate::cluster::Cluster;
use crate::commands::filesystem;
use crate::commands::mount::DEFAULT;
use crate::error;
use crate::host::waiting;
use crate::progress::Progress;

/// How long management may take to answer, or to hear of everyone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until management answers and has heard of everything that runs, and the filesystem `default` exists.
///
/// # Errors
/// [`UpError`]
pub(super) fn wait(cluster: &Cluster, progress: &Progress) -> Result<(), UpError> {
    progress.now("waiting for management");
    let admin = Admin::new(cluster)?;
    let status = patiently(|| admin.status())?;
    progress.now("waiting for drives");
    let running = running(cluster)?;
    wait_until_heard(&admin, &status, &running)?;
    progress.now("looking for the filesystem");
    make_default(&admin)
}

fn patiently<T>(mut ask: impl FnMut() -> Result<T, AdminError>) -> Result<T, AdminError> {
    let mut last = None;
    let answer = waiting::poll(PATIENCE, || ask().map_err(|error| last = Some(error)).ok());
    answer.ok_or_else(|| last.unwrap_or(AdminError::Stopped))
}

/// The containers that run, other than frontends.
fn running(cluster: &Cluster) -> Result<Vec<ContainerName>, UpError> {
    let mut names = cluster.backend_names();
    let mut running = Vec::new();
    for name in names.drain(..) {
        if cluster.container(&name)?.process.is_some() {
            running.push(name);
        }
    }
    Ok(running)
}

fn wait_until_heard(admin: &Admin, first: &Status, running: &[ContainerName]) -> Result<(), UpError> {
    let mut silent = unheard(first, running);
    let heard = waiting::poll(PATIENCE, || {
        if !silent.is_empty()
            && let Ok(status) = admin.status()
        {
            silent = unheard(&status, running);
        }
        silent.is_empty().then_some(())
    });
    heard.ok_or_else(|| UpError::Unheard(silent.join(", ")))
}

/// Processes of running containers that management has not heard of lately.
fn unheard(status: &Status, running: &[ContainerName]) -> Vec<String> {
    let expected = status.nodes.iter().filter(|node| node.role != Role::Frontend && !node.up);
    let expected = expected.filter(|node| running.iter().any(|name| name.as_str() == node.container));
    expected.map(|node| format!("{} {}", node.role, node.container)).collect()
}

fn make_default(admin: &Admin) -> Result<(), UpError> {
    if filesystem::list(admin)?.iter().any(|info| info.name == DEFAULT) {
        return Ok(());
    }
    let create = CreateFilesystem { name: DEFAULT.to_owned() };
    let mut refused = None;
    let made = waiting::poll(PATIENCE, || match admin.call(&create) {
        Ok(Ok(_) | Err(FilesystemRefusal::Exists)) => Some(Ok(())),
        // It is heard of, but may not serve yet.
        Ok(Err(FilesystemRefusal::NoCompute)) => {
            refused = Some(FilesystemRefusal::NoCompute);
            None
        }
        Ok(Err(refusal)) => Some(Err(refused_default(refusal))),
        Err(error) => Some(Err(error.into())),
    });
    made.unwrap_or_else(|| Err(refused_default(refused.unwrap_or(FilesystemRefusal::NoCompute))))
}

fn refused_default(refusal: FilesystemRefusal) -> UpError {
    let error = filesystem::FilesystemError::Refused { name: DEFAULT.to_owned(), refusal };
    UpError::Filesystem(error::with_next_step(&error, error.next_step()))
}
