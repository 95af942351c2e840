//! Pure: file range to extent to stripe to shard; erasure coding; placement.
//!
//! - [`Protection`]: how many data and parity shards an extent is cut into.
//! - [`Geometry`]: where every block of an extent lies, in which shard and at which bytes of it.
//! - [`Codec`]: parity from data, and any column of a lost shard from the same column of N others.

mod code;
mod geometry;
mod protection;
mod map;

pub use code::{Codec, CodecError};
pub use geometry::{
    BlockLocation, Column, Form, Geometry, GeometryError, GroupSlot, MAX_EXTENT_BYTES, Run, Runs, SLOT_ALIGN,
    SLOT_BYTES, TAG_BYTES,
};
pub use protection::{Protection, ProtectionError};
pub use map::{ClusterMap, DriveEntry, DriveState, Membership, NodeEntry, PlacementGroup};
