//! A drive's memory, over items in memory that can fail, tear and be damaged.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use weft_layout::{Geometry, Protection};
use weft_pki::{AuthorityVerifier, ClusterAuthority};
use weft_types::{
    ByteCount, ClusterId, Digest, DriveId, Epoch, ExtentId, ExtentSeq, FilesystemId, GroupId, Incarnation,
    MetadataShard, Position, ShardIndex, Timestamp,
};
use weft_wire::drive::ShardKey;
use weft_wire::grant::{GRANT_PURPOSE, LogGrant, SessionGrant};
use weft_wire::log::{LogRefusal, PutLog, SealLog, TrimLog};

use super::*;

mod damage;
mod logs;
mod objects;
mod power;
mod races;
mod register;
mod restarts;
mod sessions;

pub(super) const DRIVE: DriveIdentity = DriveIdentity {
    cluster: ClusterId::from_bytes([1; 16]),
    drive: DriveId::from_bytes([2; 16]),
    incarnation: Incarnation::new(3),
};
const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([6; 16]);
const LOG: LogKey = LogKey { filesystem: FILESYSTEM, shard: MetadataShard::new(0) };
const OWNER: NodeId = NodeId::from_bytes([10; 16]);
const OTHER: NodeId = NodeId::from_bytes([11; 16]);

static AUTHORITY: LazyLock<ClusterAuthority> = LazyLock::new(|| authority(1));

fn authority(cluster: u8) -> ClusterAuthority {
    let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
    ClusterAuthority::create(ClusterId::from_bytes([cluster; 16]), now).expect("created")
}

fn signed_by(authority: &ClusterAuthority, grant: &Grant) -> SignedGrant {
    let body = minicbor::to_vec(grant).expect("encodes");
    let signature = authority.sign(GRANT_PURPOSE, &body);
    SignedGrant { body: body.into(), signature: signature.into() }
}

fn session_grant(session: SessionId, node: NodeId) -> SessionGrant {
    SessionGrant { cluster: DRIVE.cluster, filesystem: FILESYSTEM, session, node }
}

fn log_grant(epoch: u64, owner: NodeId) -> LogGrant {
    LogGrant {
        cluster: DRIVE.cluster,
        filesystem: FILESYSTEM,
        shard: LOG.shard,
        epoch: Epoch::new(epoch),
        owner,
        drive: DRIVE.drive,
        incarnation: DRIVE.incarnation,
    }
}

fn session(number: u32) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn header(session: SessionId, filesystem: FilesystemId) -> ShardHeader {
    let protection = Protection::new(4, 2).expect("offered");
    let extent = ExtentId { session, seq: ExtentSeq::new(1) };
    ShardHeader {
        key: ShardKey { extent, index: ShardIndex::new(0) },
        filesystem,
        geometry: Geometry::new(protection, ByteCount::new(20_000)).expect("in range"),
        group: GroupId::new(1),
        group_epoch: Epoch::new(1),
        digests: vec![Digest([0; 32]); 6],
    }
}

/// When a device fails.
#[derive(Debug, Clone, Copy)]
struct Failure {
    /// After this many writes.
    after: usize,
    /// Whether the write that fails is there nevertheless.
    kept: bool,
}

#[derive(Debug, Default)]
struct MapItems {
    items: BTreeMap<ItemKey, Bytes>,
    damaged: BTreeSet<ItemKey>,
    failure: Option<Failure>,
}

impl Items for MapItems {
    fn list(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)> {
        let wanted =
            |key: &ItemKey| key.as_bytes().starts_with(prefix) && after.is_none_or(|after| key > after);
        let items = self.items.iter().filter(|(key, _)| wanted(key)).take(limit);
        items.map(|(key, value)| (key.clone(), u32::try_from(value.len()).expect("short"))).collect()
    }

    fn read(&self, key: &ItemKey) -> Result<Bytes, ReadItemError> {
        if self.damaged.contains(key) {
            return Err(ReadItemError::Damaged);
        }
        self.items.get(key).cloned().ok_or(ReadItemError::Absent)
    }
}

impl MapItems {
    fn carry_out(&mut self, write: &Write) {
        match write {
            Write::Put(key, value) => {
                self.damaged.remove(key);
                self.items.insert(key.clone(), value.clone());
            }
            Write::Delete(keys) => keys.iter().for_each(|key| drop(self.items.remove(key))),
        }
    }
}

impl WriteItems for MapItems {
    fn write(&mut self, step: &[Write]) -> Result<(), WriteFailed> {
        for write in step {
            match &mut self.failure {
                Some(Failure { after: 0, kept }) => {
                    if *kept {
                        self.carry_out(write);
                    }
                    return Err(WriteFailed::Device);
                }
                Some(failure) => failure.after -= 1,
                None => {}
            }
            self.carry_out(write);
        }
        Ok(())
    }
}

/// A drive of which only custody is there.
#[derive(Debug)]
struct Drive {
    custody: Custody,
    items: MapItems,
    verifier: AuthorityVerifier,
}

impl Drive {
    fn new() -> Self {
        Self { custody: Custody::new(DRIVE), items: MapItems::default(), verifier: AUTHORITY.verifier() }
    }

    /// Forgets all that is in memory.
    fn restart(&mut self) {
        self.items.failure = None;
        let loaded = Custody::load(DRIVE, &self.items).expect("loads");
        for write in &loaded.repairs {
            self.items.carry_out(write);
        }
        let again = Custody::load(DRIVE, &self.items).expect("loads");
        assert_eq!(again.repairs, [], "one repair is enough");
        self.custody = loaded.custody;
    }

    fn run<O: Operation>(
        &mut self,
        caller: NodeId,
        call: O::Call,
        bulk: &[u8],
    ) -> Result<Reply<O>, Refusal<O>> {
        let by = Caller { node: caller, authority: &self.verifier, drive: DRIVE };
        let operation = O::prepare(call, Bytes::copy_from_slice(bulk), &by)?;
        run(&mut self.custody, &mut self.items, &operation, caller)
    }

    fn seal(&mut self, epoch: u64, owner: NodeId) -> Result<LogHeld, LogRefusal> {
        let grant = signed_by(&AUTHORITY, &Grant::Log(log_grant(epoch, owner)));
        self.run::<Sealing>(owner, SealLog { grant }, &[])
    }

    /// Puts a record of the caller's own epoch.
    fn put(&mut self, epoch: u64, owner: NodeId, seq: u64, bytes: &[u8]) -> Result<(), LogRefusal> {
        self.copy(epoch, owner, at(epoch, seq), bytes)
    }

    fn copy(
        &mut self,
        epoch: u64,
        owner: NodeId,
        position: Position,
        bytes: &[u8],
    ) -> Result<(), LogRefusal> {
        let call = PutLog { log: LOG, epoch: Epoch::new(epoch), position };
        self.run::<Recording>(owner, call, bytes).map(drop)
    }

    fn trim(&mut self, epoch: u64, up_to: u64, void_after: Option<u64>) -> Result<(), LogRefusal> {
        let call = TrimLog { log: LOG, epoch: Epoch::new(epoch), up_to, void_after };
        self.run::<Trimming>(OWNER, call, &[]).map(drop)
    }

    /// Every record, with its bytes: none when they are damaged.
    fn records(&mut self) -> Vec<(Position, Option<Bytes>)> {
        let (entries, end) = self.custody.read_log(ReadLog { log: LOG, after: 0, bytes: u32::MAX });
        assert!(end);
        let read = |(entry, key): (LogEntry, ItemKey)| {
            let bytes = self.items.read(&key).ok().filter(|bytes| Custody::is_whole(&key, bytes));
            if bytes.is_none() {
                self.custody.mark_damaged(&key);
            }
            (entry.position, bytes)
        };
        entries.into_iter().map(read).collect()
    }

    fn show(&mut self, grant: &SignedGrant, caller: NodeId) -> Result<(), GrantRefusal> {
        let shown = shown_session(grant, &self.verifier, DRIVE, caller)?;
        self.custody.show(shown)
    }

    fn may_put(&mut self, role: Role, caller: NodeId, header: &ShardHeader) -> Result<(), PutRefusal> {
        self.custody.begin_put(role, caller, header)?;
        self.custody.end_put(role, header.key.extent.session);
        Ok(())
    }
}

fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch::new(epoch), seq }
}

fn deposed(by: u64) -> LogRefusal {
    LogRefusal::Deposed { by: Epoch::new(by) }
}
