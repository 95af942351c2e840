//! Management as a process of a container: its store, its service, its tasks.

use core::future::Future;
use core::pin::pin;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use weft_engine::{Generation, StoreDamage, StoreError, StoreFile};
use weft_keys::ClusterKey;
use weft_kms::{EncryptionContext, KeyManagement, KmsError};
use weft_pki::{AuthorityError, ClusterAuthority, Credentials};
use weft_transport::{BindError, Pool, PoolSettings, Router, Server};
use weft_types::ClusterId;

use crate::contents::{Contents, ContentsError};
use crate::keeper::Keeper;
use crate::management::Management;
use crate::service;

/// What a management process is told.
#[derive(Debug)]
pub struct ManagementConfig {
    /// The cluster whose store it must be.
    pub cluster: ClusterId,
    /// The folder of the cluster store.
    pub store: PathBuf,
    /// What wraps the cluster's keys.
    pub kms: Arc<dyn KeyManagement>,
}

/// Why a management process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The KMS does not unwrap the cluster key.
    #[error("the cluster key cannot be unwrapped")]
    Kms(#[source] KmsError),
    /// The store opened, and holds what cannot be used.
    #[error(transparent)]
    Contents(#[from] ContentsError),
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
}

impl ManagementProcess {
    /// Opens the store. Must be called within the Tokio runtime that will serve; blocks on the disk.
    ///
    /// # Errors
    /// [`StartError`]; the store is as it was.
    pub async fn open(config: ManagementConfig, credentials: &Credentials) -> Result<Self, StartError> {
        let ManagementConfig { cluster, store, kms } = config;
        let (Generation { header, .. }, _) = StoreFile::inspect(&store)?;
        if header.cluster != cluster {
            return Err(
                StoreError::OtherCluster { dir: store, found: header.cluster, expected: cluster }.into()
            );
        }
        let context = EncryptionContext::of_cluster(cluster);
        let key = kms.unwrap(&header.cluster_key, &context).await.map_err(StartError::Kms)?;
        let opened = StoreFile::open(&store, cluster, ClusterKey::from_bytes(key.expose()))?;
        if let Some(StoreDamage { path, reason }) = &opened.damage {
            tracing::error!(path = %path.display(), reason, "a copy of the cluster store is damaged");
        }
        let contents = Contents::decode(cluster, &opened.content)?;
        // Read now, so that a store that cannot add nodes is found before the day it must.
        ClusterAuthority::from_pem(contents.authority.expose()).map_err(StartError::Authority)?;
        let pool = Pool::new(Handle::current(), credentials, PoolSettings::default());
        let pool = pool.map_err(StartError::Calls)?;
        let management = Management::new(Keeper::new(opened.file, contents), kms, pool);
        Ok(Self { management })
    }

    /// What a [`Server`] of management answers.
    pub fn router(&self) -> Router {
        service::router(&self.management)
    }

    /// Serves until `shutdown` is done, then finishes the calls at work. All that was answered is durable whether or
    /// not this returns.
    ///
    /// # Panics
    /// When one of its background tasks panicked: management that no longer watches must not go on answering.
    pub async fn serve(self, server: Server, shutdown: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.management.clone().watch());
        tasks.spawn(self.management.clone().see_deletions_through());
        let mut serving = pin!(server.serve(shutdown));
        tokio::select! {
            () = &mut serving => {}
            Some(ended) = tasks.join_next() => {
                ended.expect("no background task of management fails");
            }
        }
        tasks.shutdown().await;
        self.management.pool.close().await;
    }
}
