//! The log of a metadata shard: batches of row changes, each durable before the next.

mod memory;
pub(crate) mod record;

use std::fmt;

use weft_keys::EpochSalt;
use weft_types::{Epoch, KeyVersion, Position};
use weft_wire::log::LogKey;

use crate::Index;
use crate::checkpoint::{CheckpointError, LoadError};

pub use memory::MemoryLog;
pub use record::BATCH_BYTES_MAX;

/// What a batch does to one row.
#[derive(Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The row's key, in clear. At most 64 KiB.
    pub key: Vec<u8>,
    /// The sealed value, or `None`: the row is deleted.
    pub value: Option<Vec<u8>>,
}

impl fmt::Debug for RowChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map(Vec::len);
        write!(f, "RowChange({} byte key, value bytes {value:?})", self.key.len())
    }
}

/// Row changes that count together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The ownership that wrote it and its number in the log.
    pub position: Position,
    /// The salt of that ownership: opens the rows.
    pub salt: EpochSalt,
    /// The version of the metadata key that the rows are sealed under.
    pub key_version: KeyVersion,
    /// The changes, in the order in which they take effect.
    pub rows: Vec<RowChange>,
}

impl Batch {
    /// Bytes of its record; compare with [`BATCH_BYTES_MAX`].
    pub fn encoded_len(&self) -> usize {
        record::encoded_len(&self.rows)
    }
}

/// How much room a log has. Ordered: more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Not even the reserve is left.
    None,
    /// Only the reserve is left: for batches that make room, such as deletions.
    Reserve,
    /// There is room for any batch.
    Ample,
}

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
}

/// An ownership that has ended wanted to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ownership epoch {epoch} was replaced by epoch {by}")]
pub struct Deposed {
    /// The ownership that wanted to.
    pub epoch: Epoch,
    /// The ownership that holds.
    pub by: Epoch,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch is of an ownership that has ended.
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// The batch is not the next one: its writer lost count, or is not the owner.
    #[error("batch {given} was offered where {expected} is next")]
    OutOfOrder {
        /// The batch's position.
        given: Position,
        /// The position that is next.
        expected: Position,
    },
    /// The last position was offered again with other bytes: two batches claim it.
    #[error("another batch stands at {0}")]
    Conflict(Position),
    /// The batch is over [`BATCH_BYTES_MAX`], or a key is over its bound.
    #[error("a batch of {bytes} bytes is over the bound of {max}")]
    TooLarge {
        /// Bytes of its record.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The drives have no room. Whether the batch is durable is unknown: append the same again, or give the ownership
    /// up.
    #[error("no space left in the log")]
    NoSpace,
    /// Too few drives answer, or management does not. Whether the batch is durable is unknown: append the same again,
    /// or give the ownership up.
    #[error("the log waits for drives: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
}

/// Why batches cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They were trimmed.
    #[error("the log begins after {start}; batches after {after} were trimmed")]
    Trimmed {
        /// Where reading was to begin.
        after: Position,
        /// Where it can begin.
        start: Position,
    },
    /// The position is not one of this log's.
    #[error("the log has no batch {0}")]
    NoSuchPosition(Position),
    /// No copy of a batch is whole.
    #[error("batch {seq} is damaged or missing on every drive that should have it: {reason}")]
    Lost {
        /// Its sequence.
        seq: u64,
        /// What is wrong with the last copy that was tried.
        reason: String,
    },
    /// No drive that has the batch whole answers now.
    #[error("batch {seq} cannot be read now: {reason}")]
    Unavailable {
        /// Its sequence.
        seq: u64,
        /// What the last drive said.
        reason: String,
    },
}

/// Why upkeep was not done.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// The ownership has ended.
    #[error(transparent)]
    Deposed(#[from] Deposed),
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

/// The position of the batch after `end` under `epoch`.
fn next(epoch: Epoch, end: Position) -> Position {
    Position { epoch, seq: end.seq + 1 }
}

/// Whether a batch may be appended, once a repetition of the last one has been ruled out.
pub(crate) fn check_order(given: Position, epoch: Epoch, end: Position) -> Result<(), AppendError> {
    if given.epoch < epoch {
        return Err(Deposed { epoch: given.epoch, by: epoch }.into());
    }
    let expected = next(epoch, end);
    if given == expected { Ok(()) } else { Err(AppendError::OutOfOrder { given, expected }) }
}
