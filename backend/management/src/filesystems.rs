//! Creating filesystems and giving them to owners.

use std::time::SystemTime;

use weft_types::{MetadataShard, NodeId, Timestamp};
use weft_wire::management::{FilesystemInfo, FilesystemRefusal, Ownership};

use crate::keeper::{ChangeError, in_one_line};
use crate::management::Management;
use crate::new_keys;

impl Management {
    /// Creates a filesystem with keys of its own; durable on return.
    pub(crate) async fn create_filesystem(&self, name: String) -> Result<FilesystemInfo, FilesystemRefusal> {
        let contents = self.keeper.contents();
        // Asked before the KMS is troubled, and again when it is the change's turn.
        contents.can_create(&name)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let row =
            new_keys::filesystem(&*self.kms, contents.map.cluster, name, Timestamp::from_unix(now)).await;
        let row = row.map_err(|error| FilesystemRefusal::Keys { reason: in_one_line(&error) })?;
        let info = self.keeper.change(|contents| contents.create(row)).await.map_err(store_refusal)?;
        tracing::info!(filesystem = %info.id, name = info.name, "a filesystem was created");
        Ok(info)
    }

    /// Gives a metadata shard to an owner under a new epoch; durable on return.
    pub(crate) async fn own_filesystem(
        &self,
        name: String,
        shard: MetadataShard,
        owner: NodeId,
    ) -> Result<Ownership, FilesystemRefusal> {
        let change =
            move |contents: &mut crate::contents::Contents| contents.take_ownership(&name, shard, owner);
        let ownership = self.keeper.change(change).await.map_err(store_refusal)?;
        tracing::info!(filesystem = %ownership.filesystem.id, %shard, epoch = %ownership.epoch, %owner, "owned");
        Ok(ownership)
    }
}

/// What a caller learns of a change that was not made.
pub(crate) fn store_refusal(error: ChangeError<FilesystemRefusal>) -> FilesystemRefusal {
    match error {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Store(error) => {
            tracing::error!(error = &error as &dyn core::error::Error, "the cluster store was not written");
            FilesystemRefusal::Store { reason: in_one_line(&error) }
        }
        ChangeError::BrokenOff => FilesystemRefusal::Store { reason: "writing was broken off".to_owned() },
    }
}
