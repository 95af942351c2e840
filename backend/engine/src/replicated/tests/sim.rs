//! Drives and a cluster store in memory, with the rules of custody and with faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use tokio::time::sleep;
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry};
use weft_types::{
    ByteCount, ClusterId, DriveId, Epoch, FilesystemId, Incarnation, MapVersion, MetadataShard, NodeId,
    Position,
};
use weft_wire::grant::{Grant, LogGrant, SignedGrant};
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogEntry, LogHeld, LogKey, LogRead, LogRefusal,
    LogStored, ObjectKey, PutLog, PutObject, ReadLog, ReadLogRefusal, SealLog, TrimLog,
};
use weft_wire::ownership::{DriveGrant, DriveHome, ShardRow, ShardRowReply};

use super::super::{LogSettings, ReplicatedLog, TakeOverError};
use crate::{DriveCallError, LogDrives, ShardRegistry, SwapError};

pub(crate) const KEY: LogKey =
    LogKey { filesystem: FilesystemId::from_bytes([7; 16]), shard: MetadataShard::new(0) };
/// The deadline of a call.
const DEADLINE: Duration = Duration::from_secs(4);
const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

/// What happens to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They arrive nowhere.
    Silent,
    /// They are done, and their answers are lost.
    Mute,
    /// Those that write arrive when the test says so, whoever waits for them or not; there is no answer.
    Delayed,
    /// They are done, and answered after this time.
    Slow(Duration),
    /// Puts are refused for want of room.
    Full,
    /// Puts are done, with a warning that room is short.
    Tight,
}

#[derive(Debug, Clone)]
pub(crate) struct SimRecord {
    pub(crate) epoch: Epoch,
    pub(crate) bytes: Bytes,
    pub(crate) damaged: bool,
}

/// One drive.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDrive {
    pub(crate) sealed: Epoch,
    pub(crate) trimmed: u64,
    pub(crate) records: BTreeMap<u64, SimRecord>,
    pub(crate) objects: BTreeMap<ObjectKey, Bytes>,
    pub(crate) fault: Option<Fault>,
}

type Refused<T> = Result<T, LogRefusal>;

impl SimDrive {
    fn held(&self) -> LogHeld {
        LogHeld {
            trimmed: self.trimmed,
            first: self.records.keys().next().copied(),
            last: self
                .records
                .iter()
                .next_back()
                .map(|(seq, held)| Position { epoch: held.epoch, seq: *seq }),
        }
    }

    fn authorise(&self, epoch: Epoch) -> Refused<()> {
        match epoch.cmp(&self.sealed) {
            std::cmp::Ordering::Less => Err(LogRefusal::Deposed { by: self.sealed }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(LogRefusal::NotGranted),
        }
    }

    fn seal(&mut self, epoch: Epoch) -> Refused<LogHeld> {
        if epoch < self.sealed {
            return Err(LogRefusal::Deposed { by: self.sealed });
        }
        self.sealed = epoch;
        Ok(self.held())
    }

    fn room(&self) -> Refused<LogStored> {
        match self.fault {
            Some(Fault::Full) => Err(LogRefusal::NoSpace),
            fault => Ok(LogStored { tight: fault == Some(Fault::Tight) }),
        }
    }

    fn put(&mut self, call: PutLog, bytes: Bytes) -> Refused<LogStored> {
        self.authorise(call.epoch)?;
        if call.position.seq <= self.trimmed {
            return Err(LogRefusal::Trimmed);
        }
        match self.records.get_mut(&call.position.seq) {
            Some(held) if held.bytes != bytes => return Err(LogRefusal::Conflict),
            Some(held) => held.damaged = false,
            None => {
                self.room()?;
                let record = SimRecord { epoch: call.position.epoch, bytes, damaged: false };
                self.records.insert(call.position.seq, record);
            }
        }
        self.room().or(Ok(LogStored { tight: true }))
    }

    fn trim(&mut self, call: TrimLog) -> Refused<()> {
        self.authorise(call.epoch)?;
        let mark =
            if call.up_to == u64::MAX { self.held().last.map_or(0, |last| last.seq) } else { call.up_to };
        self.trimmed = self.trimmed.max(mark);
        let void = |seq: u64, held: &SimRecord| {
            call.void_after.is_some_and(|after| seq > after && held.epoch < call.epoch)
        };
        self.records.retain(|seq, held| *seq > mark && !void(*seq, held));
        Ok(())
    }

    fn read(&self, call: ReadLog) -> (LogRead, Bytes) {
        let (mut entries, mut bulk) = (Vec::new(), Vec::new());
        for (seq, held) in self.records.range(call.after.saturating_add(1)..) {
            if !entries.is_empty() && bulk.len() + held.bytes.len() > call.bytes as usize {
                return (LogRead { entries, end: false }, bulk.into());
            }
            let len = if held.damaged { 0 } else { u32::try_from(held.bytes.len()).expect("bounded") };
            entries.push(LogEntry { position: Position { epoch: held.epoch, seq: *seq }, len });
            if !held.damaged {
                bulk.extend_from_slice(&held.bytes);
            }
        }
        (LogRead { entries, end: true }, bulk.into())
    }

    fn put_object(&mut self, key: ObjectKey, bytes: Bytes) -> Refused<LogStored> {
        self.authorise(key.epoch)?;
        self.room()?;
        match self.objects.get(&key) {
            Some(held) if *held != bytes => Err(LogRefusal::Conflict),
            _ => {
                self.objects.insert(key, bytes);
                self.room()
            }
        }
    }
}

type Late = Box<dyn FnOnce(&mut World) + Send>;

/// Everything outside of the owners.
pub(crate) struct World {
    pub(crate) map: Arc<ClusterMap>,
    pub(crate) drives: BTreeMap<DriveHome, SimDrive>,
    pub(crate) row: ShardRow,
    /// What happens to swaps.
    pub(crate) store: Option<Fault>,
    /// Calls that are still on their way.
    late: Vec<Late>,
    /// How long every call takes on its way.
    pub(crate) latency: Duration,
}

/// The whole cluster.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<World>>);

pub(crate) type SimLog = ReplicatedLog<Sim, SimOwner>;

fn home(n: u8) -> DriveHome {
    DriveHome { drive: DriveId::from_bytes([n; 16]), incarnation: Incarnation::new(1) }
}

fn entry(n: u8) -> DriveEntry {
    DriveEntry {
        id: home(n).drive,
        node: NodeId::from_bytes([n; 16]),
        incarnation: home(n).incarnation,
        name: format!("drives{n}"),
        address: format!("127.0.0.1:{}", 7000 + u16::from(n)),
        failure_domain: format!("host{n}"),
        capacity: ByteCount::new(1 << 30),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    }
}

impl Sim {
    pub(crate) fn new(protection: &str, drives: u8) -> Self {
        let node = NodeEntry {
            node: NodeId::from_bytes([200; 16]),
            name: "node".to_owned(),
            address: "127.0.0.1:1".to_owned(),
        };
        let map = ClusterMap {
            cluster: CLUSTER,
            version: MapVersion::new(1),
            protection: protection.parse().expect("offered"),
            drives: (1..=drives).map(entry).collect(),
            groups: Vec::new(),
            computes: Vec::new(),
            management: node,
        };
        let row = ShardRow {
            version: 0,
            epoch: Epoch::default(),
            owner: NodeId::from_bytes([0; 16]),
            segments: Vec::new(),
            ends: Vec::new(),
            checkpoint: None,
        };
        Self(Arc::new(Mutex::new(World {
            map: Arc::new(map),
            drives: (1..=drives).map(|n| (home(n), SimDrive::default())).collect(),
            row,
            store: None,
            late: Vec::new(),
            latency: Duration::from_millis(1),
        })))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the epoch; answers what management would.
    pub(crate) fn raise(&self) -> (SimOwner, ShardRow, Vec<DriveGrant>) {
        let mut world = self.world();
        world.row.epoch = world.row.epoch.next();
        world.row.version += 1;
        let epoch = world.row.epoch;
        (SimOwner { sim: self.clone(), epoch }, world.row.clone(), world.grants(epoch))
    }

    /// A new ownership.
    pub(crate) async fn take_over(&self) -> Result<SimLog, TakeOverError> {
        let (owner, row, grants) = self.raise();
        ReplicatedLog::take_over((self.clone(), owner), KEY, row, grants, LogSettings::default()).await
    }

    pub(crate) fn row(&self) -> ShardRow {
        self.world().row.clone()
    }

    /// The drives of the last segment.
    pub(crate) fn list(&self) -> Vec<DriveHome> {
        self.row().segments.last().expect("there is a segment").drives.clone()
    }

    pub(crate) fn set_fault(&self, home: DriveHome, fault: Option<Fault>) {
        self.with(home, |drive| drive.fault = fault);
    }

    pub(crate) fn with<T>(&self, home: DriveHome, act: impl FnOnce(&mut SimDrive) -> T) -> T {
        act(self.world().drives.get_mut(&home).expect("a drive of the cluster"))
    }

    /// What the map says of a drive.
    pub(crate) fn set_state(&self, home: DriveHome, state: Option<DriveState>) {
        let mut world = self.world();
        let mut map = (*world.map).clone();
        map.version = map.version.next();
        match state {
            Some(state) => {
                let mut found = map.drives.iter_mut().filter(|drive| drive.id == home.drive);
                found.next().expect("in the map").state = state;
            }
            None => map.drives.retain(|drive| drive.id != home.drive),
        }
        world.map = Arc::new(map);
    }

    /// All calls that are on their way arrive now.
    pub(crate) fn deliver(&self) {
        let mut world = self.world();
        for late in std::mem::take(&mut world.late) {
            late(&mut world);
        }
    }

    /// What happens to calls of the cluster store, and how long they take on their way.
    fn path(&self) -> (Option<Fault>, Duration) {
        let world = self.world();
        (world.store, world.latency)
    }

    pub(crate) fn homes(&self) -> Vec<DriveHome> {
        self.world().drives.keys().copied().collect()
    }

    /// The drives that hold a sequence whole.
    pub(crate) fn holders(&self, seq: u64) -> BTreeSet<DriveHome> {
        let holds = |drive: &SimDrive| drive.records.get(&seq).is_some_and(|record| !record.damaged);
        self.world().drives.iter().filter(|(_, drive)| holds(drive)).map(|(home, _)| *home).collect()
    }

    async fn call<T: Send + 'static, E: Send + 'static>(
        &self,
        home: DriveHome,
        writes: bool,
        act: impl FnOnce(&mut SimDrive) -> Result<T, E> + Send + 'static,
    ) -> Result<T, DriveCallError<E>> {
        let latency = self.world().latency;
        sleep(latency).await;
        let fault = self.world().drives.get(&home).map_or(Some(Fault::Silent), |drive| drive.fault);
        match fault {
            Some(Fault::Silent) => {}
            Some(Fault::Delayed) => {
                if writes {
                    let late = move |world: &mut World| {
                        if let Some(drive) = world.drives.get_mut(&home) {
                            let _ = act(drive);
                        }
                    };
                    self.world().late.push(Box::new(late));
                }
            }
            Some(Fault::Mute) => drop(self.with(home, act)),
            _ => {
                let answer = self.with(home, act);
                if let Some(Fault::Slow(time)) = fault {
                    sleep(time).await;
                }
                sleep(latency).await;
                return answer.map_err(DriveCallError::Refused);
            }
        }
        sleep(DEADLINE).await;
        Err(DriveCallError::Unreachable("no answer".to_owned()))
    }
}

impl World {
    fn grants(&self, epoch: Epoch) -> Vec<DriveGrant> {
        let grant = |drive: &DriveEntry| {
            let home = DriveHome { drive: drive.id, incarnation: drive.incarnation };
            let grant = Grant::Log(LogGrant {
                cluster: CLUSTER,
                filesystem: KEY.filesystem,
                shard: KEY.shard,
                epoch,
                owner: self.row.owner,
                drive: drive.id,
                incarnation: drive.incarnation,
            });
            let body = ByteVec::from(minicbor::to_vec(grant).expect("encodes"));
            DriveGrant { home, grant: SignedGrant { body, signature: ByteVec::from(Vec::new()) } }
        };
        self.map.drives.iter().map(grant).collect()
    }

    fn swap(&mut self, epoch: Epoch, row: ShardRow) -> Result<(), SwapError> {
        if epoch != self.row.epoch {
            return Err(SwapError::Deposed { by: self.row.epoch });
        }
        if row.version != self.row.version + 1 {
            return Err(SwapError::Changed { version: self.row.version });
        }
        assert_eq!((row.epoch, row.owner), (self.row.epoch, self.row.owner), "an owner changes neither");
        let firsts: Vec<_> = row.segments.iter().map(|segment| segment.first).collect();
        assert!(firsts.is_sorted_by(|a, b| a < b), "segments ascend: {firsts:?}");
        assert!(
            row.ends.is_sorted_by(|a, b| a.epoch < b.epoch && a.seq <= b.seq),
            "ends ascend: {:?}",
            row.ends
        );
        self.row = row;
        Ok(())
    }
}

impl LogDrives for Sim {
    fn map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.world().map)
    }

    async fn seal(&self, home: DriveHome, call: SealLog) -> Result<LogHeld, DriveCallError<LogRefusal>> {
        let Ok(Grant::Log(grant)) = call.grant.grant() else { panic!("a grant of a log") };
        assert_eq!((grant.drive, grant.incarnation), (home.drive, home.incarnation));
        self.call(home, true, move |drive| drive.seal(grant.epoch)).await
    }

    async fn put(
        &self,
        home: DriveHome,
        call: PutLog,
        record: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        self.call(home, true, move |drive| drive.put(call, record)).await
    }

    async fn read(
        &self,
        home: DriveHome,
        call: ReadLog,
    ) -> Result<(LogRead, Bytes), DriveCallError<ReadLogRefusal>> {
        self.call(home, false, move |drive| Ok(drive.read(call))).await
    }

    async fn trim(&self, home: DriveHome, call: TrimLog) -> Result<(), DriveCallError<LogRefusal>> {
        self.call(home, true, move |drive| drive.trim(call)).await
    }

    async fn put_object(
        &self,
        home: DriveHome,
        call: PutObject,
        part: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        self.call(home, true, move |drive| drive.put_object(call.key, part)).await
    }

    async fn get_object(
        &self,
        home: DriveHome,
        call: GetObject,
    ) -> Result<Bytes, DriveCallError<GetObjectRefusal>> {
        self.call(home, false, move |drive| {
            drive.objects.get(&call.key).cloned().ok_or(GetObjectRefusal::Absent)
        })
        .await
    }

    async fn delete_objects(
        &self,
        home: DriveHome,
        call: DeleteObjects,
    ) -> Result<(), DriveCallError<LogRefusal>> {
        let delete = move |drive: &mut SimDrive| {
            drive.authorise(call.epoch)?;
            drive.objects.retain(|key, _| !call.keys.contains(key));
            Ok(())
        };
        self.call(home, true, delete).await
    }

    async fn list_objects(
        &self,
        home: DriveHome,
        call: ListObjects,
    ) -> Result<Vec<ObjectKey>, DriveCallError<ReadLogRefusal>> {
        let list = move |drive: &mut SimDrive| {
            let later = drive.objects.keys().filter(|key| call.after.is_none_or(|after| **key > after));
            Ok(later.take(3).copied().collect())
        };
        self.call(home, false, list).await
    }
}

/// The cluster store as one ownership sees it.
pub(crate) struct SimOwner {
    sim: Sim,
    epoch: Epoch,
}

impl ShardRegistry for SimOwner {
    async fn swap(&self, row: ShardRow) -> Result<(), SwapError> {
        let (fault, latency) = self.sim.path();
        sleep(latency).await;
        let epoch = self.epoch;
        match fault {
            Some(Fault::Silent) => {}
            Some(Fault::Delayed) => {
                let late = move |world: &mut World| drop(world.swap(epoch, row));
                self.sim.world().late.push(Box::new(late));
            }
            Some(Fault::Mute) => drop(self.sim.world().swap(epoch, row)),
            _ => {
                let answer = self.sim.world().swap(epoch, row);
                sleep(latency).await;
                return answer;
            }
        }
        sleep(DEADLINE).await;
        Err(SwapError::Unknown { reason: "no answer".to_owned() })
    }

    async fn row(&self) -> Result<ShardRowReply, SwapError> {
        let (fault, latency) = self.sim.path();
        sleep(latency).await;
        if fault.is_some() {
            sleep(DEADLINE).await;
            return Err(SwapError::Unknown { reason: "no answer".to_owned() });
        }
        let world = self.sim.world();
        if world.row.epoch != self.epoch {
            return Err(SwapError::Deposed { by: world.row.epoch });
        }
        Ok(ShardRowReply { row: world.row.clone(), grants: world.grants(self.epoch) })
    }
}
