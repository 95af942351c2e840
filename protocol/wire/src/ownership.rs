//! Calls to management by the owner of a metadata shard: its row in the cluster store, its lease, its sessions.

use minicbor::{Decode, Encode};
use weft_types::{
    Digest, DriveId, Epoch, FilesystemId, GroupId, Incarnation, MapVersion, MetadataShard, NodeId, Position,
    SessionId,
};

use crate::grant::SignedGrant;
use crate::{Call, CallTag};

/// A drive as it is now: after it was blank it is another home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct DriveHome {
    /// The drive.
    #[n(0)]
    pub drive: DriveId,
    /// Its incarnation.
    #[n(1)]
    pub incarnation: Incarnation,
}

/// Where a run of a log's records lies.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogSegment {
    /// The first sequence of the run; it ends before the next segment's first.
    #[n(0)]
    pub first: u64,
    /// Each of these has every record of it.
    #[n(1)]
    pub drives: Vec<DriveHome>,
}

/// A checkpoint of a shard's rows that counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CheckpointRoot {
    /// The rows are those after this batch.
    #[n(0)]
    pub position: Position,
    /// The ownership that wrote it: part of its objects' names.
    #[n(1)]
    pub epoch: Epoch,
    /// Its number in that ownership.
    #[n(2)]
    pub number: u64,
    /// How many parts it has.
    #[n(3)]
    pub parts: u32,
    /// Bytes of all parts together.
    #[n(4)]
    pub bytes: u64,
    /// BLAKE3 of all parts, one behind the other.
    #[n(5)]
    pub digest: Digest,
    /// Each of these has every part.
    #[n(6)]
    pub drives: Vec<DriveHome>,
}

/// A metadata shard's row in the cluster store. It changes only by compare-and-swap of its version.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShardRow {
    /// Every change makes the next; 0 before the first ownership.
    #[n(0)]
    pub version: u64,
    /// The ownership that holds.
    #[n(1)]
    pub epoch: Epoch,
    /// Whose it is.
    #[n(2)]
    pub owner: NodeId,
    /// Where the log lies, by ascending first sequence. Empty before the first owner chose drives.
    #[n(3)]
    pub segments: Vec<LogSegment>,
    /// The last position of every ownership that has ended and still has records, in their order: records of that
    /// epoch past it are void wherever they reappear.
    #[n(4)]
    pub ends: Vec<EpochEnd>,
    /// The checkpoint that counts; absent while the log goes back to its beginning.
    #[n(5)]
    pub checkpoint: Option<CheckpointRoot>,
}

/// How an ownership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EpochEnd {
    /// The ownership.
    #[n(0)]
    pub epoch: Epoch,
    /// The last sequence of the log when it ended.
    #[n(1)]
    pub seq: u64,
}

/// A grant for one drive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DriveGrant {
    /// Which drive.
    #[n(0)]
    pub home: DriveHome,
    /// The grant.
    #[n(1)]
    pub grant: SignedGrant,
}

/// Replaces a shard's row, by its owner. Durable when answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SwapShard {
    /// The filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// The shard.
    #[n(1)]
    pub shard: MetadataShard,
    /// The new row; its version is the one that it replaces, plus one; epoch and owner are as they were.
    #[n(2)]
    pub row: ShardRow,
}

/// The row was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ShardSwapped {}

/// Why a row was not replaced.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum SwapRefusal {
    /// Another ownership holds.
    #[n(0)]
    #[error("ownership epoch {by} holds")]
    Deposed {
        /// Its epoch.
        #[n(0)]
        by: Epoch,
    },
    /// The row has another version. The same swap done twice says so too: ask again for the row.
    #[n(1)]
    #[error("the shard's row has version {version}")]
    Changed {
        /// Its version.
        #[n(0)]
        version: u64,
    },
    /// There is no such filesystem or shard.
    #[n(2)]
    #[error("there is no such metadata shard")]
    NotFound,
    /// The new row cannot be: a list without drives, or an order that is none.
    #[n(3)]
    #[error("the row is malformed")]
    Malformed,
    /// The cluster store could not be written; whether the row was replaced is unknown.
    #[n(4)]
    #[error("the cluster store cannot be written: {reason}")]
    Store {
        /// What failed.
        #[n(0)]
        reason: String,
    },
}

impl Call for SwapShard {
    const TAG: CallTag = CallTag::SWAP_SHARD;
    type Reply = ShardSwapped;
    type Refusal = SwapRefusal;
}

/// Asks for a shard's row and for grants of the caller's ownership, such as for a drive that came since. Compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetShardRow {
    /// The filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// The shard.
    #[n(1)]
    pub shard: MetadataShard,
    /// The caller's ownership.
    #[n(2)]
    pub epoch: Epoch,
}

/// A row, and the grants of its ownership.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShardRowReply {
    /// The row.
    #[n(0)]
    pub row: ShardRow,
    /// A grant for every drive of the map.
    #[n(1)]
    pub grants: Vec<DriveGrant>,
}

impl Call for GetShardRow {
    const TAG: CallTag = CallTag::GET_SHARD_ROW;
    type Reply = ShardRowReply;
    type Refusal = SwapRefusal;
}

/// Keeps ownerships alive. Sent about every second.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RenewOwnerships {
    /// Those that the caller holds.
    #[n(0)]
    pub held: Vec<Held>,
    /// It lets go of these in good order: nothing is served under them any more.
    #[n(1)]
    pub released: Vec<Held>,
}

/// One ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Held {
    /// The filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// The shard.
    #[n(1)]
    pub shard: MetadataShard,
    /// The ownership.
    #[n(2)]
    pub epoch: Epoch,
}

/// Ownerships live on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OwnershipsRenewed {
    /// For this many milliseconds, counted by the owner from before it asked.
    #[n(0)]
    pub lease_ms: u32,
    /// These do not: others hold those shards.
    #[n(1)]
    pub deposed: Vec<Held>,
}

impl Call for RenewOwnerships {
    const TAG: CallTag = CallTag::RENEW_OWNERSHIPS;
    type Reply = OwnershipsRenewed;
    type Refusal = crate::NoRefusal;
}

/// Makes a session of a filesystem for a frontend: an id that never was, registered in the cluster store, durable when
/// answered. Compute, under its ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RegisterSession {
    /// The ownership under which the caller acts.
    #[n(0)]
    pub owner: Held,
    /// The frontend's node, of its certificate.
    #[n(1)]
    pub node: NodeId,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionRegistered {
    /// Its id.
    #[n(0)]
    pub session: SessionId,
    /// What its frontend shows to drives.
    #[n(1)]
    pub grant: SignedGrant,
}

impl Call for RegisterSession {
    const TAG: CallTag = CallTag::REGISTER_SESSION;
    type Reply = SessionRegistered;
    type Refusal = SwapRefusal;
}

/// Ends a session in the cluster store, after its end was committed in the shard's log. Durable when answered; a
/// session that is not registered counts as ended. Compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EndSession {
    /// The ownership under which the caller acts.
    #[n(0)]
    pub owner: Held,
    /// The session that ended: that is committed in the shard's log already.
    #[n(1)]
    pub session: SessionId,
}

/// The session is ended in the cluster store: no grant of it is signed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionEnded {}

impl Call for EndSession {
    const TAG: CallTag = CallTag::END_SESSION;
    type Reply = SessionEnded;
    type Refusal = SwapRefusal;
}

/// Asks which sessions of a filesystem are registered: an owner that begins ends those that only one side knows.
/// Compute, under its ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ListSessions {
    /// The ownership under which the caller acts.
    #[n(0)]
    pub owner: Held,
}

/// The sessions that are registered and have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionsListed {
    /// In no order; at most 4096.
    #[n(0)]
    pub sessions: Vec<SessionId>,
}

impl Call for ListSessions {
    const TAG: CallTag = CallTag::LIST_SESSIONS;
    type Reply = SessionsListed;
    type Refusal = SwapRefusal;
}

/// What an owner found out about where its extents lie. Sent after each change of the map, and as things change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReportCare {
    /// The ownership under which the caller speaks.
    #[n(0)]
    pub owner: Held,
    /// The map that it has acted on: it commits nothing that was written before a change in it.
    #[n(1)]
    pub map: MapVersion,
    /// For each group with a history: every extent of this shard lies where this or a later epoch of the group says.
    #[n(2)]
    pub floors: Vec<GroupFloor>,
    /// Drives that were compared with the extent rows since they came back.
    #[n(3)]
    pub reconciled: Vec<Reconciled>,
}

/// The oldest membership of a group that extents still lie by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GroupFloor {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
}

/// A drive was compared with the extent rows of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Reconciled {
    /// The drive.
    #[n(0)]
    pub home: DriveHome,
    /// Since when it is back: [`weft_layout::DriveEntry::returned`] of the map that the comparison began under.
    #[n(1)]
    pub returned: MapVersion,
    /// Shards that it should hold and does not.
    #[n(2)]
    pub missing: u64,
}

/// The report was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CareHeard {}

impl Call for ReportCare {
    const TAG: CallTag = CallTag::REPORT_CARE;
    type Reply = CareHeard;
    type Refusal = SwapRefusal;
}
