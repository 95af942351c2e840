//! Over items whose flush comes when a test says so.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use tokio::sync::watch;
use weft_pki::{ClusterAuthority, NodeIdentity};
use weft_types::{Epoch, FilesystemId, MetadataShard, NodeId, Position, Timestamp};
use weft_wire::grant::{GRANT_PURPOSE, Grant, LogGrant, SessionGrant, SignedGrant};
use weft_wire::log::{LogKey, LogRefusal, PutLog, SealLog};
use weft_wire::{Features, ProtocolVersion};

use super::*;
use crate::custody::{Recording, Sealing};
use crate::store::tests::{IDENTITY, shard};

const NODE: NodeId = NodeId::from_bytes([4; 16]);

/// Writes wait for the next flush; every write tells its number.
#[derive(Debug)]
struct Flushed {
    items: Mutex<BTreeMap<ItemKey, Bytes>>,
    begun: watch::Sender<usize>,
    flushes: watch::Sender<u64>,
    failing: Mutex<bool>,
}

impl Flushed {
    fn new() -> Arc<Self> {
        let (begun, flushes) = (watch::Sender::new(0), watch::Sender::new(0));
        Arc::new(Self { items: Mutex::default(), begun, flushes, failing: Mutex::new(false) })
    }

    fn flush(&self) {
        self.flushes.send_modify(|flushes| *flushes += 1);
    }

    async fn begun(&self, writes: usize) {
        self.begun.subscribe().wait_for(|begun| *begun >= writes).await.expect("open");
    }

    fn items(&self) -> MutexGuard<'_, BTreeMap<ItemKey, Bytes>> {
        self.items.lock().expect("sound")
    }
}

impl AsyncItems for Arc<Flushed> {
    async fn write(&self, write: Write) -> Result<(), Undone> {
        let mut flushes = self.flushes.subscribe();
        self.begun.send_modify(|begun| *begun += 1);
        flushes.changed().await.expect("open");
        if *self.failing.lock().expect("sound") {
            return Err(Undone::Failed(WriteFailed::NoSpace));
        }
        match write {
            Write::Put(key, value) => drop(self.items().insert(key, value)),
            Write::Delete(keys) => keys.iter().for_each(|key| drop(self.items().remove(key))),
        }
        Ok(())
    }

    async fn read(&self, key: &ItemKey) -> Result<Bytes, Unread> {
        self.items().get(key).cloned().ok_or(Unread::Failed(ReadItemError::Absent))
    }

    fn tight(&self) -> bool {
        false
    }
}

struct Fixture {
    authority: ClusterAuthority,
    items: Arc<Flushed>,
    keeper: Keeper<Arc<Flushed>>,
}

impl Fixture {
    fn new() -> Self {
        let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
        let authority = ClusterAuthority::create(IDENTITY.cluster, now).expect("created");
        let items = Flushed::new();
        let keeper = Keeper::new(Custody::new(IDENTITY), Arc::clone(&items));
        Self { authority, items, keeper }
    }

    fn sign(&self, grant: &Grant) -> SignedGrant {
        let body = minicbor::to_vec(grant).expect("encodes");
        let signature = self.authority.sign(GRANT_PURPOSE, &body);
        SignedGrant { body: body.into(), signature: signature.into() }
    }

    async fn seal(&self, log: LogKey) {
        let grant = self.sign(&Grant::Log(LogGrant {
            cluster: IDENTITY.cluster,
            filesystem: log.filesystem,
            shard: log.shard,
            epoch: Epoch::new(1),
            owner: NODE,
            drive: IDENTITY.drive,
            incarnation: IDENTITY.incarnation,
        }));
        let (keeper, verifier) = (self.keeper.clone(), self.authority.verifier());
        let before = *self.items.begun.borrow();
        let sealing = tokio::spawn(async move {
            keeper.run::<Sealing>(context(Role::Compute), SealLog { grant }, Bytes::new(), &verifier).await
        });
        self.items.begun(before + 2).await;
        self.items.flush();
        sealing.await.expect("ran").expect("sealed");
    }

    fn put(&self, log: LogKey, seq: u64) -> tokio::task::JoinHandle<Result<(), Failure<LogRefusal>>> {
        let (keeper, verifier) = (self.keeper.clone(), self.authority.verifier());
        let call = PutLog { log, epoch: Epoch::new(1), position: Position { epoch: Epoch::new(1), seq } };
        tokio::spawn(async move {
            let bulk = Bytes::from(format!("record {seq}"));
            keeper.run::<Recording>(context(Role::Compute), call, bulk, &verifier).await.map(drop)
        })
    }

    async fn records(&self, log: LogKey) -> Vec<u64> {
        let (read, _) = self.keeper.read_log(ReadLog { log, after: 0, bytes: 1 << 20 }).await.expect("read");
        read.entries.iter().map(|entry| entry.position.seq).collect()
    }
}

fn log(shard: u16) -> LogKey {
    LogKey { filesystem: FilesystemId::from_bytes([6; 16]), shard: MetadataShard::new(shard) }
}

fn context(role: Role) -> CallContext {
    CallContext {
        peer: NodeIdentity { cluster: IDENTITY.cluster, role, node: NODE },
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        deadline: Instant::now() + Duration::from_secs(60),
        version: ProtocolVersion::LATEST,
        features: Features::OURS,
    }
}

/// Lets every task go on until it waits.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn appends_of_several_logs_share_one_flush() {
    let fixture = Fixture::new();
    for shard in 0..4 {
        fixture.seal(log(shard)).await;
    }
    let before = *fixture.items.begun.borrow();
    let puts: Vec<_> = (0..4).map(|shard| fixture.put(log(shard), 1)).collect();
    fixture.items.begun(before + 4).await;
    assert!(fixture.records(log(0)).await.is_empty(), "nothing is seen before it is durable");
    fixture.items.flush();
    for put in puts {
        put.await.expect("ran").expect("put");
    }
    assert_eq!(fixture.records(log(3)).await, [1]);
}

#[tokio::test]
async fn calls_on_one_log_are_decided_one_after_the_other() {
    let fixture = Fixture::new();
    fixture.seal(log(0)).await;
    let before = *fixture.items.begun.borrow();
    let first = fixture.put(log(0), 1);
    fixture.items.begun(before + 1).await;
    let (again, other) = (fixture.put(log(0), 1), fixture.put(log(0), 2));
    settle().await;
    assert_eq!(*fixture.items.begun.borrow(), before + 1);
    fixture.items.flush();
    first.await.expect("ran").expect("put");
    again.await.expect("ran").expect("there already");
    fixture.items.begun(before + 2).await;
    fixture.items.flush();
    other.await.expect("ran").expect("put");
    assert_eq!(fixture.records(log(0)).await, [1, 2]);
}

#[tokio::test]
async fn a_write_that_fails_is_refused_and_not_seen() {
    let fixture = Fixture::new();
    fixture.seal(log(0)).await;
    let before = *fixture.items.begun.borrow();
    *fixture.items.failing.lock().expect("sound") = true;
    let put = fixture.put(log(0), 1);
    fixture.items.begun(before + 1).await;
    fixture.items.flush();
    assert_eq!(put.await.expect("ran"), Err(Failure::Refused(LogRefusal::NoSpace)));
    assert!(fixture.records(log(0)).await.is_empty());
}

#[tokio::test]
async fn what_begins_after_its_deadline_does_nothing() {
    let fixture = Fixture::new();
    fixture.seal(log(0)).await;
    let late = CallContext { deadline: Instant::now(), ..context(Role::Compute) };
    let call =
        PutLog { log: log(0), epoch: Epoch::new(1), position: Position { epoch: Epoch::new(1), seq: 1 } };
    let verifier = fixture.authority.verifier();
    let outcome = fixture.keeper.run::<Recording>(late, call, Bytes::from_static(b"late"), &verifier).await;
    assert_eq!(outcome, Err(Failure::Fault(Fault::DeadlinePassed)));
    assert!(fixture.records(log(0)).await.is_empty());
}

#[tokio::test]
async fn closing_is_answered_when_no_put_of_the_session_is_under_way() {
    let fixture = Fixture::new();
    let (header, _) = shard(1, 20_000, 1);
    let session = header.key.extent.session;
    let grant = fixture.sign(&Grant::Session(SessionGrant {
        cluster: IDENTITY.cluster,
        filesystem: header.filesystem,
        session,
        node: NODE,
    }));
    let verifier = fixture.authority.verifier();
    let frontend = context(Role::Frontend);
    fixture.keeper.present(frontend, &PresentGrant { grant }, &verifier).expect("taken");
    let puts = [(); 2].map(|()| fixture.keeper.begin_put(frontend, &header).expect("allowed"));
    let (keeper, items) = (fixture.keeper.clone(), Arc::clone(&fixture.items));
    let closing = tokio::spawn(async move {
        let call = CloseSessions { sessions: vec![session] };
        keeper.close(context(Role::Compute), call, &verifier).await
    });
    items.begun(2).await;
    assert_eq!(fixture.keeper.begin_put(frontend, &header).err(), Some(PutRefusal::SessionClosed));
    items.flush();
    for put in puts {
        settle().await;
        assert!(!closing.is_finished());
        drop(put);
    }
    closing.await.expect("ran").expect("closed");
}

#[tokio::test]
async fn a_record_that_is_not_what_was_put_is_told_as_damaged() {
    let fixture = Fixture::new();
    fixture.seal(log(0)).await;
    for seq in 1..=2 {
        let before = *fixture.items.begun.borrow();
        let put = fixture.put(log(0), seq);
        fixture.items.begun(before + 1).await;
        fixture.items.flush();
        put.await.expect("ran").expect("put");
    }
    let record = Bytes::from_static(b"record 1");
    fixture
        .items
        .items()
        .values_mut()
        .filter(|value| **value == record)
        .for_each(|value| *value = Bytes::from_static(b"other"));
    let read = ReadLog { log: log(0), after: 0, bytes: 1 << 20 };
    let (read, bulk) = fixture.keeper.read_log(read).await.expect("read");
    let lens: Vec<_> = read.entries.iter().map(|entry| (entry.position.seq, entry.len)).collect();
    assert_eq!(lens, [(1, 0), (2, 8)]);
    assert_eq!(bulk, "record 2");
}

#[tokio::test]
async fn scopes_that_nobody_is_in_are_forgotten() {
    let fixture = Fixture::new();
    let held = fixture.keeper.enter(Scope::Log(log(0))).await;
    for shard in 1..5000 {
        drop(fixture.keeper.enter(Scope::Log(log(shard))).await);
    }
    assert!(fixture.keeper.shared.scopes.lock().expect("sound").len() <= SCOPES_IDLE);
    let entering = fixture.keeper.scope(Scope::Log(log(0)));
    assert!(entering.try_lock().is_err(), "still held");
    drop(held);
    assert!(entering.try_lock().is_ok());
}
