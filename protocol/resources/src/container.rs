//! `containers/<name>.json`: one OS process and the processes it hosts.

use core::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_types::{ClusterId, DriveId, Incarnation, NodeId, Role};

use crate::{ClusterDir, ContainerName, Document};

/// One OS process of a cluster. `weftd` runs those of the backend, `weft` those with a frontend.
///
/// Paths in it are relative to [`directory`](Self::directory), or absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// [`Document::FORMAT`] of whoever wrote it.
    pub format: u32,
    /// Its name.
    pub name: ContainerName,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The cluster's directory, relative to the folder of this file.
    pub directory: PathBuf,
    /// Where the map comes from, and whom heartbeats go to.
    pub management: Peer,
    /// What wraps the keys.
    pub kms: Kms,
    /// What it hosts; each on a thread, a port and a certificate of its own.
    pub processes: Vec<Process>,
}

/// A node to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its id, which its certificate must name.
    pub node: NodeId,
    /// Where it serves.
    pub address: SocketAddr,
}

/// A key management service, and the key in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kms {
    /// A key in a file on this host.
    Local {
        /// The file.
        key_file: PathBuf,
    },
}

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Process {
    /// Serves one drive.
    Drive(DriveProcess),
    /// Owns metadata.
    Compute(ComputeProcess),
    /// Holds the cluster store.
    Management(ManagementProcess),
    /// Mounts a filesystem.
    Frontend(FrontendProcess),
}

/// Serves one drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveProcess {
    /// Its node id.
    pub node: NodeId,
    /// Its certificate and key.
    pub credentials: PathBuf,
    /// Where it serves.
    pub listen: SocketAddr,
    /// The drive that the device must hold.
    pub drive: DriveId,
    /// The incarnation that the device must have.
    pub incarnation: Incarnation,
    /// The device: a block device or a file.
    pub device: PathBuf,
    /// What it shares its fate with.
    pub failure_domain: String,
}

/// Owns metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeProcess {
    /// Its node id.
    pub node: NodeId,
    /// Its certificate and key.
    pub credentials: PathBuf,
    /// Where it serves.
    pub listen: SocketAddr,
    /// The folder of its indexes: a cache, made anew from the drives when it is gone.
    pub state: PathBuf,
}

/// Holds the cluster store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementProcess {
    /// Its node id.
    pub node: NodeId,
    /// Its certificate and key.
    pub credentials: PathBuf,
    /// Where it serves.
    pub listen: SocketAddr,
    /// All drives, so that the cluster store can be opened from a majority of its copies before anything is known.
    pub drives: Vec<DrivePeer>,
}

/// A drive to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrivePeer {
    /// The drive.
    pub drive: DriveId,
    /// The node that serves it, which its certificate must name.
    pub node: NodeId,
    /// Where it serves.
    pub address: SocketAddr,
}

/// Mounts a filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontendProcess {
    /// Its node id.
    pub node: NodeId,
    /// Its certificate and key.
    pub credentials: PathBuf,
    /// The filesystem's name.
    pub filesystem: String,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Container {
    /// The cluster's directory, for a container that was read from `file`.
    pub fn cluster_dir(&self, file: &Path) -> ClusterDir {
        let folder = file.parent().unwrap_or(Path::new(""));
        ClusterDir::new(clean(&folder.join(&self.directory)))
    }
}

impl Process {
    /// What it does.
    pub const fn role(&self) -> Role {
        match self {
            Self::Drive(_) => Role::Drive,
            Self::Compute(_) => Role::Compute,
            Self::Management(_) => Role::Management,
            Self::Frontend(_) => Role::Frontend,
        }
    }

    /// Its node id.
    pub const fn node(&self) -> NodeId {
        match self {
            Self::Drive(process) => process.node,
            Self::Compute(process) => process.node,
            Self::Management(process) => process.node,
            Self::Frontend(process) => process.node,
        }
    }

    /// Its certificate and key.
    pub fn credentials(&self) -> &Path {
        match self {
            Self::Drive(process) => &process.credentials,
            Self::Compute(process) => &process.credentials,
            Self::Management(process) => &process.credentials,
            Self::Frontend(process) => &process.credentials,
        }
    }

    /// Where it serves; `None` for a frontend.
    pub const fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::Drive(process) => Some(process.listen),
            Self::Compute(process) => Some(process.listen),
            Self::Management(process) => Some(process.listen),
            Self::Frontend(_) => None,
        }
    }
}

impl Document for Container {
    const KIND: &'static str = "container file";
    const FORMAT: u32 = 2;
    const OLDEST: u32 = 2;
    const REMEDY: &'static str = "restore it from a backup";
}

/// Takes `folder/..` out of a path when `folder` is a plain name; a link among the folders would make it another
/// path, but a cluster's own folders are none.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        let plain = matches!(out.components().next_back(), Some(Component::Normal(_)));
        if part == Component::ParentDir && plain {
            out.pop();
        } else {
            out.push(part);
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, to_json};

    fn sample() -> Container {
        let node = NodeId::from_bytes([3; 16]);
        let credentials = PathBuf::from("pki/drive0-drive.pem");
        let listen = ([127, 0, 0, 1], 7402).into();
        Container {
            format: Container::FORMAT,
            name: ContainerName::drive(0),
            cluster: ClusterId::from_bytes([1; 16]),
            directory: PathBuf::from(".."),
            management: Peer { node: NodeId::from_bytes([2; 16]), address: ([127, 0, 0, 1], 7400).into() },
            kms: Kms::Local { key_file: PathBuf::from("kms/local.key") },
            processes: vec![
                Process::Drive(DriveProcess {
                    node,
                    credentials: credentials.clone(),
                    listen,
                    drive: DriveId::from_bytes([4; 16]),
                    incarnation: Incarnation::new(1),
                    device: PathBuf::from("drives/drive0/device"),
                    failure_domain: "drive0".to_owned(),
                }),
                Process::Compute(ComputeProcess {
                    node,
                    credentials: credentials.clone(),
                    listen,
                    state: PathBuf::from("compute0"),
                }),
                Process::Management(ManagementProcess {
                    node,
                    credentials: credentials.clone(),
                    listen,
                    drives: vec![DrivePeer { drive: DriveId::from_bytes([4; 16]), node, address: listen }],
                }),
                Process::Frontend(FrontendProcess {
                    node,
                    credentials,
                    filesystem: "default".to_owned(),
                    mount: PathBuf::from("mnt"),
                }),
            ],
        }
    }

    #[test]
    fn a_container_survives_its_text() {
        let text = to_json(&sample());
        assert_eq!(parse::<Container>(Path::new("c"), text.as_bytes()).expect("reads"), sample());
    }

    #[test]
    fn one_of_a_weft_that_kept_the_cluster_store_in_a_folder_is_refused_by_its_age() {
        let text = to_json(&sample()).replacen("\"format\": 2", "\"format\": 1", 1);
        let error = parse::<Container>(Path::new("c"), text.as_bytes()).expect_err("older").to_string();
        assert!(error.contains("older weft (format 1, this build reads 2)"), "{error}");
    }

    #[test]
    fn a_field_that_is_not_known_is_refused_at_every_level() {
        let text = to_json(&sample());
        for field in
            ["\"name\"", "\"address\"", "\"key_file\"", "\"failure_domain\"", "\"state\"", "\"drives\""]
        {
            let other = text.replacen(field, "\"surprise\": 1, $", 1).replace('$', field);
            let error = parse::<Container>(Path::new("c"), other.as_bytes()).expect_err(field).to_string();
            assert!(error.contains("unknown field `surprise`"), "{field}: {error}");
        }
    }

    #[test]
    fn the_directory_is_found_from_the_file() {
        let rows = [
            ("/srv/weft/containers/drive0.json", "/srv/weft"),
            ("containers/drive0.json", "."),
            ("data/containers/drive0.json", "data"),
            ("../containers/drive0.json", ".."),
            ("drive0.json", ".."),
        ];
        for (file, directory) in rows {
            assert_eq!(sample().cluster_dir(Path::new(file)).root(), Path::new(directory), "{file}");
        }
    }
}
