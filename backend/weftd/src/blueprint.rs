//! The files of a cluster on this host, out of its map and its authority: made when it is formed, and again when it is
//! recovered.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use weft_layout::{ClusterMap, DriveEntry, NodeEntry};
use weft_pki::{AuthorityError, ClusterAuthority, NodeIdentity, Validity};
use weft_resources::{
    ClusterDir, ClusterFile, ComputeProcess, Container, ContainerEntry, ContainerName, Document, DrivePeer,
    DriveProcess, FrontendProcess, Kms, ManagementProcess, NameError, Peer, Process,
};
use weft_types::{ByteCount, DriveId, NodeId, Role, Timestamp};

use crate::files::{self, FileError};
use crate::random;

/// The filesystem that the first mount shows.
const FIRST_FILESYSTEM: &str = "default";

/// Why the files were not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlueprintError {
    /// A certificate.
    #[error("the cluster's certificates cannot be made")]
    Authority(#[from] AuthorityError),
    /// The map names a container that cannot be.
    #[error("the map of the cluster cannot be used")]
    Name(#[from] NameError),
    /// The map names an address that cannot be.
    #[error("the map of the cluster gives {node} the address {address:?}, which is none")]
    Address {
        /// Whose.
        node: String,
        /// What it says.
        address: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The host refuses.
    #[error("cannot make {}", path.display())]
    Host {
        /// The folder.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// What the files are made of.
pub(crate) struct Blueprint<'a> {
    pub(crate) dir: &'a ClusterDir,
    pub(crate) map: &'a ClusterMap,
    pub(crate) authority: &'a ClusterAuthority,
    /// For how long the certificates hold.
    pub(crate) validity: Validity,
    /// When the cluster was formed.
    pub(crate) created: Timestamp,
    /// Where the devices are, relative to the directory or absolute.
    pub(crate) devices: &'a BTreeMap<DriveId, PathBuf>,
    /// Bytes of each device.
    pub(crate) drive_size: ByteCount,
    /// Where the filesystem `default` is mounted, relative to the directory or absolute.
    pub(crate) mount: &'a Path,
}

impl Blueprint<'_> {
    /// Writes the containers and the credentials of everyone, and makes the mount point when it is the cluster's own.
    /// Returns the state file, which makes the directory a cluster once it is written.
    ///
    /// # Errors
    /// [`BlueprintError`]
    pub(crate) fn build(&self) -> Result<ClusterFile, BlueprintError> {
        let management = Peer { node: self.map.management.node, address: address_of(&self.map.management)? };
        let containers = self.containers(management)?;
        for container in &containers {
            files::write_document(&self.dir.container_file(&container.name), container)?;
        }
        self.issue(&self.dir.admin_credentials(), Role::Admin, NodeId::from_bytes(random::bytes()))?;
        self.mount_point()?;
        Ok(self.state(management, &containers))
    }

    /// In the order in which they are started: management first, since all others ask it for the map.
    fn containers(&self, management: Peer) -> Result<Vec<Container>, BlueprintError> {
        let mut containers: Vec<Container> = Vec::new();
        let mut add = |name: ContainerName, process| match containers.iter_mut().find(|one| one.name == name)
        {
            Some(container) => container.processes.push(process),
            None => containers.push(self.container(name, management, vec![process])),
        };
        let name = self.map.management.name.parse::<ContainerName>()?;
        add(name.clone(), self.management(&name, management)?);
        for node in &self.map.computes {
            let name = node.name.parse::<ContainerName>()?;
            add(name.clone(), self.compute(&name, node)?);
        }
        for drive in &self.map.drives {
            let name = drive.name.parse::<ContainerName>()?;
            add(name.clone(), self.drive(&name, drive)?);
        }
        let name = ContainerName::frontend0();
        add(name.clone(), self.frontend(&name)?);
        Ok(containers)
    }

    fn container(&self, name: ContainerName, management: Peer, processes: Vec<Process>) -> Container {
        Container {
            format: Container::FORMAT,
            name,
            cluster: self.map.cluster,
            directory: PathBuf::from(".."),
            management,
            kms: Kms::Local { key_file: PathBuf::from(ClusterDir::KMS_KEY) },
            processes,
        }
    }

    fn management(&self, name: &ContainerName, peer: Peer) -> Result<Process, BlueprintError> {
        let drives = self.map.drives.iter().map(|drive| {
            let (node, address) = (drive.node, parse(&drive.name, &drive.address)?);
            Ok(DrivePeer { drive: drive.id, node, address })
        });
        Ok(Process::Management(ManagementProcess {
            node: peer.node,
            credentials: self.credentials(name, Role::Management, peer.node)?,
            listen: peer.address,
            drives: drives.collect::<Result<_, BlueprintError>>()?,
        }))
    }

    fn compute(&self, name: &ContainerName, node: &NodeEntry) -> Result<Process, BlueprintError> {
        Ok(Process::Compute(ComputeProcess {
            node: node.node,
            credentials: self.credentials(name, Role::Compute, node.node)?,
            listen: address_of(node)?,
            state: PathBuf::from(ClusterDir::COMPUTE),
        }))
    }

    fn drive(&self, name: &ContainerName, drive: &DriveEntry) -> Result<Process, BlueprintError> {
        Ok(Process::Drive(DriveProcess {
            node: drive.node,
            credentials: self.credentials(name, Role::Drive, drive.node)?,
            listen: parse(&drive.name, &drive.address)?,
            drive: drive.id,
            incarnation: drive.incarnation,
            device: self.devices.get(&drive.id).cloned().unwrap_or_else(|| ClusterDir::device(name)),
            failure_domain: drive.failure_domain.clone(),
        }))
    }

    fn frontend(&self, name: &ContainerName) -> Result<Process, BlueprintError> {
        let node = NodeId::from_bytes(random::bytes());
        Ok(Process::Frontend(FrontendProcess {
            node,
            credentials: self.credentials(name, Role::Frontend, node)?,
            filesystem: FIRST_FILESYSTEM.to_owned(),
            mount: self.mount.to_owned(),
        }))
    }

    /// Issues credentials; returns where they are, relative to the directory.
    fn credentials(&self, name: &ContainerName, role: Role, node: NodeId) -> Result<PathBuf, BlueprintError> {
        let path = ClusterDir::credentials(name, role);
        self.issue(&self.dir.resolve(&path), role, node)?;
        Ok(path)
    }

    fn issue(&self, path: &Path, role: Role, node: NodeId) -> Result<(), BlueprintError> {
        let identity = NodeIdentity { cluster: self.map.cluster, role, node };
        let credentials = self.authority.issue(identity, self.validity)?;
        Ok(files::write(path, credentials.to_pem().as_bytes())?)
    }

    /// The mount point, when it is the cluster's own; another one must be there before something is mounted on it.
    fn mount_point(&self) -> Result<(), BlueprintError> {
        let own = self.dir.mount_point();
        if self.dir.resolve(self.mount) != own || own.exists() {
            return Ok(());
        }
        files::make_folder(&own, 0o755).map_err(|source| BlueprintError::Host { path: own, source })
    }

    fn state(&self, management: Peer, containers: &[Container]) -> ClusterFile {
        let entry = |container: &Container| ContainerEntry {
            name: container.name.clone(),
            roles: container.processes.iter().map(Process::role).collect(),
            address: container.processes.first().and_then(Process::listen),
        };
        ClusterFile {
            format: ClusterFile::FORMAT,
            cluster: self.map.cluster,
            created: u64::try_from(self.created.seconds).unwrap_or_default(),
            protection: self.map.protection.to_string(),
            drives: u32::try_from(self.map.drives.len()).unwrap_or(u32::MAX),
            drive_size: self.drive_size,
            host: management.address.ip(),
            port_base: management.address.port(),
            mount: self.mount.to_owned(),
            management,
            containers: containers.iter().map(entry).collect(),
        }
    }
}

fn address_of(node: &NodeEntry) -> Result<SocketAddr, BlueprintError> {
    parse(&node.name, &node.address)
}

fn parse(node: &str, address: &str) -> Result<SocketAddr, BlueprintError> {
    let none = |_| BlueprintError::Address { node: node.to_owned(), address: address.to_owned() };
    address.parse().map_err(none)
}
