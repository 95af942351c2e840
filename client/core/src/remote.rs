//! The cluster over QUIC.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use weft_layout::ClusterMap;
use weft_pki::NodeIdentity;
use weft_transport::{Bulk, CallError, Peer, Pool};
use weft_types::{ClusterId, DriveId, MapVersion, NodeId, Role, Timestamp};
use weft_wire::coherence::{AckRecalls, Acked, Attach, Place, Recalls, WatchRecalls};
use weft_wire::compute::{
    CloseSession, Meta, MetaDone, OpenRefusal, OpenSession, RenewSession, SessionClosed, SessionGone,
    SessionOpened, SessionRenewed,
};
use weft_wire::drive::{GetRefusal, GetShard, PutRefusal, PutShard, PutShards, ShardStored};
use weft_wire::grant::{GrantRefusal, GrantTaken, PresentGrant};
use weft_wire::locks::{Lock, LockRefusal, Locked, Reclaim, Reclaimed};
use weft_wire::management::{
    FrontendReport, GetMap, Heartbeat, HeartbeatHeard, HeartbeatRefusal, MapReply, NodeReport,
};
use weft_wire::meta::MetaError;
use weft_wire::{Call, Fault, NoRefusal};

use crate::backend::{Answer, Backend, Failure};

/// What heartbeats say of this process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) container: String,
    pub(crate) pid: u32,
    pub(crate) started: Timestamp,
}

/// Where the peers of a map are.
#[derive(Debug, Default)]
struct Addresses {
    drives: HashMap<DriveId, Peer>,
    computes: Vec<Peer>,
}

impl Addresses {
    fn of(map: &ClusterMap) -> Self {
        let drives = map.drives.iter().filter_map(|drive| {
            Some((drive.id, peer(map.cluster, Role::Drive, drive.node, &drive.address)?))
        });
        let computes = map
            .computes
            .iter()
            .filter_map(|entry| peer(map.cluster, Role::Compute, entry.node, &entry.address));
        Self { drives: drives.collect(), computes: computes.collect() }
    }
}

/// An address that is none was refused with the map; a name would have to be resolved, and is not offered.
fn peer(cluster: ClusterId, role: Role, node: NodeId, address: &str) -> Option<Peer> {
    let address = address.parse::<SocketAddr>().ok()?;
    Some(Peer { identity: NodeIdentity { cluster, role, node }, address })
}

/// Makes the calls of a mount through a connection pool.
#[derive(Debug)]
pub(crate) struct Remote {
    pool: Pool,
    management: Peer,
    process: Process,
    addresses: RwLock<Addresses>,
    /// Counts on when a compute process does not serve: the next one is asked then.
    compute: Arc<AtomicUsize>,
}

impl Remote {
    pub(crate) fn new(pool: Pool, management: Peer, process: Process) -> Self {
        let addresses = RwLock::default();
        Self { pool, management, process, addresses, compute: Arc::default() }
    }

    /// Makes a call to the compute process that serves, as far as is known.
    pub(crate) fn to_compute<C: Call>(&self, call: &C, deadline: Duration) -> Answer<C::Reply, C::Refusal> {
        let chosen = self.compute.load(Ordering::Relaxed);
        let peer = {
            let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
            let count = addresses.computes.len().max(1);
            addresses.computes.get(chosen % count).copied()
        };
        let Some(peer) = peer else { return unreachable() };
        let call = self.pool.call(&peer, call, Bulk::none(), deadline);
        let turn = Arc::clone(&self.compute);
        Box::pin(async move {
            let answer = call.await.map(|(reply, _)| reply).map_err(failure);
            if matches!(answer, Err(Failure::Busy | Failure::Unreachable)) {
                let next = chosen.wrapping_add(1);
                // Another call may have moved on already.
                let _ = turn.compare_exchange(chosen, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            answer
        })
    }

    fn to_management<C: Call>(&self, call: &C, deadline: Duration) -> Answer<C::Reply, C::Refusal> {
        let call = self.pool.call(&self.management, call, Bulk::none(), deadline);
        Box::pin(async move { call.await.map(|(reply, _)| reply).map_err(failure) })
    }

    /// A call to a drive. There is always another drive to turn to, so one that is known to be down fails at once.
    fn to_drive<C: Call>(
        &self,
        drive: DriveId,
        call: &C,
        bulk: Bytes,
        deadline: Duration,
    ) -> Answer<(C::Reply, Bytes), C::Refusal> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = addresses.drives.get(&drive) else { return unreachable() };
        let call = self.pool.failing_fast().call(peer, call, bulk, deadline);
        Box::pin(async move { call.await.map_err(failure) })
    }
}

fn unreachable<T, R>() -> Answer<T, R> {
    Box::pin(async { Err(Failure::Unreachable) })
}

fn failure<R: fmt::Debug>(error: CallError<R>) -> Failure<R> {
    match error {
        CallError::Refused(refusal) => Failure::Refused(refusal),
        CallError::Fault(fault) if fault.is_retryable() => Failure::Busy,
        // The process may be restarting; what it did is unknown, as of one that broke off.
        CallError::Fault(Fault::Internal) | CallError::Unreachable { .. } | CallError::Lost { .. } => {
            Failure::Unreachable
        }
        CallError::TimedOut { .. } => Failure::TimedOut,
        CallError::Fault(_) | CallError::Protocol { .. } | CallError::Version { .. } => Failure::Broken,
    }
}

impl Backend for Remote {
    fn meta(&self, call: Meta, deadline: Duration) -> Answer<MetaDone, MetaError> {
        self.to_compute(&call, deadline)
    }

    fn open(&self, call: OpenSession, deadline: Duration) -> Answer<SessionOpened, OpenRefusal> {
        self.to_compute(&call, deadline)
    }

    fn renew(&self, call: RenewSession, deadline: Duration) -> Answer<SessionRenewed, SessionGone> {
        self.to_compute(&call, deadline)
    }

    fn close(&self, call: CloseSession, deadline: Duration) -> Answer<SessionClosed, SessionGone> {
        self.to_compute(&call, deadline)
    }

    fn lock(&self, call: Lock, deadline: Duration) -> Answer<Locked, LockRefusal> {
        self.to_compute(&call, deadline)
    }

    fn reclaim(&self, call: Reclaim, deadline: Duration) -> Answer<Reclaimed, LockRefusal> {
        self.to_compute(&call, deadline)
    }

    fn attach(&self, call: Attach, deadline: Duration) -> Answer<Place, SessionGone> {
        self.to_compute(&call, deadline)
    }

    fn recalls(&self, call: WatchRecalls, deadline: Duration) -> Answer<Recalls, SessionGone> {
        self.to_compute(&call, deadline)
    }

    fn acknowledge(&self, call: AckRecalls, deadline: Duration) -> Answer<Acked, SessionGone> {
        self.to_compute(&call, deadline)
    }

    fn present(
        &self,
        drive: DriveId,
        call: PresentGrant,
        deadline: Duration,
    ) -> Answer<GrantTaken, GrantRefusal> {
        let answer = self.to_drive(drive, &call, Bytes::new(), deadline);
        Box::pin(async move { answer.await.map(|(taken, _)| taken) })
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutShard,
        bytes: Bytes,
        deadline: Duration,
    ) -> Answer<ShardStored, PutRefusal> {
        let answer = self.to_drive(drive, &call, bytes, deadline);
        Box::pin(async move { answer.await.map(|(stored, _)| stored) })
    }

    fn put_many(
        &self,
        drive: DriveId,
        shards: Vec<(PutShard, Bytes)>,
        deadline: Duration,
    ) -> Answer<(), PutRefusal> {
        let mut bulk = BytesMut::with_capacity(shards.iter().map(|(_, bytes)| bytes.len()).sum());
        let mut headers = Vec::with_capacity(shards.len());
        for (call, bytes) in shards {
            bulk.extend_from_slice(&bytes);
            headers.push(call.header);
        }
        let answer = self.to_drive(drive, &PutShards { headers }, bulk.freeze(), deadline);
        Box::pin(async move { answer.await.map(drop) })
    }

    fn get(&self, drive: DriveId, call: GetShard, deadline: Duration) -> Answer<Bytes, GetRefusal> {
        let answer = self.to_drive(drive, &call, Bytes::new(), deadline);
        Box::pin(async move { answer.await.map(|(_, bytes)| bytes) })
    }

    fn heartbeat(
        &self,
        report: FrontendReport,
        deadline: Duration,
    ) -> Answer<HeartbeatHeard, HeartbeatRefusal> {
        let Process { container, pid, started } = self.process.clone();
        let node = self.pool.identity().node;
        let call = Heartbeat { node, container, pid, started, report: NodeReport::Frontend(report) };
        self.to_management(&call, deadline)
    }

    fn map(&self, known: Option<MapVersion>, deadline: Duration) -> Answer<MapReply, NoRefusal> {
        self.to_management(&GetMap { known }, deadline)
    }

    fn install(&self, map: &ClusterMap) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = Addresses::of(map);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn shut_down(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let pool = self.pool.clone();
        Box::pin(async move { pool.close().await })
    }
}
