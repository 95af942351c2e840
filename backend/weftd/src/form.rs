//! Forming a cluster on this host: decided first, then built, and made a cluster by its last file.

mod build;
mod plan;
mod site;

use std::path::PathBuf;

use rustix::fs::statvfs;
use weft_resources::{FormSpec, Formed};
use weft_types::ByteCount;

use build::BuildError;
use plan::{Plan, PlanError};
use site::{Site, SiteError};

/// Why no cluster was formed. What was begun is removed by the next attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// The spec cannot be fulfilled; nothing was touched.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The directory cannot be used.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Something could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The host does not say how much room there is.
    #[error("cannot find out how much room {} has", .0.display())]
    Room(PathBuf, #[source] rustix::io::Errno),
}

/// Forms a cluster. Durable on return; before, a crash leaves nothing that is taken for a cluster.
///
/// # Errors
/// [`FormError`]
pub(crate) fn form(spec: &FormSpec) -> Result<Formed, FormError> {
    let plan = Plan::new(spec, || room(spec))??;
    let site = Site::claim(&spec.directory)?;
    tracing::info!(directory = %spec.directory.display(), protection = %plan.protection, "forming a cluster");
    let state = build::build(site.dir(), &plan)?;
    let cleaned = site.cleaned();
    site.complete(&state)?;
    Ok(Formed { cluster: state.cluster, state, cleaned })
}

/// Bytes that the filesystem of the directory, or of the nearest folder above it that exists, can still take.
fn room(spec: &FormSpec) -> Result<ByteCount, FormError> {
    let absolute = std::path::absolute(&spec.directory).unwrap_or_else(|_| spec.directory.clone());
    let existing = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(&absolute);
    let stat = statvfs(existing).map_err(|errno| FormError::Room(existing.to_owned(), errno))?;
    Ok(ByteCount::new(stat.f_bavail.saturating_mul(stat.f_frsize)))
}
