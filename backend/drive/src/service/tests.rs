//! Over the network: who may call what, and what is answered.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{CallError, Peer, Pool, PoolSettings, Server, ServerSettings};
use weft_types::{Epoch, MetadataShard, NodeId, Position, StoreVersion, Timestamp};
use weft_wire::Call;
use weft_wire::grant::{GRANT_PURPOSE, Grant, GrantRefusal, LogGrant, SessionGrant, SignedGrant};
use weft_wire::log::{
    DeleteObjects, GetObjectRefusal, LogKey, LogRefusal, ObjectKey, PutLog, PutObject, SealLog, TrimLog,
};
use weft_wire::store::{PutStore, StoreRefusal};

use super::*;
use crate::custody::Custody;
use crate::drive::{DriveSettings, DriveThreads};
use crate::store::Store;
use crate::store::tests::{IDENTITY, device, key, shard};
use weft_device::MemoryDevice;

const DEADLINE: Duration = Duration::from_secs(20);

struct Served {
    authority: ClusterAuthority,
    now: Timestamp,
    device: Arc<MemoryDevice>,
    threads: DriveThreads,
    peer: Peer,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Served {
    fn start() -> Self {
        let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        let now = Timestamp::from_unix(since_epoch);
        let authority = ClusterAuthority::create(IDENTITY.cluster, now).expect("made");
        let device = device(16);
        let store = Store::open(device.clone() as _, IDENTITY).expect("opens");
        let (drive, threads) = Drive::start(store, IDENTITY, DriveSettings::default()).expect("starts");
        let credentials = issue(&authority, Role::Drive, now);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let settings = ServerSettings::default();
        let keeper = Keeper::new(Custody::new(IDENTITY), drive);
        let router = router(&keeper, &credentials.authority_verifier().expect("an authority's"));
        let server = Server::bind(address, &credentials, router, settings).expect("bound");
        let peer = Peer { identity: credentials.identity(), address: server.address() };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Self { authority, now, device, threads, peer, stop, server }
    }

    fn client(&self, role: Role) -> Client {
        let credentials = issue(&self.authority, role, self.now);
        let pool = Pool::new(Handle::current(), &credentials, PoolSettings::default()).expect("made");
        Client { pool, peer: self.peer }
    }

    fn sign(&self, grant: &Grant) -> SignedGrant {
        let body = minicbor::to_vec(grant).expect("encodes");
        let signature = self.authority.sign(GRANT_PURPOSE, &body);
        SignedGrant { body: body.into(), signature: signature.into() }
    }

    fn session_grant(&self) -> PresentGrant {
        let header = shard(1, 20_000, 1).0;
        let (filesystem, session) = (header.filesystem, header.key.extent.session);
        let node = node(Role::Frontend);
        let grant = SessionGrant { cluster: IDENTITY.cluster, filesystem, session, node };
        PresentGrant { grant: self.sign(&Grant::Session(grant)) }
    }

    /// A frontend that showed its grant.
    async fn frontend(&self) -> Client {
        let frontend = self.client(Role::Frontend);
        frontend.call(self.session_grant(), Bytes::new()).await.expect("taken");
        frontend
    }

    fn seal(&self, epoch: u64) -> SealLog {
        let grant = LogGrant {
            cluster: IDENTITY.cluster,
            filesystem: LOG.filesystem,
            shard: LOG.shard,
            epoch: Epoch::new(epoch),
            owner: node(Role::Compute),
            drive: IDENTITY.drive,
            incarnation: IDENTITY.incarnation,
        };
        SealLog { grant: self.sign(&Grant::Log(grant)) }
    }

    async fn stop(self) {
        self.stop.send(()).expect("serving");
        self.server.await.expect("ran");
        self.threads.close();
    }
}

const LOG: LogKey =
    LogKey { filesystem: weft_types::FilesystemId::from_bytes([6; 16]), shard: MetadataShard::new(0) };

fn node(role: Role) -> NodeId {
    NodeId::from_bytes([role as u8; 16])
}

fn issue(authority: &ClusterAuthority, role: Role, now: Timestamp) -> Credentials {
    let identity = NodeIdentity { cluster: IDENTITY.cluster, role, node: node(role) };
    authority.issue(identity, Validity::of_a_node(now).expect("valid")).expect("issued")
}

struct Client {
    pool: Pool,
    peer: Peer,
}

impl Client {
    async fn call<C: Call>(&self, call: C, bulk: Bytes) -> Result<(C::Reply, Bytes), CallError<C::Refusal>> {
        self.pool.call(&self.peer, &call, bulk, DEADLINE).await
    }

    async fn put(&self, seq: u64, version: u8) -> Result<bool, CallError<PutRefusal>> {
        let (header, payload) = shard(seq, 20_000, version);
        self.call(PutShard { header }, payload).await.map(|(stored, _)| stored.already)
    }
}

fn get(seq: u64, start: u32, len: u32) -> GetShard {
    GetShard { key: key(seq), start, len }
}

fn refusal<T: std::fmt::Debug, R: std::fmt::Debug>(outcome: Result<T, CallError<R>>) -> R {
    match outcome.expect_err("refused") {
        CallError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

fn fault<T: std::fmt::Debug, R: std::fmt::Debug>(outcome: Result<T, CallError<R>>) -> Fault {
    match outcome.expect_err("not carried out") {
        CallError::Fault(fault) => fault,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn shards_of_several_extents_go_in_by_one_call() {
    let served = Served::start();
    let frontend = served.frontend().await;
    let shards: Vec<_> = (1..=3).map(|seq| shard(seq, 20_000, 1)).collect();
    let call = || PutShards { headers: shards.iter().map(|(header, _)| header.clone()).collect() };
    let bulk = Bytes::from(shards.iter().flat_map(|(_, payload)| payload.to_vec()).collect::<Vec<_>>());
    let torn = frontend.call(call(), bulk.slice(1..)).await;
    assert_eq!(refusal(torn), PutRefusal::Malformed);
    let nothing = frontend.call(PutShards { headers: Vec::new() }, Bytes::new()).await;
    assert_eq!(refusal(nothing), PutRefusal::Malformed);
    assert_eq!(refusal(frontend.call(get(1, 0, 1), Bytes::new()).await), GetRefusal::Absent);

    frontend.call(call(), bulk.clone()).await.expect("stored");
    for seq in 1..=3 {
        let (_, bytes) = frontend.call(get(seq, 4160, 4160), Bytes::new()).await.expect("read");
        assert_eq!(bytes, shard(seq, 20_000, 1).1.slice(4160..8320));
    }
    frontend.call(call(), bulk).await.expect("there already");
    let (other, payload) = shard(2, 20_000, 2);
    let conflict = frontend.call(PutShards { headers: vec![other] }, payload).await;
    assert_eq!(refusal(conflict), PutRefusal::Conflict);
    served.stop().await;
}

#[tokio::test]
async fn shards_go_in_and_come_out() {
    let served = Served::start();
    let frontend = served.frontend().await;
    assert!(!frontend.put(1, 1).await.expect("stored"));
    assert!(frontend.put(1, 1).await.expect("there already"));
    assert_eq!(refusal(frontend.put(1, 2).await), PutRefusal::Conflict);
    let (header, payload) = shard(2, 20_000, 1);
    let torn = frontend.call(PutShard { header: header.clone() }, payload.slice(1..)).await;
    assert_eq!(refusal(torn), PutRefusal::Malformed);
    let other: Bytes = payload.iter().map(|byte| !byte).collect();
    assert_eq!(refusal(frontend.call(PutShard { header }, other).await), PutRefusal::DigestMismatch);

    let (_, bytes) = frontend.call(get(1, 4160, 4160), Bytes::new()).await.expect("read");
    assert_eq!(bytes, shard(1, 20_000, 1).1.slice(4160..8320));
    assert_eq!(refusal(frontend.call(get(2, 0, 1), Bytes::new()).await), GetRefusal::Absent);
    for (start, len) in [(0, 0), (0, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX), (8320, 1)] {
        let refused = refusal(frontend.call(get(1, start, len), Bytes::new()).await);
        assert_eq!(refused, GetRefusal::OutOfRange, "{start}+{len}");
    }
    let bytes = served.device.bytes();
    let place = bytes.windows(64).position(|run| run == &payload_of(1)[..64]).expect("on the device");
    served.device.damage(place + 100, |bytes| bytes[0] ^= 1, 1);
    assert_eq!(refusal(frontend.call(get(1, 0, 10), Bytes::new()).await), GetRefusal::Damaged);
    frontend.call(get(1, 4160, 10), Bytes::new()).await.expect("the other slot is sound");
    served.stop().await;
}

fn payload_of(seq: u64) -> Bytes {
    shard(seq, 20_000, 1).1
}

#[tokio::test]
async fn compute_lists_describes_and_deletes() {
    let served = Served::start();
    let (frontend, compute) = (served.frontend().await, served.client(Role::Compute));
    for seq in 1..4 {
        frontend.put(seq, 1).await.expect("stored");
    }
    let list = |after: Option<u64>, limit| ListShards { after: after.map(key), limit };
    let (page, _) = compute.call(list(None, 2), Bytes::new()).await.expect("listed");
    assert_eq!(page.keys, [key(1), key(2)]);
    let (page, _) = compute.call(list(Some(2), 0), Bytes::new()).await.expect("listed");
    assert_eq!(page.keys, [key(3)], "an empty page would mean the end");
    let (header, _) = compute.call(DescribeShard { key: key(2) }, Bytes::new()).await.expect("described");
    assert_eq!(header, shard(2, 20_000, 1).0);
    let delete = DeleteShards { keys: vec![key(2), key(2), key(9)] };
    let (deleted, _) = compute.call(delete, Bytes::new()).await.expect("deleted");
    assert_eq!(deleted.deleted, 1);
    assert_eq!(refusal(compute.call(get(2, 0, 1), Bytes::new()).await), GetRefusal::Absent);
    let many = DeleteShards { keys: vec![key(1); DELETE_MAX + 1] };
    assert_eq!(refusal(compute.call(many, Bytes::new()).await), DeleteRefusal::TooMany);
    compute.call(get(1, 0, 1), Bytes::new()).await.expect("still there");
    served.stop().await;
}

#[tokio::test]
async fn a_frontend_puts_under_its_grant_until_the_session_is_closed() {
    let served = Served::start();
    let (frontend, compute) = (served.client(Role::Frontend), served.client(Role::Compute));
    assert_eq!(refusal(frontend.put(1, 1).await), PutRefusal::NotGranted);
    let mut forged = served.session_grant();
    forged.grant.signature[8] ^= 1;
    assert_eq!(refusal(frontend.call(forged, Bytes::new()).await), GrantRefusal::Forged);
    for _ in 0..2 {
        frontend.call(served.session_grant(), Bytes::new()).await.expect("taken");
    }
    assert!(!frontend.put(1, 1).await.expect("stored"));
    let close = || CloseSessions { sessions: vec![shard(1, 20_000, 1).0.key.extent.session] };
    compute.call(close(), Bytes::new()).await.expect("closed");
    compute.call(close(), Bytes::new()).await.expect("closed already");
    assert_eq!(refusal(frontend.put(1, 1).await), PutRefusal::SessionClosed);
    assert_eq!(refusal(frontend.call(served.session_grant(), Bytes::new()).await), GrantRefusal::Closed);
    assert!(!compute.put(2, 1).await.expect("compute spreads anew"));
    frontend.call(get(1, 0, 1), Bytes::new()).await.expect("reads go on");
    served.stop().await;
}

fn record(epoch: u64, seq: u64) -> PutLog {
    let epoch = Epoch::new(epoch);
    PutLog { log: LOG, epoch, position: Position { epoch, seq } }
}

#[tokio::test]
async fn a_log_is_sealed_written_read_and_trimmed() {
    let served = Served::start();
    let compute = served.client(Role::Compute);
    let put = async |epoch, seq, bytes: &'static [u8]| {
        compute.call(record(epoch, seq), Bytes::from_static(bytes)).await
    };
    assert_eq!(refusal(put(4, 1, b"one").await), LogRefusal::NotGranted);
    compute.call(served.seal(4), Bytes::new()).await.expect("sealed");
    for (seq, bytes) in [(1, &b"one"[..]), (2, b"two"), (3, b"three"), (3, b"three")] {
        let (stored, _) = put(4, seq, bytes).await.expect("put");
        assert!(!stored.tight);
    }
    assert_eq!(refusal(put(4, 3, b"other").await), LogRefusal::Conflict);
    assert_eq!(refusal(put(4, 4, b"").await), LogRefusal::Malformed);
    let read = |after| ReadLog { log: LOG, after, bytes: 1 << 20 };
    let (found, bytes) = compute.call(read(0), Bytes::new()).await.expect("read");
    assert_eq!((found.entries.len(), found.end), (3, true));
    assert_eq!(bytes, "onetwothree");
    let trim = |epoch| TrimLog { log: LOG, epoch: Epoch::new(epoch), up_to: 2, void_after: None };
    compute.call(trim(4), Bytes::new()).await.expect("trimmed");
    assert_eq!(refusal(put(4, 2, b"two").await), LogRefusal::Trimmed);
    let (held, _) = compute.call(served.seal(6), Bytes::new()).await.expect("sealed");
    assert_eq!((held.trimmed, held.first), (2, Some(3)));
    let by = Epoch::new(6);
    assert_eq!(refusal(put(4, 4, b"four").await), LogRefusal::Deposed { by });
    assert_eq!(refusal(compute.call(trim(4), Bytes::new()).await), LogRefusal::Deposed { by });
    assert_eq!(refusal(compute.call(served.seal(5), Bytes::new()).await), LogRefusal::Deposed { by });
    let (found, bytes) = compute.call(read(0), Bytes::new()).await.expect("read");
    assert_eq!((found.entries.len(), bytes), (1, Bytes::from_static(b"three")));
    served.stop().await;
}

#[tokio::test]
async fn checkpoints_go_in_and_come_out() {
    let served = Served::start();
    let compute = served.client(Role::Compute);
    compute.call(served.seal(4), Bytes::new()).await.expect("sealed");
    let key = |part| ObjectKey { log: LOG, epoch: Epoch::new(4), number: 1, part };
    let bytes = Bytes::from(vec![7; 10_000]);
    for part in 0..3 {
        compute.call(PutObject { key: key(part) }, bytes.clone()).await.expect("put");
    }
    let (_, read) = compute.call(GetObject { key: key(1) }, Bytes::new()).await.expect("read");
    assert_eq!(read, bytes);
    let list = ListObjects { log: LOG, after: Some(key(0)) };
    let (listed, _) = compute.call(list, Bytes::new()).await.expect("listed");
    assert_eq!(listed.keys, [key(1), key(2)]);
    let delete = DeleteObjects { epoch: Epoch::new(4), keys: vec![key(1)] };
    compute.call(delete, Bytes::new()).await.expect("deleted");
    let gone = compute.call(GetObject { key: key(1) }, Bytes::new()).await;
    assert_eq!(refusal(gone), GetObjectRefusal::Absent);
    served.stop().await;
}

#[tokio::test]
async fn the_cluster_store_is_promised_put_and_given_back() {
    let served = Served::start();
    let management = served.client(Role::Management);
    let open = |term: Option<u64>| OpenStore { term: term.map(Epoch::new) };
    let (blank, _) = management.call(open(Some(3)), Bytes::new()).await.expect("promised");
    assert_eq!((blank.promised, blank.copy), (Epoch::new(3), None));
    let put = |term, version| PutStore { term: Epoch::new(term), version: StoreVersion::new(version) };
    let store = Bytes::from(vec![9; 20_000]);
    management.call(put(3, 1), store.clone()).await.expect("taken");
    assert_eq!(
        refusal(management.call(put(2, 2), store.clone()).await),
        StoreRefusal::Fenced { by: Epoch::new(3) }
    );
    let admin = served.client(Role::Admin);
    let (held, bytes) = admin.call(open(None), Bytes::new()).await.expect("read");
    assert_eq!(held.copy, Some((Epoch::new(3), StoreVersion::new(1))));
    assert_eq!(bytes, store);
    served.stop().await;
}

/// Whether the caller's role may make the call at all.
fn allowed<T: std::fmt::Debug, R: std::fmt::Debug>(outcome: Result<T, CallError<R>>) -> bool {
    match outcome {
        Ok(_) | Err(CallError::Refused(_)) => true,
        Err(CallError::Fault(Fault::Unauthorised)) => false,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn custody_is_called_only_by_those_whose_it_is() {
    let served = Served::start();
    let key = ObjectKey { log: LOG, epoch: Epoch::new(4), number: 1, part: 0 };
    for role in Role::ALL {
        let client = served.client(role);
        let none = Bytes::new;
        let trim = TrimLog { log: LOG, epoch: Epoch::new(4), up_to: 1, void_after: None };
        let owners = [
            allowed(client.call(CloseSessions { sessions: Vec::new() }, none()).await),
            allowed(client.call(served.seal(4), none()).await),
            allowed(client.call(record(4, 1), none()).await),
            allowed(client.call(ReadLog { log: LOG, after: 0, bytes: 1 }, none()).await),
            allowed(client.call(trim, none()).await),
            allowed(client.call(PutObject { key }, none()).await),
            allowed(client.call(GetObject { key }, none()).await),
            allowed(client.call(DeleteObjects { epoch: Epoch::new(4), keys: vec![key] }, none()).await),
            allowed(client.call(ListObjects { log: LOG, after: None }, none()).await),
        ];
        assert_eq!(owners, [role == Role::Compute; 9], "{role}");
        let put = PutStore { term: Epoch::new(1), version: StoreVersion::new(1) };
        let managers = [
            allowed(client.call(OpenStore { term: None }, none()).await),
            allowed(client.call(put, none()).await),
        ];
        assert_eq!(managers, [matches!(role, Role::Management | Role::Admin); 2], "{role}");
        assert_eq!(
            allowed(client.call(served.session_grant(), none()).await),
            role == Role::Frontend,
            "{role}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn every_call_is_for_its_roles() {
    let served = Served::start();
    for role in Role::ALL {
        let client = served.client(role);
        let delete = client.call(DeleteShards { keys: Vec::new() }, Bytes::new()).await;
        let list = client.call(ListShards { after: None, limit: 1 }, Bytes::new()).await;
        let describe = client.call(DescribeShard { key: key(1) }, Bytes::new()).await;
        if role == Role::Compute {
            delete.expect("allowed");
            list.expect("allowed");
            assert_eq!(refusal(describe), GetRefusal::Absent);
        } else {
            assert_eq!(fault(delete), Fault::Unauthorised, "{role}");
            assert_eq!(fault(list), Fault::Unauthorised, "{role}");
            assert_eq!(fault(describe), Fault::Unauthorised, "{role}");
        }
        match (role, client.call(get(1, 0, 1), Bytes::new()).await) {
            (Role::Frontend | Role::Compute, outcome) => assert_eq!(refusal(outcome), GetRefusal::Absent),
            (_, outcome) => assert_eq!(fault(outcome), Fault::Unauthorised, "{role}"),
        }
        match (role, client.put(2, 1).await) {
            (Role::Frontend, outcome) => assert_eq!(refusal(outcome), PutRefusal::NotGranted),
            (Role::Compute, outcome) => assert!(!outcome.expect("stored")),
            (_, outcome) => assert_eq!(fault(outcome), Fault::Unauthorised, "{role}"),
        }
    }
    served.stop().await;
}
