//! Management at work: what its calls and its background tasks share.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use weft_kms::{KeyManagement, Provider};
use weft_layout::DriveState;
use weft_pki::{ClusterAuthority, NodeIdentity};
use weft_transport::Pool;
use weft_wire::management::{Heartbeat, HeartbeatHeard, HeartbeatRefusal, Status};

use crate::care::{Care, Owned};
use crate::contents::Contents;
use crate::health::{NextMap, Stragglers, next_map};
use crate::keeper::{ChangeError, Keeper};
use crate::leases::Leases;
use crate::membership::{LOOK_EVERY, Membership};
use crate::space::net_free;
use crate::status::{Surroundings, status};
use crate::voters::next_voters;

/// Between two attempts to write a store that could not be written.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// How long drives that are compared wait for the others, when none is up.
const STRAGGLERS_MAX: Duration = Duration::from_secs(60);

/// What management knows and keeps. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Management(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) keeper: Keeper,
    pub(crate) authority: ClusterAuthority,
    pub(crate) kms: Arc<dyn KeyManagement>,
    pub(crate) pool: Pool,
    /// Something is to be deleted.
    pub(crate) deleting: Notify,
    /// Something was heard that may change the map.
    pub(crate) look: Notify,
    pub(crate) leases: Mutex<Leases>,
    membership: Mutex<Membership>,
    care: Mutex<Care>,
    started: Instant,
}

impl core::ops::Deref for Management {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Management {
    /// Management over a store that was just opened.
    pub(crate) fn new(
        keeper: Keeper,
        authority: ClusterAuthority,
        kms: Arc<dyn KeyManagement>,
        pool: Pool,
    ) -> Self {
        Self(Arc::new(Shared {
            keeper,
            authority,
            kms,
            pool,
            deleting: Notify::new(),
            look: Notify::new(),
            leases: Mutex::default(),
            membership: Mutex::default(),
            care: Mutex::default(),
            started: Instant::now(),
        }))
    }

    /// Keeps the map true, for ever.
    pub(crate) async fn watch(self) {
        let mut none_up = None;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.look.notified() => {}
            }
            let (contents, now) = (self.keeper.contents(), self.now());
            if next_voters(&contents.voters, &contents.map).is_some() {
                self.seat_voters().await;
            }
            let found = self.membership().changed_drives(&contents.map, now);
            let owned = self.owned(&contents);
            let care = self.care().clone();
            none_up = if contents.map.is_any_up() { None } else { none_up.or(Some(now)) };
            let waits = none_up.is_none_or(|since| now.saturating_sub(since) < STRAGGLERS_MAX);
            let stragglers = if waits { Stragglers::Awaited } else { Stragglers::Left };
            if next_map(&contents.map, &found, &care, &owned, stragglers).is_none() {
                continue;
            }
            let change = move |contents: &mut Contents| {
                let next = next_map(&contents.map, &found, &care, &owned, stragglers).ok_or(())?;
                contents.map = next.map.clone();
                Ok(next)
            };
            match self.keeper.change(change).await {
                Ok(next) => tell(&next),
                Err(ChangeError::Refused(())) => {}
                Err(ChangeError::Write(error)) => {
                    tracing::error!(
                        error = &error as &dyn core::error::Error,
                        "the cluster map was not changed"
                    );
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }
}

impl Management {
    /// Goes a step on to other voters, when there should be others.
    async fn seat_voters(&self) {
        let change = |contents: &mut Contents| {
            contents.voters = next_voters(&contents.voters, &contents.map).ok_or(())?;
            Ok(contents.voters.clone())
        };
        match self.keeper.change(change).await {
            Ok(voters) => {
                let (voting, joining) = (voters.current.len(), voters.next.map(|next| next.len()));
                tracing::info!(voting, ?joining, "other drives vote on the cluster store");
            }
            Err(ChangeError::Refused(())) => {}
            Err(ChangeError::Write(error)) => {
                tracing::error!(
                    error = &error as &dyn core::error::Error,
                    "the drives that vote on the cluster store were not changed"
                );
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }
}

/// Logs what became of the map, and why.
fn tell(next: &NextMap) {
    let map = &next.map;
    for (id, was, is) in &next.states {
        let name = map.drive(*id).map_or("", |drive| drive.name.as_str());
        tracing::warn!(drive = name, %was, %is, "a drive changed its state");
    }
    for moved in &next.moves {
        let (group, slot, from, to) = (moved.group, moved.slot.get(), moved.from.short(), moved.to.short());
        tracing::debug!(%group, slot, %from, %to, reason = %moved.reason, "a slot changed hands");
    }
    let mut reasons = std::collections::BTreeMap::<_, usize>::new();
    for moved in &next.moves {
        *reasons.entry(moved.reason.words()).or_default() += 1;
    }
    if let Some(error) = &next.not_placed {
        tracing::error!(error = error as &dyn core::error::Error, "groups stay where they are");
    }
    let (held_back, proven) = (next.held_back.len(), next.proven);
    tracing::info!(version = %map.version, moves = ?reasons, held_back, proven, "the cluster map changed");
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
            self.look.notify_one();
        }
        let (capacity, used) = membership.raw_space(map);
        let (store, free) = (self.keeper.status().version, net_free(map, &membership));
        Ok(HeartbeatHeard { map: map.version, capacity, used, store, free })
    }

    /// The cluster's state.
    pub(crate) fn status(&self) -> Status {
        let contents = self.keeper.contents();
        let store = self.keeper.status();
        let kms = format!("{} {}", self.kms.provider(), self.kms.key_reference());
        let owned = self.owned(&contents);
        let around = Surroundings {
            running_for: self.now(),
            kms: &kms,
            local_kms: self.kms.provider() == Provider::Local,
            store: &store,
            owned: &owned,
        };
        let care = self.care().clone();
        status(&contents, &self.membership(), &care, &around)
    }

    /// The shards whose extents count: those that have a log, and those whose owner may begin one now.
    fn owned(&self, contents: &Contents) -> Vec<Owned> {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let counts = contents.shards().filter(|(row, state)| {
            !state.row.segments.is_empty() || leases.is_held((row.id, state.shard), now)
        });
        let owned = |(row, state): (&crate::filesystem::FilesystemRow, &crate::shards::ShardState)| Owned {
            shard: (row.id, state.shard),
            epoch: state.row.epoch,
            name: row.name.clone(),
        };
        counts.map(owned).collect()
    }

    pub(crate) fn care(&self) -> MutexGuard<'_, Care> {
        self.care.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long management has run since it opened the store.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
