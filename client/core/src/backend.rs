//! The narrow seam between the filesystem and the network: what is asked of the cluster, and how that fails.
//!
//! Everything that is neither memory nor arithmetic goes through it, the clock of the host included; other time is
//! tokio's. So a core over another backend, on a paused runtime of one thread, does the same each time.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use weft_layout::ClusterMap;
use weft_types::{DriveId, MapVersion, Timestamp};
use weft_wire::NoRefusal;
use weft_wire::coherence::{AckRecalls, Acked, Attach, Place, Recalls, WatchRecalls};
use weft_wire::compute::{
    CloseSession, Meta, MetaDone, OpenRefusal, OpenSession, RenewSession, SessionClosed, SessionGone,
    SessionOpened, SessionRenewed,
};
use weft_wire::drive::{GetRefusal, GetShard, PutRefusal, PutShard, ShardStored};
use weft_wire::grant::{GrantRefusal, GrantTaken, PresentGrant};
use weft_wire::locks::{Lock, LockRefusal, Locked, Reclaim, Reclaimed};
use weft_wire::management::{FrontendReport, HeartbeatHeard, HeartbeatRefusal, MapReply};
use weft_wire::meta::MetaError;

/// Why a call brought no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<R> {
    /// The operation said no.
    Refused(R),
    /// The peer did nothing, and may do it later.
    Busy,
    /// No connection, or it broke: the peer may have carried out the call.
    Unreachable,
    /// No answer in time: the peer may have carried out the call.
    TimedOut,
    /// The peer does not keep to the protocol, refuses this identity or failed internally.
    Broken,
}

/// An answer that is on its way. Dropping it gives it up.
pub type Answer<T, R> = Pin<Box<dyn Future<Output = Result<T, Failure<R>>> + Send>>;

/// The cluster as a mount sees it. Calls may be made from any thread and at any time, also while others wait. A deadline is how long an answer is worth waiting for.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// One metadata operation, to the filesystem's owner.
    fn meta(&self, call: Meta, deadline: Duration) -> Answer<MetaDone, MetaError>;
    /// Opens a session.
    fn open(&self, call: OpenSession, deadline: Duration) -> Answer<SessionOpened, OpenRefusal>;
    /// Keeps the session alive.
    fn renew(&self, call: RenewSession, deadline: Duration) -> Answer<SessionRenewed, SessionGone>;
    /// Ends the session.
    fn close(&self, call: CloseSession, deadline: Duration) -> Answer<SessionClosed, SessionGone>;
    /// One request for locks, to the filesystem's owner.
    fn lock(&self, call: Lock, deadline: Duration) -> Answer<Locked, LockRefusal>;
    /// Tells the filesystem's owner what this session holds.
    fn reclaim(&self, call: Reclaim, deadline: Duration) -> Answer<Reclaimed, LockRefusal>;
    /// Takes a place among the sessions of the filesystem.
    fn attach(&self, call: Attach, deadline: Duration) -> Answer<Place, SessionGone>;
    /// Waits for what is to be forgotten.
    fn recalls(&self, call: WatchRecalls, deadline: Duration) -> Answer<Recalls, SessionGone>;
    /// It is forgotten.
    fn acknowledge(&self, call: AckRecalls, deadline: Duration) -> Answer<Acked, SessionGone>;
    /// Shows a drive what lets this session put shards there.
    fn present(
        &self,
        drive: DriveId,
        call: PresentGrant,
        deadline: Duration,
    ) -> Answer<GrantTaken, GrantRefusal>;
    /// Stores a shard.
    fn put(
        &self,
        drive: DriveId,
        call: PutShard,
        bytes: Bytes,
        deadline: Duration,
    ) -> Answer<ShardStored, PutRefusal>;
    /// Stores shards of several extents with one drive; all of them are durable when answered. When one is refused,
    /// others may be stored.
    fn put_many(
        &self,
        drive: DriveId,
        shards: Vec<(PutShard, Bytes)>,
        deadline: Duration,
    ) -> Answer<(), PutRefusal> {
        let puts: Vec<_> =
            shards.into_iter().map(|(call, bytes)| self.put(drive, call, bytes, deadline)).collect();
        Box::pin(async move { try_join_all(puts).await.map(drop) })
    }
    /// Reads a range of a shard.
    fn get(&self, drive: DriveId, call: GetShard, deadline: Duration) -> Answer<Bytes, GetRefusal>;
    /// Tells management that this frontend is alive.
    fn heartbeat(
        &self,
        report: FrontendReport,
        deadline: Duration,
    ) -> Answer<HeartbeatHeard, HeartbeatRefusal>;
    /// The cluster map, unless it still is the known one.
    fn map(&self, known: Option<MapVersion>, deadline: Duration) -> Answer<MapReply, NoRefusal>;
    /// From now on peers are where this map says.
    fn install(&self, map: &ClusterMap);
    /// What the host's clock says: the modification time of what is written now.
    fn now(&self) -> Timestamp;
    /// Closes all connections.
    fn shut_down(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
