//! Care over rows and drives in memory.

mod dead;
mod moving;
mod orphans;
mod returning;
mod schedules;
mod world;
