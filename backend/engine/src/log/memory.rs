//! The log in memory.

use std::sync::{Arc, Mutex, PoisonError};

use weft_types::{Epoch, Position};
use weft_wire::log::LogKey;

use crate::Index;
use crate::checkpoint::{CheckpointError, LoadError};
use crate::index::{Row, Salt};

use super::{
    AppendError, BATCH_BYTES_MAX, Batch, Deposed, MaintainError, ReadError, Room, ShardLog, check_order,
};

/// A log that lives as long as one of its clones: for tests of what stands on a log. Clones share the batches, so
/// dropping one and going on with another is a crash and a restart.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    key: LogKey,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    batches: Vec<Batch>,
    start: Position,
    epoch: Epoch,
    end: Position,
    room: Option<Room>,
    failing: bool,
    checkpoint: Option<Checkpoint>,
}

#[derive(Debug, Clone)]
struct Checkpoint {
    position: Position,
    salts: Vec<Salt>,
    rows: Vec<Row>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(key: LogKey) -> Self {
        Self { key, state: Arc::default() }
    }

    /// Begins the ownership `epoch`: earlier ones append nothing any more.
    ///
    /// # Errors
    /// A later one began before.
    pub fn take_over(&self, epoch: Epoch) -> Result<(), Deposed> {
        self.with(|state| {
            if epoch < state.epoch {
                return Err(Deposed { epoch, by: state.epoch });
            }
            state.epoch = epoch;
            Ok(())
        })
    }

    /// From now on there is this much room.
    pub fn set_room(&self, room: Room) {
        self.with(|state| state.room = Some(room));
    }

    /// From now on appends fail, or do not, as when drives do not answer.
    pub fn set_failing(&self, failing: bool) {
        self.with(|state| state.failing = failing);
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MemoryLog {
    fn append_now(&self, batch: &Batch) -> Result<Position, AppendError> {
        self.with(|state| {
            if batch.position == state.end && batch.position.epoch == state.epoch {
                let same = state.batches.last() == Some(batch);
                return if same { Ok(batch.position) } else { Err(AppendError::Conflict(batch.position)) };
            }
            check_order(batch.position, state.epoch, state.end)?;
            let (bytes, max) = (batch.encoded_len(), BATCH_BYTES_MAX);
            if bytes > max {
                return Err(AppendError::TooLarge { bytes, max });
            }
            if state.failing {
                let reason = "it was told to fail".to_owned();
                return Err(AppendError::Unavailable { reason });
            }
            if state.room == Some(Room::None) {
                return Err(AppendError::NoSpace);
            }
            state.batches.push(batch.clone());
            state.end = batch.position;
            Ok(state.end)
        })
    }

    fn read_after(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        self.with(|state| {
            if after.seq < state.start.seq {
                return Err(ReadError::Trimmed { after, start: state.start });
            }
            let met = after == state.start || state.batches.iter().any(|batch| batch.position == after);
            if !met {
                return Err(ReadError::NoSuchPosition(after));
            }
            let mut left = bytes;
            let later = state.batches.iter().filter(|batch| batch.position.seq > after.seq);
            let enough = later.enumerate().take_while(|(at, batch)| {
                let len = batch.encoded_len();
                let fits = *at == 0 || len <= left;
                left = left.saturating_sub(len);
                fits
            });
            Ok(enough.map(|(_, batch)| batch.clone()).collect())
        })
    }
}

impl ShardLog for MemoryLog {
    fn key(&self) -> LogKey {
        self.key
    }

    fn epoch(&self) -> Epoch {
        self.with(|state| state.epoch)
    }

    fn end(&self) -> Position {
        self.with(|state| state.end)
    }

    fn start(&self) -> Position {
        self.with(|state| state.start)
    }

    async fn room(&self) -> Room {
        self.with(|state| state.room.unwrap_or(Room::Ample))
    }

    async fn append(&self, batch: &Batch) -> Result<Position, AppendError> {
        self.append_now(batch)
    }

    async fn read(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        self.read_after(after, bytes)
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    async fn checkpoint(&self, index: &Index) -> Result<(), CheckpointError> {
        let snapshot = index.snapshot()?;
        let (position, salts) = (snapshot.position(), snapshot.salts()?);
        let rows = snapshot.rows(None, usize::MAX)?;
        self.with(|state| {
            state.checkpoint = Some(Checkpoint { position, salts, rows });
            state.batches.retain(|batch| batch.position.seq > position.seq);
            state.start = position;
        });
        Ok(())
    }

    async fn load_checkpoint(&self, into: &Index) -> Result<(), LoadError> {
        if let Some(checkpoint) = self.with(|state| state.checkpoint.clone()) {
            into.fill(&checkpoint.rows)?;
            into.filled(checkpoint.position, &checkpoint.salts)?;
        }
        Ok(())
    }

    async fn maintain(&self) -> Result<(), MaintainError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use weft_types::{FilesystemId, MetadataShard};

    use super::*;

    #[tokio::test]
    async fn it_is_a_log() {
        let key = LogKey { filesystem: FilesystemId::from_bytes([7; 16]), shard: MetadataShard::new(0) };
        crate::conformance::log(|| {
            let (log, epoch) = (MemoryLog::new(key), Cell::new(Epoch::default()));
            async move || {
                epoch.set(epoch.get().next());
                log.take_over(epoch.get()).expect("later");
                log.clone()
            }
        })
        .await;
    }
}
