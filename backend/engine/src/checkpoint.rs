//! Checkpoints: a shard's rows as they were after one batch, in parts, mirrored on drives.

mod load;
mod part;
mod write;

use crate::{Deposed, IndexError};

pub use load::load;
pub(crate) use write::{Name, Parts};

/// Why no checkpoint was written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The ownership has ended.
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The drives have no room for it.
    #[error("no space left for a checkpoint")]
    NoSpace,
    /// Drives or management do not answer; try again later.
    #[error("the checkpoint waits: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
}

/// Why a checkpoint was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No copy of a part is whole.
    #[error("part {part} of the checkpoint is damaged on every drive that has it: {reason}")]
    Damaged {
        /// Which part.
        part: u32,
        /// What is wrong with the last copy that was tried.
        reason: String,
    },
    /// The parts are whole and together not what was published.
    #[error("the checkpoint's parts are not those that were published")]
    Digest,
    /// Drives do not answer.
    #[error("part {part} of the checkpoint cannot be read: {reason}")]
    Unavailable {
        /// Which part.
        part: u32,
        /// What the last drive said.
        reason: String,
    },
    /// The index cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
}
