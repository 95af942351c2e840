//! Ids, units and epochs of Weft: newtypes with one text form and one wire form.
//!
//! Nothing here does anything; it says what things are, so that an extent length can never be passed where a
//! file offset belongs. Every type has a `Display` that logs and JSON share, and a CBOR form (through
//! `minicbor`) that the wire and the disk share.

mod counter;
mod extent;
mod identity;
mod inode;
mod lock;
mod name_hash;
mod size;
mod units;

pub use counter::{
    DataKeyId, Epoch, Generation, GroupId, Incarnation, KeyVersion, MapVersion, MetadataShard, Position,
    SlotId, SlotSeq, StoreVersion,
};
pub use extent::{Digest, ExtentId, ExtentSeq, ShardIndex};
pub use identity::{ClusterId, DriveId, FilesystemId, NodeId, ParseIdError, Role, SessionId};
pub use inode::Inode;
pub use lock::{LOCK_END_MAX, LockKind, LockMode, LockOwner, LockRange};
pub use name_hash::NameHash;
pub use size::SizeError;
pub use units::{BLOCK_BYTES, ByteCount, FileOffset, Timestamp};
