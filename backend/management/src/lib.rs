//! Cluster map, membership, health, filesystems; cluster formation.
//!
//! - [`found`]: the first version of a cluster's store.
//! - [`ManagementProcess`]: opens the store and answers for it. Whatever changes the store is durable on a majority of
//!   the voting drives before it is answered.
//! - [`inspect`]: reads the store without opening it.
//! - [`recover_accepting_loss`]: opens the store from what is left of it.
//!
//! What is decided is pure: who is up, where shards go, who owns what, what needs attention.

mod alerts;
mod care;
mod contents;
mod deletion;
mod filesystem;
mod filesystems;
#[cfg(test)]
mod fixture;
mod formation;
mod grants;
mod health;
mod inspection;
mod keeper;
mod leases;
mod management;
mod membership;
mod new_keys;
mod ownership;
mod process;
mod random;
mod recovery;
mod secret_text;
mod service;
mod sessions;
mod shards;
#[cfg(feature = "simulation")]
pub mod simulation;
mod space;
mod status;
mod store_drives;
mod voters;

pub use contents::ContentsError;
pub use formation::{Founded, found};
pub use inspection::{InspectError, StoreView, inspect};
pub use membership::{LOOK_EVERY, SILENCE_MAX};
pub use process::{ManagementConfig, ManagementProcess, StartError};
pub use recovery::{Recovered, recover_accepting_loss};
