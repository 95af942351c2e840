//! Drives that keep a log, and management that keeps its row, for processes that are killed at any of their calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::watch;
use weft_engine::{DriveCallError, LogDrives, LogSettings, ReplicatedLog, ShardRegistry, SwapError};
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry, Protection};
use weft_types::{ByteCount, ClusterId, DriveId, Epoch, Incarnation, MapVersion, Position};
use weft_wire::grant::{Grant, LogGrant, SignedGrant};
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogEntry, LogHeld, LogKey, LogRead, LogRefusal,
    LogStored, ObjectKey, PutLog, PutObject, ReadLog, ReadLogRefusal, SealLog, TrimLog,
};
use weft_wire::ownership::{DriveGrant, DriveHome, ShardRow, ShardRowReply};

use super::{FILESYSTEM, NODE, SHARD};

/// Bytes of records that make a checkpoint due.
const CHECKPOINT_BYTES: u64 = 4 << 10;

#[derive(Default)]
struct Drive {
    epoch: Option<Epoch>,
    trimmed: u64,
    records: BTreeMap<u64, (Position, Bytes)>,
    objects: BTreeMap<ObjectKey, Bytes>,
}

impl Drive {
    fn granted(&self, epoch: Epoch) -> Result<(), LogRefusal> {
        match self.epoch {
            Some(by) if by > epoch => Err(LogRefusal::Deposed { by }),
            Some(known) if known == epoch => Ok(()),
            _ => Err(LogRefusal::NotGranted),
        }
    }

    fn seal(&mut self, grant: &SignedGrant) -> Result<LogHeld, LogRefusal> {
        let Ok(Grant::Log(grant)) = grant.grant() else { panic!("no grant for a log") };
        if let Some(by) = self.epoch.filter(|known| *known > grant.epoch) {
            return Err(LogRefusal::Deposed { by });
        }
        self.epoch = Some(grant.epoch);
        let first = self.records.first_key_value().map(|(seq, _)| *seq);
        let last = self.records.last_key_value().map(|(_, (position, _))| *position);
        Ok(LogHeld { trimmed: self.trimmed, first, last })
    }

    fn put(&mut self, call: PutLog, record: Bytes) -> Result<LogStored, LogRefusal> {
        self.granted(call.epoch)?;
        let (seq, new) = (call.position.seq, (call.position, record));
        if seq <= self.trimmed {
            return Err(LogRefusal::Trimmed);
        }
        if self.records.get(&seq).is_some_and(|known| *known != new) {
            return Err(LogRefusal::Conflict);
        }
        self.records.insert(seq, new);
        Ok(LogStored { tight: false })
    }

    fn read(&self, call: ReadLog) -> (LogRead, Bytes) {
        let (mut entries, mut bulk, mut end) = (Vec::new(), Vec::new(), true);
        for (position, record) in self.records.range(call.after + 1..).map(|(_, record)| record) {
            if !entries.is_empty() && bulk.len() + record.len() > call.bytes as usize {
                end = false;
                break;
            }
            entries.push(LogEntry {
                position: *position,
                len: u32::try_from(record.len()).expect("records are short"),
            });
            bulk.extend_from_slice(record);
        }
        (LogRead { entries, end }, bulk.into())
    }

    fn trim(&mut self, call: TrimLog) -> Result<(), LogRefusal> {
        self.granted(call.epoch)?;
        self.trimmed = self.trimmed.max(call.up_to);
        let trimmed = self.trimmed;
        let void = |position: &Position| {
            call.void_after.is_some_and(|end| position.seq > end && position.epoch < call.epoch)
        };
        self.records.retain(|seq, (position, _)| *seq > trimmed && !void(position));
        Ok(())
    }
}

struct State {
    drives: BTreeMap<DriveHome, Drive>,
    /// Drives that answer nobody.
    away: BTreeSet<DriveHome>,
    row: ShardRow,
}

/// What outlives processes.
pub(super) struct Cluster {
    map: Arc<ClusterMap>,
    state: Mutex<State>,
}

fn home(number: u8) -> DriveHome {
    DriveHome { drive: DriveId::from_bytes([number; 16]), incarnation: Incarnation::new(1) }
}

impl Cluster {
    /// Six drives without a log.
    pub(super) fn new() -> Arc<Self> {
        let entry = |number: u8| DriveEntry {
            id: home(number).drive,
            node: NODE,
            incarnation: home(number).incarnation,
            name: format!("drives{number}"),
            address: String::new(),
            failure_domain: format!("drives{number}"),
            capacity: ByteCount::new(1 << 30),
            state: DriveState::Up,
            returned: MapVersion::new(0),
            missing: 0,
        };
        let map = ClusterMap {
            cluster: ClusterId::from_bytes([1; 16]),
            version: MapVersion::new(1),
            protection: Protection::DEVELOPMENT,
            drives: (1..=6).map(entry).collect(),
            groups: Vec::new(),
            computes: Vec::new(),
            management: NodeEntry { node: NODE, name: String::new(), address: String::new() },
        };
        let row = ShardRow {
            version: 0,
            epoch: Epoch::new(0),
            owner: NODE,
            segments: Vec::new(),
            ends: Vec::new(),
            checkpoint: None,
        };
        let drives = (1..=6).map(|number| (home(number), Drive::default())).collect();
        let state = Mutex::new(State { drives, away: BTreeSet::new(), row });
        Arc::new(Self { map: Arc::new(map), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked here")
    }

    /// The row as it is.
    pub(super) fn row(&self) -> ShardRow {
        self.state().row.clone()
    }

    /// From now on this drive of the last list answers nobody; the one that was away before comes back.
    pub(super) fn lose(&self, which: usize) {
        let mut state = self.state();
        let list = state.row.segments.last().map(|last| last.drives.clone()).unwrap_or_default();
        state.away = list.get(which).copied().into_iter().collect();
    }

    /// Raises the epoch, as management does for an owner that begins.
    fn own(&self) -> (ShardRow, Vec<DriveGrant>) {
        let mut state = self.state();
        state.row.epoch = state.row.epoch.next();
        state.row.version += 1;
        let row = state.row.clone();
        let grants = self.grants(row.epoch);
        (row, grants)
    }

    fn grants(&self, epoch: Epoch) -> Vec<DriveGrant> {
        let grant = |drive: &DriveEntry| {
            let home = DriveHome { drive: drive.id, incarnation: drive.incarnation };
            let grant = Grant::Log(LogGrant {
                cluster: self.map.cluster,
                filesystem: FILESYSTEM,
                shard: SHARD,
                epoch,
                owner: NODE,
                drive: home.drive,
                incarnation: home.incarnation,
            });
            let body = minicbor::to_vec(&grant).expect("encodes").into();
            DriveGrant { home, grant: SignedGrant { body, signature: Vec::new().into() } }
        };
        self.map.drives.iter().map(grant).collect()
    }
}

/// A process that calls drives and management, and can be killed before and after any call.
#[derive(Clone)]
pub(super) struct Process {
    cluster: Arc<Cluster>,
    /// Calls' beginnings and ends so far, and the one that is never come to.
    steps: Arc<Mutex<(u64, Option<u64>)>>,
    killed: Arc<watch::Sender<bool>>,
}

pub(super) type Log = ReplicatedLog<Process, Process>;

impl Process {
    /// One that is killed at its step of this number.
    pub(super) fn new(cluster: &Arc<Cluster>, kill_at: Option<u64>) -> Self {
        let steps = Arc::new(Mutex::new((0, kill_at)));
        Self { cluster: Arc::clone(cluster), steps, killed: Arc::new(watch::Sender::new(false)) }
    }

    /// Takes the log over under a new epoch.
    pub(super) async fn take_over(&self) -> Log {
        let (row, grants) = self.cluster.own();
        let key = LogKey { filesystem: FILESYSTEM, shard: SHARD };
        let settings = LogSettings { checkpoint_bytes: CHECKPOINT_BYTES, ..LogSettings::default() };
        let taken = ReplicatedLog::take_over((self.clone(), self.clone()), key, row, grants, settings).await;
        taken.expect("takes over")
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.lock().expect("no test panicked here").0
    }

    pub(super) fn kill_at(&self, step: u64) {
        self.steps.lock().expect("no test panicked here").1 = Some(step);
    }

    /// Done once it was killed.
    pub(super) fn killed(&self) -> impl Future<Output = ()> + use<> {
        let mut killed = self.killed.subscribe();
        async move {
            killed.wait_for(|killed| *killed).await.expect("the sender is held");
        }
    }

    async fn step(&self) {
        let dead = {
            let mut steps = self.steps.lock().expect("no test panicked here");
            let dead = steps.1.is_some_and(|at| steps.0 >= at);
            steps.0 += u64::from(!dead);
            dead
        };
        if dead {
            self.killed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    async fn ask<T, R>(
        &self,
        home: DriveHome,
        act: impl FnOnce(&mut Drive) -> Result<T, R>,
    ) -> Result<T, DriveCallError<R>> {
        self.step().await;
        let answer = {
            let mut state = self.cluster.state();
            if state.away.contains(&home) {
                Err(DriveCallError::Unreachable("it is away".to_owned()))
            } else {
                let drive = state.drives.get_mut(&home).expect("a drive of the map");
                act(drive).map_err(DriveCallError::Refused)
            }
        };
        self.step().await;
        answer
    }
}

impl LogDrives for Process {
    fn map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.cluster.map)
    }

    async fn seal(&self, home: DriveHome, call: SealLog) -> Result<LogHeld, DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.seal(&call.grant)).await
    }

    async fn put(
        &self,
        home: DriveHome,
        call: PutLog,
        record: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.put(call, record)).await
    }

    async fn read(
        &self,
        home: DriveHome,
        call: ReadLog,
    ) -> Result<(LogRead, Bytes), DriveCallError<ReadLogRefusal>> {
        self.ask(home, |drive| Ok(drive.read(call))).await
    }

    async fn trim(&self, home: DriveHome, call: TrimLog) -> Result<(), DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.trim(call)).await
    }

    async fn put_object(
        &self,
        home: DriveHome,
        call: PutObject,
        part: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        self.ask(home, |drive| {
            drive.granted(call.key.epoch)?;
            drive.objects.entry(call.key).or_insert(part);
            Ok(LogStored { tight: false })
        })
        .await
    }

    async fn get_object(
        &self,
        home: DriveHome,
        call: GetObject,
    ) -> Result<Bytes, DriveCallError<GetObjectRefusal>> {
        self.ask(home, |drive| drive.objects.get(&call.key).cloned().ok_or(GetObjectRefusal::Absent)).await
    }

    async fn delete_objects(
        &self,
        home: DriveHome,
        call: DeleteObjects,
    ) -> Result<(), DriveCallError<LogRefusal>> {
        self.ask(home, |drive| {
            drive.granted(call.epoch)?;
            drive.objects.retain(|key, _| !call.keys.contains(key));
            Ok(())
        })
        .await
    }

    async fn list_objects(
        &self,
        home: DriveHome,
        call: ListObjects,
    ) -> Result<Vec<ObjectKey>, DriveCallError<ReadLogRefusal>> {
        self.ask(home, |drive| {
            let later = drive.objects.keys().filter(|key| call.after.is_none_or(|after| **key > after));
            Ok(later.copied().collect())
        })
        .await
    }
}

impl ShardRegistry for Process {
    async fn swap(&self, row: ShardRow) -> Result<(), SwapError> {
        self.step().await;
        let swapped = {
            let mut state = self.cluster.state();
            if row.epoch != state.row.epoch {
                Err(SwapError::Deposed { by: state.row.epoch })
            } else if row.version != state.row.version + 1 {
                Err(SwapError::Changed { version: state.row.version })
            } else {
                state.row = row;
                Ok(())
            }
        };
        self.step().await;
        swapped
    }

    async fn row(&self) -> Result<ShardRowReply, SwapError> {
        self.step().await;
        let row = self.cluster.row();
        Ok(ShardRowReply { grants: self.cluster.grants(row.epoch), row })
    }
}
