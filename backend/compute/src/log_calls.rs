//! A log's calls to its drives, and to management about its shard's row.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weft_engine::{DriveCallError, LogDrives, ShardRegistry, SwapError};
use weft_layout::ClusterMap;
use weft_transport::{Bulk, CallError};
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogHeld, LogRead, LogRefusal, LogStored,
    ObjectKey, PutLog, PutObject, ReadLog, ReadLogRefusal, SealLog, TrimLog,
};
use weft_wire::ownership::{DriveHome, GetShardRow, Held, ShardRow, ShardRowReply, SwapRefusal, SwapShard};

use crate::cluster::Cluster;
use crate::drives::{Drives, reason};

/// How long a drive may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// The drives, once a map was known.
#[derive(Debug, Clone)]
pub(crate) struct LogCalls {
    drives: Drives,
    /// For as long as no other is known.
    first: Arc<ClusterMap>,
}

impl LogCalls {
    /// Calls to `drives`, of which a map is known.
    pub(crate) const fn new(drives: Drives, first: Arc<ClusterMap>) -> Self {
        Self { drives, first }
    }
}

impl LogDrives for LogCalls {
    fn map(&self) -> Arc<ClusterMap> {
        self.drives.map().unwrap_or_else(|| Arc::clone(&self.first))
    }

    async fn seal(&self, home: DriveHome, call: SealLog) -> Result<LogHeld, DriveCallError<LogRefusal>> {
        Ok(self.drives.call(home, &call, Bulk::none(), ANSWER_MAX).await?.0)
    }

    async fn put(
        &self,
        home: DriveHome,
        call: PutLog,
        record: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        Ok(self.drives.call(home, &call, record, ANSWER_MAX).await?.0)
    }

    async fn read(
        &self,
        home: DriveHome,
        call: ReadLog,
    ) -> Result<(LogRead, Bytes), DriveCallError<ReadLogRefusal>> {
        self.drives.call(home, &call, Bulk::none(), ANSWER_MAX).await
    }

    async fn trim(&self, home: DriveHome, call: TrimLog) -> Result<(), DriveCallError<LogRefusal>> {
        self.drives.call(home, &call, Bulk::none(), ANSWER_MAX).await.map(drop)
    }

    async fn put_object(
        &self,
        home: DriveHome,
        call: PutObject,
        part: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        Ok(self.drives.call(home, &call, part, ANSWER_MAX).await?.0)
    }

    async fn get_object(
        &self,
        home: DriveHome,
        call: GetObject,
    ) -> Result<Bytes, DriveCallError<GetObjectRefusal>> {
        Ok(self.drives.call(home, &call, Bulk::none(), ANSWER_MAX).await?.1)
    }

    async fn delete_objects(
        &self,
        home: DriveHome,
        call: DeleteObjects,
    ) -> Result<(), DriveCallError<LogRefusal>> {
        self.drives.call(home, &call, Bulk::none(), ANSWER_MAX).await.map(drop)
    }

    async fn list_objects(
        &self,
        home: DriveHome,
        call: ListObjects,
    ) -> Result<Vec<ObjectKey>, DriveCallError<ReadLogRefusal>> {
        Ok(self.drives.call(home, &call, Bulk::none(), ANSWER_MAX).await?.0.keys)
    }
}

/// The row of one ownership's shard, at management.
#[derive(Debug, Clone)]
pub(crate) struct RowCalls {
    cluster: Arc<Cluster>,
    held: Held,
}

impl RowCalls {
    /// The row of the shard that is held.
    pub(crate) const fn new(cluster: Arc<Cluster>, held: Held) -> Self {
        Self { cluster, held }
    }
}

impl ShardRegistry for RowCalls {
    async fn swap(&self, row: ShardRow) -> Result<(), SwapError> {
        let Held { filesystem, shard, .. } = self.held;
        self.cluster.ask(&SwapShard { filesystem, shard, row }).await.map(drop).map_err(swap_error)
    }

    async fn row(&self) -> Result<ShardRowReply, SwapError> {
        let Held { filesystem, shard, epoch } = self.held;
        self.cluster.ask(&GetShardRow { filesystem, shard, epoch }).await.map_err(swap_error)
    }
}

fn swap_error(error: CallError<SwapRefusal>) -> SwapError {
    match error {
        CallError::Refused(refusal) => refusal.into(),
        error => SwapError::Unknown { reason: reason(&error) },
    }
}
