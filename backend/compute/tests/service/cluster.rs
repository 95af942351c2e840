//! A cluster around one compute process: management and drives that remember what they were asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use weft_compute::{ComputeConfig, ComputeProcess, ComputeSettings};
use weft_engine::FileLogOptions;
use weft_keys::{FilesystemKey, MetadataKey, NameKey, Nonce};
use weft_kms::{EncryptionContext, KeyManagement, LocalKms};
use weft_layout::{ClusterMap, DriveEntry, DriveState, Membership, NodeEntry, PlacementGroup, Protection};
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{CallContext, Failure, Peer, Pool, PoolSettings, Router, Server, ServerSettings};
use weft_types::{
    ByteCount, ClusterId, DriveId, Epoch, FilesystemId, GroupId, Incarnation, KeyVersion, MapVersion, NodeId,
    Role, Timestamp,
};
use weft_wire::drive::{DeleteRefusal, DeleteShards, ShardKey, ShardsDeleted};
use weft_wire::management::{
    FilesystemInfo, FilesystemKeyWrap, FilesystemRefusal, FilesystemsListed, GetMap, Heartbeat,
    HeartbeatHeard, ListFilesystems, MapReply, NodeReport, OwnFilesystem, Ownership,
};

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
pub(crate) const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([2; 16]);
pub(crate) const NAME: &str = "default";
pub(crate) const GROUP: GroupId = GroupId::new(4);
pub(crate) const GROUP_EPOCH: Epoch = Epoch::new(2);
/// Far more than anything takes; a test that reaches it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);
const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"))
}

fn issue(authority: &ClusterAuthority, role: Role, node: u8) -> Credentials {
    let identity = NodeIdentity { cluster: CLUSTER, role, node: NodeId::from_bytes([node; 16]) };
    authority.issue(identity, Validity::of_a_node(now()).expect("dates")).expect("issued")
}

/// A server in a task.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("ends in order");
    }
}

async fn stopped(stop: oneshot::Receiver<()>) {
    // Dropping the sender stops it too.
    let _ = stop.await;
}

fn serve(credentials: &Credentials, router: Router) -> Running {
    let server =
        Server::bind(ANY_PORT.into(), credentials, router, ServerSettings::default()).expect("binds");
    let peer = Peer { identity: credentials.identity(), address: server.address() };
    let (stop, stopping) = oneshot::channel();
    Running { peer, stop, task: tokio::spawn(server.serve(stopped(stopping))) }
}

/// What the drives and management of a cluster were asked.
#[derive(Default)]
pub(crate) struct Seen {
    /// By node of the drive.
    pub(crate) deleted: BTreeMap<NodeId, BTreeSet<ShardKey>>,
    /// Drives that refuse.
    pub(crate) refusing: BTreeSet<NodeId>,
    /// Calls for deletion that were refused.
    pub(crate) refused: u64,
    pub(crate) epochs: u64,
    pub(crate) deleting: bool,
    /// Ownerships are given, and the answers kept back.
    pub(crate) holding: bool,
    pub(crate) map: Option<ClusterMap>,
    pub(crate) heartbeats: Vec<Heartbeat>,
}

#[derive(Clone, Default)]
pub(crate) struct Stage {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

impl Stage {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        let value = act(&mut self.seen.lock().expect("no test panicked here"));
        self.changed.notify_waiters();
        value
    }

    /// Waits until this holds of what was seen.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.seen.lock().expect("no test panicked here")) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }
}

fn drive(authority: &ClusterAuthority, node: u8, stage: &Stage) -> Running {
    let stage = stage.clone();
    let this = NodeId::from_bytes([node; 16]);
    let router = Router::new().on(&[Role::Compute], move |_: CallContext, call: DeleteShards, _| {
        let answer = stage.with(|seen| {
            if seen.refusing.contains(&this) {
                seen.refused += 1;
                return Err(Failure::Refused(DeleteRefusal::Device));
            }
            seen.deleted.entry(this).or_default().extend(call.keys.iter().copied());
            Ok((ShardsDeleted { deleted: 0 }, Bytes::new()))
        });
        async move { answer }
    });
    serve(&issue(authority, Role::Drive, node), router)
}

fn map(drives: &[Running], management: SocketAddr) -> ClusterMap {
    let id = |number: usize| DriveId::from_bytes([number as u8 + 1; 16]);
    let entry = |(number, drive): (usize, &Running)| DriveEntry {
        id: id(number),
        node: drive.peer.identity.node,
        incarnation: Incarnation::new(1),
        name: format!("drives{number}"),
        address: drive.peer.address.to_string(),
        failure_domain: format!("drives{number}"),
        capacity: ByteCount::new(1 << 30),
        state: DriveState::Up,
    };
    // The third member was the fourth drive before.
    let history = vec![Membership { epoch: Epoch::new(1), members: vec![id(0), id(1), id(3)] }];
    let members = vec![id(0), id(1), id(2)];
    ClusterMap {
        cluster: CLUSTER,
        version: MapVersion::new(1),
        protection: Protection::DEVELOPMENT,
        drives: drives.iter().enumerate().map(entry).collect(),
        groups: vec![PlacementGroup { id: GROUP, epoch: GROUP_EPOCH, members, history }],
        computes: Vec::new(),
        management: NodeEntry {
            node: NodeId::from_bytes([0x20; 16]),
            name: "compute0".to_owned(),
            address: management.to_string(),
        },
    }
}

/// The filesystem's keys as management keeps them.
async fn ownership(kms: &dyn KeyManagement) -> Ownership {
    let version = KeyVersion::new(1);
    let key = FilesystemKey::from_bytes(FILESYSTEM, version, &[3; 32]);
    let context = EncryptionContext::of_filesystem(CLUSTER, FILESYSTEM);
    let wrapped = kms.wrap(key.expose(), &context).await.expect("wraps");
    let nonce = |byte: u8| Nonce::from_random([byte; 12]);
    let metadata = key.wrap_metadata_key(&MetadataKey::from_bytes(&[4; 32]), nonce(1));
    let name = key.wrap_name_key(&NameKey::from_bytes(&[5; 32]), nonce(2));
    Ownership {
        filesystem: info(false),
        epoch: Epoch::new(0),
        filesystem_keys: vec![FilesystemKeyWrap { version, wrapped: wrapped.as_bytes().to_vec().into() }],
        metadata_key: minicbor::to_vec(metadata).expect("encodes").into(),
        name_key: minicbor::to_vec(name).expect("encodes").into(),
    }
}

fn info(deleting: bool) -> FilesystemInfo {
    let (name, created) = (NAME.to_owned(), Timestamp::default());
    FilesystemInfo { id: FILESYSTEM, name, created, deleting, key_version: KeyVersion::new(1) }
}

fn management(authority: &ClusterAuthority, stage: &Stage, ownership: Ownership) -> Running {
    const COMPUTE: &[Role] = &[Role::Compute];
    let (maps, beats, lists, owns) = (stage.clone(), stage.clone(), stage.clone(), stage.clone());
    let router = Router::new()
        .on(COMPUTE, move |_, _: GetMap, _| {
            let map = maps.with(|seen| seen.map.clone());
            async move { Ok((MapReply { map }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, heartbeat: Heartbeat, _| {
            beats.with(|seen| seen.heartbeats.push(heartbeat));
            let (capacity, used) = (ByteCount::new(4 << 30), ByteCount::new(300 << 20));
            async move { Ok((HeartbeatHeard { map: MapVersion::new(1), capacity, used }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, _: ListFilesystems, _| {
            let filesystems = vec![info(lists.with(|seen| seen.deleting))];
            async move { Ok((FilesystemsListed { filesystems }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, call: OwnFilesystem, _| {
            let ownership = ownership.clone();
            let (epoch, deleting) = owns.with(|seen| {
                seen.epochs += 1;
                (Epoch::new(seen.epochs), seen.deleting)
            });
            let owns = owns.clone();
            async move {
                owns.until("ownerships are answered", |seen| !seen.holding).await;
                if call.name != NAME {
                    return Err(Failure::Refused(FilesystemRefusal::NotFound));
                }
                Ok((Ownership { filesystem: info(deleting), epoch, ..ownership }, Bytes::new()))
            }
        });
    serve(&issue(authority, Role::Management, 0x20), router)
}

/// The cluster, and pools of those who call compute.
pub(crate) struct Cluster {
    pub(crate) stage: Stage,
    pub(crate) frontend: Pool,
    pub(crate) other_frontend: Pool,
    pub(crate) manager: Pool,
    pub(crate) dir: tempfile::TempDir,
    management: Running,
    drives: Vec<Running>,
    kms: Arc<dyn KeyManagement>,
    compute: Credentials,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let authority = ClusterAuthority::create(CLUSTER, now()).expect("created");
        let kms: Arc<dyn KeyManagement> =
            Arc::new(LocalKms::create(&dir.path().join("kms.key")).expect("created"));
        let stage = Stage::default();
        let drives: Vec<_> = (0..4).map(|number| drive(&authority, 0x30 + number, &stage)).collect();
        let management = management(&authority, &stage, ownership(&*kms).await);
        let map = map(&drives, management.peer.address);
        stage.with(|seen| seen.map = Some(map));
        let pool = |role, node| {
            Pool::new(Handle::current(), &issue(&authority, role, node), PoolSettings::default())
                .expect("a pool")
        };
        Self {
            stage,
            frontend: pool(Role::Frontend, 0x50),
            other_frontend: pool(Role::Frontend, 0x51),
            manager: pool(Role::Management, 0x20),
            dir,
            management,
            drives,
            kms,
            compute: issue(&authority, Role::Compute, 0x40),
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("compute")
    }

    /// The node of a drive.
    pub(crate) fn drive(&self, number: usize) -> NodeId {
        self.drives[number].peer.identity.node
    }

    /// Starts the compute process.
    pub(crate) fn start(&self) -> Running {
        let log = FileLogOptions { segment_bytes: 1 << 20, headroom_bytes: 0, limit_bytes: u64::MAX };
        let settings = ComputeSettings {
            tick: Duration::from_millis(20),
            heartbeat: Duration::from_millis(50),
            deletion_delay: Duration::ZERO,
            log,
            ..ComputeSettings::default()
        };
        let config = ComputeConfig {
            container: "compute0".to_owned(),
            state: self.state(),
            management: self.management.peer,
            kms: Arc::clone(&self.kms),
            settings,
        };
        let process = ComputeProcess::open(config, &self.compute).expect("opens");
        let server =
            Server::bind(ANY_PORT.into(), &self.compute, process.router(), ServerSettings::default());
        let server = server.expect("binds");
        let peer = Peer { identity: self.compute.identity(), address: server.address() };
        let (stop, stopping) = oneshot::channel();
        Running { peer, stop, task: tokio::spawn(process.serve(server, stopped(stopping))) }
    }

    /// Waits until management hears this of the compute process.
    pub(crate) async fn until_reported(
        &self,
        what: &str,
        holds: impl Fn(&weft_wire::management::ComputeReport) -> bool,
    ) {
        let last = |seen: &Seen| match seen.heartbeats.last().map(|heartbeat| &heartbeat.report) {
            Some(NodeReport::Compute(report)) => holds(report),
            _ => false,
        };
        self.stage.until(what, last).await;
    }
}
