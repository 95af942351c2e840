//! Calls to drives by their home: the drive and its incarnation, looked up in the map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use weft_engine::DriveCallError;
use weft_layout::{ClusterMap, DriveEntry};
use weft_pki::NodeIdentity;
use weft_transport::{Bulk, CallError, Peer, Pool};
use weft_types::{DriveId, Role, SessionId};
use weft_wire::Call;
use weft_wire::grant::{CLOSE_MAX, CloseSessions};
use weft_wire::ownership::{DriveHome, EndSession, Held};

use crate::closing::SessionEnds;
use crate::cluster::Cluster;

/// How long a drive may take to close sessions.
const CLOSE_ANSWER_MAX: Duration = Duration::from_secs(5);

/// The drives of the map.
#[derive(Debug, Clone)]
pub(crate) struct Drives {
    cluster: Arc<Cluster>,
    /// Fails fast: a drive that is known to be down is not waited for.
    pool: Pool,
}

impl Drives {
    /// The drives that `cluster` knows, called by the connections of `pool`.
    pub(crate) fn new(cluster: Arc<Cluster>, pool: &Pool) -> Self {
        Self { cluster, pool: pool.failing_fast() }
    }

    /// The map as it is known now.
    pub(crate) fn map(&self) -> Option<Arc<ClusterMap>> {
        self.cluster.view().map
    }

    /// Calls a drive, if it is still the one that is meant.
    ///
    /// # Errors
    /// [`DriveCallError`]
    pub(crate) async fn call<C: Call>(
        &self,
        home: DriveHome,
        call: &C,
        bulk: impl Into<Bulk>,
        deadline: Duration,
    ) -> Result<(C::Reply, Bytes), DriveCallError<C::Refusal>> {
        let map = self.map();
        let peer = map.as_ref().and_then(|map| peer(map, entry(map, home)?));
        let Some(peer) = peer else {
            let DriveHome { drive, incarnation } = home;
            return Err(DriveCallError::Unreachable(format!(
                "{drive} of incarnation {incarnation} is not in the map"
            )));
        };
        self.pool.call(&peer, call, bulk, deadline).await.map_err(|error| match error {
            CallError::Refused(refusal) => DriveCallError::Refused(refusal),
            error => DriveCallError::Unreachable(reason(&error)),
        })
    }
}

/// An error and its causes in one line.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn entry(map: &ClusterMap, home: DriveHome) -> Option<&DriveEntry> {
    map.drive(home.drive).filter(|drive| drive.incarnation == home.incarnation)
}

/// Where a drive of the map serves.
pub(crate) fn peer(map: &ClusterMap, drive: &DriveEntry) -> Option<Peer> {
    let identity = NodeIdentity { cluster: map.cluster, role: Role::Drive, node: drive.node };
    Some(Peer { identity, address: drive.address.parse().ok()? })
}

/// The drive of the map, as it is now.
pub(crate) fn home(drive: &DriveEntry) -> DriveHome {
    DriveHome { drive: drive.id, incarnation: drive.incarnation }
}

impl SessionEnds for Drives {
    fn homes(&self) -> Option<Vec<DriveHome>> {
        Some(self.map()?.drives.iter().map(home).collect())
    }

    async fn end(&self, owner: Held, session: SessionId) -> bool {
        match self.cluster.ask(&EndSession { owner, session }).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%session, error = &error as &dyn std::error::Error, "a session is not ended yet");
                false
            }
        }
    }

    async fn close(&self, at: BTreeMap<DriveHome, Vec<SessionId>>) -> BTreeSet<DriveHome> {
        let mut calls = JoinSet::new();
        for (home, sessions) in at {
            let this = self.clone();
            calls.spawn(async move { (home, this.close_at(home, &sessions).await) });
        }
        let mut closed = BTreeSet::new();
        while let Some(outcome) = calls.join_next().await {
            closed.extend(outcome.ok().and_then(|(home, done)| done.then_some(home)));
        }
        closed
    }
}

impl Drives {
    async fn close_at(&self, home: DriveHome, sessions: &[SessionId]) -> bool {
        for some in sessions.chunks(CLOSE_MAX) {
            let call = CloseSessions { sessions: some.to_vec() };
            if let Err(error) = self.call(home, &call, Bulk::none(), CLOSE_ANSWER_MAX).await {
                let drive: DriveId = home.drive;
                tracing::debug!(%drive, error = &error as &dyn std::error::Error, "sessions are not closed yet");
                return false;
            }
        }
        true
    }
}
