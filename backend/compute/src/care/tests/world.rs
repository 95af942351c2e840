//! Rows and drives in memory. Every deletion is checked: what an extent in use needs is never deleted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use weft_layout::{
    ClusterMap, DriveEntry, DriveState, Geometry, Membership, NodeEntry, PlacementGroup, Protection,
};
use weft_meta::placed::{self, Cursor};
use weft_meta::session;
use weft_meta::{CountersRow, ExtentRow, RowKey, SessionRow, Transaction};
use weft_types::{
    ByteCount, ClusterId, DataKeyId, Digest, DriveId, Epoch, ExtentId, ExtentSeq, FilesystemId, Generation,
    GroupId, Incarnation, MapVersion, MetadataShard, NodeId, SessionId, Timestamp,
};
use weft_wire::Fault;
use weft_wire::compute::SessionHolder;
use weft_wire::drive::{ShardHeader, ShardKey};
use weft_wire::meta::MetaError;
use weft_wire::ownership::{DriveHome, Held, ReportCare};

use crate::care::homes::lists_since;
use crate::care::{Care, CareSettings, Deleter, ExtentRows, ReadFailure, ShardHomes, Unanswered};

pub(super) const DELAY: Duration = Duration::from_secs(15);
pub(super) const SETTLE: Duration = Duration::from_secs(20);
pub(in crate::care) const GROUP: GroupId = GroupId::new(3);
/// The pages of a drive's list are short, so that there are many.
const LIST_PAGE: usize = 5;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A transaction over rows in memory.
struct Tx<'a>(&'a mut Rows);

impl Transaction for Tx<'_> {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.0.get(&key.encode()).cloned())
    }
    fn put(&mut self, key: RowKey, value: Vec<u8>) {
        self.0.insert(key.encode(), value);
    }
    fn delete(&mut self, key: RowKey) {
        self.0.remove(&key.encode());
    }
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(RowKey, Vec<u8>)>, MetaError> {
        let rows = self.0.range(from.to_vec()..until.to_vec()).take(limit);
        rows.map(|(key, value)| Ok((RowKey::decode(key).expect("a key"), value.clone()))).collect()
    }
}

/// One drive: it holds shards, and answers or not.
#[derive(Default)]
pub(super) struct Drive {
    pub(super) shards: BTreeMap<ShardKey, (ShardHeader, Bytes)>,
    pub(super) silent: bool,
}

/// A shard's rows, the drives, and management: what outlives an owner.
pub(super) struct World {
    rows: RefCell<Rows>,
    /// The rows after each change that is not durable yet.
    pending: RefCell<BTreeMap<u64, Rows>>,
    durable_rows: RefCell<Rows>,
    seq: Cell<u64>,
    pub(super) acted_on: Cell<u64>,
    /// Calls and commits that still happen before the owner's process ends; `None`: it lives on.
    pub(super) calls_left: Cell<Option<u32>>,
    pub(super) deposed: Cell<bool>,
    pub(super) dropping: Cell<bool>,
    /// How long a drive takes to store a shard.
    pub(super) put_takes: Cell<Duration>,
    pub(super) map: RefCell<Arc<ClusterMap>>,
    pub(super) drives: RefCell<BTreeMap<DriveId, Drive>>,
    pub(super) reports: RefCell<Vec<ReportCare>>,
    pub(super) deleted: RefCell<Vec<(DriveId, ShardKey)>>,
    began: Instant,
    next: Cell<u64>,
}

pub(in crate::care) const fn drive_id(n: u8) -> DriveId {
    DriveId::from_bytes([n; 16])
}

pub(super) const fn home_of(n: u8) -> DriveHome {
    DriveHome { drive: drive_id(n), incarnation: Incarnation::new(1) }
}

pub(super) const fn session_id(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

pub(super) fn protection() -> Protection {
    Protection::new(4, 2).expect("4+2")
}

fn drive_entry(n: u8) -> DriveEntry {
    DriveEntry {
        id: drive_id(n),
        node: NodeId::from_bytes([n; 16]),
        incarnation: Incarnation::new(1),
        name: format!("d{n}"),
        address: format!("127.0.0.1:{}", 7000 + u16::from(n)),
        failure_domain: format!("host{n}"),
        capacity: ByteCount::new(1 << 30),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    }
}

/// Drives 1 to `count`, and one group on the first six.
pub(in crate::care) fn first_map(count: u8) -> ClusterMap {
    let node = |n| NodeEntry {
        node: NodeId::from_bytes([n; 16]),
        name: "n".to_owned(),
        address: "127.0.0.1:1".to_owned(),
    };
    let members = (1..=6).map(drive_id).collect();
    ClusterMap {
        cluster: ClusterId::from_bytes([9; 16]),
        version: MapVersion::new(1),
        protection: protection(),
        drives: (1..=count).map(drive_entry).collect(),
        groups: vec![PlacementGroup { id: GROUP, epoch: Epoch::new(1), members, history: Vec::new() }],
        computes: vec![node(0xa0)],
        management: node(0xa1),
    }
}

impl World {
    pub(super) fn new(drives: u8) -> Self {
        let world = Self {
            rows: RefCell::default(),
            pending: RefCell::default(),
            durable_rows: RefCell::default(),
            seq: Cell::new(0),
            acted_on: Cell::new(0),
            calls_left: Cell::new(None),
            deposed: Cell::new(false),
            dropping: Cell::new(false),
            put_takes: Cell::new(Duration::ZERO),
            map: RefCell::new(Arc::new(first_map(drives))),
            drives: RefCell::new((1..=drives).map(|n| (drive_id(n), Drive::default())).collect()),
            reports: RefCell::default(),
            deleted: RefCell::default(),
            began: Instant::now(),
            next: Cell::new(1),
        };
        let counters = CountersRow {
            next_inode: 1,
            next_key: DataKeyId::new(1),
            next_generation: Generation::new(1),
            inodes: 0,
            mapped: ByteCount::new(0),
            extents: 0,
        };
        world.commit(|tx| tx.put(RowKey::Counters, minicbor::to_vec(&counters).expect("encodes")));
        world
    }

    /// Changes rows; durable on return.
    pub(super) fn commit(&self, change: impl FnOnce(&mut dyn Transaction)) {
        change(&mut Tx(&mut self.rows.borrow_mut()));
        self.seq.set(self.seq.get() + 1);
        self.make_durable(self.seq.get());
        *self.durable_rows.borrow_mut() = self.rows.borrow().clone();
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&dyn Transaction) -> T) -> T {
        read(&Tx(&mut self.rows.borrow_mut()))
    }

    fn make_durable(&self, seq: u64) {
        let mut pending = self.pending.borrow_mut();
        let later = pending.split_off(&(seq + 1));
        if let Some((_, rows)) = pending.pop_last() {
            *self.durable_rows.borrow_mut() = rows;
        }
        *pending = later;
    }

    /// The owner's process ends and another begins: what was not durable never was.
    pub(super) fn crash(&self) {
        self.calls_left.set(None);
        self.pending.borrow_mut().clear();
        *self.rows.borrow_mut() = self.durable_rows.borrow().clone();
        self.acted_on.set(0);
    }

    /// Counts a call of the owner; false: its process has ended.
    fn is_alive(&self) -> bool {
        match self.calls_left.get() {
            None => true,
            Some(0) => false,
            Some(left) => {
                self.calls_left.set(Some(left - 1));
                true
            }
        }
    }

    pub(super) fn open_session(&self, n: u8) {
        let holder = SessionHolder { host: "h".into(), boot: "b".into(), pid: 1, mount: "/m".into() };
        let opened = self.time();
        let row = SessionRow { node: NodeId::from_bytes([n; 16]), holder, read_only: false, opened };
        self.commit(|tx| session::open(tx, session_id(n), &row));
    }

    pub(super) fn end_session(&self, n: u8) {
        let now = self.time();
        self.commit(|tx| assert!(session::end(tx, session_id(n), now).expect("ends")));
    }

    pub(super) fn close_session(&self, n: u8) {
        let now = self.time();
        self.commit(|tx| assert!(session::closed_everywhere(tx, session_id(n), now).expect("closes")));
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs(1_000_000) + self.began.elapsed())
    }

    /// Puts the shards of a new extent to the group's present members, and does not commit it.
    pub(super) fn put(&self, session: u8) -> (ExtentId, ExtentRow) {
        let seq = self.next.replace(self.next.get() + 1);
        let id = ExtentId { session: session_id(session), seq: ExtentSeq::new(seq) };
        let len = [100, 9_000, 40_000][(seq % 3) as usize];
        let geometry = Geometry::new(protection(), ByteCount::new(len)).expect("a length");
        let map = self.map.borrow().clone();
        let group = map.group(GROUP).expect("is there");
        let row = ExtentRow { geometry, group: GROUP, group_epoch: group.epoch, references: 1, died: None };
        for (index, slot) in geometry.holders(id.seq) {
            let key = ShardKey { extent: id, index };
            let mut drives = self.drives.borrow_mut();
            let drive = drives.get_mut(&group.members[slot.get()]).expect("is there");
            drive.shards.insert(key, shard(key, &row));
        }
        (id, row)
    }

    /// A new extent in use.
    pub(super) fn write(&self, session: u8) -> ExtentId {
        let (id, row) = self.put(session);
        self.commit(|tx| {
            tx.put(RowKey::Extent(id), minicbor::to_vec(&row).expect("encodes"));
            count(tx, 1);
        });
        id
    }

    /// The last reference to an extent goes.
    pub(super) fn kill(&self, id: ExtentId) {
        let now = self.time();
        self.commit(|tx| {
            let mut row = placed::find(tx, id).expect("reads").expect("is there");
            (row.references, row.died) = (0, Some(now));
            tx.delete(RowKey::Extent(id));
            tx.put(RowKey::DeadExtent(id), minicbor::to_vec(&row).expect("encodes"));
        });
    }

    pub(super) fn row(&self, id: ExtentId) -> Option<ExtentRow> {
        self.read(|tx| placed::find(tx, id).expect("reads"))
    }

    /// All extent rows.
    pub(super) fn extents(&self) -> Vec<(ExtentId, ExtentRow)> {
        self.read(|tx| {
            let (mut found, mut next) = (Vec::new(), Some(Cursor::START));
            while let Some(from) = next {
                let page = placed::extents(tx, from, 7).expect("reads");
                found.extend(page.extents);
                next = page.next;
            }
            found
        })
    }

    /// Changes the map; it gets the next version.
    pub(super) fn change_map(&self, change: impl FnOnce(&mut ClusterMap)) {
        let mut map = ClusterMap::clone(&self.map.borrow());
        change(&mut map);
        map.version = map.version.next();
        *self.map.borrow_mut() = Arc::new(map);
    }

    /// The group gets these members; where it was goes to its history.
    pub(super) fn regroup(&self, members: &[u8]) {
        self.change_map(|map| regroup(map, members));
    }

    pub(super) fn set_state(&self, n: u8, state: DriveState) {
        self.change_map(|map| {
            let version = map.version.next();
            let drive = map.drives.iter_mut().find(|drive| drive.id == drive_id(n)).expect("is there");
            drive.state = state;
            if state == DriveState::Returning {
                drive.returned = version;
            }
        });
        let silent = state == DriveState::Down;
        self.drives.borrow_mut().get_mut(&drive_id(n)).expect("is there").silent = silent;
    }

    /// The drives that hold a shard.
    pub(super) fn holders(&self, key: ShardKey) -> BTreeSet<DriveId> {
        let drives = self.drives.borrow();
        let holders = drives.iter().filter(|(_, drive)| drive.shards.contains_key(&key));
        holders.map(|(id, _)| *id).collect()
    }

    pub(super) fn shard_count(&self) -> usize {
        self.drives.borrow().values().map(|drive| drive.shards.len()).sum()
    }

    /// Panics unless every shard of every extent in use is on a drive where readers look for it.
    pub(super) fn check_readable(&self) {
        let map = self.map.borrow().clone();
        for (id, row) in self.extents().into_iter().filter(|(_, row)| row.died.is_none()) {
            for index in row.geometry.stored_shards() {
                let holders = self.holders(ShardKey { extent: id, index });
                assert!(
                    holders.iter().any(|drive| reads(&map, id, &row, index, *drive)),
                    "shard {index:?} of {id} is nowhere that a reader looks"
                );
            }
        }
    }

    /// Panics unless every shard is where the map wants it, and no other is anywhere.
    pub(super) fn check_settled(&self) {
        let map = self.map.borrow().clone();
        let mut expected = BTreeSet::new();
        for (id, row) in self.extents() {
            let group = map.group(row.group).expect("is there");
            assert_eq!(row.group_epoch, group.epoch, "{id} lies by an earlier membership");
            for (index, slot) in row.geometry.holders(id.seq) {
                expected.insert((group.members[slot.get()], ShardKey { extent: id, index }));
            }
        }
        let drives = self.drives.borrow();
        let held = drives.iter().flat_map(|(id, drive)| drive.shards.keys().map(|key| (*id, *key)));
        let held: BTreeSet<_> = held.collect();
        assert_eq!(held.difference(&expected).collect::<Vec<_>>(), Vec::<&(DriveId, ShardKey)>::new());
        assert_eq!(expected.difference(&held).collect::<Vec<_>>(), Vec::<&(DriveId, ShardKey)>::new());
    }
}

fn count(tx: &mut dyn Transaction, more: u64) {
    let bytes = tx.get(&RowKey::Counters).expect("reads").expect("is there");
    let mut counters: CountersRow = minicbor::decode(&bytes).expect("decodes");
    counters.extents += more;
    tx.put(RowKey::Counters, minicbor::to_vec(&counters).expect("encodes"));
}

/// Whether a reader looks for a shard at a drive.
fn reads(
    map: &ClusterMap,
    id: ExtentId,
    row: &ExtentRow,
    index: weft_types::ShardIndex,
    drive: DriveId,
) -> bool {
    let group = map.group(row.group).expect("is there");
    let slot = protection().group_slot(index, id.seq).get();
    let mut lists = lists_since(group, row.group_epoch).expect("the row's list is kept");
    lists.any(|(_, members)| members[slot] == drive)
}

pub(in crate::care) fn regroup(map: &mut ClusterMap, members: &[u8]) {
    let group = &mut map.groups[0];
    let members = members.iter().map(|n| drive_id(*n)).collect();
    let earlier = std::mem::replace(&mut group.members, members);
    group.history.insert(0, Membership { epoch: group.epoch, members: earlier });
    group.epoch = group.epoch.next();
}

/// The row of an extent over all members of the group, by this membership of it.
pub(in crate::care) fn row(epoch: u64) -> ExtentRow {
    let geometry = Geometry::new(protection(), ByteCount::new(40_000)).expect("a length");
    ExtentRow { geometry, group: GROUP, group_epoch: Epoch::new(epoch), references: 1, died: None }
}

/// A shard's bytes and header.
fn shard(key: ShardKey, row: &ExtentRow) -> (ShardHeader, Bytes) {
    let bytes = |index: u8| {
        let len = row.geometry.shard_len(weft_types::ShardIndex::new(index)) as usize;
        Bytes::from(vec![index ^ key.extent.seq.get() as u8; len])
    };
    let digests = (0..protection().width()).map(|index| Digest(*blake3::hash(&bytes(index)).as_bytes()));
    let header = ShardHeader {
        key,
        filesystem: FilesystemId::from_bytes([7; 16]),
        geometry: row.geometry,
        group: row.group,
        group_epoch: row.group_epoch,
        digests: digests.collect(),
    };
    (header, bytes(key.index.to_byte()))
}

impl ExtentRows for World {
    fn held(&self) -> Held {
        let filesystem = FilesystemId::from_bytes([7; 16]);
        Held { filesystem, shard: MetadataShard::new(0), epoch: Epoch::new(1) }
    }
    fn now(&self) -> Timestamp {
        self.time()
    }
    fn may_act(&self) -> bool {
        !self.deposed.get() && self.calls_left.get() != Some(0)
    }
    fn is_dropping(&self) -> bool {
        self.dropping.get()
    }
    fn look<T>(
        &self,
        read: impl FnOnce(&dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        let value = read(&Tx(&mut self.rows.borrow_mut()))?;
        Ok((value, self.seq.get()))
    }
    fn change<T>(
        &self,
        change: impl FnOnce(&mut dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        let mut rows = self.rows.borrow().clone();
        let value = change(&mut Tx(&mut rows))?;
        self.seq.set(self.seq.get() + 1);
        self.pending.borrow_mut().insert(self.seq.get(), rows.clone());
        *self.rows.borrow_mut() = rows;
        Ok((value, self.seq.get()))
    }
    fn act_on(&self, map: MapVersion) -> u64 {
        self.acted_on.set(self.acted_on.get().max(map.get()));
        self.seq.get()
    }
    async fn durable(&self, seq: u64) -> Result<(), Fault> {
        tokio::task::yield_now().await;
        if !self.is_alive() {
            return Err(Fault::NotServing);
        }
        self.make_durable(seq);
        Ok(())
    }
}

impl World {
    async fn ask<T>(&self, at: DriveHome, act: impl FnOnce(&mut Drive) -> T) -> Result<T, Unanswered> {
        tokio::task::yield_now().await;
        if !self.is_alive() {
            return Err(Unanswered);
        }
        let mut drives = self.drives.borrow_mut();
        let drive =
            drives.get_mut(&at.drive).filter(|drive| !drive.silent && at == home_of(at.drive.to_bytes()[0]));
        drive.map(act).ok_or(Unanswered)
    }
}

impl ShardHomes for &World {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        Some(self.map.borrow().clone())
    }
    async fn list(&self, at: DriveHome, after: Option<ShardKey>) -> Result<Vec<ShardKey>, Unanswered> {
        self.ask(at, |drive| {
            let keys = drive.shards.keys().filter(|key| after.is_none_or(|after| **key > after));
            keys.take(LIST_PAGE).copied().collect()
        })
        .await
    }
    async fn describe(&self, at: DriveHome, key: ShardKey) -> Result<ShardHeader, ReadFailure> {
        let found = self.ask(at, |drive| drive.shards.get(&key).map(|(header, _)| header.clone())).await;
        found.map_err(|Unanswered| ReadFailure::Unanswered)?.ok_or(ReadFailure::Absent)
    }
    async fn read(&self, at: DriveHome, key: ShardKey, len: u32) -> Result<Bytes, ReadFailure> {
        let found = self.ask(at, |drive| drive.shards.get(&key).map(|(_, bytes)| bytes.clone())).await;
        let bytes = found.map_err(|Unanswered| ReadFailure::Unanswered)?.ok_or(ReadFailure::Absent)?;
        assert_eq!(bytes.len(), len as usize);
        Ok(bytes)
    }
    async fn put(&self, at: DriveHome, header: ShardHeader, bytes: Bytes) -> Result<(), Unanswered> {
        tokio::time::sleep(self.put_takes.get()).await;
        let index = header.key.index.get();
        assert_eq!(header.digests[index].0, *blake3::hash(&bytes).as_bytes(), "the bytes that were read");
        self.ask(at, |drive| _ = drive.shards.entry(header.key).or_insert((header, bytes))).await
    }
    async fn delete(&self, at: DriveHome, keys: Vec<ShardKey>) -> Result<(), Unanswered> {
        self.ask(at, |drive| {
            for key in &keys {
                if drive.shards.remove(key).is_some() {
                    self.deleted.borrow_mut().push((at.drive, *key));
                }
            }
        })
        .await?;
        // What is durable counts, whatever the owner believes.
        let rows = self.rows.replace(self.durable_rows.borrow().clone());
        self.check_readable();
        *self.rows.borrow_mut() = rows;
        Ok(())
    }
    async fn report(&self, report: &ReportCare) -> Result<(), Unanswered> {
        tokio::task::yield_now().await;
        self.reports.borrow_mut().push(report.clone());
        Ok(())
    }
}

/// An owner's care of a world.
pub(super) struct Keeper<'a> {
    pub(super) care: Care,
    pub(super) world: &'a World,
    pub(super) deleter: Deleter<&'a World>,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let settings = CareSettings { deletion_delay: DELAY, settle: SETTLE, ..CareSettings::default() };
        Self { care: Care::new(settings), world, deleter: Deleter::over(world) }
    }

    /// Everything once; whether all of it went well.
    pub(super) async fn step(&self) -> bool {
        let (care, world) = (&self.care, self.world);
        let outcomes = tokio::join!(
            care.reclaim(world, &self.deleter),
            care.place(world, &world),
            care.compare(world, &world),
            care.sweep(world, &world),
        );
        care.report(world, &world).await;
        outcomes.0.is_ok() && outcomes.1.is_ok() && outcomes.2.is_ok() && outcomes.3.is_ok()
    }

    /// Again and again for so many seconds.
    pub(super) async fn run(&self, seconds: u64) {
        for _ in 0..seconds {
            self.step().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
