//! The log of a metadata shard as its owner sees it.

use weft_types::{Epoch, Position};
use weft_wire::log::LogKey;

use crate::checkpoint::{CheckpointError, LoadError};
use crate::{AppendError, Batch, Index, ReadError, Room};

/// A durable sequence of batches with one writer: the ownership that opened it.
///
/// Sequences start at 1 and have no gap, over all ownerships. All methods may be called at the same time; appends are
/// taken one after the other. Any future may be dropped at any time. Nothing here spawns tasks or threads; time is
/// tokio's.
pub trait ShardLog: Send + Sync {
    /// Whose log it is.
    fn key(&self) -> LogKey;

    /// The ownership that appends.
    fn epoch(&self) -> Epoch;

    /// The position of the last durable batch; [`Position::default`] when there never was one.
    fn end(&self) -> Position;

    /// The position after which [`read`](Self::read) can begin: a checkpoint has what is up to it. The default
    /// position while there is none.
    fn start(&self) -> Position;

    /// How much room there is. Asks the drives again when there was little.
    fn room(&self) -> impl Future<Output = Room> + Send;

    /// Appends a batch at the end: its epoch is [`epoch`](Self::epoch) and its sequence the next. Durable when it
    /// returns. Appending the last batch again, with the same bytes, succeeds and changes nothing.
    ///
    /// After any error but [`AppendError::TooLarge`] and [`AppendError::OutOfOrder`], and after its future was
    /// dropped, the batch may be durable, or become so: append the same batch again, or give the ownership up. Other
    /// bytes at its position are refused.
    ///
    /// # Errors
    /// [`AppendError`]
    fn append(&self, batch: &Batch) -> impl Future<Output = Result<Position, AppendError>> + Send;

    /// The batches after a position, in order: about `bytes` of them, at least one unless there is none.
    ///
    /// # Errors
    /// [`ReadError`]
    fn read(
        &self,
        after: Position,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<Batch>, ReadError>> + Send;

    /// Whether enough was appended that a checkpoint is worth its price.
    fn checkpoint_due(&self) -> bool;

    /// Writes a checkpoint of what the index holds, publishes it, and lets go of what it replaces. Goes on while
    /// batches are appended and applied: it has the rows as they were at one position. Takes as long as copying the
    /// index.
    ///
    /// # Errors
    /// [`CheckpointError`]; what was published before stays.
    fn checkpoint(&self, index: &Index) -> impl Future<Output = Result<(), CheckpointError>> + Send;

    /// Fills an empty index with the rows of the published checkpoint, durably, and brings it to its position. Does
    /// nothing when none is published. After an error the index is of no use.
    ///
    /// # Errors
    /// [`LoadError`]
    fn load_checkpoint(&self, into: &Index) -> impl Future<Output = Result<(), LoadError>> + Send;

    /// One round of upkeep: brings what lies on too few drives to enough of them, and lets go of what is not needed.
    /// Call it every few seconds and after the map changed; it does nothing when there is nothing to do. What it could
    /// not do, the next round tries again.
    ///
    /// # Errors
    /// [`MaintainError`]
    fn maintain(&self) -> impl Future<Output = Result<(), MaintainError>> + Send;

    /// Lets go of the whole log and its checkpoints, wherever they are: the shard is no more. Nothing is appended after.
    ///
    /// # Errors
    /// [`MaintainError`]: something may be left; call it again.
    fn erase(&self) -> impl Future<Output = Result<(), MaintainError>> + Send;
}

/// Why upkeep was not done.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// The ownership has ended.
    #[error(transparent)]
    Deposed(#[from] crate::Deposed),
    /// Records could not be read in order to be copied.
    #[error("records of the log cannot be copied")]
    Read(#[source] ReadError),
    /// Drives or management do not answer; try again later.
    #[error("upkeep of the log waits: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
}
