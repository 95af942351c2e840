//! The cluster map, and the pure function that decides which drives hold what.

mod capacity;
#[cfg(test)]
mod fixture;
mod map;
mod place;
mod validate;

pub use capacity::{hot_spare_domains, net_capacity};
pub use map::{ClusterMap, DriveEntry, DriveState, EarlierMembers, NodeEntry, PlacementGroup};
pub use place::{GROUPS_PER_DRIVE, Move, MoveReason, PlaceError, Placement, place};
pub use validate::{MAX_COMPUTES, MAX_DRIVES, MAX_EARLIER_MEMBERS, MAX_GROUPS, MAX_TEXT_BYTES, MapError};
