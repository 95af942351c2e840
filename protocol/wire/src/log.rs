//! Calls to a drive that holds a copy of a metadata shard's log, and of its checkpoints. Compute, under grants.

use minicbor::{Decode, Encode};
use weft_types::{Epoch, FilesystemId, MetadataShard, Position};

use crate::grant::{GrantRefusal, SignedGrant};
use crate::{Call, CallTag};

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LogKey {
    /// The filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// The metadata shard.
    #[n(1)]
    pub shard: MetadataShard,
}

/// Begins an ownership at a drive: it keeps the grant, and takes nothing under a lower epoch any more. Durable when
/// answered. Sealing again with the same grant is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SealLog {
    /// A [`Grant::Log`](crate::grant::Grant::Log) for the caller and this drive.
    #[n(0)]
    pub grant: SignedGrant,
}

/// What a drive has of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LogHeld {
    /// Records up to this sequence were trimmed here; 0 when none were.
    #[n(0)]
    pub trimmed: u64,
    /// The lowest sequence it holds; absent when it holds none.
    #[n(1)]
    pub first: Option<u64>,
    /// The record with the highest sequence; absent when it holds none. There may be gaps before.
    #[n(2)]
    pub last: Option<Position>,
}

/// Why a log is not written, sealed or trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum LogRefusal {
    /// The drive has a grant of a later ownership: the caller is deposed.
    #[n(0)]
    #[error("ownership epoch {by} has begun")]
    Deposed {
        /// The highest epoch that the drive saw.
        #[n(0)]
        by: Epoch,
    },
    /// The drive has no grant of the caller's for this log: seal first.
    #[n(1)]
    #[error("the drive has no grant for this log")]
    NotGranted,
    /// The grant is no good.
    #[n(2)]
    #[error("{0}")]
    Grant(#[n(0)] GrantRefusal),
    /// Another record stands at this sequence.
    #[n(3)]
    #[error("another record stands at this sequence")]
    Conflict,
    /// The sequence was trimmed: it stays consumed.
    #[n(4)]
    #[error("the sequence was trimmed")]
    Trimmed,
    /// The drive has no room.
    #[n(5)]
    #[error("the drive is full")]
    NoSpace,
    /// The device failed; nothing is promised.
    #[n(6)]
    #[error("the device failed")]
    Device,
    /// The record is empty, or over the bound.
    #[n(7)]
    #[error("the record is malformed")]
    Malformed,
}

impl Call for SealLog {
    const TAG: CallTag = CallTag::SEAL_LOG;
    type Reply = LogHeld;
    type Refusal = LogRefusal;
}

/// Puts one record, the bulk, at its sequence if nothing is there. Durable when answered. Putting the same bytes again
/// succeeds, also under a later ownership: a record keeps the epoch that it was written under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PutLog {
    /// Whose log.
    #[n(0)]
    pub log: LogKey,
    /// The ownership under which the caller acts: the one that the drive was sealed with.
    #[n(1)]
    pub epoch: Epoch,
    /// Where the record stands; its epoch may be an earlier one when records are copied.
    #[n(2)]
    pub position: Position,
}

/// How a drive stands after a record was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LogStored {
    /// Room is so short that only what makes room should follow.
    #[n(0)]
    pub tight: bool,
}

impl Call for PutLog {
    const TAG: CallTag = CallTag::PUT_LOG;
    type Reply = LogStored;
    type Refusal = LogRefusal;
}

/// Reads records; the bulk has them one behind the other. Needs no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadLog {
    /// Whose log.
    #[n(0)]
    pub log: LogKey,
    /// Begin after this sequence.
    #[n(1)]
    pub after: u64,
    /// About so many bytes; at least one record comes unless there is none.
    #[n(2)]
    pub bytes: u32,
}

/// One record of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LogEntry {
    /// Where it stands.
    #[n(0)]
    pub position: Position,
    /// Its bytes in the bulk; 0 when this copy is damaged: another drive has it.
    #[n(1)]
    pub len: u32,
}

/// Records in the order of their sequences.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogRead {
    /// What the bulk holds. There may be gaps.
    #[n(0)]
    pub entries: Vec<LogEntry>,
    /// Nothing comes after these.
    #[n(1)]
    pub end: bool,
}

/// Why records were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum ReadLogRefusal {
    /// The device failed.
    #[n(0)]
    #[error("the device failed")]
    Device,
}

impl Call for ReadLog {
    const TAG: CallTag = CallTag::READ_LOG;
    type Reply = LogRead;
    type Refusal = ReadLogRefusal;
}

/// Lets go of records. They stay consumed: nothing is ever put at their sequences again. Durable when answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TrimLog {
    /// Whose log.
    #[n(0)]
    pub log: LogKey,
    /// The ownership under which the caller acts.
    #[n(1)]
    pub epoch: Epoch,
    /// Records up to this sequence go; `u64::MAX` with [`void_after`](Self::void_after) absent drops the log: what it
    /// had stays consumed, and what comes after may be put.
    #[n(2)]
    pub up_to: u64,
    /// Records after this sequence whose epoch is below the caller's go too: they are past a recorded end, and void.
    #[n(3)]
    pub void_after: Option<u64>,
}

/// They are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LogTrimmed {}

impl Call for TrimLog {
    const TAG: CallTag = CallTag::TRIM_LOG;
    type Reply = LogTrimmed;
    type Refusal = LogRefusal;
}

/// A part of a checkpoint: never changed once written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ObjectKey {
    /// Whose checkpoint.
    #[n(0)]
    pub log: LogKey,
    /// The ownership that wrote it.
    #[n(1)]
    pub epoch: Epoch,
    /// Its number in that ownership.
    #[n(2)]
    pub number: u64,
    /// Which part, from 0 on.
    #[n(3)]
    pub part: u32,
}

/// Puts a part of a checkpoint, the bulk. Durable when answered; put-if-absent as a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PutObject {
    /// Its name, of the epoch that the drive was sealed with.
    #[n(0)]
    pub key: ObjectKey,
}

impl Call for PutObject {
    const TAG: CallTag = CallTag::PUT_OBJECT;
    type Reply = LogStored;
    type Refusal = LogRefusal;
}

/// Reads a part of a checkpoint, whole, into the bulk. Needs no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetObject {
    /// Which.
    #[n(0)]
    pub key: ObjectKey,
}

/// It is in the bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ObjectRead {}

/// Why an object was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum GetObjectRefusal {
    /// The drive does not have it.
    #[n(0)]
    #[error("the drive has no such object")]
    Absent,
    /// This copy is damaged.
    #[n(1)]
    #[error("the object is damaged")]
    Damaged,
    /// The device failed.
    #[n(2)]
    #[error("the device failed")]
    Device,
}

impl Call for GetObject {
    const TAG: CallTag = CallTag::GET_OBJECT;
    type Reply = ObjectRead;
    type Refusal = GetObjectRefusal;
}

/// Deletes parts of checkpoints. Durable when answered; those that are not there count as deleted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteObjects {
    /// The ownership under which the caller acts.
    #[n(0)]
    pub epoch: Epoch,
    /// Which, all of one log; 1 to 4096.
    #[n(1)]
    pub keys: Vec<ObjectKey>,
}

impl Call for DeleteObjects {
    const TAG: CallTag = CallTag::DELETE_OBJECTS;
    type Reply = LogTrimmed;
    type Refusal = LogRefusal;
}

/// Lists the parts of checkpoints that a drive holds of a log, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ListObjects {
    /// Whose.
    #[n(0)]
    pub log: LogKey,
    /// List what comes after this one.
    #[n(1)]
    pub after: Option<ObjectKey>,
}

/// A page of objects, empty only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ObjectsListed {
    /// In order.
    #[n(0)]
    pub keys: Vec<ObjectKey>,
}

impl Call for ListObjects {
    const TAG: CallTag = CallTag::LIST_OBJECTS;
    type Reply = ObjectsListed;
    type Refusal = ReadLogRefusal;
}
