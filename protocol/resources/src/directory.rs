//! Where everything of a cluster lies below one directory.

use std::path::{Path, PathBuf};

use weft_types::Role;

use crate::ContainerName;

/// The directory of a cluster on one host.
///
/// ```text
/// cluster.json                what makes it a cluster
/// containers/<name>.json      one OS process each
/// kms/local.key               the key of the local KMS
/// pki/<container>-<role>.pem  certificates and keys of nodes; pki/admin.pem for the administrator
/// compute0/                   metadata indexes: a cache
/// drives/<name>/device        the drives
/// run/<name>.{json,pid,lock}  what runs
/// logs/<name>.log
/// mnt/                        the default mount point
/// forming                     a mark: the cluster is being formed, or forming was interrupted
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// The cluster at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// A path of a resource file: below the directory unless it is absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }

    /// `cluster.json`.
    pub fn cluster_file(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    /// The mark that forming has begun and not ended.
    pub fn forming_mark(&self) -> PathBuf {
        self.0.join("forming")
    }

    /// The administrator's certificate and key.
    pub fn admin_credentials(&self) -> PathBuf {
        self.0.join("pki/admin.pem")
    }

    /// A container's file.
    pub fn container_file(&self, name: &ContainerName) -> PathBuf {
        self.0.join(format!("containers/{name}.json"))
    }

    /// What a container that was started has come to.
    pub fn run_state(&self, name: &ContainerName) -> PathBuf {
        self.0.join(format!("run/{name}.json"))
    }

    /// The process id alone, for people and scripts.
    pub fn pid_file(&self, name: &ContainerName) -> PathBuf {
        self.0.join(format!("run/{name}.pid"))
    }

    /// Locked (`flock`, exclusive) by whoever runs the container, for as long as it does.
    pub fn lock_file(&self, name: &ContainerName) -> PathBuf {
        self.0.join(format!("run/{name}.lock"))
    }

    /// A container's log.
    pub fn log_file(&self, name: &ContainerName) -> PathBuf {
        self.0.join(format!("logs/{name}.log"))
    }

    /// The default mount point.
    pub fn mount_point(&self) -> PathBuf {
        self.0.join(Self::MOUNT)
    }

    /// Everything that forming and running put directly below the directory, the mount point left out: what
    /// destroying the cluster removes, and nothing else.
    pub fn own_entries(&self) -> Vec<PathBuf> {
        Self::OWN.iter().map(|entry| self.0.join(entry)).collect()
    }

    /// Folders that forming creates, relative to the directory.
    pub const FOLDERS: [&'static str; 7] = ["containers", "kms", "pki", "compute0", "drives", "run", "logs"];
    /// The default mount point, relative to the directory.
    pub const MOUNT: &'static str = "mnt";
    /// The local KMS key, relative to the directory.
    pub const KMS_KEY: &'static str = "kms/local.key";
    /// The metadata indexes of `compute0`, relative to the directory.
    pub const COMPUTE: &'static str = "compute0";

    /// What the mark of [`forming_mark`](Self::forming_mark) holds. A file of that name with other contents is
    /// somebody else's.
    pub const FORMING_TEXT: &'static str =
        "weft is forming a cluster here; what lies beside this file is removed by the next attempt\n";

    const OWN: [&'static str; 9] =
        ["cluster.json", "containers", "kms", "pki", "compute0", "drives", "run", "logs", "forming"];

    /// Where a container's process keeps its credentials, relative to the directory.
    pub fn credentials(name: &ContainerName, role: Role) -> PathBuf {
        PathBuf::from(format!("pki/{name}-{role}.pem"))
    }

    /// The device of a drive's container, relative to the directory.
    pub fn device(name: &ContainerName) -> PathBuf {
        PathBuf::from(format!("drives/{name}/device"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_path_lies_in_an_entry_that_destroying_removes() {
        let dir = ClusterDir::new("/srv/weft");
        let name = ContainerName::drive(3);
        let paths = [
            dir.cluster_file(),
            dir.forming_mark(),
            dir.admin_credentials(),
            dir.container_file(&name),
            dir.run_state(&name),
            dir.pid_file(&name),
            dir.lock_file(&name),
            dir.log_file(&name),
            dir.resolve(&ClusterDir::credentials(&name, Role::Drive)),
            dir.resolve(&ClusterDir::device(&name)),
            dir.resolve(Path::new(ClusterDir::KMS_KEY)),
            dir.resolve(Path::new(ClusterDir::COMPUTE)),
        ];
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        let own = dir.own_entries();
        for path in paths.iter().cloned().chain(ClusterDir::FOLDERS.map(|folder| dir.root().join(folder))) {
            assert!(own.iter().any(|entry| path.starts_with(entry)), "{}", path.display());
        }
        assert!(own.iter().all(|entry| !dir.mount_point().starts_with(entry)), "a mount is never removed");
    }

    #[test]
    fn an_absolute_path_stays_where_it_is() {
        let dir = ClusterDir::new("/srv/weft");
        assert_eq!(dir.resolve(Path::new("/dev/nvme0n1")), Path::new("/dev/nvme0n1"));
    }
}
