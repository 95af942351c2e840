//! The log of a metadata shard, each record on M+1 drives.

mod append;
mod checkpointing;
mod choose;
mod copies;
mod history;
mod maintain;
mod row;
mod sealing;
mod tail;
mod takeover;
mod together;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use weft_types::{Digest, Epoch, Position};
use weft_wire::grant::SignedGrant;
use weft_wire::log::{LogHeld, LogKey};
use weft_wire::ownership::{DriveHome, ShardRow};

use crate::checkpoint::{CheckpointError, LoadError};
use crate::{
    AppendError, Batch, Deposed, Index, LogDrives, MaintainError, ReadError, Room, ShardLog, ShardRegistry,
};

pub use checkpointing::checkpoint_is_due;
pub use choose::{TooFewDrives, choose};
pub use takeover::TakeOverError;

/// How long a log waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// A drive that has not stored a record for so long, while another has, is left: 1 s.
    pub late: Duration,
    /// A drive that has not answered a call for so long is silent: 5 s.
    pub call: Duration,
    /// How long a takeover waits for further drives once the end is known: 2 s.
    pub settle: Duration,
    /// How long a takeover, an append or a change of the row is tried before it fails: 10 s.
    pub patience: Duration,
    /// A drive that failed is not chosen anew for so long: 30 s.
    pub shun: Duration,
    /// Bytes of records that make a checkpoint due, unless the last one was larger: 8 MiB.
    pub checkpoint_bytes: u64,
    /// A checkpoint is written anew when one of its drives has been gone for so long: 5 min.
    pub rewrite: Duration,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            late: Duration::from_secs(1),
            call: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            shun: Duration::from_secs(30),
            checkpoint_bytes: 8 << 20,
            rewrite: Duration::from_secs(300),
        }
    }
}

/// A record's place and digest: what the next one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    position: Position,
    digest: Digest,
}

impl Default for Mark {
    fn default() -> Self {
        Self { position: Position::default(), digest: Digest([0; 32]) }
    }
}

/// What is known without asking anybody.
#[derive(Debug)]
struct State {
    /// The last batch that is durable.
    end: Mark,
    /// Where the last read stopped.
    read: Option<Mark>,
    /// The later ownership, once one is known.
    deposed: Option<Epoch>,
    room: Room,
    /// Bytes appended since the checkpoint, by this ownership.
    bytes: u64,
    /// Checkpoints that this ownership began.
    checkpoints: u64,
    /// Since when a drive of the checkpoint is gone.
    checkpoint_thin: Option<Instant>,
    grants: BTreeMap<DriveHome, SignedGrant>,
    /// What each drive held when this ownership sealed it.
    sealed: BTreeMap<DriveHome, LogHeld>,
    /// Drives that failed, until when they are not chosen anew, and whether for want of room.
    shunned: BTreeMap<DriveHome, (Instant, bool)>,
    /// Drives that did not answer the last read.
    silent: BTreeSet<DriveHome>,
    /// Drives that were rid of what is not needed, and by which checkpoint.
    swept: BTreeMap<DriveHome, Position>,
}

/// A batch that was sent to a drive, or will be.
#[derive(Debug, Clone)]
struct Pending {
    position: Position,
    digest: Digest,
    bytes: Bytes,
}

/// What only one append at a time may touch.
#[derive(Debug, Default)]
struct Appender {
    /// The batch whose outcome is open.
    pending: Option<Pending>,
    /// The last batch that was made durable here.
    last: Option<Pending>,
    /// A list was to be swapped in for the pending batch, and whether it was is not known.
    moving: bool,
}

/// The production log: records on M+1 drives, named in the shard's row.
///
/// A record is durable when all drives of the last segment's list hold it. One ownership writes: drives that were
/// sealed by a later one refuse it, and its row cannot be changed by an earlier one.
pub struct ReplicatedLog<D, R> {
    drives: D,
    registry: R,
    key: LogKey,
    epoch: Epoch,
    settings: LogSettings,
    row: row::RowCell,
    appender: tokio::sync::Mutex<Appender>,
    checkpointing: tokio::sync::Mutex<()>,
    maintaining: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard's row as this ownership knows it.
    pub fn row(&self) -> Arc<ShardRow> {
        self.row.view()
    }

    /// Fails once a later ownership is known.
    fn check(&self) -> Result<(), Deposed> {
        self.state().deposed.map_or(Ok(()), |by| Err(Deposed { epoch: self.epoch, by }))
    }

    /// A later ownership was met.
    fn depose(&self, by: Epoch) -> Deposed {
        let mut state = self.state();
        let by = *state.deposed.get_or_insert(by);
        Deposed { epoch: self.epoch, by }
    }
}

impl<D: LogDrives, R: ShardRegistry> ShardLog for ReplicatedLog<D, R> {
    fn key(&self) -> LogKey {
        self.key
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn end(&self) -> Position {
        self.state().end.position
    }

    fn start(&self) -> Position {
        self.row().checkpoint.as_ref().map(|root| root.position).unwrap_or_default()
    }

    async fn room(&self) -> Room {
        self.probe_room().await
    }

    async fn append(&self, batch: &Batch) -> Result<Position, AppendError> {
        self.append_batch(batch).await
    }

    async fn read(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        self.read_after(after, bytes).await
    }

    fn checkpoint_due(&self) -> bool {
        self.is_checkpoint_due()
    }

    async fn checkpoint(&self, index: &Index) -> Result<(), CheckpointError> {
        self.write_checkpoint(index).await
    }

    async fn load_checkpoint(&self, into: &Index) -> Result<(), LoadError> {
        match &self.row().checkpoint {
            Some(root) => crate::checkpoint::load(&self.drives, self.key, root, into).await,
            None => Ok(()),
        }
    }

    async fn maintain(&self) -> Result<(), MaintainError> {
        self.keep_up().await
    }
}

impl<D, R> std::fmt::Debug for ReplicatedLog<D, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplicatedLog(shard {}, epoch {})", self.key.shard, self.epoch)
    }
}
