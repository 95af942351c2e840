//! Cluster map, membership, health, filesystems; cluster formation.
//!
//! - [`found`]: the first version of a cluster's store.
//! - [`ManagementProcess`]: opens the store and answers for it. Whatever changes the store is durable before it is
//!   answered; one change at a time.
//!
//! What is decided is pure: who is up, what needs attention, what may be done to a filesystem.

mod alerts;
mod contents;
mod deletion;
mod filesystem;
mod filesystems;
#[cfg(test)]
mod fixture;
mod formation;
mod keeper;
mod management;
mod membership;
mod new_keys;
mod process;
mod random;
mod secret_text;
mod service;
mod status;

pub use contents::ContentsError;
pub use formation::{FoundError, found};
pub use membership::{LOOK_EVERY, SILENCE_MAX};
pub use process::{ManagementConfig, ManagementProcess, StartError};
