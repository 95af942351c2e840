//! Handles: opening, flushing, closing.

use std::sync::Arc;

use weft_types::Inode;
use weft_wire::meta::{FileKind, MetaError};

use crate::dirty::Take;
use crate::{Core, FsError, HandleId, OpenMode};

impl Core {
    /// Opens a regular file. Nobody is asked when its attributes are in memory.
    ///
    /// # Errors
    /// `Refused(IsDirectory)`, `Refused(Invalid)` for what is no file, `Refused(ReadOnly)`;
    /// [`FsError::TooManyHandles`]; any of [`FsError`] when the owner cannot be asked.
    pub async fn open(self: &Arc<Self>, inode: Inode, open: OpenMode) -> Result<HandleId, FsError> {
        let attributes = self.attributes(inode).await?;
        match attributes.kind {
            FileKind::File if open.write && self.session.is_read_only() => Err(MetaError::ReadOnly.into()),
            FileKind::File => {
                // The dirty length is on top of what was asked for: a new file starts with the committed one.
                let committed = self.names.attributes(inode).unwrap_or(attributes);
                self.handles.open(self.files.pin(&committed), open)
            }
            FileKind::Directory => Err(MetaError::IsDirectory.into()),
            _ => Err(MetaError::Invalid.into()),
        }
    }

    /// A descriptor of the handle is closed: starts to write what is dirty, without waiting for it. Says what could
    /// not be written since this handle was last told.
    ///
    /// # Errors
    /// Why an earlier write could not be committed.
    pub fn flush(self: &Arc<Self>, handle: HandleId) -> Result<(), FsError> {
        let open = self.handles.get(handle)?;
        if open.mode.write {
            self.kick(&open.file, Take::All);
        }
        open.untold_failure().map_or(Ok(()), Err)
    }

    /// Waits until everything written to the file so far is committed, and durable so; at most a minute. Says what
    /// could not be written since this handle was last told; it stays in memory and is tried again.
    ///
    /// # Errors
    /// Why a write could not be committed, once per handle; [`FsError::TimedOut`] after a minute.
    pub async fn fsync(self: &Arc<Self>, handle: HandleId) -> Result<(), FsError> {
        let open = self.handles.get(handle)?;
        let committed = self.commit_all(&open.file).await;
        let untold = open.untold_failure();
        committed.and_then(|()| untold.map_or(Ok(()), Err))
    }

    /// Closes a handle, and starts to write what is dirty.
    pub fn release(self: &Arc<Self>, handle: HandleId) {
        if let Some(closed) = self.handles.close(handle) {
            self.kick(&closed.file, Take::All);
        }
    }
}
