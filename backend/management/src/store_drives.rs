//! The drives that hold copies of the cluster store, over the network.

use core::future::Future;
use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use weft_engine::store::{StoreCallError, StoreDrives};
use weft_transport::{Bulk, CallError, Peer, Pool};
use weft_types::DriveId;
use weft_wire::Call;
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreRefusal, StoreTaken};

use crate::keeper::in_one_line;

/// How long a drive may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Drives by their addresses.
pub(crate) struct NetworkDrives {
    pool: Pool,
    peers: BTreeMap<DriveId, Peer>,
}

impl NetworkDrives {
    /// The way to these drives. Calls to one that is known to be down fail at once: others are asked, and it is asked
    /// again.
    pub(crate) fn new(pool: &Pool, drives: &[(Peer, DriveId)]) -> Self {
        let peers = drives.iter().map(|(peer, drive)| (*drive, *peer)).collect();
        Self { pool: pool.failing_fast(), peers }
    }

    fn call<C: Call<Refusal = StoreRefusal>>(
        &self,
        drive: DriveId,
        call: &C,
        bulk: Bytes,
    ) -> impl Future<Output = Result<(C::Reply, Bytes), StoreCallError>> + Send + use<C> {
        let peer = self.peers.get(&drive);
        let bulk = if bulk.is_empty() { Bulk::none() } else { Bulk::from(bulk) };
        let answer = peer.map(|peer| self.pool.call(peer, call, bulk, ANSWER_MAX));
        async move {
            let Some(answer) = answer else {
                return Err(StoreCallError::NoAnswer { reason: "its address is not known".to_owned() });
            };
            answer.await.map_err(|error| match error {
                CallError::Refused(refusal) => StoreCallError::Refused(refusal),
                error => StoreCallError::NoAnswer { reason: in_one_line(&error) },
            })
        }
    }
}

impl StoreDrives for NetworkDrives {
    fn open(
        &self,
        drive: DriveId,
        call: OpenStore,
    ) -> impl Future<Output = Result<(StoreHeld, Bytes), StoreCallError>> + Send + 'static {
        self.call(drive, &call, Bytes::new())
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutStore,
        copy: Bytes,
    ) -> impl Future<Output = Result<StoreTaken, StoreCallError>> + Send + 'static {
        let answer = self.call(drive, &call, copy);
        async move { answer.await.map(|(taken, _)| taken) }
    }
}
