//! Everything of a new cluster: keys, certificates, devices, the cluster store, the resource files.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use weft_drive::{DriveConfig, DriveIdentity, DriveProcess, DriveSettings, HeaderSalt, NewDevice};
use weft_kms::{KmsError, LocalKms};
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry, PlaceError, place};
use weft_management::{FoundError, found};
use weft_pki::{AuthorityError, ClusterAuthority, NodeIdentity, Validity, ValidityError};
use weft_resources::{
    ClusterDir, ClusterFile, ComputeProcess, Container, ContainerEntry, ContainerName, Document, DrivePeer,
    DriveProcess as DriveResource, FrontendProcess, Kms, ManagementProcess, Peer, Process,
};
use weft_types::{ByteCount, ClusterId, DriveId, Incarnation, MapVersion, NodeId, Role, Timestamp};

use super::plan::Plan;
use crate::files::{self, FileError};

/// The filesystem that the first mount shows.
const FIRST_FILESYSTEM: &str = "default";

/// Why a part of a cluster was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The KMS key.
    #[error("the KMS key cannot be made")]
    Kms(#[from] KmsError),
    /// The authority, or a certificate.
    #[error("the cluster's certificates cannot be made")]
    Authority(#[from] AuthorityError),
    /// The host's clock says what no certificate can.
    #[error("the cluster's certificates cannot be dated")]
    Validity(#[from] ValidityError),
    /// A device.
    #[error("a drive cannot be made; make room, or choose another directory")]
    Drive(#[source] weft_drive::StartError),
    /// The placement groups.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The cluster store.
    #[error("the cluster store cannot be made")]
    Store(#[from] FoundError),
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

/// A drive that was made.
struct Made {
    name: ContainerName,
    drive: DriveId,
    node: NodeId,
    capacity: ByteCount,
}

/// What all parts of one cluster share.
struct Builder<'a> {
    dir: &'a ClusterDir,
    plan: &'a Plan,
    cluster: ClusterId,
    authority: ClusterAuthority,
    validity: Validity,
    created: Timestamp,
}

/// Builds everything but the state file, which it returns.
pub(crate) fn build(dir: &ClusterDir, plan: &Plan) -> Result<ClusterFile, BuildError> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (cluster, created) = (ClusterId::from_bytes(random()), Timestamp::from_unix(since_epoch));
    let kms = LocalKms::create(&dir.resolve(Path::new(ClusterDir::KMS_KEY)))?;
    let authority = ClusterAuthority::create(cluster, created)?;
    let validity = Validity::of_a_node(created)?;
    let builder = Builder { dir, plan, cluster, authority, validity, created };
    let drives: Vec<_> = (0..plan.drives).map(|index| builder.drive(index)).collect::<Result<_, _>>()?;
    let (compute, management) = (NodeId::from_bytes(random()), NodeId::from_bytes(random()));
    let map = builder.map(&drives, compute, management)?;
    let store = dir.resolve(Path::new(ClusterDir::STORE));
    runtime(&store)?.block_on(found(&store, map, &builder.authority, &kms))?;
    let management = Peer { node: management, address: plan.ports.management() };
    let containers = builder.containers(&drives, compute, management)?;
    builder.admin()?;
    builder.mount_point()?;
    Ok(builder.state(management, &containers))
}

impl Builder<'_> {
    /// Formats a drive's device, which is then a whole and empty drive.
    fn drive(&self, index: u32) -> Result<Made, BuildError> {
        let name = ContainerName::drive(index);
        let (drive, node) = (DriveId::from_bytes(random()), NodeId::from_bytes(random()));
        let device = self.dir.resolve(&ClusterDir::device(&name));
        let folder = device.parent().unwrap_or(self.dir.root());
        make_folder(folder, 0o700)?;
        let config = DriveConfig {
            path: device.clone(),
            identity: DriveIdentity { cluster: self.cluster, drive, incarnation: Incarnation::new(1) },
            create: Some(NewDevice { size: self.plan.drive_size.get(), salt: HeaderSalt(random()) }),
            settings: DriveSettings::default(),
        };
        let process = DriveProcess::open(&config).map_err(BuildError::Drive)?;
        let capacity = process.drive().usage().capacity;
        process.close();
        Ok(Made { name, drive, node, capacity })
    }

    fn map(&self, drives: &[Made], compute: NodeId, management: NodeId) -> Result<ClusterMap, BuildError> {
        let entry = |(index, made): (u32, &Made)| DriveEntry {
            id: made.drive,
            node: made.node,
            incarnation: Incarnation::new(1),
            name: made.name.to_string(),
            address: self.drive_address(index).to_string(),
            failure_domain: made.name.to_string(),
            capacity: made.capacity,
            state: DriveState::Up,
        };
        let node = |node, address: core::net::SocketAddr| NodeEntry {
            node,
            name: ContainerName::compute0().to_string(),
            address: address.to_string(),
        };
        let vacant = ClusterMap {
            cluster: self.cluster,
            version: MapVersion::default(),
            protection: self.plan.protection,
            drives: (0..).zip(drives).map(entry).collect(),
            groups: Vec::new(),
            computes: vec![node(compute, self.compute_address())],
            management: node(management, self.plan.ports.management()),
        };
        Ok(place(&vacant)?.map)
    }

    /// Writes the containers, in the order in which they are to be started, and the credentials of their processes.
    fn containers(
        &self,
        drives: &[Made],
        compute: NodeId,
        management: Peer,
    ) -> Result<Vec<Container>, BuildError> {
        let mut containers = vec![self.compute0(drives, compute, management)?];
        for (index, made) in (0..).zip(drives) {
            let process = Process::Drive(DriveResource {
                node: made.node,
                credentials: self.credentials(&made.name, Role::Drive, made.node)?,
                listen: self.drive_address(index),
                drive: made.drive,
                incarnation: Incarnation::new(1),
                device: ClusterDir::device(&made.name),
                failure_domain: made.name.to_string(),
            });
            containers.push(self.container(made.name.clone(), management, vec![process]));
        }
        let (name, node) = (ContainerName::frontend0(), NodeId::from_bytes(random()));
        let process = Process::Frontend(FrontendProcess {
            node,
            credentials: self.credentials(&name, Role::Frontend, node)?,
            filesystem: FIRST_FILESYSTEM.to_owned(),
            mount: self.plan.mount.clone(),
        });
        containers.push(self.container(name, management, vec![process]));
        for container in &containers {
            files::write_document(&self.dir.container_file(&container.name), container)?;
        }
        Ok(containers)
    }

    /// Management and compute in one process: management first, since compute asks it for the map.
    fn compute0(&self, drives: &[Made], compute: NodeId, management: Peer) -> Result<Container, BuildError> {
        let peer = |(index, made): (u32, &Made)| DrivePeer {
            drive: made.drive,
            node: made.node,
            address: self.drive_address(index),
        };
        let name = ContainerName::compute0();
        let processes = vec![
            Process::Management(ManagementProcess {
                node: management.node,
                credentials: self.credentials(&name, Role::Management, management.node)?,
                listen: management.address,
                drives: (0..).zip(drives).map(peer).collect(),
            }),
            Process::Compute(ComputeProcess {
                node: compute,
                credentials: self.credentials(&name, Role::Compute, compute)?,
                listen: self.compute_address(),
                state: PathBuf::from(ClusterDir::COMPUTE),
            }),
        ];
        Ok(self.container(name, management, processes))
    }

    fn container(&self, name: ContainerName, management: Peer, processes: Vec<Process>) -> Container {
        Container {
            format: Container::FORMAT,
            name,
            cluster: self.cluster,
            directory: PathBuf::from(".."),
            management,
            kms: Kms::Local { key_file: PathBuf::from(ClusterDir::KMS_KEY) },
            processes,
        }
    }

    fn admin(&self) -> Result<(), BuildError> {
        self.issue(&self.dir.admin_credentials(), Role::Admin, NodeId::from_bytes(random()))
    }

    /// Issues credentials; returns where they are, relative to the directory.
    fn credentials(&self, name: &ContainerName, role: Role, node: NodeId) -> Result<PathBuf, BuildError> {
        let path = ClusterDir::credentials(name, role);
        self.issue(&self.dir.resolve(&path), role, node)?;
        Ok(path)
    }

    fn issue(&self, path: &Path, role: Role, node: NodeId) -> Result<(), BuildError> {
        let identity = NodeIdentity { cluster: self.cluster, role, node };
        let credentials = self.authority.issue(identity, self.validity)?;
        Ok(files::write(path, credentials.to_pem().as_bytes())?)
    }

    /// The mount point, when it is the cluster's own; another one must be there before something is mounted on it.
    fn mount_point(&self) -> Result<(), BuildError> {
        let own = self.dir.mount_point();
        if self.dir.resolve(&self.plan.mount) == own && !own.exists() {
            make_folder(&own, 0o755)
        } else {
            Ok(())
        }
    }

    fn state(&self, management: Peer, containers: &[Container]) -> ClusterFile {
        let entry = |container: &Container| ContainerEntry {
            name: container.name.clone(),
            roles: container.processes.iter().map(Process::role).collect(),
            address: container.processes.first().and_then(Process::listen),
        };
        ClusterFile {
            format: ClusterFile::FORMAT,
            cluster: self.cluster,
            created: u64::try_from(self.created.seconds).unwrap_or_default(),
            protection: self.plan.protection.to_string(),
            drives: self.plan.drives,
            drive_size: self.plan.drive_size,
            host: self.plan.ports.host,
            port_base: self.plan.ports.base,
            mount: self.plan.mount.clone(),
            management,
            containers: containers.iter().map(entry).collect(),
        }
    }

    fn compute_address(&self) -> core::net::SocketAddr {
        self.plan.ports.compute().expect("the plan has ports for all")
    }

    fn drive_address(&self, index: u32) -> core::net::SocketAddr {
        self.plan.ports.drive(index).expect("the plan has ports for all")
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), BuildError> {
    let made = DirBuilder::new().mode(mode).create(path);
    made.map_err(|source| BuildError::Host { path: path.to_owned(), source })
}

fn runtime(path: &Path) -> Result<tokio::runtime::Runtime, BuildError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| BuildError::Host { path: path.to_owned(), source })
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
