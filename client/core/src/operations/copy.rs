//! Ranges of a file put into another place, without their bytes (Linux `copy_file_range`).

use core::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;
use weft_types::FileOffset;
use weft_wire::meta::{CopyRange, MetaOp};

use super::allocate::Content;
use crate::dirty::FILE_BYTES_MAX;
use crate::file::Pinned;
use crate::{Core, FsError, HandleId};

impl Core {
    /// Puts `len` bytes of a file into another place, of it or of another file, in the place of what was there; durable when
    /// answered, after all that was written to both before. Answers how many they were: fewer only where the first file
    /// ends. No bytes are read or written: both places refer to the same extents.
    ///
    /// # Errors
    /// [`FsError::BadHandle`] when one cannot be read, or the other not written at a place; `Refused(Invalid)` for ranges of
    /// one file that overlap; [`FsError::FileTooLarge`]; why earlier writes could not be committed; any of [`FsError`] when
    /// the owner cannot be asked. A part may be done then.
    pub async fn copy_range(
        self: &Arc<Self>,
        from: HandleId,
        from_offset: u64,
        to: HandleId,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, FsError> {
        let (from, to) = (self.handles.get(from)?, self.handles.get(to)?);
        if !from.mode.read || !to.mode.write || to.mode.append {
            return Err(FsError::BadHandle);
        }
        if from_offset > FILE_BYTES_MAX || to_offset > FILE_BYTES_MAX {
            return Err(FsError::FileTooLarge);
        }
        self.session.serving().await?;
        let source = from_offset..from_offset.saturating_add(len);
        let (core, begun) = (Arc::clone(self), Instant::now());
        self.complete(async move { core.copy(&from.file, source, &to.file, to_offset, begun).await }).await
    }

    async fn copy(
        self: &Arc<Self>,
        from: &Pinned,
        source: Range<u64>,
        to: &Pinned,
        to_offset: u64,
        begun: Instant,
    ) -> Result<u64, FsError> {
        self.commit_all(from).await?;
        if from.inode != to.inode {
            self.commit_all(to).await?;
        }
        self.learn_length(from).await?;
        // What is written meanwhile is not waited for.
        let end = source.end.min(from.lock().size);
        let (mut at, mut target) = (source.start, to_offset);
        while at < end {
            let op = CopyRange {
                from: from.inode,
                from_offset: FileOffset::new(at),
                to: to.inode,
                to_offset: FileOffset::new(target),
                len: end - at,
            };
            let range = target..target.saturating_add(end - at);
            match self.change_range(to, MetaOp::CopyRange(op), &range, Content::Other, begun).await {
                // It has become shorter meanwhile.
                Ok(0) => break,
                Ok(done) => (at, target) = (at + done, target + done),
                Err(_) if at > source.start => break,
                Err(error) => return Err(error),
            }
        }
        Ok(at - source.start.min(at))
    }
}
