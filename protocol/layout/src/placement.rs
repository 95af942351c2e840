//! The pure function that decides which drives hold what, and what follows from its decision.

mod capacity;
#[cfg(test)]
mod fixture;
mod place;
mod redundancy;
mod validate;

pub use capacity::{hot_spare_domains, net_capacity};
pub use place::{GROUPS_PER_DRIVE, Move, MoveReason, PlaceError, Placement, place};
pub use validate::{MAX_COMPUTES, MAX_DRIVES, MAX_GROUPS, MAX_HISTORY, MAX_TEXT_BYTES, MapError};
