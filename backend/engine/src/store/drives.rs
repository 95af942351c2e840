//! What the cluster store needs from others: the drives that hold its copies, and what it holds.

use core::error::Error;
use core::future::Future;

use bytes::Bytes;
use weft_types::{DriveId, Epoch};
use weft_wire::log::LogKey;
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreRefusal, StoreTaken};
use zeroize::Zeroizing;

use super::voters::Voters;

/// Calls to drives that hold copies of the cluster store.
pub trait StoreDrives: Send + Sync + 'static {
    /// Asks a drive for what it knows, and its copy; empty when it has none.
    fn open(
        &self,
        drive: DriveId,
        call: OpenStore,
    ) -> impl Future<Output = Result<(StoreHeld, Bytes), StoreCallError>> + Send + 'static;

    /// Replaces a drive's copy.
    fn put(
        &self,
        drive: DriveId,
        call: PutStore,
        copy: Bytes,
    ) -> impl Future<Output = Result<StoreTaken, StoreCallError>> + Send + 'static;
}

/// Why a call to a drive brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreCallError {
    /// The drive said no.
    #[error("{0}")]
    Refused(StoreRefusal),
    /// No answer; what the drive did is unknown.
    #[error("{reason}")]
    NoAnswer {
        /// Why.
        reason: String,
    },
}

/// What the cluster store holds, as far as keeping it needs to know.
pub trait StoreContents: Clone + Send + Sync + Sized + 'static {
    /// Why bytes that opened are no contents.
    type Error: Error + Send + Sync + 'static;

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// The bytes are not contents that this version can use.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Self::Error>;

    /// The bytes to seal; wiped on drop.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>>;

    /// Whose majority decides about the store.
    fn voters(&self) -> &Voters;

    /// The ownership that holds of a log; `None` when the contents do not know the log (any more).
    fn ownership(&self, log: &LogKey) -> Option<Epoch>;
}
