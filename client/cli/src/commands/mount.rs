//! `weft mount`

use std::io;
use std::path::{Path, PathBuf};

use weft_resources::ContainerName;

use crate::arguments::MountArguments;
use crate::cluster::Cluster;
use crate::container;
use crate::error::CommandError;
use crate::frontend;
use crate::host::files::{self, FileError};
use crate::host::fuse::{self, FuseHostError};
use crate::host::mounts::{self, MountTable};
use crate::output;
use crate::progress::Progress;
use crate::start::{self, MountPlan, StartError};
use crate::stop;
use crate::unmount::{self, UnmountError};

/// The filesystem that `weft up` makes and mounts.
pub(crate) const DEFAULT: &str = "default";
/// The most mounts of a cluster on one host.
const FRONTENDS_MAX: u32 = 1000;

/// Why a filesystem was not mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountCommandError {
    /// The place cannot be.
    #[error(transparent)]
    Point(#[from] MountPointError),
    /// The host cannot mount.
    #[error(transparent)]
    Fuse(#[from] FuseHostError),
    /// The process behind the mount did not come to serve it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is left of a mount whose process is dead stays.
    #[error(transparent)]
    Unmount(#[from] UnmountError),
    /// There are too many.
    #[error("{FRONTENDS_MAX} filesystems are mounted already")]
    TooMany,
}

impl MountCommandError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Point(error) => error.next_step(),
            Self::Fuse(error) => Some(error.next_step()),
            Self::Start(error) => error.next_step(),
            Self::Unmount(error) => error.next_step("`weft umount --lazy`"),
            Self::TooMany => Some("unmount some with `weft umount`".to_owned()),
            Self::File(_) => None,
        }
    }
}

/// Why a path is no mount point.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountPointError {
    /// It is nowhere.
    #[error("the mount point {} does not exist", .0.display())]
    Missing(PathBuf),
    /// It is a file.
    #[error("the mount point {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Something is mounted there.
    #[error("{what} is already mounted at {}", at.display())]
    Occupied {
        /// The path.
        at: PathBuf,
        /// What.
        what: String,
    },
    /// A mount without a process is there.
    #[error("a filesystem whose process is dead is still mounted at {}", .0.display())]
    Dead(PathBuf),
    /// The host does not say what it is.
    #[error("the mount point {} cannot be used", at.display())]
    Unknown {
        /// The path.
        at: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

impl MountPointError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Missing(path) => return Some(format!("make it with `mkdir -p {}`", path.display())),
            Self::NotADirectory(_) => "name an empty directory",
            Self::Occupied { .. } => "name another directory, or unmount what is there",
            Self::Dead(path) => return Some(format!("remove it with `weft umount {}`", path.display())),
            Self::Unknown { .. } => return None,
        };
        Some(step.to_owned())
    }
}

/// Checks that a filesystem can be mounted at a path, and spells the path as the mount table does.
///
/// # Errors
/// [`MountPointError`]
pub(crate) fn check_point(path: &Path) -> Result<PathBuf, MountPointError> {
    let unknown = |source| MountPointError::Unknown { at: path.to_owned(), source };
    let at = match mounts::real_path(path) {
        Err(error) if is_missing(&error) => return Err(MountPointError::Missing(path.to_owned())),
        other => other.map_err(unknown)?,
    };
    // The table first: a dead mount does not say what it is.
    if let Some(mount) = MountTable::read().map_err(unknown)?.at(&at) {
        let what = mount.source.to_string_lossy().into_owned();
        let dead = mount.is_weft() && mounts::is_dead(&at);
        return Err(if dead { MountPointError::Dead(at) } else { MountPointError::Occupied { at, what } });
    }
    match std::fs::metadata(&at) {
        Err(error) if is_missing(&error) => Err(MountPointError::Missing(path.to_owned())),
        Err(error) => Err(unknown(error)),
        Ok(meta) if !meta.is_dir() => Err(MountPointError::NotADirectory(path.to_owned())),
        Ok(_) => Ok(at),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// What is to be mounted where.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The filesystem's name.
    pub filesystem: String,
    /// Where.
    pub path: PathBuf,
    /// Mount options.
    pub options: String,
}

/// Mounts a filesystem; it is served on return, and goes on being served in the background.
///
/// # Errors
/// [`CommandError`]
pub(crate) fn run(cluster: &Cluster, options: MountArguments, json: bool) -> Result<(), CommandError> {
    let MountArguments { filesystem, path, options, foreground } = options;
    let wanted = Wanted { filesystem, path, options };
    if foreground {
        let (plan, _) = prepare(cluster, &wanted)?;
        frontend::start_logging();
        return Ok(frontend::run(cluster, &plan)?);
    }
    let (plan, took_over) = mount(cluster, &wanted)?;
    let (name, at) = (&plan.filesystem, mounts::shown(&plan.at));
    if json {
        let container = &plan.container;
        return Ok(output::json(&serde_json::json!({
            "filesystem": name, "path": plan.at, "container": container, "took_over": took_over
        }))?);
    }
    let instead = if took_over { ", in place of a mount whose process was dead" } else { "" };
    Ok(output::line(format!("{name} is mounted at {at}{instead}"))?)
}

/// Mounts a filesystem in the background. Says what was mounted, and whether in place of a mount whose process was dead.
///
/// # Errors
/// [`MountCommandError`]
pub(crate) fn mount(cluster: &Cluster, wanted: &Wanted) -> Result<(MountPlan, bool), MountCommandError> {
    let progress = Progress::new(&format!("mounting {}", wanted.filesystem));
    let (plan, took_over) = prepare(cluster, wanted)?;
    start::mount(cluster, &plan)?;
    drop(progress);
    Ok((plan, took_over))
}

fn prepare(cluster: &Cluster, wanted: &Wanted) -> Result<(MountPlan, bool), MountCommandError> {
    fuse::check()?;
    let (at, took_over) = clear_point(&wanted.path)?;
    let container = choose(cluster, &wanted.filesystem, &at)?;
    let Wanted { filesystem, options, .. } = wanted.clone();
    Ok((MountPlan { container, filesystem, at, options }, took_over))
}

/// A path where nothing is mounted: mounts of Weft whose processes are dead are taken away. True when there was one.
fn clear_point(path: &Path) -> Result<(PathBuf, bool), MountCommandError> {
    let mut took_over = false;
    loop {
        match check_point(path) {
            Err(MountPointError::Dead(at)) if unmount::bury_mount(&at)? => took_over = true,
            checked => return Ok((checked?, took_over)),
        }
    }
}

/// The container that a mount is: `frontend0` for the one that `weft up` makes, else that of a dead mount at this path,
/// else the first that nobody is.
fn choose(cluster: &Cluster, filesystem: &str, at: &Path) -> Result<ContainerName, MountCommandError> {
    let own = mounts::real_path(&cluster.mount_point()).is_ok_and(|own| own == at);
    let first = (own && filesystem == DEFAULT).then(ContainerName::frontend0);
    let before = stop::dead_frontends_at(&cluster.dir, at)?;
    for name in first.into_iter().chain(before).chain((1..FRONTENDS_MAX).map(container::frontend)) {
        let is_free = files::try_lock(&cluster.dir.lock_file(&name))?.is_some();
        if is_free {
            return Ok(name);
        }
    }
    Err(MountCommandError::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_where_nothing_is_mounted_is_a_mount_point() {
        let folder = tempfile::tempdir().expect("a folder");
        let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
        std::fs::write(&file, "").expect("write");
        let rows = [
            (missing.clone(), "does not exist"),
            (missing.join("below"), "does not exist"),
            (file, "not a directory"),
            (PathBuf::from("/proc"), "already mounted"),
        ];
        for (path, words) in rows {
            let error = check_point(&path).expect_err("refused");
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.next_step().is_some(), "{error}");
        }
        let real = folder.path().canonicalize().expect("it exists");
        assert_eq!(check_point(folder.path()).expect("a directory"), real);
    }
}
