//! The log of a metadata shard: batches of row changes, each durable before the next.

mod file;
mod memory;
mod open;
pub(crate) mod record;
mod segment;

use std::path::PathBuf;
use std::{fmt, io};

use weft_keys::EpochSalt;
use weft_types::{Epoch, KeyVersion, MetadataShard, Position};

pub use file::{FileLog, FileLogOptions};
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

/// A durable sequence of batches with one writer at a time.
///
/// Sequences start at 1 and have no gap, over all ownerships. A log belongs to one metadata shard of one
/// filesystem; what is another's is refused when it is opened.
pub trait Log: Send {
    /// Whose log it is.
    fn shard(&self) -> MetadataShard;

    /// The position of the last durable batch; [`Position::default`] when there never was one.
    fn end(&self) -> Position;

    /// The position after which [`read`](Self::read) can begin: everything up to it was trimmed.
    fn start(&self) -> Position;

    /// The epoch that may append.
    fn epoch(&self) -> Epoch;

    /// Begins the ownership `epoch`, durably: earlier ones append nothing any more. Sealing again with the epoch
    /// that holds already is allowed. Returns the end of the log, which stays as it is.
    ///
    /// # Errors
    /// [`SealError`]; the log is as it was unless the device failed.
    fn seal(&mut self, epoch: Epoch) -> Result<Position, SealError>;

    /// Makes room for `bytes` of records, which appends may then count on.
    ///
    /// # Errors
    /// An error of the device other than being full.
    fn room(&mut self, bytes: usize) -> io::Result<Room>;

    /// Appends a batch at the end: its epoch is [`epoch`](Self::epoch) and its sequence the next. Durable when it
    /// returns. Appending the last batch again, with the same bytes, succeeds and changes nothing.
    ///
    /// `from` is how far the batch may use up the room: [`Room::Ample`] leaves the reserve alone.
    ///
    /// # Errors
    /// [`AppendError`]. After [`AppendError::Device`] the batch may be durable or not, and every further append
    /// fails: open the log again to learn which.
    fn append(&mut self, batch: &Batch, from: Room) -> Result<Position, AppendError>;

    /// The batches after a position, in order: about `bytes` of them, at least one unless there is none.
    ///
    /// # Errors
    /// [`ReadError`]
    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError>;

    /// Lets go of batches up to a position; the log may keep more than it has to. What was trimmed cannot be
    /// replayed: the caller holds its effects elsewhere, durably.
    ///
    /// # Errors
    /// [`TrimError`]; less than asked was trimmed.
    fn trim(&mut self, up_to: Position) -> Result<(), TrimError>;
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

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The log's directory.
        path: PathBuf,
    },
    /// It belongs to another metadata shard.
    #[error("{} is the log of shard {found}, not of shard {expected}", path.display())]
    OtherShard {
        /// The segment that says so.
        path: PathBuf,
        /// The shard it belongs to.
        found: MetadataShard,
        /// The shard it was opened for.
        expected: MetadataShard,
    },
    /// It was written by a newer version of the software.
    #[error("{} has format {found}, and this version reads format {known}: upgrade first", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// The newest format that is known.
        known: u16,
    },
    /// Bytes that were durable once are not what was written.
    #[error("{} is damaged at byte {offset}: {reason}; restore the file, or the whole directory, from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A segment between others is gone.
    #[error("{} is missing from the log; restore it from a copy", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is no room for the log's first files.
    #[error("no space left for the log at {}", path.display())]
    NoSpace {
        /// The log's directory.
        path: PathBuf,
    },
    /// The device failed.
    #[error("the log at {} cannot be opened", path.display())]
    Device {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why an ownership did not begin.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A later one began before.
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// There is no room to record it.
    #[error("no space left in the log")]
    NoSpace,
    /// The device failed, now or before.
    #[error("the log's device failed")]
    Device(#[source] io::Error),
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
    /// The batch is over [`BATCH_BYTES_MAX`], or over what a segment holds.
    #[error("a batch of {bytes} bytes is over the bound of {max}")]
    TooLarge {
        /// Bytes of its record.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// There is no room, within what the batch may use. Nothing was written.
    #[error("no space left in the log")]
    NoSpace,
    /// Too few drives answer, or management does not. Whether the batch is durable is unknown: append the same again,
    /// or give the ownership up.
    #[error("the log waits for drives: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// The device failed, now or before. Whether the batch is durable is unknown.
    #[error("the log's device failed")]
    Device(#[source] io::Error),
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
    /// Bytes that were whole when the log was opened are not any more.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The device failed.
    #[error("the log's device failed")]
    Device(#[source] io::Error),
}

/// Why a log was not trimmed.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// The position is beyond the end.
    #[error("batch {0} is not in the log yet")]
    NoSuchPosition(Position),
    /// The device failed.
    #[error("the log's device failed")]
    Device(#[source] io::Error),
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
