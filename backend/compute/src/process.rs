//! Compute as a process of a container: its filesystems, its service, its heartbeat.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::{fs, io};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use weft_engine::Room;
use weft_kms::KeyManagement;
use weft_pki::Credentials;
use weft_transport::{BindError, Peer, Pool, PoolSettings, Router, Server};
use weft_types::{NodeId, Timestamp};
use weft_wire::management::{ComputeReport, Heartbeat, NodeReport};

use crate::cluster::Cluster;
use crate::filesystems::{Filesystems, Parts};
use crate::local_thread::LocalThread;
use crate::service;
use crate::settings::ComputeSettings;
use crate::sources::Sources;

/// What a compute process is told.
#[derive(Debug)]
pub struct ComputeConfig {
    /// The container that it runs in.
    pub container: String,
    /// The folder of its indexes. They are caches: without it they are made anew from the drives.
    pub state: PathBuf,
    /// The management process.
    pub management: Peer,
    /// What unwraps filesystem keys.
    pub kms: Arc<dyn KeyManagement>,
    /// How it behaves.
    pub settings: ComputeSettings,
}

/// Why a compute process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder for its state cannot be used.
    #[error("cannot use {} for metadata", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The host gives no thread.
    #[error("the host gives no thread")]
    Thread(#[source] io::Error),
    /// The node's own credentials cannot be used for calls.
    #[error("no calls can be made")]
    Calls(#[source] BindError),
}

/// A compute process that is ready to serve. It takes over all filesystems in the background, and one that is asked for
/// at once.
pub struct ComputeProcess {
    filesystems: Arc<Filesystems>,
    node: NodeId,
    container: String,
    started: Timestamp,
}

impl ComputeProcess {
    /// Makes the process ready. Must be called within the Tokio runtime that will serve.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn open(config: ComputeConfig, credentials: &Credentials) -> Result<Self, StartError> {
        let ComputeConfig { container, state, management, kms, settings } = config;
        fs::create_dir_all(&state).map_err(|source| StartError::State { path: state.clone(), source })?;
        let pool =
            Pool::new(Handle::current(), credentials, PoolSettings::default()).map_err(StartError::Calls)?;
        let indexes = Arc::new(LocalThread::start("indexes").map_err(StartError::Thread)?);
        let background = Arc::new(LocalThread::start("care").map_err(StartError::Thread)?);
        let identity = credentials.identity();
        let cluster = Arc::new(Cluster::new(pool, management));
        let parts = Parts { cluster, id: identity.cluster, state, kms, settings, indexes, background };
        let filesystems = Arc::new(Filesystems::new(parts));
        let started = Sources::of_the_host().now();
        Ok(Self { filesystems, node: identity.node, container, started })
    }

    /// What a [`Server`] of this process answers.
    pub fn router(&self) -> Router {
        service::router(&self.filesystems)
    }

    /// Serves until `shutdown` is done, then finishes the calls at work and closes what it owns. All that was answered
    /// is durable whether or not this returns.
    pub async fn serve(self, server: Server, shutdown: impl Future<Output = ()>) {
        let filesystems = Arc::clone(&self.filesystems);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.beat());
        tasks.spawn(Arc::clone(&filesystems).keep_all());
        let renewing = Arc::clone(&filesystems);
        tasks.spawn(async move { renewing.leases.keep_alive(&renewing.cluster).await });
        let stop = async {
            shutdown.await;
            filesystems.owners().iter().for_each(|owner| owner.keep_nobody_waiting());
        };
        pin!(server.serve(stop)).await;
        tasks.shutdown().await;
        filesystems.close().await;
        filesystems.cluster.pool.close().await;
    }

    async fn beat(self) {
        loop {
            let heartbeat = Heartbeat {
                node: self.node,
                container: self.container.clone(),
                pid: std::process::id(),
                started: self.started,
                report: NodeReport::Compute(report(&self.filesystems)),
            };
            if let Err(error) = self.filesystems.cluster.report(&heartbeat).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "the heartbeat was not heard");
            }
            tokio::time::sleep(self.filesystems.settings.heartbeat).await;
        }
    }
}

fn report(filesystems: &Filesystems) -> ComputeReport {
    let owners = filesystems.owners();
    let mut report = ComputeReport {
        sessions: 0,
        operations: 0,
        batches: 0,
        extents_to_reclaim: 0,
        warning: None,
        respread_left: 0,
        orphans_deleted: 0,
        reconciling: 0,
        extents: 0,
    };
    for owner in owners {
        report.extents += owner.read(|tx| weft_meta::placed::count(tx)).unwrap_or_default();
        report.sessions += owner.session_count() as u64;
        report.operations += owner.operations();
        report.batches += owner.progress().borrow().batches;
        report.extents_to_reclaim += owner.garbage();
        let care = owner.care();
        report.respread_left += care.respread_left;
        report.orphans_deleted += care.orphans_deleted;
        report.reconciling += care.reconciling;
        let warning = match owner.room() {
            _ if !owner.is_serving() => {
                Some("a filesystem's metadata failed and is opened anew when it is used next")
            }
            Room::Ample => None,
            Room::Reserve => {
                Some("little space left for metadata: only deletions and commits of data go through")
            }
            Room::None => Some("no space left for metadata: nothing can be changed"),
        };
        report.warning = report.warning.or(warning.map(str::to_owned));
    }
    report
}
