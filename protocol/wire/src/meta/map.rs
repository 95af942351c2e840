//! Extent maps: which extents a file's bytes are in.

use minicbor::{Decode, Encode};
use weft_layout::Geometry;
use weft_types::{DataKeyId, Epoch, ExtentId, FileOffset, GroupId};

use crate::KeyBytes;

/// Most entries, and most extents, of one message.
pub const ENTRIES_MAX: usize = 4096;
/// Most entries of a map that is answered to a lookup.
pub const FOUND_ENTRIES_MAX: usize = 16;

/// A run of file bytes that is a run of an extent's bytes. Runs of one file never overlap; what no run covers
/// reads as zeroes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MapEntry {
    /// First byte in the file.
    #[n(0)]
    pub offset: FileOffset,
    /// Number of bytes, at least 1; within the extent.
    #[n(1)]
    pub len: u32,
    /// The extent.
    #[n(2)]
    pub extent: ExtentId,
    /// First byte in the extent's plaintext.
    #[n(3)]
    pub extent_offset: u32,
    /// The shape of the extent.
    #[n(4)]
    pub geometry: Geometry,
    /// Where its shards are.
    #[n(5)]
    pub group: GroupId,
    /// The data key that it is sealed under.
    #[n(6)]
    pub key: DataKeyId,
    /// The membership of that group by which they lie. Another one may have them since.
    #[n(7)]
    pub group_epoch: Epoch,
}

/// An extent that a client has sealed and put to N+M drives, offered for commit. It covers the file from
/// `offset` over its whole length.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewExtent {
    /// First byte in the file.
    #[n(0)]
    pub offset: FileOffset,
    /// Its id: of the committing session.
    #[n(1)]
    pub extent: ExtentId,
    /// Its shape, which says how many bytes it has.
    #[n(2)]
    pub geometry: Geometry,
    /// The group that it was put to.
    #[n(3)]
    pub group: GroupId,
    /// The membership of that group that the client wrote to.
    #[n(4)]
    pub group_epoch: Epoch,
    /// The data key that it is sealed under.
    #[n(5)]
    pub key: DataKeyId,
}

/// A data key that the client may have.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyGrant {
    /// Which key.
    #[n(0)]
    pub id: DataKeyId,
    /// The key.
    #[n(1)]
    pub key: KeyBytes,
}
