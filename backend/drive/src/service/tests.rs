//! Over the network: who may call what, and what is answered.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{CallError, Peer, Pool, PoolSettings, Server, ServerSettings};
use weft_types::{NodeId, Timestamp};
use weft_wire::Call;

use super::*;
use weft_device::MemoryDevice;
use crate::drive::{DriveSettings, DriveThreads};
use crate::store::Store;
use crate::store::tests::{IDENTITY, device, key, shard};

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
        let server = Server::bind(address, &credentials, router(&drive), settings).expect("bound");
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

    async fn stop(self) {
        self.stop.send(()).expect("serving");
        self.server.await.expect("ran");
        self.threads.close();
    }
}

fn issue(authority: &ClusterAuthority, role: Role, now: Timestamp) -> Credentials {
    let node = NodeId::from_bytes([role as u8; 16]);
    let identity = NodeIdentity { cluster: IDENTITY.cluster, role, node };
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
async fn shards_go_in_and_come_out() {
    let served = Served::start();
    let frontend = served.client(Role::Frontend);
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
    let (frontend, compute) = (served.client(Role::Frontend), served.client(Role::Compute));
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
        if role != Role::Frontend {
            assert_eq!(fault(client.put(1, 1).await), Fault::Unauthorised, "{role}");
        }
    }
    served.stop().await;
}
