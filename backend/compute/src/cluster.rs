//! What this process knows of its cluster: the map, and how full the drives are.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_layout::ClusterMap;
use weft_meta::{GroupEpochs, SpaceView};
use weft_transport::{Bulk, CallError, Peer, Pool};
use weft_types::{ByteCount, Epoch, GroupId, MapVersion};
use weft_wire::Call;
use weft_wire::management::{GetMap, Heartbeat, HeartbeatRefusal, MapReply};

/// How long management may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The cluster as it was at some moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The map; `None` until management was heard of.
    pub map: Option<Arc<ClusterMap>>,
    /// Room for files; `None` until management said what is in use.
    pub space: Option<SpaceView>,
}

impl GroupEpochs for View {
    fn floor(&self, group: GroupId) -> Option<Epoch> {
        self.map.as_ref()?.group(group).map(|group| group.epoch)
    }
}

#[derive(Default)]
struct Known {
    map: Option<Arc<ClusterMap>>,
    /// Net room left for files.
    free: Option<ByteCount>,
}

/// The cluster, and the way to its processes.
pub(crate) struct Cluster {
    pub(crate) pool: Pool,
    management: Peer,
    known: Mutex<Known>,
}

impl Cluster {
    pub(crate) fn new(pool: Pool, management: Peer) -> Self {
        Self { pool, management, known: Mutex::default() }
    }

    /// The cluster as it is known now.
    pub(crate) fn view(&self) -> View {
        let known = self.known();
        let space =
            |(map, free): (&Arc<ClusterMap>, ByteCount)| SpaceView { capacity: map.net_capacity(), free };
        let space = known.map.as_ref().zip(known.free).map(space);
        View { map: known.map.clone(), space }
    }

    /// A call to management.
    pub(crate) async fn ask<C: Call>(&self, call: &C) -> Result<C::Reply, CallError<C::Refusal>> {
        self.pool.call(&self.management, call, Bulk::none(), ANSWER_MAX).await.map(|(reply, _)| reply)
    }

    /// Fetches the map if there is a newer one. Without an answer the map stays as it is.
    pub(crate) async fn refresh(&self) {
        let version = self.version();
        match self.ask(&GetMap { known: version }).await {
            Ok(MapReply { map: Some(map) }) => self.learn(map),
            Ok(MapReply { map: None }) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no cluster map"),
        }
    }

    /// Tells management that this process lives, and hears how the cluster is.
    pub(crate) async fn report(&self, heartbeat: &Heartbeat) -> Result<(), CallError<HeartbeatRefusal>> {
        let heard = self.ask(heartbeat).await?;
        if heard.free.is_some() {
            self.known().free = heard.free;
        }
        if self.version() != Some(heard.map) {
            self.refresh().await;
        }
        Ok(())
    }

    fn learn(&self, map: ClusterMap) {
        if let Err(error) = map.validate() {
            tracing::error!(error = &error as &dyn std::error::Error, "management sent a map that cannot be");
            return;
        }
        let mut known = self.known();
        if known.map.as_ref().is_none_or(|old| old.version < map.version) {
            tracing::info!(version = %map.version, "cluster map");
            known.map = Some(Arc::new(map));
        }
    }

    fn version(&self) -> Option<MapVersion> {
        self.known().map.as_ref().map(|map| map.version)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster(managed by {})", self.management)
    }
}
