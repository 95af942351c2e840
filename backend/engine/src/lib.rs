//! A metadata shard's log and its local index; the cluster store.
//!
//! - [`ShardLog`]: batches of row changes, durable in order. [`ReplicatedLog`] has each on M+1 drives, named in the
//!   shard's row; [`MemoryLog`] keeps them in memory for tests.
//! - [`Index`]: the rows as they are after a position of the log. A cache: [`recover_index`] brings it up to the log's
//!   end, from a checkpoint if need be.
//! - [`store`]: the cluster store, a sealed copy on each of several drives.
//!
//! The log is asynchronous: it spawns nothing, and its time is tokio's, so that it runs on one thread with simulated
//! time as well. Calls to drives ([`LogDrives`]) and to the cluster store ([`ShardRegistry`]) are its arguments. The
//! index blocks.

mod checkpoint;
#[cfg(test)]
mod conformance;
mod directory;
mod drives;
mod index;
mod log;
mod recovery;
mod registry;
mod replicated;
pub mod store;

pub use checkpoint::{CheckpointError, LoadError, load as load_checkpoint};
pub use drives::{DriveCallError, LogDrives};
pub use index::{Index, IndexError, OpenIndexError, Row, Salt, Snapshot};
pub use log::{
    AppendError, BATCH_BYTES_MAX, Batch, Deposed, MaintainError, MemoryLog, ReadError, Room, RowChange,
    ShardLog,
};
pub use recovery::{RecoverIndexError, Recovered, recover_index};
pub use registry::{ShardRegistry, SwapError};
pub use replicated::{LogSettings, ReplicatedLog, TakeOverError, TooFewDrives, checkpoint_is_due, choose};
