//! Calls to a drive.

use minicbor::{Decode, Encode};
use weft_layout::Geometry;
use weft_types::{Digest, Epoch, ExtentId, FilesystemId, GroupId, ShardIndex};

use crate::{Call, CallTag, NoRefusal};

/// One shard of one extent, as a drive knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ShardKey {
    /// The extent.
    #[n(0)]
    pub extent: ExtentId,
    /// Which of its shards.
    #[n(1)]
    pub index: ShardIndex,
}

/// What a drive keeps with a shard's bytes: enough to rebuild its stripe without any key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShardHeader {
    /// Which shard it is.
    #[n(0)]
    pub key: ShardKey,
    /// The filesystem it belongs to.
    #[n(1)]
    pub filesystem: FilesystemId,
    /// The shape of its stripe.
    #[n(2)]
    pub geometry: Geometry,
    /// The placement group it was written to.
    #[n(3)]
    pub group: GroupId,
    /// The membership of that group that the writer knew.
    #[n(4)]
    pub group_epoch: Epoch,
    /// The digests of all N+M shards, in order; a shard that is not stored has the digest of no bytes.
    #[n(5)]
    pub digests: Vec<Digest>,
}

/// Stores a shard; its bytes are the bulk. Durable when answered. Putting the same bytes again succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PutShard {
    /// What to keep with it.
    #[n(0)]
    pub header: ShardHeader,
}

/// A shard is on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ShardStored {
    /// It was there before, with the same digest.
    #[n(0)]
    pub already: bool,
}

/// Why a shard was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum PutRefusal {
    /// Another shard has that key: two writers believe they own one extent id. Never worth a retry.
    #[n(0)]
    #[error("another shard is stored under this id")]
    Conflict,
    /// The drive has no room.
    #[n(1)]
    #[error("the drive is full")]
    NoSpace,
    /// The bytes do not have the digest that their header names.
    #[n(2)]
    #[error("the shard does not match its digest")]
    DigestMismatch,
    /// Header and bytes do not fit each other, such as a length that the geometry does not have.
    #[n(3)]
    #[error("the shard does not fit its header")]
    Malformed,
    /// The device failed; nothing is promised.
    #[n(4)]
    #[error("the device failed")]
    Device,
    /// The drive has not seen a grant of the extent's session for this caller: present it and put again.
    #[n(5)]
    #[error("the drive has not seen the session's grant")]
    NotGranted,
    /// The extent's session is closed at this drive, for ever.
    #[n(6)]
    #[error("the session is closed")]
    SessionClosed,
}

impl Call for PutShard {
    const TAG: CallTag = CallTag::PUT_SHARD;
    type Reply = ShardStored;
    type Refusal = PutRefusal;
}

/// Stores shards of several extents; the bulk is the bytes of each, one after the other, as long as its header says.
/// All are durable when answered, by as few flushes of the device as they fit in. When one is refused, others may be
/// stored: each can be put again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PutShards {
    /// What to keep with them: 1 to [`PUT_MAX`].
    #[n(0)]
    pub headers: Vec<ShardHeader>,
}

/// Most shards of one [`PutShards`].
pub const PUT_MAX: usize = 256;

/// The shards are on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ShardsStored {}

impl Call for PutShards {
    const TAG: CallTag = CallTag::PUT_SHARDS;
    type Reply = ShardsStored;
    type Refusal = PutRefusal;
}

/// Reads a range of a shard; the answer's bulk has the bytes, checked against their checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetShard {
    /// Which shard.
    #[n(0)]
    pub key: ShardKey,
    /// First byte.
    #[n(1)]
    pub start: u32,
    /// Number of bytes, at least 1.
    #[n(2)]
    pub len: u32,
}

/// The bytes are in the bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ShardRead {}

/// Why a shard was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum GetRefusal {
    /// The drive has no such shard.
    #[n(0)]
    #[error("the drive has no such shard")]
    Absent,
    /// The range touches bytes that fail their checksum; read it from the rest of the stripe.
    #[n(1)]
    #[error("the shard is damaged")]
    Damaged,
    /// The range is not within the shard.
    #[n(2)]
    #[error("the range is not within the shard")]
    OutOfRange,
    /// The device failed.
    #[n(3)]
    #[error("the device failed")]
    Device,
}

impl Call for GetShard {
    const TAG: CallTag = CallTag::GET_SHARD;
    type Reply = ShardRead;
    type Refusal = GetRefusal;
}

/// Deletes shards. Durable when answered; a shard that is not there counts as deleted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteShards {
    /// At most [`DELETE_MAX`].
    #[n(0)]
    pub keys: Vec<ShardKey>,
}

/// Most shards of one [`DeleteShards`].
pub const DELETE_MAX: usize = 4096;

/// How many shards were there and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ShardsDeleted {
    /// The number.
    #[n(0)]
    pub deleted: u32,
}

/// Why shards were not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum DeleteRefusal {
    /// More than [`DELETE_MAX`] keys.
    #[n(0)]
    #[error("too many shards in one call")]
    TooMany,
    /// The device failed; some may be gone.
    #[n(1)]
    #[error("the device failed")]
    Device,
    /// The drive cannot even write a deletion.
    #[n(2)]
    #[error("the drive is full")]
    NoSpace,
}

impl Call for DeleteShards {
    const TAG: CallTag = CallTag::DELETE_SHARDS;
    type Reply = ShardsDeleted;
    type Refusal = DeleteRefusal;
}

/// Asks for the header of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DescribeShard {
    /// Which shard.
    #[n(0)]
    pub key: ShardKey,
}

impl Call for DescribeShard {
    const TAG: CallTag = CallTag::DESCRIBE_SHARD;
    type Reply = ShardHeader;
    type Refusal = GetRefusal;
}

/// Asks which shards a drive holds, in the order of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ListShards {
    /// List what comes after this one; from the first when absent.
    #[n(0)]
    pub after: Option<ShardKey>,
    /// At most this many; the drive may answer fewer, and answers none only at the end.
    #[n(1)]
    pub limit: u32,
}

/// A page of a drive's shards.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShardsListed {
    /// In the order of their keys.
    #[n(0)]
    pub keys: Vec<ShardKey>,
}

impl Call for ListShards {
    const TAG: CallTag = CallTag::LIST_SHARDS;
    type Reply = ShardsListed;
    type Refusal = NoRefusal;
}
