//! Calls to management: the map, heartbeats, status, filesystems.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use weft_layout::ClusterMap;
use weft_types::{
    ByteCount, DriveId, Epoch, FilesystemId, Incarnation, KeyVersion, MapVersion, MetadataShard, NodeId,
    Role, StoreVersion, Timestamp,
};

use crate::ownership::{DriveGrant, ShardRow};
use crate::{Call, CallTag, NoRefusal};

/// Asks for the cluster map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetMap {
    /// The version that the caller has; an unchanged map is not sent again.
    #[n(0)]
    pub known: Option<MapVersion>,
}

/// The cluster map.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MapReply {
    /// The map, unless the caller has it already.
    #[n(0)]
    pub map: Option<ClusterMap>,
}

impl Call for GetMap {
    const TAG: CallTag = CallTag::GET_MAP;
    type Reply = MapReply;
    type Refusal = NoRefusal;
}

/// A process is alive. Sent every second; a process that was silent for five is down.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Heartbeat {
    /// Its node id: that of its certificate.
    #[n(0)]
    pub node: NodeId,
    /// The container it runs in.
    #[n(1)]
    pub container: String,
    /// Its process id.
    #[n(2)]
    pub pid: u32,
    /// When the process started.
    #[n(3)]
    pub started: Timestamp,
    /// What it has to tell, by its role.
    #[n(4)]
    pub report: NodeReport,
}

/// What a process tells with its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NodeReport {
    /// A drive.
    #[n(0)]
    Drive(#[n(0)] DriveReport),
    /// A compute process.
    #[n(1)]
    Compute(#[n(0)] ComputeReport),
    /// A client or gateway.
    #[n(2)]
    Frontend(#[n(0)] FrontendReport),
}

/// A drive's counters since its process started, and its room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DriveReport {
    /// Which drive.
    #[n(0)]
    pub drive: DriveId,
    /// Its incarnation.
    #[n(1)]
    pub incarnation: Incarnation,
    /// What shards can occupy in all.
    #[n(2)]
    pub capacity: ByteCount,
    /// What shards occupy.
    #[n(3)]
    pub used: ByteCount,
    /// Shards stored.
    #[n(4)]
    pub shards: u64,
    /// Damage found, on opening and on reading: block slots and headers that failed their checksum.
    #[n(5)]
    pub damaged: u64,
    /// Shards put.
    #[n(6)]
    pub puts: u64,
    /// Ranges read.
    #[n(7)]
    pub gets: u64,
    /// Something a person should know, such as a device that fails.
    #[n(8)]
    pub warning: Option<String>,
    /// Bytes of shards that it can take now: used and what its cleaner can still make free are counted out.
    #[n(9)]
    pub writable: ByteCount,
    /// How its device is reached, and how that goes.
    #[n(10)]
    pub device: DeviceReport,
}

/// How a drive reaches its device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct DeviceReport {
    /// The way bytes travel: `direct` (`io_uring`, around the page cache) or `buffered`; empty when it is not known.
    #[n(0)]
    pub mode: String,
    /// Requests that failed, stalled ones among them.
    #[n(1)]
    pub errors: u64,
    /// Requests that were given up because they took too long.
    #[n(2)]
    pub stalls: u64,
    /// Requests that were given up and that the host has not given back yet.
    #[n(3)]
    pub stuck: u64,
}

/// A compute process's counters since it started.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ComputeReport {
    /// Sessions open.
    #[n(0)]
    pub sessions: u64,
    /// Operations answered.
    #[n(1)]
    pub operations: u64,
    /// Batches committed.
    #[n(2)]
    pub batches: u64,
    /// Extents whose shards wait to be deleted.
    #[n(3)]
    pub extents_to_reclaim: u64,
    /// Something a person should know, such as a full disk.
    #[n(4)]
    pub warning: Option<String>,
    /// Extents that lie by an earlier membership of their group, as the last look found them; 0 before the first one.
    #[n(5)]
    pub respread_left: u64,
    /// Shards deleted that no metadata names: left behind by sessions that ended, or by moves.
    #[n(6)]
    pub orphans_deleted: u64,
    /// Drives that are being compared with the extent rows after their return.
    #[n(7)]
    pub reconciling: u64,
    /// Extents that have shards on drives, dead ones that wait for their deletion included.
    #[n(8)]
    pub extents: u64,
}

/// A frontend's counters since it started.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FrontendReport {
    /// The filesystem's name.
    #[n(0)]
    pub filesystem: String,
    /// Where it is mounted; empty for a frontend without a mount.
    #[n(1)]
    pub mount: String,
    /// Reads answered from the rest of a stripe because a shard was missing, late or damaged.
    #[n(2)]
    pub reconstructions: u64,
    /// Blocks that failed their tag, or that a drive refused as damaged.
    #[n(3)]
    pub damaged: u64,
    /// Reads that failed: the damage was beyond repair.
    #[n(4)]
    pub unreadable: u64,
    /// Bytes written by applications that are not committed yet.
    #[n(5)]
    pub dirty: ByteCount,
    /// Something a person should know, such as writes that wait for a drive.
    #[n(6)]
    pub warning: Option<String>,
}

/// The heartbeat was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HeartbeatHeard {
    /// The map's version now: fetch it when it is newer than yours.
    #[n(0)]
    pub map: MapVersion,
    /// What shards can occupy on all drives together, and what they occupy.
    #[n(1)]
    pub capacity: ByteCount,
    /// See [`capacity`](Self::capacity).
    #[n(2)]
    pub used: ByteCount,
    /// The version of the cluster store now: drives remember the highest.
    #[n(3)]
    pub store: StoreVersion,
    /// Net room left for files: what the drives that are up can take as the groups are now, and no more than capacity
    /// and use leave. Absent while no drive was heard of: it is promised to nobody before it is known.
    #[n(4)]
    pub free: Option<ByteCount>,
}

/// Why a heartbeat is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum HeartbeatRefusal {
    /// The node is not the one of the certificate, or its role does not fit the report.
    #[n(0)]
    #[error("the heartbeat is not its sender's")]
    NotYours,
    /// The map does not know this drive, or knows it with a newer incarnation.
    #[n(1)]
    #[error("the cluster does not know this drive")]
    UnknownDrive,
}

impl Call for Heartbeat {
    const TAG: CallTag = CallTag::HEARTBEAT;
    type Reply = HeartbeatHeard;
    type Refusal = HeartbeatRefusal;
}

/// Asks for the state of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetStatus {}

/// The state of the cluster, as management knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// The map.
    #[n(0)]
    pub map: ClusterMap,
    /// Every node that the cluster store knows, and every frontend that was heard of since management started.
    #[n(1)]
    pub nodes: Vec<NodeStatus>,
    /// How many more failure domains may be lost without losing data, over all groups; absent when some data is
    /// unreachable already.
    #[n(2)]
    pub losses_survived: Option<u8>,
    /// What needs a person's attention, the worst first.
    #[n(3)]
    pub alerts: Vec<Alert>,
    /// Which KMS wraps the keys: provider and key reference.
    #[n(4)]
    pub kms: String,
    /// Net capacity for files.
    #[n(5)]
    pub capacity: ByteCount,
    /// Net room left for files.
    #[n(6)]
    pub free: ByteCount,
    /// The cluster store.
    #[n(7)]
    pub store: StoreState,
}

/// How the cluster store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct StoreState {
    /// The version that counts: the term under which it was opened in the upper 32 bits, a count in the lower.
    #[n(0)]
    pub version: StoreVersion,
    /// Drives that vote on it.
    #[n(1)]
    pub voters: u32,
    /// How many of them must agree.
    #[n(2)]
    pub necessary: u32,
    /// How many hold that version and were reached last time.
    #[n(3)]
    pub holding: u32,
    /// Another management process has opened it, under this term: this one stops.
    #[n(4)]
    pub fenced: Option<Epoch>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeStatus {
    /// Its id.
    #[n(0)]
    pub node: NodeId,
    /// Its role.
    #[n(1)]
    pub role: Role,
    /// Its container.
    #[n(2)]
    pub container: String,
    /// Where it serves; empty for a frontend.
    #[n(3)]
    pub address: String,
    /// Whether it was heard of within the last five seconds.
    #[n(4)]
    pub up: bool,
    /// Milliseconds since it was last heard of; absent when it never was.
    #[n(5)]
    pub silent_ms: Option<u64>,
    /// Its last heartbeat.
    #[n(6)]
    pub last: Option<Heartbeat>,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Severity {
    /// Data is unreachable or lost.
    #[n(0)]
    Critical,
    /// Redundancy or service is reduced.
    #[n(1)]
    Warning,
    /// Worth knowing.
    #[n(2)]
    Notice,
}

/// What needs a person's attention.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Alert {
    /// How bad it is.
    #[n(0)]
    pub severity: Severity,
    /// What is wrong.
    #[n(1)]
    pub cause: String,
    /// What to do about it.
    #[n(2)]
    pub next_step: String,
}

impl Call for GetStatus {
    const TAG: CallTag = CallTag::GET_STATUS;
    type Reply = Status;
    type Refusal = NoRefusal;
}

/// A filesystem, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FilesystemInfo {
    /// Its id.
    #[n(0)]
    pub id: FilesystemId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// When it was created.
    #[n(2)]
    pub created: Timestamp,
    /// It is being deleted.
    #[n(3)]
    pub deleting: bool,
    /// The version of its filesystem key.
    #[n(4)]
    pub key_version: KeyVersion,
}

/// Creates a filesystem with keys of its own. Durable when answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateFilesystem {
    /// 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`, the first a letter or digit.
    #[n(0)]
    pub name: String,
}

/// Lists filesystems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ListFilesystems {}

/// The filesystems, by name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FilesystemsListed {
    /// By name.
    #[n(0)]
    pub filesystems: Vec<FilesystemInfo>,
}

/// Deletes a filesystem and all that is in it. When answered it can no longer be opened; its extents follow in the
/// background, and with the last of them its keys.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteFilesystem {
    /// Its name.
    #[n(0)]
    pub name: String,
}

/// The filesystem is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FilesystemDeleted {}

/// Why a filesystem was not created, deleted or opened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum FilesystemRefusal {
    /// The name is not one.
    #[n(0)]
    #[error("a filesystem's name is 1 to 63 of a-z, 0-9, '-', '_' and '.', the first a letter or digit")]
    BadName,
    /// It exists.
    #[n(1)]
    #[error("there is a filesystem of that name")]
    Exists,
    /// It does not exist.
    #[n(2)]
    #[error("there is no filesystem of that name")]
    NotFound,
    /// It is mounted.
    #[n(3)]
    #[error("it is mounted: {holder}")]
    Mounted {
        /// By whom.
        #[n(0)]
        holder: String,
    },
    /// The KMS did not wrap its keys.
    #[n(4)]
    #[error("its keys cannot be wrapped: {reason}")]
    Keys {
        /// What the KMS said.
        #[n(0)]
        reason: String,
    },
    /// The cluster store could not be written.
    #[n(5)]
    #[error("the cluster store cannot be written: {reason}")]
    Store {
        /// What failed.
        #[n(0)]
        reason: String,
    },
    /// No compute process answers.
    #[n(6)]
    #[error("no compute process answers")]
    NoCompute,
}

impl Call for CreateFilesystem {
    const TAG: CallTag = CallTag::CREATE_FILESYSTEM;
    type Reply = FilesystemInfo;
    type Refusal = FilesystemRefusal;
}

impl Call for ListFilesystems {
    const TAG: CallTag = CallTag::LIST_FILESYSTEMS;
    type Reply = FilesystemsListed;
    type Refusal = NoRefusal;
}

impl Call for DeleteFilesystem {
    const TAG: CallTag = CallTag::DELETE_FILESYSTEM;
    type Reply = FilesystemDeleted;
    type Refusal = FilesystemRefusal;
}

/// Takes ownership of a filesystem's metadata shard: a new epoch, and the wrapped keys. Compute only.
///
/// The epoch is durable in the cluster store when answered, and was never given before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OwnFilesystem {
    /// The filesystem's name.
    #[n(0)]
    pub name: String,
    /// Which of its metadata shards.
    #[n(1)]
    pub shard: MetadataShard,
}

/// An ownership.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ownership {
    /// The filesystem.
    #[n(0)]
    pub filesystem: FilesystemInfo,
    /// The epoch under which the caller owns the shard.
    #[n(1)]
    pub epoch: Epoch,
    /// The filesystem keys, each wrapped by the KMS.
    #[n(2)]
    pub filesystem_keys: Vec<FilesystemKeyWrap>,
    /// The metadata key, wrapped under a filesystem key.
    #[n(3)]
    pub metadata_key: ByteVec,
    /// The name key, wrapped under a filesystem key.
    #[n(4)]
    pub name_key: ByteVec,
    /// The shard's row, with the new epoch and the caller as its owner.
    #[n(5)]
    pub row: ShardRow,
    /// A grant for every drive of the map.
    #[n(6)]
    pub grants: Vec<DriveGrant>,
    /// The ownership lasts this many milliseconds, counted from before it was asked for, unless it is renewed.
    #[n(7)]
    pub lease_ms: u32,
    /// An earlier owner may answer for this many milliseconds more: serve nothing before.
    #[n(8)]
    pub serve_after_ms: u32,
}

/// One version of a filesystem key as the KMS wrapped it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FilesystemKeyWrap {
    /// The version.
    #[n(0)]
    pub version: KeyVersion,
    /// What the KMS answered.
    #[n(1)]
    pub wrapped: ByteVec,
}

impl Call for OwnFilesystem {
    const TAG: CallTag = CallTag::OWN_FILESYSTEM;
    type Reply = Ownership;
    type Refusal = FilesystemRefusal;
}
