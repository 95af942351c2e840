//! Management at work: what its calls and its background tasks share.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use weft_kms::{KeyManagement, Provider};
use weft_layout::DriveState;
use weft_pki::NodeIdentity;
use weft_transport::Pool;
use weft_types::DriveId;
use weft_wire::management::{Heartbeat, HeartbeatHeard, HeartbeatRefusal, Status};

use crate::keeper::{ChangeError, Keeper};
use crate::membership::{LOOK_EVERY, Membership};
use crate::status::{Surroundings, status};

/// Between two attempts to write a store that could not be written.
const STORE_RETRY: Duration = Duration::from_secs(2);

/// What management knows and keeps. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Management(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) keeper: Keeper,
    pub(crate) kms: Arc<dyn KeyManagement>,
    pub(crate) pool: Pool,
    /// Something is to be deleted.
    pub(crate) deleting: Notify,
    membership: Mutex<Membership>,
    /// A drive that counts as down was heard of.
    back: Notify,
    started: Instant,
}

impl core::ops::Deref for Management {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Management {
    pub(crate) fn new(keeper: Keeper, kms: Arc<dyn KeyManagement>, pool: Pool) -> Self {
        Self(Arc::new(Shared {
            keeper,
            kms,
            pool,
            deleting: Notify::new(),
            membership: Mutex::default(),
            back: Notify::new(),
            started: Instant::now(),
        }))
    }

    /// Keeps the drives' states in the map true, for ever.
    pub(crate) async fn watch(self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.back.notified() => {}
            }
            let changed = self.membership().changed_drives(&self.keeper.contents().map, self.now());
            if !changed.is_empty() && !self.change_states(changed).await {
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }

    async fn change_states(&self, changed: Vec<(DriveId, DriveState)>) -> bool {
        let change = move |contents: &mut crate::contents::Contents| {
            for (id, state) in &changed {
                if let Some(drive) = contents.map.drives.iter_mut().find(|drive| drive.id == *id) {
                    tracing::warn!(drive = drive.name, was = %drive.state, is = %state, "a drive changed its state");
                    drive.state = *state;
                }
            }
            contents.map.version = contents.map.version.next();
            Ok::<_, core::convert::Infallible>(contents.map.version)
        };
        match self.keeper.change(change).await {
            Ok(version) => {
                tracing::info!(%version, "the cluster map changed");
                true
            }
            Err(ChangeError::Store(error)) => {
                tracing::error!(error = &error as &dyn core::error::Error, "the cluster map was not changed");
                false
            }
            Err(ChangeError::Refused(never)) => match never {},
            Err(ChangeError::BrokenOff) => false,
        }
    }
}

impl Shared {
    /// Takes a peer's heartbeat.
    pub(crate) fn hear(
        &self,
        peer: NodeIdentity,
        heartbeat: Heartbeat,
    ) -> Result<HeartbeatHeard, HeartbeatRefusal> {
        let contents = self.keeper.contents();
        let map = &contents.map;
        let mut membership = self.membership();
        membership.hear(self.now(), map, (peer.node, peer.role), heartbeat)?;
        if map.drives.iter().any(|drive| drive.node == peer.node && drive.state == DriveState::Down) {
            self.back.notify_one();
        }
        let (capacity, used) = membership.raw_space(map);
        Ok(HeartbeatHeard { map: map.version, capacity, used })
    }

    /// The cluster's state.
    pub(crate) fn status(&self) -> Status {
        let contents = self.keeper.contents();
        let fault = self.keeper.fault();
        let kms = format!("{} {}", self.kms.provider(), self.kms.key_reference());
        let around = Surroundings {
            running_for: self.now(),
            kms: &kms,
            local_kms: self.kms.provider() == Provider::Local,
            store_fault: fault.as_deref(),
        };
        status(&contents.map, &self.membership(), &around)
    }

    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
