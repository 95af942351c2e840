//! A client's way to the cluster: what the filesystem's core makes its calls through.

use core::fmt;
use core::pin::Pin;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use weft_core::{Answer, Backend, Failure};
use weft_layout::ClusterMap;
use weft_pki::NodeIdentity;
use weft_types::{DriveId, MapVersion, NodeId, Role, SessionId, Timestamp};
use weft_wire::NoRefusal;
use weft_wire::coherence::{AckRecalls, Acked, Attach, Place, Recalls, WatchRecalls};
use weft_wire::compute::{
    CloseSession, Meta, MetaDone, OpenRefusal, OpenSession, RenewSession, SessionClosed, SessionGone,
    SessionHolder, SessionOpened, SessionRenewed,
};
use weft_wire::drive::{GetRefusal, GetShard, PutRefusal, PutShard, ShardStored};
use weft_wire::grant::{GrantRefusal, GrantTaken, PresentGrant};
use weft_wire::locks::{Lock, LockRefusal, Locked, Reclaim, Reclaimed};
use weft_wire::management::{
    FrontendReport, Heartbeat, HeartbeatHeard, HeartbeatRefusal, MapReply, NodeReport,
};
use weft_wire::meta::MetaError;

use crate::compute::{Process, Served};
use crate::drives::{Local, drive_number};
use crate::net::{Endpoint, Life, NoAnswer, Node};
use crate::world::{COMPUTES, FILESYSTEM, World};

/// One client process. Clones are one.
#[derive(Clone)]
pub(crate) struct Frontend {
    /// The cluster.
    pub(crate) world: Arc<World>,
    /// Itself on the network.
    pub(crate) endpoint: Endpoint,
    /// The identity; all writers have one, so that one may replace another's session.
    pub(crate) node: NodeId,
    off_by: i64,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frontend({})", self.endpoint.node)
    }
}

fn failure<R>(no: NoAnswer) -> Failure<R> {
    match no {
        NoAnswer::Unreachable => Failure::Unreachable,
        NoAnswer::TimedOut => Failure::TimedOut,
    }
}

impl Frontend {
    /// A process that begins.
    pub(crate) fn new(world: &Arc<World>, number: u32, node: u8) -> Self {
        let endpoint = Endpoint { node: Node::Client(number), life: Life::begin() };
        let off_by = i64::from(number % 7) * 300 - 900;
        Self { world: Arc::clone(world), endpoint, node: NodeId::from_bytes([node; 16]), off_by }
    }

    /// Calls the compute node that serves, as far as is known.
    pub(crate) async fn to_compute<T, R, S>(
        &self,
        deadline: Duration,
        act: impl Fn(Arc<World>, Arc<Process>) -> S + Send + Sync + 'static,
    ) -> Served<T, R>
    where
        T: Send + 'static,
        R: Send + 'static,
        S: Future<Output = Served<T, R>> + Send + 'static,
    {
        let preferred = &self.world.preferred;
        let chosen = preferred.load(Ordering::Relaxed);
        let answer = self.world.to_compute(&self.endpoint, chosen % COMPUTES, deadline, act).await;
        if matches!(answer, Err(Failure::Busy | Failure::Unreachable)) {
            let _ = preferred.compare_exchange(chosen, chosen + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }

    /// Makes a call of metadata.
    pub(crate) async fn ask(&self, call: Meta, deadline: Duration) -> Served<MetaDone, MetaError> {
        let (node, from) = (self.node, self.endpoint.node);
        self.world.trace.detail(format_args!("{from} asks {call:?}"));
        let answer =
            self.to_compute(deadline, move |world, process| process.meta(world, node, call.clone())).await;
        self.world.trace.detail(format_args!("{from} is answered {answer:?}"));
        answer
    }

    /// As what this process mounts.
    pub(crate) fn holder(&self) -> SessionHolder {
        SessionHolder {
            host: "host".to_owned(),
            boot: "boot".to_owned(),
            pid: 1,
            mount: self.endpoint.node.to_string(),
        }
    }

    /// Opens a session; `None`: not within `patience`. The lease counts from the moment that is answered too.
    pub(crate) async fn open(
        &self,
        read_only: bool,
        replaces: Option<SessionId>,
        patience: Duration,
    ) -> Option<(SessionOpened, Instant)> {
        let (filesystem, holder) = (FILESYSTEM.to_owned(), self.holder());
        let call = OpenSession { filesystem, read_only, holder, replaces };
        let begun = Instant::now();
        while begun.elapsed() < patience && !self.world.trace.is_violated() {
            let asked = Instant::now();
            match Backend::open(self, call.clone(), Duration::from_secs(10)).await {
                Ok(opened) => return Some((opened, asked)),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
        None
    }

    /// A cluster map; `None`: not within `patience`.
    pub(crate) async fn first_map(&self, patience: Duration) -> Option<ClusterMap> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Ok(MapReply { map: Some(map) }) = self.map(None, Duration::from_secs(5)).await {
                return Some(map);
            }
            sleep(Duration::from_millis(200)).await;
        }
        None
    }

    fn at<T: fmt::Debug + Send + 'static, R: fmt::Debug + Send + 'static>(
        &self,
        drive: DriveId,
        deadline: Duration,
        act: impl Fn(&World, &mut Local) -> Result<T, R> + Send + Sync + 'static,
    ) -> Answer<T, R> {
        let this = self.clone();
        Box::pin(async move {
            let answer = this.world.to_drive(&this.endpoint, drive_number(drive), deadline, act).await;
            answer.map_err(failure)?.map_err(Failure::Refused)
        })
    }
}

impl Backend for Frontend {
    fn meta(&self, call: Meta, deadline: Duration) -> Answer<MetaDone, MetaError> {
        let this = self.clone();
        Box::pin(async move { this.ask(call, deadline).await })
    }

    fn open(&self, call: OpenSession, deadline: Duration) -> Answer<SessionOpened, OpenRefusal> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.open_session(world, node, call.clone()))
                .await
        })
    }

    fn renew(&self, call: RenewSession, deadline: Duration) -> Answer<SessionRenewed, SessionGone> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.renew_session(world, node, call)).await
        })
    }

    fn close(&self, call: CloseSession, deadline: Duration) -> Answer<SessionClosed, SessionGone> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.close_session(world, node, call)).await
        })
    }

    fn lock(&self, call: Lock, deadline: Duration) -> Answer<Locked, LockRefusal> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.lock(world, node, call)).await
        })
    }

    fn reclaim(&self, call: Reclaim, deadline: Duration) -> Answer<Reclaimed, LockRefusal> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.reclaim(world, node, call.clone())).await
        })
    }

    fn attach(&self, call: Attach, deadline: Duration) -> Answer<Place, SessionGone> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.attach(world, node, call.clone())).await
        })
    }

    fn recalls(&self, call: WatchRecalls, deadline: Duration) -> Answer<Recalls, SessionGone> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.recalls(world, node, call)).await
        })
    }

    fn acknowledge(&self, call: AckRecalls, deadline: Duration) -> Answer<Acked, SessionGone> {
        let (this, node) = (self.clone(), self.node);
        Box::pin(async move {
            this.to_compute(deadline, move |world, process| process.acknowledge(world, node, call.clone()))
                .await
        })
    }

    fn present(
        &self,
        drive: DriveId,
        call: PresentGrant,
        deadline: Duration,
    ) -> Answer<GrantTaken, GrantRefusal> {
        let node = self.node;
        self.at(drive, deadline, move |_, local| local.present(node, &call.grant).map(|()| GrantTaken {}))
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutShard,
        bytes: Bytes,
        deadline: Duration,
    ) -> Answer<ShardStored, PutRefusal> {
        let node = self.node;
        self.world.sealed_shard(call.header.key, &bytes);
        self.at(drive, deadline, move |_, local| {
            local.put_shard(Role::Frontend, node, &call.header, bytes.clone())
        })
    }

    fn get(&self, drive: DriveId, call: GetShard, deadline: Duration) -> Answer<Bytes, GetRefusal> {
        self.at(drive, deadline, move |_, local| {
            let end = call.start.checked_add(call.len).ok_or(GetRefusal::OutOfRange)?;
            local.reader().read(call.key, call.start..end).map_err(|error| match error {
                weft_drive::ReadError::Absent => GetRefusal::Absent,
                weft_drive::ReadError::Corrupt { .. } => GetRefusal::Damaged,
                weft_drive::ReadError::OutOfRange { .. } => GetRefusal::OutOfRange,
                weft_drive::ReadError::Io(_) => GetRefusal::Device,
            })
        })
    }

    fn heartbeat(
        &self,
        report: FrontendReport,
        deadline: Duration,
    ) -> Answer<HeartbeatHeard, HeartbeatRefusal> {
        let this = self.clone();
        let peer = NodeIdentity { cluster: self.world.cluster, role: Role::Frontend, node: self.node };
        let started = Timestamp::default();
        let container = self.endpoint.node.to_string();
        let report = NodeReport::Frontend(report);
        let heartbeat = Heartbeat { node: self.node, container, pid: 1, started, report };
        Box::pin(async move {
            let heard = this
                .world
                .to_manager(&this.endpoint, deadline, move |management| {
                    let heard = management.hear(peer, heartbeat.clone());
                    async move { heard }
                })
                .await;
            heard.map_err(failure)?.map_err(Failure::Refused)
        })
    }

    fn map(&self, known: Option<MapVersion>, deadline: Duration) -> Answer<MapReply, NoRefusal> {
        let this = self.clone();
        Box::pin(async move {
            let map = this
                .world
                .to_manager(&this.endpoint, deadline, move |management| async move { management.map(known) })
                .await;
            map.map_err(failure)
        })
    }

    fn install(&self, _: &ClusterMap) {}

    fn now(&self) -> Timestamp {
        self.world.time_of_day(self.off_by)
    }

    fn shut_down(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}
