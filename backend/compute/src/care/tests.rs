//! Care over rows and drives in memory.

mod dead;
mod moving;
mod orphans;
mod returning;
mod schedules;
mod world;

pub(super) use world::{GROUP, drive_id, first_map, regroup, row};
