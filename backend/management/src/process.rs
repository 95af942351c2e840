//! Management as a process of a container: its store, its service, its tasks.

use core::future::Future;
use core::pin::pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use weft_engine::store::{
    Fenced, OpenError, QuorumStore, StoreDriver, StoreSettings, open_store, store_headers,
};
use weft_keys::ClusterKey;
use weft_kms::{EncryptionContext, KeyManagement, KmsError};
use weft_pki::{AuthorityError, ClusterAuthority, Credentials};
use weft_transport::{BindError, Peer, Pool, PoolSettings, Router, Server};
use weft_types::{ClusterId, DriveId};

use crate::contents::Contents;
use crate::management::Management;
use crate::store_drives::NetworkDrives;
use crate::{random, service};

/// What a management process is told.
#[derive(Debug)]
pub struct ManagementConfig {
    /// The cluster whose store it must be.
    pub cluster: ClusterId,
    /// Every drive that may hold a copy of the cluster store: its process and its id. All drives of the cluster will do.
    pub drives: Vec<(Peer, DriveId)>,
    /// What wraps the cluster's keys.
    pub kms: Arc<dyn KeyManagement>,
}

/// Why a management process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store is not opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The KMS does not unwrap the cluster key.
    #[error("the cluster key cannot be unwrapped")]
    Kms(#[source] KmsError),
    /// The authority in the store cannot vouch for anyone.
    #[error("the cluster store holds no usable certificate authority: restore it from a backup")]
    Authority(#[source] AuthorityError),
    /// The node's own credentials cannot be used for calls.
    #[error("no calls can be made")]
    Calls(#[source] BindError),
}

/// Management that has its store open.
pub struct ManagementProcess {
    management: Management,
    driver: StoreDriver<NetworkDrives, Contents>,
}

impl ManagementProcess {
    /// Opens the store. Waits for as long as too few drives answer, and says so in the log: the drives must be started
    /// by somebody who does not wait for this. Must be called within the Tokio runtime that will serve.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn open(config: ManagementConfig, credentials: &Credentials) -> Result<Self, StartError> {
        let pool = Pool::new(Handle::current(), credentials, PoolSettings::default());
        let pool = pool.map_err(StartError::Calls)?;
        let kms = Arc::clone(&config.kms);
        let settings = store_settings(config, &pool).await?;
        let (store, driver): (QuorumStore<Contents>, _) = open_store(settings).await?;
        // Read now, so that a store that cannot vouch is found before the day it must.
        let authority = ClusterAuthority::from_pem(store.contents().authority.expose());
        let authority = authority.map_err(StartError::Authority)?;
        Ok(Self { management: Management::new(store, authority, kms, pool), driver })
    }

    /// What a [`Server`] of management answers.
    pub fn router(&self) -> Router {
        service::router(&self.management)
    }

    /// Serves until `shutdown` is done, then finishes the calls at work. All that was answered is durable whether or
    /// not this returns.
    ///
    /// # Errors
    /// Another management process has opened the store: this one has stopped answering.
    ///
    /// # Panics
    /// When one of its background tasks panicked: management that no longer watches must not go on answering.
    pub async fn serve(self, server: Server, shutdown: impl Future<Output = ()>) -> Result<(), Fenced> {
        let mut tasks = JoinSet::new();
        let mut store = tokio::spawn(self.driver.run());
        tasks.spawn(self.management.clone().watch());
        tasks.spawn(self.management.clone().see_deletions_through());
        let mut serving = pin!(server.serve(shutdown));
        let ended = tokio::select! {
            () = &mut serving => Ok(()),
            ended = &mut store => ended.expect("the store's task does not fail"),
            Some(ended) = tasks.join_next() => {
                ended.expect("no background task of management fails");
                Ok(())
            }
        };
        tasks.shutdown().await;
        store.abort();
        self.management.pool.close().await;
        ended
    }
}

/// The way to the store: the drives, and the key that the KMS unwraps.
pub(crate) async fn store_settings(
    config: ManagementConfig,
    pool: &Pool,
) -> Result<StoreSettings<NetworkDrives>, StartError> {
    let ManagementConfig { cluster, drives, kms } = config;
    let places: Vec<_> = drives.iter().map(|(_, drive)| *drive).collect();
    let drives = Arc::new(NetworkDrives::new(pool, &drives));
    let headers = store_headers(&*drives, &places).await.map_err(OpenError::Damaged)?;
    let context = EncryptionContext::of_cluster(cluster);
    let mut outcome = None;
    // An older copy may name a key that the KMS no longer has, and a newer one always comes first.
    for header in headers.iter().filter(|header| header.cluster == cluster) {
        match kms.unwrap(&header.cluster_key, &context).await {
            Ok(key) => {
                let key = ClusterKey::from_bytes(key.expose());
                let seed = u64::from_le_bytes(random::array());
                let nonces = Box::new(random::nonce);
                return Ok(StoreSettings { drives, places, cluster, key, nonces, seed });
            }
            Err(error) => outcome = outcome.or(Some(error)),
        }
    }
    Err(outcome.map_or(StartError::Store(OpenError::NoCopy), StartError::Kms))
}
