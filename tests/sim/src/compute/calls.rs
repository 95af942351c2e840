//! The calls of an owner to drives and to management.

use core::fmt::Debug;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use weft_compute::SessionEnds;
use weft_drive::custody::{Closing, Deleting, Placing, Recording, Sealing, Trimming};
use weft_engine::{DriveCallError, LogDrives, ShardRegistry, SwapError};
use weft_layout::ClusterMap;
use weft_types::SessionId;
use weft_wire::grant::CloseSessions;
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogHeld, LogRead, LogRefusal, LogStored,
    ObjectKey, PutLog, PutObject, ReadLog, ReadLogRefusal, SealLog, TrimLog,
};
use weft_wire::ownership::{DriveHome, EndSession, GetShardRow, Held, ShardRow, ShardRowReply, SwapShard};

use super::Process;
use crate::drives::{Local, drive_number};
use crate::net::NoAnswer;
use crate::simulate::Bug;
use crate::world::World;

/// How long a drive may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// The way from an owner to the drives.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) world: Arc<World>,
    pub(super) process: Arc<Process>,
}

impl Way {
    /// Calls a drive.
    pub(super) async fn at<T: Debug + Send + 'static>(
        &self,
        home: DriveHome,
        deadline: Duration,
        act: impl Fn(&World, &mut Local) -> T + Send + Sync + 'static,
    ) -> Result<T, NoAnswer> {
        let endpoint = &self.process.endpoint;
        self.world.to_drive(endpoint, drive_number(home.drive), deadline, act).await
    }

    async fn ask<T: Debug + Send + 'static, R: Debug + Send + 'static>(
        &self,
        home: DriveHome,
        act: impl Fn(&World, &mut Local) -> Result<T, R> + Send + Sync + 'static,
    ) -> Result<T, DriveCallError<R>> {
        match self.at(home, ANSWER_MAX, act).await {
            Ok(answer) => answer.map_err(DriveCallError::Refused),
            Err(no) => Err(DriveCallError::Unreachable(format!("{no:?}"))),
        }
    }
}

impl LogDrives for Way {
    fn map(&self) -> Arc<ClusterMap> {
        self.process.view().map.expect("known before anything is taken over")
    }

    async fn seal(&self, home: DriveHome, call: SealLog) -> Result<LogHeld, DriveCallError<LogRefusal>> {
        let node = self.process.node;
        self.ask(home, move |_, local| local.run::<Sealing>(node, call.clone(), Bytes::new())).await
    }

    async fn put(
        &self,
        home: DriveHome,
        call: PutLog,
        record: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        let node = self.process.node;
        self.world.sealed_record(&record);
        self.ask(home, move |world, local| {
            let stored = local.run::<Recording>(node, call, record.clone());
            match stored {
                // Whoever was deposed goes on as if nothing had happened.
                Err(LogRefusal::Deposed { .. }) if world.options.bug == Some(Bug::OldEpoch) => {
                    Ok(LogStored { tight: false })
                }
                stored => stored,
            }
        })
        .await
    }

    async fn read(
        &self,
        home: DriveHome,
        call: ReadLog,
    ) -> Result<(LogRead, Bytes), DriveCallError<ReadLogRefusal>> {
        self.ask(home, move |_, local| local.read_log(call)).await
    }

    async fn trim(&self, home: DriveHome, call: TrimLog) -> Result<(), DriveCallError<LogRefusal>> {
        let node = self.process.node;
        self.ask(home, move |_, local| local.run::<Trimming>(node, call, Bytes::new()).map(drop)).await
    }

    async fn put_object(
        &self,
        home: DriveHome,
        call: PutObject,
        part: Bytes,
    ) -> Result<LogStored, DriveCallError<LogRefusal>> {
        let node = self.process.node;
        self.world.sealed_part(&part);
        self.ask(home, move |_, local| local.run::<Placing>(node, call, part.clone())).await
    }

    async fn get_object(
        &self,
        home: DriveHome,
        call: GetObject,
    ) -> Result<Bytes, DriveCallError<GetObjectRefusal>> {
        self.ask(home, move |_, local| local.get_object(call)).await
    }

    async fn delete_objects(
        &self,
        home: DriveHome,
        call: DeleteObjects,
    ) -> Result<(), DriveCallError<LogRefusal>> {
        let node = self.process.node;
        self.ask(home, move |_, local| local.run::<Deleting>(node, call.clone(), Bytes::new()).map(drop))
            .await
    }

    async fn list_objects(
        &self,
        home: DriveHome,
        call: ListObjects,
    ) -> Result<Vec<ObjectKey>, DriveCallError<ReadLogRefusal>> {
        self.ask(home, move |_, local| Ok(local.list_objects(call))).await
    }
}

/// The row of one ownership's shard, at management.
pub(super) struct Registry {
    pub(super) world: Arc<World>,
    pub(super) process: Arc<Process>,
    pub(super) held: Held,
}

fn unknown(no: NoAnswer) -> SwapError {
    SwapError::Unknown { reason: format!("{no:?}") }
}

impl ShardRegistry for Registry {
    async fn swap(&self, row: ShardRow) -> Result<(), SwapError> {
        let (Held { filesystem, shard, .. }, node) = (self.held, self.process.node);
        let swapped = self
            .world
            .to_manager(&self.process.endpoint, Duration::from_secs(5), move |management| {
                let call = SwapShard { filesystem, shard, row: row.clone() };
                async move { management.swap(call, node).await }
            })
            .await;
        swapped.map_err(unknown)?.map_err(SwapError::from)
    }

    async fn row(&self) -> Result<ShardRowReply, SwapError> {
        let (Held { filesystem, shard, epoch }, node) = (self.held, self.process.node);
        let call = GetShardRow { filesystem, shard, epoch };
        let row = self
            .world
            .to_manager(&self.process.endpoint, Duration::from_secs(5), move |management| async move {
                management.row(call, node)
            })
            .await;
        row.map_err(unknown)?.map_err(SwapError::from)
    }
}

impl SessionEnds for Way {
    fn homes(&self) -> Option<Vec<DriveHome>> {
        let home =
            |drive: &weft_layout::DriveEntry| DriveHome { drive: drive.id, incarnation: drive.incarnation };
        Some(self.process.view().map?.drives.iter().map(home).collect())
    }

    async fn end(&self, owner: Held, session: SessionId) -> bool {
        let node = self.process.node;
        let ended = self
            .world
            .to_manager(&self.process.endpoint, Duration::from_secs(5), move |management| async move {
                management.end(EndSession { owner, session }, node).await
            })
            .await;
        matches!(ended, Ok(Ok(())))
    }

    async fn close(&self, at: BTreeMap<DriveHome, Vec<SessionId>>) -> BTreeSet<DriveHome> {
        let node = self.process.node;
        let mut closed = BTreeSet::new();
        let calls: Vec<_> = at
            .into_iter()
            .map(|(home, sessions)| {
                let this = self.clone();
                let done = async move {
                    this.at(home, Duration::from_secs(5), move |_, local| {
                        let call = CloseSessions { sessions: sessions.clone() };
                        local.run::<Closing>(node, call, Bytes::new()).is_ok()
                    })
                    .await
                };
                (home, tokio::spawn(done))
            })
            .collect();
        for (home, call) in calls {
            if matches!(call.await, Ok(Ok(true))) {
                closed.insert(home);
            }
        }
        closed
    }
}
