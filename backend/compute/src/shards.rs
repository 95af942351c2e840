//! The calls by which care is taken of shards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weft_engine::DriveCallError;
use weft_layout::ClusterMap;
use weft_transport::Bulk;
use weft_wire::drive::{
    DeleteShards, DescribeShard, GetRefusal, GetShard, ListShards, PutShard, ShardHeader, ShardKey,
};
use weft_wire::ownership::{DriveHome, ReportCare};

use crate::care::{Deleter, ReadFailure, ShardHomes, Unanswered};
use crate::cluster::Cluster;
use crate::drives::Drives;

/// How long a drive may take for an answer. Shorter than the time that an owner waits before it moves shards that an
/// earlier owner may have deleted.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Shards of one page of a drive's list.
const LIST_PAGE: u32 = 4096;

/// The drives of the map, and management.
#[derive(Debug)]
pub(crate) struct Shards {
    drives: Drives,
    cluster: Arc<Cluster>,
}

/// Deletes shards from the drives of the map.
pub(crate) type ShardDeleter = Deleter<Shards>;

impl ShardDeleter {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        let drives = Drives::new(Arc::clone(&cluster), &cluster.pool);
        Self::over(Shards { drives, cluster })
    }
}

fn unanswered<R: fmt::Debug>(home: DriveHome, what: &str) -> impl FnOnce(DriveCallError<R>) -> Unanswered {
    move |error| {
        tracing::debug!(drive = %home.drive, ?error, "a drive did not {what}");
        Unanswered
    }
}

fn unread(home: DriveHome) -> impl FnOnce(DriveCallError<GetRefusal>) -> ReadFailure {
    move |error| match error {
        DriveCallError::Refused(GetRefusal::Absent) => ReadFailure::Absent,
        DriveCallError::Refused(_) => ReadFailure::Damaged,
        error => {
            let Unanswered = unanswered(home, "read a shard")(error);
            ReadFailure::Unanswered
        }
    }
}

impl ShardHomes for Shards {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.drives.map()
    }

    async fn list(&self, at: DriveHome, after: Option<ShardKey>) -> Result<Vec<ShardKey>, Unanswered> {
        let call = ListShards { after, limit: LIST_PAGE };
        let answer = self.drives.call(at, &call, Bulk::none(), ANSWER_MAX).await;
        answer.map(|(page, _)| page.keys).map_err(unanswered(at, "list its shards"))
    }

    async fn describe(&self, at: DriveHome, key: ShardKey) -> Result<ShardHeader, ReadFailure> {
        let answer = self.drives.call(at, &DescribeShard { key }, Bulk::none(), ANSWER_MAX).await;
        answer.map(|(header, _)| header).map_err(unread(at))
    }

    async fn read(&self, at: DriveHome, key: ShardKey, len: u32) -> Result<Bytes, ReadFailure> {
        let call = GetShard { key, start: 0, len };
        let answer = self.drives.call(at, &call, Bulk::none(), ANSWER_MAX).await;
        answer.map(|(_, bytes)| bytes).map_err(unread(at))
    }

    async fn put(&self, at: DriveHome, header: ShardHeader, bytes: Bytes) -> Result<(), Unanswered> {
        let answer = self.drives.call(at, &PutShard { header }, Bulk::from(bytes), ANSWER_MAX).await;
        answer.map(drop).map_err(unanswered(at, "take a shard"))
    }

    async fn delete(&self, at: DriveHome, keys: Vec<ShardKey>) -> Result<(), Unanswered> {
        let answer = self.drives.call(at, &DeleteShards { keys }, Bulk::none(), ANSWER_MAX).await;
        answer.map(drop).map_err(unanswered(at, "delete shards"))
    }

    async fn report(&self, report: &ReportCare) -> Result<(), Unanswered> {
        self.cluster.ask(report).await.map(drop).map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "the report of care was not heard");
            Unanswered
        })
    }
}
