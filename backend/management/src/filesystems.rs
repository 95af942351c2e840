//! Creating filesystems.

use weft_types::Timestamp;
use weft_wire::management::{FilesystemInfo, FilesystemRefusal};

use crate::keeper::{ChangeError, in_one_line};
use crate::management::Management;
use crate::new_keys;

impl Management {
    /// Creates a filesystem with keys of its own; durable on return. `now` is the time of day.
    pub(crate) async fn create_filesystem(
        &self,
        name: String,
        now: Timestamp,
    ) -> Result<FilesystemInfo, FilesystemRefusal> {
        let contents = self.keeper.contents();
        // Asked before the KMS is troubled, and again when it is the change's turn.
        contents.can_create(&name)?;
        let row = new_keys::filesystem(&*self.kms, contents.map.cluster, name, now).await;
        let row = row.map_err(|error| FilesystemRefusal::Keys { reason: in_one_line(&error) })?;
        let info = self.keeper.change(|contents| contents.create(row)).await.map_err(store_refusal)?;
        tracing::info!(filesystem = %info.id, name = info.name, "a filesystem was created");
        Ok(info)
    }
}

/// What a caller learns of a change that was not made.
pub(crate) fn store_refusal(error: ChangeError<FilesystemRefusal>) -> FilesystemRefusal {
    match error {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Write(error) => FilesystemRefusal::Store { reason: in_one_line(&error) },
    }
}
