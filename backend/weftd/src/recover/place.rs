//! The directory of a cluster that is recovered.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use weft_resources::{ClusterDir, ClusterFile, Container, ContainerName, Process};
use weft_types::{ClusterId, Timestamp};

use crate::files::{self, FileError};

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Something of that name is no directory.
    #[error("{} is not a directory; name another one", .0.display())]
    NotADirectory(PathBuf),
    /// A cluster is or was formed there.
    #[error("in {} a cluster is being formed, or its forming was interrupted; name another directory", .0.display())]
    Forming(PathBuf),
    /// Another cluster is there.
    #[error("{} has cluster {found}, and the devices are of cluster {expected}; name another directory", dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// The cluster that it has.
        found: ClusterId,
        /// The one of the devices.
        expected: ClusterId,
    },
    /// Somebody else's files are there.
    #[error("{} is neither empty nor a cluster's: it holds {entry:?}; name an empty directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of its entries.
        entry: String,
    },
    /// The cluster runs.
    #[error("{container} of the cluster in {} is running; stop it with `weft down` first", dir.display())]
    Running {
        /// The directory.
        dir: PathBuf,
        /// One of its containers.
        container: String,
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

/// A directory that a cluster's files can be written to.
pub(crate) struct Place {
    dir: ClusterDir,
    /// What its state file said, when it could be read.
    before: Option<ClusterFile>,
}

impl Place {
    /// Looks at a directory: missing, empty, or a cluster's, whole or in parts. Nothing is changed.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub(crate) fn look(root: &Path) -> Result<Self, PlaceError> {
        let dir = ClusterDir::new(root);
        let place = |before| Self { dir: dir.clone(), before };
        match fs::metadata(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(place(None)),
            Err(source) => return Err(host(root)(source)),
            Ok(found) if !found.is_dir() => return Err(PlaceError::NotADirectory(root.to_owned())),
            Ok(_) => {}
        }
        if dir.forming_mark().exists() && !dir.cluster_file().exists() {
            return Err(PlaceError::Forming(root.to_owned()));
        }
        refuse_others(&dir)?;
        refuse_running(&dir)?;
        // A damaged one is what this is for.
        Ok(place(files::read_document(&dir.cluster_file()).ok()))
    }

    /// Whether the devices are of the cluster that was there.
    ///
    /// # Errors
    /// [`PlaceError::OtherCluster`]
    pub(crate) fn check_cluster(&self, expected: ClusterId) -> Result<(), PlaceError> {
        match self.before.as_ref().map(|before| before.cluster) {
            Some(found) if found != expected => {
                Err(PlaceError::OtherCluster { dir: self.dir.root().to_owned(), found, expected })
            }
            _ => Ok(()),
        }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &ClusterDir {
        &self.dir
    }

    /// Where the filesystem `default` was mounted.
    pub(crate) fn mount(&self) -> Option<PathBuf> {
        self.before.as_ref().map(|before| before.mount.clone())
    }

    /// When the cluster was formed.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        let seconds = i64::try_from(self.before.as_ref()?.created).ok()?;
        Some(Timestamp { seconds, nanos: 0 })
    }

    /// Where the device of a drive's container was.
    pub(crate) fn known_device(&self, container: &str) -> Option<PathBuf> {
        let name = container.parse::<ContainerName>().ok()?;
        let container: Container = files::read_document(&self.dir.container_file(&name)).ok()?;
        container.processes.into_iter().find_map(|process| match process {
            Process::Drive(drive) => Some(drive.device),
            _ => None,
        })
    }

    /// A path as the resource files name it: relative when it lies in the directory.
    pub(crate) fn relative(&self, path: &Path) -> PathBuf {
        super::below(self.dir.root(), path).unwrap_or_else(|| path.to_owned())
    }

    /// Makes the folders, takes the key in, and empties what is made anew from the drives.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub(crate) fn prepare(&self, kms_key: &Path) -> Result<(), PlaceError> {
        let root = self.dir.root();
        fs::create_dir_all(root).map_err(host(root))?;
        // Read before anything is removed; it may be the one in its place.
        let key = files::read("KMS key", kms_key)?;
        // Indexes are a cache, and those of before may know more than the drives do.
        let indexes = self.dir.resolve(Path::new(ClusterDir::COMPUTE));
        match fs::remove_dir_all(&indexes) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(host(&indexes)(error)),
            _ => {}
        }
        for folder in ClusterDir::FOLDERS {
            let path = root.join(folder);
            if !path.is_dir() {
                files::make_folder(&path, 0o700).map_err(host(&path))?;
            }
        }
        Ok(files::write(&self.dir.resolve(Path::new(ClusterDir::KMS_KEY)), &key)?)
    }

    /// Makes the directory a cluster. Durable on return.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub(crate) fn complete(&self, state: &ClusterFile) -> Result<(), PlaceError> {
        for folder in ClusterDir::FOLDERS {
            let path = self.dir.root().join(folder);
            File::open(&path).and_then(|folder| folder.sync_all()).map_err(host(&path))?;
        }
        Ok(files::write_document(&self.dir.cluster_file(), state)?)
    }
}

fn host(path: &Path) -> impl FnOnce(io::Error) -> PlaceError + use<> {
    let path = path.to_owned();
    move |source| PlaceError::Host { path, source }
}

/// Refuses a directory that holds anything that is not a cluster's.
fn refuse_others(dir: &ClusterDir) -> Result<(), PlaceError> {
    let own = dir.own_entries();
    for entry in fs::read_dir(dir.root()).map_err(host(dir.root()))? {
        let path = entry.map_err(host(dir.root()))?.path();
        let known = own.contains(&path) || path == dir.mount_point() || path.ends_with("lost+found");
        if !known && !own.iter().any(|own| files::temporary(own) == path) {
            let entry = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(PlaceError::NotEmpty { dir: dir.root().to_owned(), entry });
        }
    }
    Ok(())
}

/// Refuses a cluster of which something runs: whoever runs a container holds its lock.
fn refuse_running(dir: &ClusterDir) -> Result<(), PlaceError> {
    let Ok(entries) = fs::read_dir(dir.root().join("run")) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let lock = path.extension().is_some_and(|extension| extension == "lock");
        let Some(file) = lock.then(|| File::open(&path).ok()).flatten() else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let container = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Err(PlaceError::Running { dir: dir.root().to_owned(), container });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_cluster_is_taken_and_other_peoples_files_are_not() {
        let root = tempfile::tempdir().expect("tempdir");
        let place = Place::look(&root.path().join("missing")).expect("to be made");
        assert_eq!((place.mount(), place.created()), (None, None));
        for folder in ["drives", "kms", "compute0", "mnt"] {
            fs::create_dir(root.path().join(folder)).expect("made");
        }
        fs::write(root.path().join("compute0/index"), b"old").expect("written");
        fs::write(root.path().join("kms/local.key"), b"the key").expect("written");
        let place = Place::look(root.path()).expect("a cluster's");
        place.prepare(&root.path().join("kms/local.key")).expect("prepared");
        assert_eq!(fs::read(root.path().join("kms/local.key")).expect("there"), b"the key");
        assert!(!root.path().join("compute0/index").exists(), "an index is a cache");

        let device = root.path().canonicalize().expect("real").join("drives/drive0/device");
        assert_eq!(place.relative(&device), Path::new("drives/drive0/device"));
        assert_eq!(place.relative(Path::new("/dev/sdx")), Path::new("/dev/sdx"));

        fs::write(root.path().join("letter"), b"dear").expect("written");
        assert!(
            matches!(Place::look(root.path()), Err(PlaceError::NotEmpty { entry, .. }) if entry == "letter")
        );
    }

    #[test]
    fn a_cluster_that_runs_or_is_being_formed_is_left_alone() {
        let root = tempfile::tempdir().expect("tempdir");
        fs::create_dir(root.path().join("run")).expect("made");
        let lock = File::create(root.path().join("run/drive0.lock")).expect("made");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("locked");
        let error = Place::look(root.path()).err().expect("runs");
        assert!(matches!(&error, PlaceError::Running { container, .. } if container == "drive0"), "{error}");
        drop(lock);
        Place::look(root.path()).expect("it has stopped");
        fs::write(root.path().join("forming"), b"").expect("written");
        assert!(matches!(Place::look(root.path()), Err(PlaceError::Forming(_))));
    }
}
