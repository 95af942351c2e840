//! The session's grant, as drives have seen it: each is shown it once, and again when it has forgotten.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;
use weft_types::DriveId;
use weft_wire::drive::{PutRefusal, PutShard, ShardStored};
use weft_wire::grant::{GrantRefusal, PresentGrant, SignedGrant};

use crate::backend::{Backend, Failure};

/// How often a drive was shown the grant; held while it is shown, so that those who come meanwhile wait for it.
type Shown = Arc<Turn<u64>>;

/// The grant of the present session, and who has seen it.
#[derive(Debug)]
struct Now {
    grant: SignedGrant,
    drives: HashMap<DriveId, Shown>,
}

/// Puts shards with drives, and shows them the session's grant before.
#[derive(Debug)]
pub(crate) struct Grants {
    backend: Arc<dyn Backend>,
    now: Mutex<Now>,
}

impl Grants {
    pub(crate) fn new(backend: Arc<dyn Backend>, grant: SignedGrant) -> Self {
        Self { backend, now: Mutex::new(Now { grant, drives: HashMap::new() }) }
    }

    /// Another session has begun: from now on its grant is shown.
    pub(crate) fn follow(&self, grant: SignedGrant) {
        *self.now() = Now { grant, drives: HashMap::new() };
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a shard. A drive that was restarted has forgotten the grant: it is shown it again, and the put repeated.
    pub(crate) async fn put(
        &self,
        drive: DriveId,
        call: PutShard,
        bytes: Bytes,
        deadline: Duration,
    ) -> Result<ShardStored, Failure<PutRefusal>> {
        let until = Instant::now() + deadline;
        let left = || until.saturating_duration_since(Instant::now());
        let seen = self.show(drive, 0, left()).await?;
        match self.backend.put(drive, call.clone(), bytes.clone(), left()).await {
            Err(Failure::Refused(PutRefusal::NotGranted)) => {
                self.show(drive, seen, left()).await?;
                self.backend.put(drive, call, bytes, left()).await
            }
            answer => answer,
        }
    }

    /// Stores shards of several extents, as [`put`](Self::put).
    pub(crate) async fn put_many(
        &self,
        drive: DriveId,
        shards: Vec<(PutShard, Bytes)>,
        deadline: Duration,
    ) -> Result<(), Failure<PutRefusal>> {
        let until = Instant::now() + deadline;
        let left = || until.saturating_duration_since(Instant::now());
        let seen = self.show(drive, 0, left()).await?;
        match self.backend.put_many(drive, shards.clone(), left()).await {
            Err(Failure::Refused(PutRefusal::NotGranted)) => {
                self.show(drive, seen, left()).await?;
                self.backend.put_many(drive, shards, left()).await
            }
            answer => answer,
        }
    }

    /// Shows a drive the grant, unless that was done more than `before` times. Returns how often it was done.
    async fn show(
        &self,
        drive: DriveId,
        before: u64,
        deadline: Duration,
    ) -> Result<u64, Failure<PutRefusal>> {
        let (grant, shown) = {
            let mut now = self.now();
            (now.grant.clone(), Arc::clone(now.drives.entry(drive).or_default()))
        };
        let mut times = shown.lock().await;
        if *times <= before {
            let call = PresentGrant { grant };
            self.backend.present(drive, call, deadline).await.map_err(failure)?;
            *times += 1;
        }
        Ok(*times)
    }
}

/// What a refused grant means for the put that needs it.
fn failure(failure: Failure<GrantRefusal>) -> Failure<PutRefusal> {
    match failure {
        Failure::Refused(GrantRefusal::Closed) => Failure::Refused(PutRefusal::SessionClosed),
        Failure::Refused(GrantRefusal::Forged | GrantRefusal::NotYours) | Failure::Broken => Failure::Broken,
        Failure::Busy => Failure::Busy,
        Failure::Unreachable => Failure::Unreachable,
        Failure::TimedOut => Failure::TimedOut,
    }
}
