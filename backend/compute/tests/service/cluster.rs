//! A cluster around one compute process: management and drives that remember what they were asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use weft_compute::{ComputeConfig, ComputeProcess, ComputeSettings};
use weft_kms::{KeyManagement, LocalKms};
use weft_layout::{ClusterMap, DriveEntry, DriveState, Membership, NodeEntry, PlacementGroup, Protection};
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{Peer, Pool, PoolSettings, Router, Server, ServerSettings};
use weft_types::{
    ByteCount, ClusterId, DriveId, Epoch, FilesystemId, GroupId, Incarnation, MapVersion, NodeId, Role,
    SessionId, Timestamp,
};
use weft_wire::drive::ShardKey;
use weft_wire::management::{Heartbeat, NodeReport};
use weft_wire::ownership::{Held, ReportCare, ShardRow};

use crate::drive::{HeldLog, drive};
use crate::management::{Keys, management};

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

pub(crate) fn serve(credentials: &Credentials, router: Router) -> Running {
    let server =
        Server::bind(ANY_PORT.into(), credentials, router, ServerSettings::default()).expect("binds");
    let peer = Peer { identity: credentials.identity(), address: server.address() };
    let (stop, stopping) = oneshot::channel();
    Running { peer, stop, task: tokio::spawn(server.serve(stopped(stopping))) }
}

/// What the drives and management of a cluster keep, and were asked.
pub(crate) struct Seen {
    /// By node of the drive.
    pub(crate) logs: BTreeMap<NodeId, HeldLog>,
    /// Sessions that were closed, by node of the drive.
    pub(crate) closed: BTreeMap<NodeId, BTreeSet<SessionId>>,
    /// Drives that answer nothing about logs.
    pub(crate) silent: BTreeSet<NodeId>,
    pub(crate) row: ShardRow,
    /// Sessions that were registered, and those that were ended.
    pub(crate) registered: u64,
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) ended: BTreeSet<SessionId>,
    pub(crate) released: Vec<Held>,
    pub(crate) care: Vec<ReportCare>,
    /// By node of the drive.
    pub(crate) deleted: BTreeMap<NodeId, BTreeSet<ShardKey>>,
    /// Drives that refuse.
    pub(crate) refusing: BTreeSet<NodeId>,
    /// Calls for deletion that were refused.
    pub(crate) refused: u64,
    pub(crate) deleting: bool,
    /// Ownerships are given, and the answers kept back.
    pub(crate) holding: bool,
    pub(crate) map: Option<ClusterMap>,
    pub(crate) heartbeats: Vec<Heartbeat>,
}

impl Default for Seen {
    fn default() -> Self {
        let row = ShardRow {
            version: 0,
            epoch: Epoch::new(0),
            owner: NodeId::from_bytes([0; 16]),
            segments: Vec::new(),
            ends: Vec::new(),
            checkpoint: None,
        };
        Self {
            logs: BTreeMap::new(),
            closed: BTreeMap::new(),
            silent: BTreeSet::new(),
            row,
            registered: 0,
            sessions: BTreeSet::new(),
            ended: BTreeSet::new(),
            released: Vec::new(),
            care: Vec::new(),
            deleted: BTreeMap::new(),
            refusing: BTreeSet::new(),
            refused: 0,
            deleting: false,
            holding: false,
            map: None,
            heartbeats: Vec::new(),
        }
    }
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
        returned: MapVersion::new(0),
        missing: 0,
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
        let drives: Vec<_> =
            (0..4).map(|number| drive(&issue(&authority, Role::Drive, 0x30 + number), &stage)).collect();
        let management =
            management(&issue(&authority, Role::Management, 0x20), &stage, Keys::new(&*kms).await);
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
        let settings = ComputeSettings {
            tick: Duration::from_millis(20),
            heartbeat: Duration::from_millis(50),
            deletion_delay: Duration::ZERO,
            look_for_filesystems: Duration::from_millis(50),
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
