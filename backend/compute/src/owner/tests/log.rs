//! A replicated log in memory that can be held up, filled up, broken and cut off.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use weft_engine::{
    AppendError, Batch, CheckpointError, Deposed, Index, LoadError, MaintainError, ReadError, Room, ShardLog,
};
use weft_types::{Epoch, Position};
use weft_wire::log::LogKey;

use super::{FILESYSTEM, SHARD};

/// What outlives owners.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    state: Arc<Mutex<State>>,
    /// Appends wait while it is shut.
    gate: Arc<watch::Sender<bool>>,
    /// Steps of input and output left until the process is killed, and whether it was.
    killed: Arc<watch::Sender<bool>>,
}

#[derive(Debug)]
struct State {
    batches: Vec<Batch>,
    epoch: Epoch,
    room: Room,
    failing: bool,
    unavailable: bool,
    steps: u64,
    kill_at: Option<u64>,
}

impl Default for Shelf {
    fn default() -> Self {
        let state = State {
            batches: Vec::new(),
            epoch: Epoch::new(0),
            room: Room::Ample,
            failing: false,
            unavailable: false,
            steps: 0,
            kill_at: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            gate: Arc::new(watch::Sender::new(true)),
            killed: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Shelf {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked here")
    }

    /// Begins an ownership: earlier ones append nothing any more.
    pub(crate) fn take_over(&self, epoch: Epoch) -> TestLog {
        self.state().epoch = epoch;
        TestLog { shelf: self.clone(), epoch }
    }

    pub(crate) fn set_gate(&self, open: bool) {
        self.gate.send_replace(open);
    }

    pub(crate) fn set_room(&self, room: Room) {
        self.state().room = room;
    }

    pub(crate) fn set_failing(&self, failing: bool) {
        self.state().failing = failing;
    }

    pub(crate) fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.state().batches.clone()
    }

    /// Steps that were taken.
    pub(crate) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The process that uses it is killed before its step of this number.
    pub(crate) fn kill_at(&self, step: u64) {
        self.state().kill_at = Some(step);
    }

    /// Done once the process was killed.
    pub(crate) fn killed(&self) -> impl Future<Output = ()> + use<> {
        let mut killed = self.killed.subscribe();
        async move {
            killed.wait_for(|killed| *killed).await.expect("the sender is held");
        }
    }

    /// A copy that another process may use.
    pub(crate) fn survived(&self) -> Self {
        let survived = Self::default();
        survived.state().batches = self.batches();
        survived
    }

    /// One step of input or output; it never returns when the process is killed before.
    async fn step(&self) {
        let dead = {
            let mut state = self.state();
            let dead = state.kill_at == Some(state.steps);
            state.steps += u64::from(!dead);
            dead
        };
        if dead {
            self.killed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

/// The log of one ownership.
#[derive(Debug)]
pub(crate) struct TestLog {
    shelf: Shelf,
    epoch: Epoch,
}

impl TestLog {
    fn check(&self, batch: &Batch) -> Result<bool, AppendError> {
        let state = self.shelf.state();
        if state.epoch > self.epoch {
            return Err(Deposed { epoch: self.epoch, by: state.epoch }.into());
        }
        if state.failing {
            return Err(AppendError::Conflict(batch.position));
        }
        if state.unavailable {
            return Err(AppendError::Unavailable { reason: "told so".to_owned() });
        }
        if state.room == Room::None {
            return Err(AppendError::NoSpace);
        }
        let end = state.batches.last().map(|batch| batch.position).unwrap_or_default();
        if batch.position == end {
            assert_eq!(state.batches.last(), Some(batch), "other bytes at the same position");
            return Ok(true);
        }
        assert_eq!(batch.position, Position { epoch: self.epoch, seq: end.seq + 1 });
        Ok(false)
    }
}

impl ShardLog for TestLog {
    fn key(&self) -> LogKey {
        LogKey { filesystem: FILESYSTEM, shard: SHARD }
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn end(&self) -> Position {
        self.shelf.state().batches.last().map(|batch| batch.position).unwrap_or_default()
    }

    fn start(&self) -> Position {
        Position::default()
    }

    async fn room(&self) -> Room {
        self.shelf.state().room
    }

    async fn append(&self, batch: &Batch) -> Result<Position, AppendError> {
        let mut gate = self.shelf.gate.subscribe();
        gate.wait_for(|open| *open).await.expect("the sender is held");
        // The bytes go out; then they are on enough drives; then that is heard of.
        self.shelf.step().await;
        if !self.check(batch)? {
            self.shelf.state().batches.push(batch.clone());
        }
        self.shelf.step().await;
        Ok(batch.position)
    }

    async fn read(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        let state = self.shelf.state();
        if after != Position::default() && !state.batches.iter().any(|batch| batch.position == after) {
            return Err(ReadError::NoSuchPosition(after));
        }
        let later = state.batches.iter().filter(|batch| batch.position.seq > after.seq);
        Ok(later.take(1 + bytes / 4096).cloned().collect())
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    async fn checkpoint(&self, _: &Index) -> Result<(), CheckpointError> {
        Ok(())
    }

    async fn load_checkpoint(&self, _: &Index) -> Result<(), LoadError> {
        Ok(())
    }

    async fn maintain(&self) -> Result<(), MaintainError> {
        Ok(())
    }
}
