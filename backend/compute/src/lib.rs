//! Owns metadata shards and serves meta over QUIC; reclaims dead extents.
//!
//! An owner executes operations in memory, in the order of their arrival, and commits them in batches: while one batch
//! is on its way to the log, the next fills. An answer is sent when all that the operation wrote, and all that it saw,
//! is durable.

//!
//! Who owns a shard is decided by the cluster store and at the drives; [`Owner`] and its [`Worker`] are driven by this
//! process over QUIC, and by simulations without.

mod care;
mod closing;
mod cluster;
mod committer;
mod drives;
mod dropping;
mod filesystems;
mod keys;
mod leases;
mod local_thread;
mod log_calls;

mod opening;
mod owner;
mod process;
mod reclaimer;
mod rows;
mod service;
mod settings;
mod shards;
mod sources;

pub use care::{
    Care, CareCounts, CareError, CareSettings, Deleter, ExtentRows, ReadFailure, ShardHomes, Unanswered,
};
pub use closing::{Closing, ClosingError, SessionEnds};
pub use cluster::View;
pub use committer::{Commits, Progress, Upkeep, Worker};
pub use keys::{Keys, KeysError};
pub use leases::Leases;
pub use owner::{
    Attempt, Lease, OpenOwnerError, Opened, Opening, Owner, SHARD, SessionOpening, must_wait, needs_newer_map,
};
pub use process::{ComputeConfig, ComputeProcess, StartError};
pub use rows::Tx;
pub use settings::ComputeSettings;
pub use sources::Sources;
