//! Drives with production's stores on recorded media, and management's row of one shard.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use weft_device::MemoryDevice;
use weft_device::crash::Recorder;
use weft_drive::custody::{Deleting, Placing, Recording, Sealing, Trimming};
use weft_drive::local::LocalDrive;
use weft_drive::{DriveIdentity, FormatOptions, HeaderSalt, Store};
use weft_engine::{DriveCallError, LogDrives, ShardRegistry, SwapError};
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry, PlacementGroup, Protection};
use weft_pki::ClusterAuthority;
use weft_types::{
    ByteCount, ClusterId, DriveId, Epoch, FilesystemId, GroupId, Incarnation, MapVersion, NodeId, Timestamp,
};
use weft_wire::grant::{GRANT_PURPOSE, Grant, LogGrant, SignedGrant};
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogHeld, LogKey, LogRead, LogRefusal, LogStored,
    ObjectKey, PutLog, PutObject, ReadLog, ReadLogRefusal, SealLog, TrimLog,
};
use weft_wire::ownership::{DriveGrant, DriveHome, ShardRow, ShardRowReply};

use crate::timeline::{Draw, Event, Medium, Timeline};

pub(crate) const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([5; 16]);
pub(crate) const NODE: NodeId = NodeId::from_bytes([6; 16]);
pub(crate) const GROUP: GroupId = GroupId::new(1);
pub(crate) const LOG: LogKey = LogKey { filesystem: FILESYSTEM, shard: weft_compute::SHARD };

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const INCARNATION: Incarnation = Incarnation::new(1);
const SEGMENT_BYTES: u64 = 256 << 10;
const SEGMENTS: u64 = 12;
/// Five drives, of which a list of the log is three.
pub(crate) const DRIVES: usize = 5;
/// The most that a call is on its way.
const LATENCY_MS: usize = 20;

/// Each record is on three drives.
pub(crate) fn protection() -> Protection {
    Protection::new(4, 2).expect("offered")
}

fn id(drive: usize) -> DriveId {
    DriveId::from_bytes([u8::try_from(drive + 1).expect("few"); 16])
}

fn identity(drive: usize) -> DriveIdentity {
    DriveIdentity { cluster: CLUSTER, drive: id(drive), incarnation: INCARNATION }
}

/// The media of drives that have nothing yet.
pub(crate) fn blank() -> Vec<Vec<u8>> {
    let size = 8 * 4096 + SEGMENTS * SEGMENT_BYTES + 4096;
    let format = |drive| {
        let device = Arc::new(MemoryDevice::new(usize::try_from(size).expect("small")));
        let salt = HeaderSalt([7; 32]);
        let options = FormatOptions { identity: identity(drive), salt, segment_bytes: Some(SEGMENT_BYTES) };
        Store::format(&device, options).expect("formatted");
        device.bytes()
    };
    (0..DRIVES).map(format).collect()
}

/// The authority whose grants all drives believe.
pub(crate) fn authority() -> Arc<ClusterAuthority> {
    let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
    Arc::new(ClusterAuthority::create(CLUSTER, now).expect("created"))
}

type Local = LocalDrive<Arc<Medium>>;

struct Seat {
    medium: Arc<Medium>,
    drive: tokio::sync::Mutex<Local>,
}

#[derive(Debug)]
struct State {
    row: ShardRow,
    map: Arc<ClusterMap>,
    /// Drives that answer nobody.
    away: BTreeSet<usize>,
    latency: u64,
}

/// What outlives processes.
pub(crate) struct Cluster {
    pub(crate) timeline: Arc<Timeline>,
    authority: Arc<ClusterAuthority>,
    seats: Vec<Seat>,
    state: Mutex<State>,
}

/// The row of a shard that nobody owned yet.
pub(crate) fn first_row() -> ShardRow {
    ShardRow {
        version: 0,
        epoch: Epoch::new(0),
        owner: NODE,
        segments: Vec::new(),
        ends: Vec::new(),
        checkpoint: None,
    }
}

impl Cluster {
    /// Starts the drives of these media.
    pub(crate) fn start(media: Vec<Vec<u8>>, row: ShardRow, authority: &Arc<ClusterAuthority>) -> Arc<Self> {
        let timeline = Arc::new(Timeline::default());
        let seat = |(drive, bytes)| {
            let recorder = Recorder::from_bytes(bytes).with_block(4096);
            let medium = Arc::new(Medium { drive, recorder, timeline: Arc::clone(&timeline) });
            let opened = LocalDrive::open(Arc::clone(&medium), identity(drive), authority.verifier());
            let local = opened.unwrap_or_else(|error| panic!("drive {drive} does not open: {error:?}"));
            Seat { medium, drive: tokio::sync::Mutex::new(local) }
        };
        let seats = media.into_iter().enumerate().map(seat).collect();
        let map = Arc::new(map(1, &[]));
        let state = Mutex::new(State { row, map, away: BTreeSet::new(), latency: 0 });
        Arc::new(Self { timeline, authority: Arc::clone(authority), seats, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked with it")
    }

    pub(crate) fn row(&self) -> ShardRow {
        self.state().row.clone()
    }

    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.state().map)
    }

    /// The drive that is first in the list that takes records.
    pub(crate) fn first_of_list(&self) -> usize {
        let row = self.row();
        let home = row.segments.last().expect("there is a list").drives[0];
        (0..DRIVES).find(|drive| id(*drive) == home.drive).expect("one of the drives")
    }

    /// From now on management says that these drives are down.
    pub(crate) fn count_as_down(&self, down: &[usize]) {
        let mut state = self.state();
        state.map = Arc::new(map(state.map.version.get() + 1, down));
    }

    /// From now on these drives answer nobody.
    pub(crate) fn silence(&self, away: &[usize]) {
        self.state().away = away.iter().copied().collect();
    }

    /// Flushes do nothing any more.
    pub(crate) fn forget_flushes(&self) {
        self.seats.iter().for_each(|seat| seat.medium.recorder.forget_flushes());
    }

    /// What a cut of the power at a moment leaves of all drives.
    pub(crate) fn left(&self, cut: usize, seed: u64) -> Vec<Vec<u8>> {
        let left = |seat: &Seat| self.timeline.left(seat.medium.drive, &seat.medium.recorder, cut, seed);
        self.seats.iter().map(left).collect()
    }

    /// Has every drive make room.
    pub(crate) async fn clean(&self) {
        for drive in 0..DRIVES {
            let cleaned = self.call::<_, ReadLogRefusal>(drive, |local| Ok(local.store_mut().clean(true)));
            // One that is away does so later.
            if let Ok(cleaned) = cleaned.await {
                cleaned.expect("cleaned");
            }
        }
    }

    /// The lowest sequence of the log that the first drive of its list has.
    pub(crate) async fn first_record(&self) -> u64 {
        let read = ReadLog { log: LOG, after: 0, bytes: 1 };
        let found = self.call(self.first_of_list(), |local| local.read_log(read)).await;
        found.expect("reads").0.entries[0].position.seq
    }

    /// Raises the epoch, as management does for an owner that begins.
    pub(crate) fn own(&self) -> (ShardRow, Vec<DriveGrant>) {
        let mut row = self.row();
        (row.epoch, row.version) = (row.epoch.next(), row.version + 1);
        let grants = self.grants(row.epoch);
        self.replace(row.clone());
        (row, grants)
    }

    fn replace(&self, row: ShardRow) {
        self.timeline.note(Event::Row(row.clone()));
        self.state().row = row;
    }

    fn grants(&self, epoch: Epoch) -> Vec<DriveGrant> {
        let grant = |drive| {
            let home = DriveHome { drive: id(drive), incarnation: INCARNATION };
            let grant = Grant::Log(LogGrant {
                cluster: CLUSTER,
                filesystem: FILESYSTEM,
                shard: LOG.shard,
                epoch,
                owner: NODE,
                drive: home.drive,
                incarnation: home.incarnation,
            });
            let body = minicbor::to_vec(&grant).expect("encodes");
            let signature = self.authority.sign(GRANT_PURPOSE, &body);
            DriveGrant { home, grant: SignedGrant { body: body.into(), signature: signature.into() } }
        };
        (0..DRIVES).map(grant).collect()
    }

    async fn on_its_way(&self) {
        let number = {
            let mut state = self.state();
            state.latency += 1;
            state.latency
        };
        let ms = Draw::new(&[number]).below(LATENCY_MS);
        tokio::time::sleep(Duration::from_millis(ms as u64)).await;
    }

    async fn call<T, R>(
        &self,
        drive: usize,
        act: impl FnOnce(&mut Local) -> Result<T, R>,
    ) -> Result<T, DriveCallError<R>> {
        if self.state().away.contains(&drive) {
            return Err(DriveCallError::Unreachable("it is away".to_owned()));
        }
        let call = self.timeline.called(drive);
        let answer = {
            let seat = &self.seats[drive];
            let mut local = seat.drive.lock().await;
            self.on_its_way().await;
            let answer = act(&mut local);
            self.timeline.carried_out(call, seat.medium.recorder.now());
            answer
        };
        self.on_its_way().await;
        answer.map_err(DriveCallError::Refused)
    }
}

fn map(version: u64, down: &[usize]) -> ClusterMap {
    let entry = |drive: usize| DriveEntry {
        id: id(drive),
        node: NODE,
        incarnation: INCARNATION,
        name: format!("drives{drive}"),
        address: String::new(),
        failure_domain: format!("drives{drive}"),
        capacity: ByteCount::new(1 << 30),
        state: if down.contains(&drive) { DriveState::Down } else { DriveState::Up },
        returned: MapVersion::new(0),
        missing: 0,
    };
    let members = (0..protection().width().into()).map(id).collect();
    let group = PlacementGroup { id: GROUP, epoch: Epoch::new(1), members, history: Vec::new() };
    ClusterMap {
        cluster: CLUSTER,
        version: MapVersion::new(version),
        protection: protection(),
        drives: (0..DRIVES).map(entry).collect(),
        groups: vec![group],
        computes: Vec::new(),
        management: NodeEntry { node: NODE, name: String::new(), address: String::new() },
    }
}

/// A process's calls to drives and to management.
#[derive(Clone)]
pub(crate) struct Calls(pub(crate) Arc<Cluster>);

impl Calls {
    async fn ask<T, R>(
        &self,
        home: DriveHome,
        act: impl FnOnce(&mut Local) -> Result<T, R>,
    ) -> Result<T, DriveCallError<R>> {
        let drive = (0..DRIVES).find(|drive| id(*drive) == home.drive).expect("one of the drives");
        self.0.call(drive, act).await
    }
}

impl LogDrives for Calls {
    fn map(&self) -> Arc<ClusterMap> {
        self.0.map()
    }

    async fn seal(&self, home: DriveHome, call: SealLog) -> Result<LogHeld, DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.run::<Sealing>(NODE, call, Bytes::new())).await
    }

    async fn put(
        &self,
        home: DriveHome,
        call: PutLog,
        record: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.run::<Recording>(NODE, call, record)).await
    }

    async fn read(
        &self,
        home: DriveHome,
        call: ReadLog,
    ) -> Result<(LogRead, Bytes), DriveCallError<ReadLogRefusal>> {
        self.ask(home, |drive| drive.read_log(call)).await
    }

    async fn trim(&self, home: DriveHome, call: TrimLog) -> Result<(), DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.run::<Trimming>(NODE, call, Bytes::new())).await.map(drop)
    }

    async fn put_object(
        &self,
        home: DriveHome,
        call: PutObject,
        part: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.run::<Placing>(NODE, call, part)).await
    }

    async fn get_object(
        &self,
        home: DriveHome,
        call: GetObject,
    ) -> Result<Bytes, DriveCallError<GetObjectRefusal>> {
        self.ask(home, |drive| drive.get_object(call)).await
    }

    async fn delete_objects(
        &self,
        home: DriveHome,
        call: DeleteObjects,
    ) -> Result<(), DriveCallError<LogRefusal>> {
        self.ask(home, |drive| drive.run::<Deleting>(NODE, call, Bytes::new())).await.map(drop)
    }

    async fn list_objects(
        &self,
        home: DriveHome,
        call: ListObjects,
    ) -> Result<Vec<ObjectKey>, DriveCallError<ReadLogRefusal>> {
        self.ask(home, |drive| Ok(drive.list_objects(call))).await
    }
}

impl ShardRegistry for Calls {
    async fn swap(&self, row: ShardRow) -> Result<(), SwapError> {
        self.0.on_its_way().await;
        let known = self.0.row();
        let swapped = if row.epoch != known.epoch {
            Err(SwapError::Deposed { by: known.epoch })
        } else if row.version != known.version + 1 {
            Err(SwapError::Changed { version: known.version })
        } else {
            self.0.replace(row);
            Ok(())
        };
        self.0.on_its_way().await;
        swapped
    }

    async fn row(&self) -> Result<ShardRowReply, SwapError> {
        self.0.on_its_way().await;
        let row = self.0.row();
        Ok(ShardRowReply { grants: self.0.grants(row.epoch), row })
    }
}
