//! Pure: file range to extent to stripe to shard; erasure coding; placement.
//!
//! - [`Protection`]: how many data and parity shards an extent is cut into.
//! - [`Geometry`]: where every block of an extent lies, in which shard and at which bytes of it.
//! - [`Codec`]: parity from data, and any column of a lost shard from the same column of N others.
//! - [`ClusterMap`], [`place`]: which drives hold the shards, and how that changes with the drives' health.
//! - [`Regions`]: which bytes of a file an owner has locked, and how.

mod code;
mod geometry;
mod map;
mod placement;
mod protection;
mod regions;

pub use code::{Codec, CodecError};
pub use geometry::{
    BlockLocation, Column, Form, Geometry, GeometryError, GroupSlot, MAX_EXTENT_BYTES, Run, Runs, SLOT_ALIGN,
    SLOT_BYTES, TAG_BYTES,
};
pub use map::{ClusterMap, DriveEntry, DriveState, Membership, NodeEntry, PlacementGroup};
pub use placement::{
    GROUPS_PER_DRIVE, MAX_COMPUTES, MAX_DRIVES, MAX_GROUPS, MAX_HISTORY, MAX_TEXT_BYTES, MapError, Move,
    MoveReason, PlaceError, Placement, hot_spare_domains, net_capacity, place,
};
pub use protection::{Protection, ProtectionError};
pub use regions::{Region, RegionEdit, Regions};
