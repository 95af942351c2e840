//! Removing a cluster and all its data: what is Weft's, and nothing else.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use weft_resources::ClusterDir;

use crate::host::mounts::{self, MountTable};

/// Why a cluster was not removed, or not wholly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DestroyError {
    /// The person said no.
    #[error("the cluster in {} was not destroyed", .0.display())]
    NotConfirmed(PathBuf),
    /// Removing would go through a mount.
    #[error("something is mounted at {}", .0.display())]
    MountInside(PathBuf),
    /// The mount table cannot be read.
    #[error("the mount table cannot be read")]
    Table(#[source] io::Error),
    /// The host does not remove it.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The file or folder.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

impl DestroyError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::NotConfirmed(_) => Some("answer yes, or use --yes".to_owned()),
            Self::MountInside(path) => Some(format!("unmount it first: `umount {}`", path.display())),
            Self::Table(_) | Self::Remove { .. } => None,
        }
    }
}

/// Removes a stopped cluster; what was found beside it and is kept is returned. When it is interrupted, the directory
/// still counts as a cluster's, and can be destroyed again.
///
/// # Errors
/// [`DestroyError`]
pub(crate) fn destroy(dir: &ClusterDir, yes: bool) -> Result<Vec<PathBuf>, DestroyError> {
    let inside = MountTable::read().map_err(DestroyError::Table)?;
    if let Some(mount) = inside.below(dir.root()).find(|mount| mount.at != dir.root()) {
        return Err(DestroyError::MountInside(mount.at.clone()));
    }
    if !yes && !confirmed(dir.root()) {
        return Err(DestroyError::NotConfirmed(dir.root().to_owned()));
    }
    // What makes the directory a cluster goes last.
    let last = [dir.cluster_file(), dir.forming_mark()];
    for entry in dir.own_entries().into_iter().filter(|entry| !last.contains(entry)) {
        remove(&entry)?;
    }
    remove_empty(&dir.mount_point())?;
    last.iter().try_for_each(|entry| remove(entry))?;
    // The directory itself may be a mount point of the host, or hold what is somebody else's.
    if dir.root().is_dir() && !is_mount(&inside, dir.root()) {
        remove_empty(dir.root())?;
    }
    let kept = fs::read_dir(dir.root()).into_iter().flatten().flatten();
    Ok(kept.map(|entry| entry.path()).collect())
}

fn is_mount(table: &MountTable, path: &Path) -> bool {
    table.at(path).is_some()
}

/// Asks on a terminal; a script that destroys has said what it wants.
fn confirmed(root: &Path) -> bool {
    if !io::stdin().is_terminal() {
        return true;
    }
    let _ = write!(
        io::stderr(),
        "Everything in the cluster in {} will be gone. Destroy it (yes/no)? ",
        mounts::shown(root)
    );
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

fn remove(path: &Path) -> Result<(), DestroyError> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| DestroyError::Remove { path: path.to_owned(), source }),
    }
}

/// Removes a folder when nothing is in it.
fn remove_empty(path: &Path) -> Result<(), DestroyError> {
    match fs::remove_dir(path) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(DestroyError::Remove { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(folder: &Path) -> ClusterDir {
        let dir = ClusterDir::new(folder.join("weft-data"));
        for below in ClusterDir::FOLDERS {
            fs::create_dir_all(dir.root().join(below)).expect("mkdir");
            fs::write(dir.root().join(below).join("file"), "x").expect("write");
        }
        fs::create_dir(dir.mount_point()).expect("mkdir");
        fs::write(dir.cluster_file(), "{}").expect("write");
        dir
    }

    #[test]
    fn everything_of_the_cluster_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = filled(folder.path());
        assert!(destroy(&dir, true).expect("destroyed").is_empty());
        assert!(!dir.root().exists());
    }

    #[test]
    fn what_is_not_the_clusters_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = filled(folder.path());
        let (own, in_mount) = (dir.root().join("thesis"), dir.mount_point().join("notes"));
        fs::write(&own, "mine").expect("write");
        fs::write(&in_mount, "mine").expect("write");
        let mut kept = destroy(&dir, true).expect("destroyed");
        kept.sort();
        assert_eq!(kept, [dir.mount_point(), own.clone()]);
        assert!(own.exists() && in_mount.exists() && !dir.cluster_file().exists());
    }

    #[test]
    fn nothing_is_removed_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = filled(folder.path());
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).expect("mkdir");
        fs::write(outside.join("file"), "mine").expect("write");
        fs::remove_dir_all(dir.root().join("drives")).expect("removed");
        std::os::unix::fs::symlink(&outside, dir.root().join("drives")).expect("symlink");
        destroy(&dir, true).expect("destroyed");
        assert!(outside.join("file").exists() && !dir.root().exists());
    }
}
