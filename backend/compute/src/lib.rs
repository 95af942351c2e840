//! Owns metadata shards and serves meta over QUIC; reclaims dead extents.
//!
//! An owner executes operations in memory, in the order of their arrival, and commits them in batches: while one batch
//! is on its way to the log, the next fills. An answer is sent when all that the operation wrote, and all that it saw,
//! is durable.

mod cluster;
mod committer;
mod dropping;
mod filesystems;
mod keys;
mod owner;
mod process;
mod random;
mod reclaimer;
mod rows;
mod service;
mod settings;
mod shards;

pub use process::{ComputeConfig, ComputeProcess, StartError};
pub use settings::ComputeSettings;
