//! Which process is behind a mount, whatever the cluster it is of.

use std::fs;
use std::path::{Path, PathBuf};

use weft_resources::{ClusterDir, ContainerName};

use crate::container::{self, Observed};
use crate::host::files::FileError;
use crate::host::mounts::Mount;
use crate::stop;

/// The process behind a mount.
#[derive(Debug)]
pub(crate) struct Behind {
    /// The directory of its cluster.
    pub dir: ClusterDir,
    /// Its container; the process is there.
    pub frontend: Observed,
}

impl Observed {
    /// Whether its process is there and serves this mount, and not one that was made at the same path before or since.
    pub(crate) fn serves(&self, mount: &Mount) -> bool {
        let same = self.mounted.as_ref().is_none_or(|mounted| mounted.device == mount.device);
        self.process.is_some() && self.mount.as_deref() == Some(&*mount.at) && same
    }
}

/// Looks for the process behind a mount: in the directory that was named, if one was, then in those of all frontends that run here
/// and that this user may look into.
///
/// # Errors
/// When the run states of the named directory cannot be read.
pub(crate) fn behind(named: Option<&ClusterDir>, mount: &Mount) -> Result<Option<Behind>, FileError> {
    if let Some(dir) = named
        && let Some(found) = within(dir.clone(), mount)?
    {
        return Ok(Some(found));
    }
    Ok(directories().into_iter().find_map(|dir| within(dir, mount).ok().flatten()))
}

fn within(dir: ClusterDir, mount: &Mount) -> Result<Option<Behind>, FileError> {
    let frontends = stop::frontends_at(&dir, &mount.at)?;
    let frontend = frontends.into_iter().find(|frontend| frontend.serves(mount));
    Ok(frontend.map(|frontend| Behind { dir, frontend }))
}

/// The clusters' directories of the frontends that run here: each has its container's lock open.
fn directories() -> Vec<ClusterDir> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let folders = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    let files = folders.flatten().flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let mut found: Vec<PathBuf> = files.filter_map(|file| directory_of_lock(&file)).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(ClusterDir::new).collect()
}

/// The cluster's directory, when a file is the lock of a frontend in one.
fn directory_of_lock(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?.strip_suffix(".lock")?;
    let name: ContainerName = name.parse().ok().filter(container::is_frontend)?;
    let dir = file.parent()?.parent()?;
    (ClusterDir::new(dir).lock_file(&name) == file).then(|| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontend_is_known_by_its_lock() {
        let rows = [
            ("/srv/a/run/frontend0.lock", Some("/srv/a")),
            ("/srv/a/run/frontend12.lock", Some("/srv/a")),
            ("/srv/a/run/drive0.lock", None),
            ("/srv/a/other/frontend0.lock", None),
            ("/frontend0.lock", None),
            ("socket:[77]", None),
        ];
        for (file, dir) in rows {
            assert_eq!(directory_of_lock(Path::new(file)), dir.map(PathBuf::from), "{file}");
        }
    }
}
