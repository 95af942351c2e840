//! The cluster in a directory of this host.

use std::path::{Path, PathBuf};

use weft_resources::{
    ClusterDir, ClusterFile, Container, ContainerName, FrontendProcess, Process as ContainerProcess,
};
use weft_types::Role;

use crate::container::{self, Observed};
use crate::host::files::{self, FileError};
use crate::host::mounts;

/// A formed cluster.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Where everything of it lies; absolute.
    pub dir: ClusterDir,
    /// What `cluster.json` says.
    pub file: ClusterFile,
}

/// What a directory holds.
#[derive(Debug)]
pub(crate) enum Presence {
    /// No cluster.
    Absent,
    /// A cluster whose forming was interrupted.
    HalfFormed,
    /// A cluster.
    Formed(Box<Cluster>),
}

/// Why a directory is not used as a cluster's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// There is none.
    #[error("there is no cluster in {}", mounts::shown(.0))]
    Absent(PathBuf),
    /// Its forming was interrupted.
    #[error("the forming of the cluster in {} was interrupted", mounts::shown(.0))]
    HalfFormed(PathBuf),
    /// One of its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A container that must exist has no file.
    #[error("{} is missing", .0.display())]
    NoContainerFile(PathBuf),
    /// A container of that name does not exist.
    #[error("there is no container {name}; there are {known}")]
    NoContainer {
        /// The name.
        name: ContainerName,
        /// The names that exist.
        known: String,
    },
}

impl ClusterError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Absent(_) => Some("form one with `weft up`, or name its directory with --dir".to_owned()),
            Self::HalfFormed(_) => Some("form it again with `weft up`".to_owned()),
            Self::NoContainerFile(_) => Some("restore it from a backup".to_owned()),
            Self::File(_) | Self::NoContainer { .. } => None,
        }
    }
}

/// The directory as everything of the cluster names it: absolute, and without links where it exists.
pub(crate) fn directory(path: &Path) -> ClusterDir {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = absolute.canonicalize().or_else(|_| mounts::real_path(&absolute));
    ClusterDir::new(real.unwrap_or(absolute))
}

/// Looks what a directory holds.
///
/// # Errors
/// [`FileError`] when there is a state file that cannot be used.
pub(crate) fn presence(path: &Path) -> Result<Presence, FileError> {
    let dir = directory(path);
    match files::read_document(&dir.cluster_file())? {
        Some(file) => Ok(Presence::Formed(Box::new(Cluster { dir, file }))),
        None if is_forming(&dir)? => Ok(Presence::HalfFormed),
        None => Ok(Presence::Absent),
    }
}

/// Whether forming has begun there. A file of that name may be somebody else's: its contents tell.
fn is_forming(dir: &ClusterDir) -> Result<bool, FileError> {
    Ok(files::read(&dir.forming_mark())?.is_some_and(|text| text == ClusterDir::FORMING_TEXT.as_bytes()))
}

impl Cluster {
    /// The cluster in a directory.
    ///
    /// # Errors
    /// [`ClusterError`] when there is none, or its state file cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Self, ClusterError> {
        match presence(path)? {
            Presence::Formed(cluster) => Ok(*cluster),
            Presence::HalfFormed => Err(ClusterError::HalfFormed(path.to_owned())),
            Presence::Absent => Err(ClusterError::Absent(path.to_owned())),
        }
    }

    /// Where the filesystem `default` is mounted.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.dir.resolve(&self.file.mount)
    }

    /// The names of all containers: those it was formed with, then other mounts that were started.
    pub(crate) fn container_names(&self) -> Vec<ContainerName> {
        let mut names: Vec<_> = self.file.containers.iter().map(|entry| entry.name.clone()).collect();
        for name in container::frontends_started(&self.dir) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// All containers as they are now.
    ///
    /// # Errors
    /// [`FileError`] when the run state of one cannot be read.
    pub(crate) fn containers(&self) -> Result<Vec<Observed>, FileError> {
        self.container_names().iter().map(|name| self.container(name)).collect()
    }

    /// A container as it is now.
    ///
    /// # Errors
    /// [`FileError`] when its run state cannot be read.
    pub(crate) fn container(&self, name: &ContainerName) -> Result<Observed, FileError> {
        let mut observed = container::observe(&self.dir, name)?;
        if let Some(entry) = self.file.containers.iter().find(|entry| entry.name == *name) {
            observed.roles.clone_from(&entry.roles);
            observed.address = entry.address;
        }
        Ok(observed)
    }

    /// The container that this name means.
    ///
    /// # Errors
    /// [`ClusterError::NoContainer`] names those that exist.
    pub(crate) fn known(&self, name: &ContainerName) -> Result<(), ClusterError> {
        let names = self.container_names();
        if names.contains(name) {
            return Ok(());
        }
        let known = names.iter().map(ContainerName::as_str).collect::<Vec<_>>().join(", ");
        Err(ClusterError::NoContainer { name: name.clone(), known })
    }

    /// The containers that `weftd` runs, in the order in which they are started.
    pub(crate) fn backend_names(&self) -> Vec<ContainerName> {
        let backend = self.file.containers.iter().filter(|entry| entry.is_backend());
        backend.map(|entry| entry.name.clone()).collect()
    }

    /// The container that hosts the management process.
    pub(crate) fn management_container(&self) -> Option<&ContainerName> {
        let entry = self.file.containers.iter().find(|entry| entry.roles.contains(&Role::Management));
        entry.map(|entry| &entry.name)
    }

    /// What a container's file says.
    ///
    /// # Errors
    /// [`ClusterError`] when the file is missing or cannot be used.
    pub(crate) fn container_file(&self, name: &ContainerName) -> Result<Container, ClusterError> {
        let path = self.dir.container_file(name);
        files::read_document(&path)?.ok_or(ClusterError::NoContainerFile(path))
    }

    /// The frontend that the cluster was formed with; its certificate serves all mounts on this host.
    ///
    /// # Errors
    /// [`ClusterError`] when its container's file is missing or cannot be used.
    pub(crate) fn frontend(&self) -> Result<FrontendProcess, ClusterError> {
        let name = ContainerName::frontend0();
        let container = self.container_file(&name)?;
        let frontend = container.processes.into_iter().find_map(|process| match process {
            ContainerProcess::Frontend(frontend) => Some(frontend),
            _ => None,
        });
        frontend.ok_or_else(|| ClusterError::NoContainerFile(self.dir.container_file(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_state_file_is_no_cluster() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weft-data");
        assert!(matches!(presence(&path), Ok(Presence::Absent)));
        let error = Cluster::open(&path).expect_err("none");
        assert!(error.next_step().is_some_and(|step| step.contains("weft up")), "{error}");
        std::fs::create_dir(&path).expect("mkdir");
        std::fs::write(path.join("forming"), "mine").expect("write");
        assert!(matches!(presence(&path), Ok(Presence::Absent)));
        std::fs::write(path.join("forming"), ClusterDir::FORMING_TEXT).expect("write");
        assert!(matches!(presence(&path), Ok(Presence::HalfFormed)));
        std::fs::write(path.join("cluster.json"), "{\"format\": 99}").expect("write");
        let error = presence(&path).expect_err("newer").to_string();
        assert!(error.contains("newer") && error.contains("99"), "{error}");
    }
}
