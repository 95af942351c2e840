//! The directory of a cluster that is being formed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use weft_resources::{ClusterDir, ClusterFile};

use crate::files::{self, FileError};

/// What the mark says. A file of this name with other contents is somebody else's.
const MARK: &[u8] =
    b"weft is forming a cluster here; what lies beside this file is removed by the next attempt\n";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    /// Something of that name is no directory.
    #[error("{} is not a directory; name another one", .0.display())]
    NotADirectory(PathBuf),
    /// Another process forms a cluster there.
    #[error("another process is forming a cluster in {}; wait for it", .0.display())]
    Busy(PathBuf),
    /// There is a cluster.
    #[error("there is a cluster in {} already; start it with `weft up`, or name another directory", .0.display())]
    Cluster(PathBuf),
    /// Somebody else's files are there.
    #[error("{} is neither empty nor a cluster: it holds {entry:?}; name an empty directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of its entries.
        entry: String,
    },
    /// The host refuses.
    #[error("cannot use {}", path.display())]
    Host {
        /// The file or folder.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A directory that is ours to form a cluster in. It carries a mark until [`complete`](Self::complete): while it does,
/// and after a crash, it is no cluster.
#[derive(Debug)]
pub(crate) struct Site {
    dir: ClusterDir,
    cleaned: bool,
    /// Held, so that nobody else forms a cluster here meanwhile.
    _lock: File,
}

impl Site {
    /// Takes a directory that is missing, empty, or left by a forming that was broken off, and removes the rest of
    /// that.
    pub(crate) fn claim(root: &Path) -> Result<Self, SiteError> {
        let host = |source| SiteError::Host { path: root.to_owned(), source };
        if root.exists() && !root.is_dir() {
            return Err(SiteError::NotADirectory(root.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o755).create(root).map_err(host)?;
        let lock = File::open(root).map_err(host)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => SiteError::Busy(root.to_owned()),
            other => host(other.into()),
        })?;
        let dir = ClusterDir::new(root);
        let mark = dir.forming_mark();
        if dir.cluster_file().exists() {
            // The last step of forming, when the host stopped before it.
            if is_mark(&mark) {
                files::remove(&mark).map_err(host)?;
            }
            return Err(SiteError::Cluster(root.to_owned()));
        }
        let cleaned = is_mark(&mark);
        if cleaned {
            remove_own(&dir)?;
        }
        refuse_others(&dir)?;
        files::write(&mark, MARK)?;
        for folder in ClusterDir::FOLDERS {
            let path = root.join(folder);
            let made = DirBuilder::new().mode(0o700).create(&path);
            made.map_err(|source| SiteError::Host { path, source })?;
        }
        Ok(Self { dir, cleaned, _lock: lock })
    }

    /// Where to build.
    pub(crate) fn dir(&self) -> &ClusterDir {
        &self.dir
    }

    /// Whether a forming that was broken off was removed.
    pub(crate) fn cleaned(&self) -> bool {
        self.cleaned
    }

    /// Makes the directory a cluster. Durable on return.
    pub(crate) fn complete(self, state: &ClusterFile) -> Result<(), SiteError> {
        let sync = |path: PathBuf| {
            let synced = File::open(&path).and_then(|folder| folder.sync_all());
            synced.map_err(|source| SiteError::Host { path, source })
        };
        ClusterDir::FOLDERS.iter().try_for_each(|folder| sync(self.dir.root().join(folder)))?;
        files::write_document(&self.dir.cluster_file(), state)?;
        let mark = self.dir.forming_mark();
        files::remove(&mark).map_err(|source| SiteError::Host { path: mark, source })?;
        sync(self.dir.root().to_owned())
    }
}

fn is_mark(path: &Path) -> bool {
    files::read("mark", path).is_ok_and(|text| text == MARK)
}

/// Removes what forming put there, the mark last: broken off itself, it begins again.
fn remove_own(dir: &ClusterDir) -> Result<(), SiteError> {
    let mark = dir.forming_mark();
    for path in dir.own_entries().into_iter().filter(|path| *path != mark).chain([mark.clone()]) {
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|source| SiteError::Host { path, source })?;
    }
    files::remove(&files::temporary(&dir.cluster_file()))
        .map_err(|source| SiteError::Host { path: dir.cluster_file(), source })
}

/// Refuses a directory that holds anything but an empty mount point and what every filesystem's root has.
fn refuse_others(dir: &ClusterDir) -> Result<(), SiteError> {
    let host = |source| SiteError::Host { path: dir.root().to_owned(), source };
    let mark_begun = files::temporary(&dir.forming_mark());
    for entry in fs::read_dir(dir.root()).map_err(host)? {
        let path = entry.map_err(host)?.path();
        let empty_mount =
            path == dir.mount_point() && fs::read_dir(&path).is_ok_and(|mut e| e.next().is_none());
        if empty_mount || path.ends_with("lost+found") || path == mark_begun {
            continue;
        }
        let entry = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(SiteError::NotEmpty { dir: dir.root().to_owned(), entry });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_broken_off_is_no_cluster_and_is_removed_by_the_next_attempt() {
        let root = tempfile::tempdir().expect("tempdir");
        let dir = root.path().join("a/b");
        let site = Site::claim(&dir).expect("made");
        assert!(!site.cleaned());
        fs::write(site.dir().resolve(Path::new(ClusterDir::KMS_KEY)), b"old").expect("written");
        assert!(matches!(Site::claim(&dir), Err(SiteError::Busy(_))));
        drop(site);
        let site = Site::claim(&dir).expect("claimed again");
        assert!(site.cleaned());
        assert!(!site.dir().resolve(Path::new(ClusterDir::KMS_KEY)).exists());
    }

    #[test]
    fn a_cluster_and_other_peoples_files_are_left_alone() {
        let root = tempfile::tempdir().expect("tempdir");
        let dir = root.path().to_owned();
        fs::create_dir(dir.join("mnt")).expect("made");
        fs::create_dir(dir.join("logs")).expect("made");
        fs::write(dir.join("forming"), b"a poem").expect("written");
        let error = Site::claim(&dir).expect_err("not empty");
        assert!(matches!(error, SiteError::NotEmpty { .. }), "{error}");
        assert_eq!(entries(&dir), ["forming", "logs", "mnt"]);

        fs::write(dir.join("forming"), MARK).expect("written");
        fs::write(dir.join("cluster.json"), b"{}").expect("written");
        let error = Site::claim(&dir).expect_err("a cluster");
        assert!(matches!(error, SiteError::Cluster(_)), "{error}");
        assert_eq!(entries(&dir), ["cluster.json", "logs", "mnt"], "only the mark is gone");

        let file = dir.join("cluster.json");
        assert!(matches!(Site::claim(&file), Err(SiteError::NotADirectory(_))));
    }
}
