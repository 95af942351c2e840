//! What care is taken with: the rows of a metadata shard, and the drives.

use std::sync::Arc;

use bytes::Bytes;
use weft_layout::ClusterMap;
use weft_meta::Transaction;
use weft_types::{MapVersion, Timestamp};
use weft_wire::Fault;
use weft_wire::drive::{ShardHeader, ShardKey};
use weft_wire::meta::MetaError;
use weft_wire::ownership::{DriveHome, Held, ReportCare};

/// The rows of a metadata shard, under an ownership.
pub trait ExtentRows {
    /// The ownership.
    fn held(&self) -> Held;

    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Whether the ownership holds now, as far as can be told. Nothing is asked of a drive without it.
    fn may_act(&self) -> bool;

    /// Whether the filesystem is being deleted as a whole. Nothing is moved any more then, and nothing missed.
    fn is_dropping(&self) -> bool;

    /// Reads rows, and answers the batch with which what was read is durable.
    ///
    /// # Errors
    /// What `read` says.
    fn look<T>(
        &self,
        read: impl FnOnce(&dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError>;

    /// Changes rows, all or none, and answers the batch with which that is durable.
    ///
    /// # Errors
    /// What `change` says; nothing has changed then.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError>;

    /// From now on nothing is executed under an older map. Answers the batch with which all is durable that was executed
    /// before.
    fn act_on(&self, map: MapVersion) -> u64;

    /// Waits until a batch is durable.
    ///
    /// # Errors
    /// [`Fault::NotServing`] when the ownership ends before.
    fn durable(&self, seq: u64) -> impl Future<Output = Result<(), Fault>>;
}

/// The drive or management did not do it, or did not say so: it may have been done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer")]
pub struct Unanswered;

/// Why nothing was read from a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    /// The drive has no such shard.
    #[error("the drive has no such shard")]
    Absent,
    /// What it has is damaged.
    #[error("the shard is damaged")]
    Damaged,
    /// The drive did not answer.
    #[error("no answer")]
    Unanswered,
}

/// The drives of the map, and management. Who implements it writes down why a call failed.
pub trait ShardHomes {
    /// The map as it is known now; `None` until management was heard of.
    fn map(&self) -> Option<Arc<ClusterMap>>;

    /// The shards that a drive holds after this one, in the order of their keys; none only at the end.
    ///
    /// # Errors
    /// [`Unanswered`]
    fn list(
        &self,
        at: DriveHome,
        after: Option<ShardKey>,
    ) -> impl Future<Output = Result<Vec<ShardKey>, Unanswered>>;

    /// The header of a shard.
    ///
    /// # Errors
    /// [`ReadFailure`]
    fn describe(
        &self,
        at: DriveHome,
        key: ShardKey,
    ) -> impl Future<Output = Result<ShardHeader, ReadFailure>>;

    /// All `len` bytes of a shard, at least one.
    ///
    /// # Errors
    /// [`ReadFailure`]
    fn read(
        &self,
        at: DriveHome,
        key: ShardKey,
        len: u32,
    ) -> impl Future<Output = Result<Bytes, ReadFailure>>;

    /// Stores a shard, or finds it there. Durable on return.
    ///
    /// # Errors
    /// [`Unanswered`]; also when the drive refuses it.
    fn put(
        &self,
        at: DriveHome,
        header: ShardHeader,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), Unanswered>>;

    /// Deletes shards, those that are there. Durable on return.
    ///
    /// # Errors
    /// [`Unanswered`]; some may be gone.
    fn delete(&self, at: DriveHome, keys: Vec<ShardKey>) -> impl Future<Output = Result<(), Unanswered>>;

    /// Tells management what was found out.
    ///
    /// # Errors
    /// [`Unanswered`]
    fn report(&self, report: &ReportCare) -> impl Future<Output = Result<(), Unanswered>>;
}

/// Why care is not taken now.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// Rows cannot be read or changed.
    #[error(transparent)]
    Rows(#[from] MetaError),
    /// The ownership commits nothing any more.
    #[error("the ownership has ended")]
    Ended(#[source] Fault),
    /// A drive or management did not answer; it is tried again.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Reads rows, and waits until what was read is durable: what is done to drives rests on nothing that may not last.
pub(super) async fn known<T>(
    rows: &impl ExtentRows,
    read: impl FnOnce(&dyn Transaction) -> Result<T, MetaError>,
) -> Result<T, CareError> {
    let (value, seq) = rows.look(read)?;
    rows.durable(seq).await.map_err(CareError::Ended)?;
    Ok(value)
}

/// Changes rows, and waits until that is durable.
pub(super) async fn changed<T>(
    rows: &impl ExtentRows,
    change: impl FnOnce(&mut dyn Transaction) -> Result<T, MetaError>,
) -> Result<T, CareError> {
    let (value, seq) = rows.change(change)?;
    rows.durable(seq).await.map_err(CareError::Ended)?;
    Ok(value)
}
