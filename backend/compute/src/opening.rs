//! Taking a shard over on the thread of the indexes: its log, then its index, then its rows.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use weft_engine::{
    LogSettings, RecoverIndexError, Recovered, ReplicatedLog, ShardLog, TakeOverError, recover_index,
};
use weft_wire::log::LogKey;
use weft_wire::management::Ownership;
use weft_wire::ownership::{DriveGrant, ShardRow};

use crate::cluster::Cluster;
use crate::filesystems::Filesystems;
use crate::log_calls::{LogCalls, RowCalls};
use crate::owner::{OpenOwnerError, Opened, Opening, Owner};

/// Why a shard was not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenShardError {
    /// No map came: nobody knows where drives are.
    #[error("the cluster map is not known yet")]
    NoMap,
    /// Its log was not taken over.
    #[error("the log was not taken over")]
    Log(#[from] TakeOverError),
    /// Its index was not brought to the end of the log.
    #[error("the index was not brought to the end of the log")]
    Index(#[from] RecoverIndexError),
    /// Its rows are not what they should be.
    #[error(transparent)]
    Owner(#[from] OpenOwnerError),
    /// There is no folder for the index.
    #[error("{} cannot be used for the index", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: std::io::Error,
    },
    /// The thread of the indexes has ended.
    #[error("the thread of the indexes has ended")]
    Ended,
}

/// What a shard is taken over with.
struct TakingOver {
    drives: LogCalls,
    registry: RowCalls,
    row: ShardRow,
    grants: Vec<DriveGrant>,
    /// The folder of the index.
    dir: PathBuf,
    opening: Opening,
}

impl Filesystems {
    /// Takes the log over, brings the index to its end, and begins to own the shard. The owner's batches are committed
    /// on this thread; the index follows on its own.
    ///
    /// # Errors
    /// [`OpenShardError`]
    pub(crate) async fn open_shard(
        &self,
        ownership: &Ownership,
        opening: Opening,
    ) -> Result<Owner, OpenShardError> {
        let map = known_map(&self.cluster).await.ok_or(OpenShardError::NoMap)?;
        let held = opening.lease.held();
        let taking = TakingOver {
            drives: LogCalls::new(self.drives.clone(), map),
            registry: RowCalls::new(Arc::clone(&self.cluster), held),
            row: ownership.row.clone(),
            grants: ownership.grants.clone(),
            dir: self.state.join(held.filesystem.to_string()),
            opening,
        };
        let (tell, told) = oneshot::channel();
        self.indexes.spawn(move || async move {
            match taking.take_over().await {
                // When nobody waits any more, the owner is dropped, and there is nothing to commit.
                Ok(Opened { owner, worker }) => {
                    let (commits, upkeep) = worker.split();
                    if tell.send(Ok((owner, commits))).is_ok() {
                        upkeep.run().await;
                    }
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
        let (owner, commits) = told.await.unwrap_or(Err(OpenShardError::Ended))?;
        tokio::spawn(commits.run());
        Ok(owner)
    }
}

async fn known_map(cluster: &Cluster) -> Option<Arc<weft_layout::ClusterMap>> {
    if cluster.view().map.is_none() {
        cluster.refresh().await;
    }
    cluster.view().map
}

impl TakingOver {
    async fn take_over(self) -> Result<Opened<impl ShardLog>, OpenShardError> {
        let Self { drives, registry, row, grants, dir, opening } = self;
        let held = opening.lease.held();
        let key = LogKey { filesystem: held.filesystem, shard: held.shard };
        let log =
            ReplicatedLog::take_over((drives, registry), key, row, grants, LogSettings::default()).await?;
        let folder = |source| OpenShardError::Folder { path: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(folder)?;
        let Recovered { index, replayed, .. } = recover_index(&log, &dir.join("index")).await?;
        tracing::info!(filesystem = %held.filesystem, end = %log.end(), replayed, "metadata opened");
        Ok(opening.start(log, index)?)
    }
}
