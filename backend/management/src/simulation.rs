//! Management without a network of its own, for simulations of a cluster: the production's contents, decisions and
//! store, and what chance gives drawn from a seed.

use std::sync::Arc;

use weft_engine::store::{
    Fenced, OpenError, QuorumStore, StoreDrives, StoreSettings, open_store, store_headers,
};
use weft_keys::ClusterKey;
use weft_kms::{EncryptionContext, KeyManagement};
use weft_pki::{ClusterAuthority, NodeIdentity};
use weft_transport::Pool;
use weft_types::{ClusterId, DriveId, MapVersion, NodeId, SessionId, Timestamp};
use weft_wire::management::{
    FilesystemInfo, FilesystemRefusal, Heartbeat, HeartbeatHeard, HeartbeatRefusal, MapReply, OwnFilesystem,
    Ownership, Status,
};
use weft_wire::ownership::{
    EndSession, GetShardRow, ListSessions, OwnershipsRenewed, RegisterSession, RenewOwnerships, ReportCare,
    SessionRegistered, ShardRowReply, SwapRefusal, SwapShard,
};

use crate::contents::Contents;
use crate::management::Management;
use crate::process::StartError;
use crate::random;

/// From now on what this thread draws as random depends on the seed alone.
pub fn draw_from_seed(seed: u64) {
    random::draw_from_seed(seed);
}

/// A management process that was started. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Simulated(Management);

impl Simulated {
    /// Opens the store on these drives, as every start does. The future is the process's background work, to be run for
    /// as long as it lives; it ends when another process has opened the store. `pool` is for calls to compute that
    /// delete filesystems, which a simulation does not make.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn open<D: StoreDrives>(
        drives: Arc<D>,
        places: Vec<DriveId>,
        cluster: ClusterId,
        kms: Arc<dyn KeyManagement>,
        pool: Pool,
    ) -> Result<(Self, impl Future<Output = Result<(), Fenced>> + use<D>), StartError> {
        let header = store_headers(&*drives, &places).await.map_err(OpenError::Damaged)?.remove(0);
        let context = EncryptionContext::of_cluster(cluster);
        let key = kms.unwrap(&header.cluster_key, &context).await.map_err(StartError::Kms)?;
        let key = ClusterKey::from_bytes(key.expose());
        let seed = u64::from_le_bytes(random::array());
        let settings = StoreSettings { drives, places, cluster, key, nonces: Box::new(random::nonce), seed };
        let (store, driver): (QuorumStore<Contents>, _) = open_store(settings).await?;
        let authority = ClusterAuthority::from_pem(store.contents().authority.expose());
        let authority = authority.map_err(StartError::Authority)?;
        let management = Management::new(store, authority, kms, pool);
        let watching = management.clone();
        let background = async move {
            tokio::select! {
                biased;
                ended = driver.run() => ended,
                () = watching.watch() => Ok(()),
            }
        };
        Ok((Self(management), background))
    }

    /// Creates a filesystem; durable on return. `now` is the time of day.
    ///
    /// # Errors
    /// [`FilesystemRefusal`]
    pub async fn create_filesystem(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<FilesystemInfo, FilesystemRefusal> {
        self.0.create_filesystem(name.to_owned(), now).await
    }

    /// Answers [`ListFilesystems`](weft_wire::management::ListFilesystems).
    pub fn filesystems(&self) -> Vec<FilesystemInfo> {
        self.0.keeper.contents().infos()
    }

    /// Answers [`GetMap`](weft_wire::management::GetMap).
    pub fn map(&self, known: Option<MapVersion>) -> MapReply {
        let contents = self.0.keeper.contents();
        MapReply { map: (known != Some(contents.map.version)).then(|| contents.map.clone()) }
    }

    /// Answers [`GetStatus`](weft_wire::management::GetStatus).
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Answers a heartbeat.
    ///
    /// # Errors
    /// [`HeartbeatRefusal`]
    pub fn hear(&self, peer: NodeIdentity, heartbeat: Heartbeat) -> Result<HeartbeatHeard, HeartbeatRefusal> {
        self.0.hear(peer, heartbeat)
    }

    /// Gives a shard to a node.
    ///
    /// # Errors
    /// [`FilesystemRefusal`]
    pub async fn own(&self, call: OwnFilesystem, node: NodeId) -> Result<Ownership, FilesystemRefusal> {
        self.0.own_filesystem(call.name, call.shard, node).await
    }

    /// Replaces a shard's row.
    ///
    /// # Errors
    /// [`SwapRefusal`]
    pub async fn swap(&self, call: SwapShard, node: NodeId) -> Result<(), SwapRefusal> {
        self.0.swap_shard(call, node).await
    }

    /// A shard's row and grants.
    ///
    /// # Errors
    /// [`SwapRefusal`]
    pub fn row(&self, call: GetShardRow, node: NodeId) -> Result<ShardRowReply, SwapRefusal> {
        self.0.shard_row(call, node)
    }

    /// Renews and ends ownerships.
    pub fn renew(&self, call: &RenewOwnerships, node: NodeId) -> OwnershipsRenewed {
        self.0.renew_ownerships(call, node)
    }

    /// Makes a session.
    ///
    /// # Errors
    /// [`SwapRefusal`]
    pub async fn register(
        &self,
        call: RegisterSession,
        node: NodeId,
    ) -> Result<SessionRegistered, SwapRefusal> {
        self.0.register_session(call, node).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`SwapRefusal`]
    pub async fn end(&self, call: EndSession, node: NodeId) -> Result<(), SwapRefusal> {
        self.0.end_session(call.owner, call.session, node).await
    }

    /// The sessions that have not ended.
    ///
    /// # Errors
    /// [`SwapRefusal`]
    pub fn sessions(&self, call: &ListSessions, node: NodeId) -> Result<Vec<SessionId>, SwapRefusal> {
        self.0.registered_sessions(&call.owner, node)
    }

    /// Takes a report of care.
    ///
    /// # Errors
    /// [`SwapRefusal`]
    pub fn report(&self, call: &ReportCare, node: NodeId) -> Result<(), SwapRefusal> {
        self.0.report_care(call, node)
    }
}
