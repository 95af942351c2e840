//! What a process does for its owner in the background.

use core::time::Duration;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use weft_compute::{
    Care, CareError, CareSettings, Closing, Deleter, ExtentRows, Owner, ReadFailure, ShardHomes, Unanswered,
};
use weft_layout::ClusterMap;
use weft_meta::Transaction;
use weft_types::{MapVersion, Role, Timestamp};
use weft_wire::Fault;
use weft_wire::drive::{DeleteShards, ShardHeader, ShardKey};
use weft_wire::meta::MetaError;
use weft_wire::ownership::{DriveHome, Held, ReportCare};

use super::Process;
use super::calls::Way;
use crate::simulate::Bug;
use crate::world::World;

/// How long a drive may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The rows of an owner. `hasty`: what is to be durable is not waited for.
struct Rows<'a> {
    owner: &'a Owner,
    hasty: bool,
}

impl ExtentRows for Rows<'_> {
    fn held(&self) -> Held {
        self.owner.held()
    }

    fn now(&self) -> Timestamp {
        self.owner.now()
    }

    fn may_act(&self) -> bool {
        ExtentRows::may_act(self.owner)
    }

    fn is_dropping(&self) -> bool {
        self.owner.is_dropping()
    }

    fn look<T>(
        &self,
        read: impl FnOnce(&dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        ExtentRows::look(self.owner, read)
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        ExtentRows::change(self.owner, change)
    }

    fn act_on(&self, map: MapVersion) -> u64 {
        self.owner.act_on(map)
    }

    async fn durable(&self, seq: u64) -> Result<(), Fault> {
        if self.hasty { Ok(()) } else { self.owner.durable(seq).await }
    }
}

/// The drives, for care.
struct Homes {
    way: Way,
    owner: Weak<Owner>,
}

impl ShardHomes for Homes {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.way.process.view().map
    }

    async fn list(&self, at: DriveHome, after: Option<ShardKey>) -> Result<Vec<ShardKey>, Unanswered> {
        let listed = self.way.at(at, ANSWER_MAX, move |_, local| local.reader().list(after, 64));
        listed.await.map_err(|_| Unanswered)
    }

    async fn describe(&self, at: DriveHome, key: ShardKey) -> Result<ShardHeader, ReadFailure> {
        let described = self.way.at(at, ANSWER_MAX, move |_, local| local.reader().describe(key));
        described.await.map_err(|_| ReadFailure::Unanswered)?.map_err(unread)
    }

    async fn read(&self, at: DriveHome, key: ShardKey, len: u32) -> Result<Bytes, ReadFailure> {
        let read = self.way.at(at, ANSWER_MAX, move |_, local| local.reader().read(key, 0..len));
        read.await.map_err(|_| ReadFailure::Unanswered)?.map_err(unread)
    }

    async fn put(&self, at: DriveHome, header: ShardHeader, bytes: Bytes) -> Result<(), Unanswered> {
        let node = self.way.process.node;
        self.way.world.sealed_shard(header.key, &bytes);
        let put = self.way.at(at, ANSWER_MAX, move |_, local| {
            local.put_shard(Role::Compute, node, &header, bytes.clone()).is_ok()
        });
        if put.await == Ok(true) { Ok(()) } else { Err(Unanswered) }
    }

    async fn delete(&self, at: DriveHome, keys: Vec<ShardKey>) -> Result<(), Unanswered> {
        if let (Some(owner), Some(map)) = (self.owner.upgrade(), self.map()) {
            keys.iter().for_each(|key| self.way.world.deletes(&owner, &map, at.drive, *key));
        }
        let call = DeleteShards { keys };
        let deleted = self.way.at(at, ANSWER_MAX, move |_, local| local.delete_shards(&call).is_ok());
        if deleted.await == Ok(true) { Ok(()) } else { Err(Unanswered) }
    }

    async fn report(&self, report: &ReportCare) -> Result<(), Unanswered> {
        let (report, node) = (report.clone(), self.way.process.node);
        let heard = self
            .way
            .world
            .to_manager(&self.way.process.endpoint, Duration::from_secs(5), move |management| {
                let heard = management.report(&report, node).is_ok();
                async move { heard }
            })
            .await;
        if heard == Ok(true) { Ok(()) } else { Err(Unanswered) }
    }
}

fn unread(error: weft_drive::ReadError) -> ReadFailure {
    match error {
        weft_drive::ReadError::Absent => ReadFailure::Absent,
        _ => ReadFailure::Damaged,
    }
}

/// Does something every tick, for as long as the owner serves.
async fn again(
    owner: &Weak<Owner>,
    hasty: bool,
    tick: Duration,
    mut act: impl AsyncFnMut(&Rows<'_>) -> Result<(), CareError>,
) {
    loop {
        sleep(tick).await;
        let Some(owner) = owner.upgrade().filter(|owner| owner.is_serving()) else { return };
        if let Err(CareError::Ended(_)) = act(&Rows { owner: &owner, hasty }).await {
            return;
        }
    }
}

/// Looks after an owner until it fails or is gone.
pub(super) async fn look_after(world: Arc<World>, process: Arc<Process>, owner: Weak<Owner>) {
    let settings = process.settings(&world);
    let care = Care::new(CareSettings {
        deletion_delay: settings.deletion_delay,
        scrub_every: Duration::from_secs(30),
        again: Duration::from_secs(5),
        ..CareSettings::default()
    });
    let hasty = world.options.bug == Some(Bug::EarlyDelete);
    let way = Way { world: Arc::clone(&world), process };
    let deleter = Deleter::over(Homes { way: way.clone(), owner: owner.clone() });
    let (care, homes, tick) = (&care, deleter.homes(), settings.tick);
    let mut closing = Closing::default();
    tokio::join!(
        again(&owner, hasty, tick, async |rows| care.reclaim(rows, &deleter).await.map(drop)),
        again(&owner, hasty, tick, async |rows| care.place(rows, homes).await),
        again(&owner, hasty, tick, async |rows| care.compare(rows, homes).await),
        again(&owner, hasty, tick, async |rows| care.sweep(rows, homes).await),
        again(&owner, hasty, tick, async |rows| {
            care.report(rows, homes).await;
            Ok(())
        }),
        again(&owner, hasty, tick, async |rows| {
            let _ = closing.step(rows.owner, &way).await;
            Ok(())
        }),
        again(&owner, hasty, tick, async |rows| {
            rows.owner.expire(Instant::now())?;
            while let Some(seq) = rows.owner.work()? {
                rows.owner.durable(seq).await.map_err(CareError::Ended)?;
            }
            Ok(())
        }),
    );
}
