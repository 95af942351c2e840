//! Handles: opening, flushing, closing.

use std::sync::Arc;

use tokio::time::{sleep, timeout};
use weft_types::Inode;
use weft_wire::compute::MetaDone;
use weft_wire::meta::{Attributes, Caller, FileKind, MetaError, MetaOp, MetaReply};

use crate::coherence::RECALLED_PAUSE;
use crate::session::OPERATION_MAX;
use crate::{Core, FsError, HandleId, OpenMode};

impl Core {
    /// Opens a regular file. Nobody is asked when its attributes are in memory.
    ///
    /// # Errors
    /// `Refused(IsDirectory)`, `Refused(Invalid)` for what is no file, `Refused(ReadOnly)`;
    /// [`FsError::TooManyHandles`]; any of [`FsError`] when the owner cannot be asked.
    pub async fn open(self: &Arc<Self>, inode: Inode, open: OpenMode) -> Result<HandleId, FsError> {
        loop {
            let attributes = self.attributes(inode).await?;
            let handle = self.open_known(inode, attributes, open)?;
            // What was recalled meanwhile was told not to be open: whoever recalled it may have removed it.
            if self.session.is_alone() || self.names.attributes(inode).is_some() {
                return self.beside_writers(inode, handle, open).await;
            }
            self.release(handle);
            sleep(RECALLED_PAUSE).await;
        }
    }

    /// What others write to as well is not written through the kernel's pages, nor by mappings: these could not be kept the
    /// same as theirs.
    async fn beside_writers(
        self: &Arc<Self>,
        inode: Inode,
        handle: HandleId,
        open: OpenMode,
    ) -> Result<HandleId, FsError> {
        if !open.write || self.session.is_alone() {
            return Ok(handle);
        }
        // Counted already: of two that ask at the same time each hears of the other.
        let asked = self.session.meta(Caller::default(), MetaOp::OpenWriting { inode });
        let others = match timeout(OPERATION_MAX, asked).await.map_err(|_| FsError::TimedOut).flatten() {
            Ok(MetaDone { reply: MetaReply::Writers { others }, .. }) => Ok(others),
            Ok(_) => Err(FsError::Protocol),
            Err(error) => Err(error),
        };
        if others.is_err() {
            self.release(handle);
        }
        if others? {
            self.handles.get(handle)?.go_around_pages();
        }
        Ok(handle)
    }

    /// Whether a handle is to be read and written around the kernel's pages, and cannot be mapped for writing by several: bytes
    /// are appended where core finds the end, and what another mount had open for writing is the same for both.
    pub fn is_direct(&self, handle: HandleId) -> bool {
        self.handles.get(handle).is_ok_and(|open| open.is_direct())
    }

    /// Opens a file whose attributes are in memory. As [`open`](Self::open).
    pub fn try_open(self: &Arc<Self>, inode: Inode, open: OpenMode) -> Option<Result<HandleId, FsError>> {
        if !self.session.is_alone() {
            return None;
        }
        match self.try_attributes(inode)? {
            Ok(attributes) => {
                let opened = self.open_known(inode, attributes, open);
                if !self.session.is_alone()
                    && let Ok(handle) = opened
                {
                    // Others came meanwhile: the owner may not have been told that this file is open.
                    self.release(handle);
                    return None;
                }
                Some(opened)
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn open_known(&self, inode: Inode, attributes: Attributes, open: OpenMode) -> Result<HandleId, FsError> {
        match attributes.kind {
            FileKind::File if open.write && self.session.is_read_only() => Err(MetaError::ReadOnly.into()),
            FileKind::File => {
                // The dirty length is on top of what was asked for: a new file starts with the committed one.
                let committed = self.names.attributes(inode).unwrap_or(attributes);
                let file = self.files.pin(&committed);
                let mut state = file.lock();
                // What is remembered was not recalled.
                if let Some(attributes) = self.names.attributes(inode) {
                    state.know(&attributes);
                }
                drop(state);
                self.handles.open(file, open)
            }
            FileKind::Directory => Err(MetaError::IsDirectory.into()),
            _ => Err(MetaError::Invalid.into()),
        }
    }

    /// A descriptor of the handle is closed: what is dirty is written in the background, soon. Says what could not be
    /// written since this handle was last told.
    ///
    /// # Errors
    /// Why an earlier write could not be committed.
    pub fn flush(self: &Arc<Self>, handle: HandleId) -> Result<(), FsError> {
        let open = self.handles.get(handle)?;
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

    /// Waits until everything written so far, to any file, is committed, and durable so.
    ///
    /// # Errors
    /// Why a write could not be committed, of the first file of which one could not; [`FsError::TimedOut`] after a minute in
    /// which a file was not, whatever became of those behind it. Handles are told all the same.
    pub async fn sync_all(self: &Arc<Self>) -> Result<(), FsError> {
        let files = self.files.pinned();
        // All are on their way at once, and then waited for in turn.
        self.kick_all();
        let mut all = Ok(());
        for file in &files {
            match self.commit_all(file).await {
                Err(end @ (FsError::TimedOut | FsError::SessionEnded)) => return Err(end),
                committed => all = all.and(committed),
            }
        }
        all
    }

    /// Closes a handle. What is dirty is written in the background, soon.
    pub fn release(self: &Arc<Self>, handle: HandleId) {
        drop(self.handles.close(handle));
    }
}
