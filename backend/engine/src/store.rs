//! The cluster store: one sealed document, a copy of it on each of several drives.
//!
//! Management opens it under a term that is above every term that it finds; a majority of the voting drives promises to
//! take nothing of a lower one. The newest copy that they hold is put again under that term, and every change after it;
//! a change counts once a majority has it. With 2M+1 voters any M drives may be lost.
//!
//! - [`store_headers`], [`open_store`], [`recover_store`]: from the drives to an open store; [`look_at_store`]: to
//!   what is in it.
//! - [`QuorumStore`]: its contents and changes; [`StoreDriver`]: the part that must be run for it.
//! - [`StoreDrives`], [`StoreContents`]: what it needs from others. It spawns nothing and knows no clock but Tokio's, so
//!   that a simulation can run it.

mod answers;
mod copy;
mod driver;
mod drives;
mod looking;
mod opening;
mod pending;
mod quorum;
mod register;
#[cfg(test)]
mod tests;
mod version;
mod voters;

use core::time::Duration;

use weft_types::Epoch;

pub use answers::{Behind, Damaged, UnusableCopy};
pub use copy::{CopyError, STORE_BYTES_MAX, StoreCopy, StoreHeader};
pub use driver::{Fenced, StoreDriver};
pub use drives::{StoreCallError, StoreContents, StoreDrives};
pub use looking::{LookError, Looked, look_at_store};
pub use opening::{
    OpenError, Remembered, StoreSettings, above_the_unseen, open_store, recover_store, store_headers,
};
pub use quorum::{ChangeError, QuorumStore, StoreStatus};
pub use version::{Shown as ShownVersion, first_version, term_of};
pub use voters::Voters;

/// How long a drive may take for an answer.
const CALL_MAX: Duration = Duration::from_secs(3);

/// Why a version was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Too few drives have taken it. It may count later.
    #[error("no majority of the voting drives has taken the change: {progress}")]
    NoMajority {
        /// How far it got.
        progress: String,
    },
    /// Another management process has opened the store.
    #[error("another management process has opened the cluster store under term {by}")]
    Fenced {
        /// Its term.
        by: Epoch,
    },
    /// The contents have outgrown the store.
    #[error("a cluster store of {bytes} bytes is over the bound of {STORE_BYTES_MAX}")]
    TooLarge {
        /// Their bytes, sealed.
        bytes: usize,
    },
    /// The voters would change without a version that names both sets.
    #[error("voting drives change only through a version that names both sets")]
    Voters,
    /// The store is closed.
    #[error("the cluster store is closed")]
    Stopped,
}
