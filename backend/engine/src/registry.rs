//! The seam to a shard's row in the cluster store.

use weft_types::Epoch;
use weft_wire::ownership::{ShardRow, ShardRowReply, SwapRefusal};

/// Why a row was not replaced, or not learnt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// Another ownership holds: the caller is deposed.
    #[error("ownership epoch {by} holds")]
    Deposed {
        /// Its epoch.
        by: Epoch,
    },
    /// The row has another version. The same swap done twice says so too.
    #[error("the shard's row has version {version}")]
    Changed {
        /// Its version.
        version: u64,
    },
    /// There is no such filesystem or shard.
    #[error("there is no such metadata shard")]
    NotFound,
    /// The new row cannot be.
    #[error("the row is malformed")]
    Malformed,
    /// No answer, or none that says what happened: the row may be replaced, now or a little later.
    #[error("whether the shard's row was replaced is unknown: {reason}")]
    Unknown {
        /// What failed.
        reason: String,
    },
}

impl From<SwapRefusal> for SwapError {
    fn from(refusal: SwapRefusal) -> Self {
        match refusal {
            SwapRefusal::Deposed { by } => Self::Deposed { by },
            SwapRefusal::Changed { version } => Self::Changed { version },
            SwapRefusal::NotFound => Self::NotFound,
            SwapRefusal::Malformed => Self::Malformed,
            SwapRefusal::Store { reason } => Self::Unknown { reason },
        }
    }
}

/// A shard's row in the cluster store, as one ownership sees it: whose filesystem, shard and epoch it is about, the
/// implementation knows. Each call has a deadline that the implementation keeps, and may be given up at any time.
pub trait ShardRegistry: Send + Sync {
    /// Replaces the row by compare-and-swap: the version of `row` is that of the row that it replaces, plus one.
    /// Durable when it returns.
    fn swap(&self, row: ShardRow) -> impl Future<Output = Result<(), SwapError>> + Send;

    /// The row as it is, and a grant of this ownership for every drive of the map.
    fn row(&self) -> impl Future<Output = Result<ShardRowReply, SwapError>> + Send;
}
