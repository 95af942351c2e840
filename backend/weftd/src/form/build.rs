//! Everything of a new cluster: keys, certificates, devices, the cluster store, the resource files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use weft_drive::offline::{OfflineError, place_store};
use weft_drive::{DriveConfig, DriveIdentity, DriveProcess, DriveSettings, HeaderSalt, NewDevice};
use weft_kms::{KmsError, LocalKms};
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry, PlaceError, place};
use weft_management::{Founded, found};
use weft_pki::{AuthorityError, ClusterAuthority, Validity, ValidityError};
use weft_resources::{ClusterDir, ClusterFile, ContainerName};
use weft_types::{ByteCount, ClusterId, DriveId, Incarnation, MapVersion, NodeId, Timestamp};

use super::plan::Plan;
use crate::blueprint::{Blueprint, BlueprintError};
use crate::{files, random};

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
    #[error("the cluster store cannot be put on {name}")]
    Store {
        /// The drive.
        name: ContainerName,
        /// Why.
        #[source]
        source: OfflineError,
    },
    /// The resource files.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
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
}

/// Builds everything but the state file, which it returns.
pub(crate) fn build(dir: &ClusterDir, plan: &Plan) -> Result<ClusterFile, BuildError> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (cluster, created) = (ClusterId::from_bytes(random::bytes()), Timestamp::from_unix(since_epoch));
    let kms = LocalKms::create(&dir.resolve(Path::new(ClusterDir::KMS_KEY)))?;
    let authority = ClusterAuthority::create(cluster, created)?;
    let validity = Validity::of_a_node(created)?;
    let builder = Builder { dir, plan, cluster, authority };
    let drives: Vec<_> = (0..plan.drives).map(|index| builder.drive(index)).collect::<Result<_, _>>()?;
    let (compute, management) = (NodeId::from_bytes(random::bytes()), NodeId::from_bytes(random::bytes()));
    let map = builder.map(&drives, compute, management)?;
    let founded = runtime(dir.root())?.block_on(found(map.clone(), &builder.authority, &kms))?;
    builder.put_store(&drives, &founded)?;
    let devices = drives.iter().map(|made| (made.drive, ClusterDir::device(&made.name))).collect();
    let blueprint = Blueprint {
        dir,
        map: &map,
        authority: &builder.authority,
        validity,
        created,
        devices: &devices,
        drive_size: plan.drive_size,
        mount: &plan.mount,
    };
    Ok(blueprint.build()?)
}

impl Builder<'_> {
    /// Formats a drive's device, which is then a whole and empty drive.
    fn drive(&self, index: u32) -> Result<Made, BuildError> {
        let name = ContainerName::drive(index);
        let (drive, node) = (DriveId::from_bytes(random::bytes()), NodeId::from_bytes(random::bytes()));
        let device = self.dir.resolve(&ClusterDir::device(&name));
        let folder = device.parent().unwrap_or(self.dir.root());
        files::make_folder(folder, 0o700)
            .map_err(|source| BuildError::Host { path: folder.to_owned(), source })?;
        let config = DriveConfig {
            path: device.clone(),
            identity: DriveIdentity { cluster: self.cluster, drive, incarnation: Incarnation::new(1) },
            create: Some(NewDevice { size: self.plan.drive_size.get(), salt: HeaderSalt(random::bytes()) }),
            settings: DriveSettings::default(),
        };
        let process = DriveProcess::open(&config).map_err(BuildError::Drive)?;
        let capacity = process.drive().usage().capacity;
        process.close();
        Ok(Made { name, drive, node, capacity })
    }

    /// Puts the first copy of the cluster store on all drives that vote on it.
    fn put_store(&self, drives: &[Made], founded: &Founded) -> Result<(), BuildError> {
        let Founded { copy, term, version, voters } = founded;
        for made in drives {
            let Some(home) = voters.iter().find(|home| home.drive == made.drive) else { continue };
            let identity =
                DriveIdentity { cluster: self.cluster, drive: home.drive, incarnation: home.incarnation };
            let device = self.dir.resolve(&ClusterDir::device(&made.name));
            place_store(&device, identity, *term, *version, copy.clone())
                .map_err(|source| BuildError::Store { name: made.name.clone(), source })?;
        }
        Ok(())
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
            returned: MapVersion::default(),
            missing: 0,
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

    fn compute_address(&self) -> core::net::SocketAddr {
        self.plan.ports.compute().expect("the plan has ports for all")
    }

    fn drive_address(&self, index: u32) -> core::net::SocketAddr {
        self.plan.ports.drive(index).expect("the plan has ports for all")
    }
}

fn runtime(path: &Path) -> Result<tokio::runtime::Runtime, BuildError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| BuildError::Host { path: path.to_owned(), source })
}
