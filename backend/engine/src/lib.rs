//! A metadata shard's log and its local index; the cluster store.
//!
//! - [`Log`]: batches of row changes, durable in order. [`FileLog`] keeps them in one directory of the host,
//!   [`MemoryLog`] in memory for tests.
//! - [`Index`]: the rows as they are after a position of the log. A cache: [`recover`] brings it up to the log's end.
//! - [`StoreFile`]: the cluster store of an embedded cluster, one sealed file.
//!
//! Everything here blocks. Callers run it on threads of its own.

mod checkpoint;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod directory;
mod drives;
mod index;
mod index_recovery;
mod log;
mod recovery;
mod registry;
mod replicated;
mod shard_log;
pub mod store;
mod store_file;

pub use checkpoint::{CheckpointError, LoadError, load as load_checkpoint};
pub use drives::{DriveCallError, LogDrives};
pub use index::{Index, IndexError, OpenIndexError, Row, Salt, Snapshot};
pub use index_recovery::{RecoverIndexError, recover_index};
pub use log::{
    AppendError, BATCH_BYTES_MAX, Batch, Deposed, FileLog, FileLogOptions, Log, MemoryLog, OpenLogError,
    ReadError, Room, RowChange, SealError, TrimError,
};
pub use recovery::{RecoverError, Recovered, recover};
pub use registry::{ShardRegistry, SwapError};
pub use replicated::{LogSettings, ReplicatedLog, TakeOverError, TooFewDrives, checkpoint_is_due, choose};
pub use shard_log::{MaintainError, ShardLog};
pub use store_file::{Generation, OpenedStore, StoreDamage, StoreError, StoreFile, StoreHeader};
