//! Ranges of a file: made sure of, emptied, zeroed (Linux `fallocate`).

use core::ops::Range;
use std::sync::Arc;

use tokio::sync::MutexGuard;
use tokio::time::Instant;
use weft_types::FileOffset;
use weft_wire::compute::MetaDone;
use weft_wire::meta::{Allocate, AllocateMode, Attributes, Caller, Covered, MetaError, MetaOp, MetaReply};

use crate::dirty::FILE_BYTES_MAX;
use crate::file::{Pinned, Resize};
use crate::session::OPERATION_MAX;
use crate::{Core, FsError, HandleId};

/// What a range has after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// What it had before.
    Same,
    /// Nothing.
    Hole,
    /// What only the owner knows.
    Other,
}

impl Core {
    /// Allocates, empties or zeroes `len` bytes from `offset` on; durable when answered, after all that was written to the
    /// file before. What is written while it is under way may come before or after it.
    ///
    /// A range is allocated when the filesystem has room for it, and its length counts. Nothing is set aside: a later write
    /// goes to new extents, and may find the filesystem full all the same.
    ///
    /// # Errors
    /// [`FsError::BadHandle`]; `Refused(Invalid)` for no bytes at all; [`FsError::FileTooLarge`]; [`FsError::NoSpace`]; why
    /// earlier writes could not be committed; any of [`FsError`] when the owner cannot be asked. A part may be done then.
    pub async fn allocate(
        self: &Arc<Self>,
        handle: HandleId,
        mode: AllocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), FsError> {
        let open = self.handles.get(handle)?;
        if !open.mode.write {
            return Err(FsError::BadHandle);
        }
        let range = range_of(offset, len)?;
        self.session.serving().await?;
        let (core, begun) = (Arc::clone(self), Instant::now());
        self.complete(async move { core.allocate_range(&open.file, mode, range, begun).await }).await
    }

    async fn allocate_range(
        self: &Arc<Self>,
        file: &Pinned,
        mode: AllocateMode,
        mut range: Range<u64>,
        begun: Instant,
    ) -> Result<(), FsError> {
        if !mode.clears() {
            self.check_room(file, range.end - range.start).await?;
        }
        self.commit_all(file).await?;
        while range.start < range.end {
            let (inode, len) = (file.inode, range.end - range.start);
            let op = Allocate { inode, mode, offset: FileOffset::new(range.start), len };
            let content = if mode.clears() { Content::Hole } else { Content::Same };
            let done = self.change_range(file, MetaOp::Allocate(op), &range, content, begun).await?;
            if done == 0 {
                return Err(FsError::Protocol);
            }
            range.start += done;
        }
        Ok(())
    }

    /// Whether there is room for a range of a file. It counts for what it takes beyond all that the file has: which of it is
    /// in the range is not asked.
    async fn check_room(self: &Arc<Self>, file: &Pinned, len: u64) -> Result<(), FsError> {
        let attributes = self.attributes(file.inode).await?;
        let wanted = len.saturating_sub(attributes.allocated.get());
        let free = self.space().await?.free.get();
        if wanted <= free { Ok(()) } else { Err(FsError::NoSpace) }
    }

    /// Asks for a change of a range of a file's map; answers how many of its bytes it is done for. What is on its way of the
    /// file neither overtakes it nor is overtaken. `begun` is when the operation began.
    pub(super) async fn change_range(
        self: &Arc<Self>,
        file: &Pinned,
        op: MetaOp,
        range: &Range<u64>,
        content: Content,
        begun: Instant,
    ) -> Result<u64, FsError> {
        let (order, quiet) = self.in_order(file, content).await?;
        // Its caller was told that it failed, and may have written there since: what was not begun does not happen behind
        // its back.
        if begun.elapsed() >= OPERATION_MAX {
            return Err(FsError::TimedOut);
        }
        let change = self.names.change([file.inode]);
        let answer = match self.session.meta(Caller::default(), op).await {
            Ok(MetaDone { reply: MetaReply::Covered(covered), stamp, .. })
                if covered.len <= range.end - range.start =>
            {
                Ok((stamp, covered))
            }
            Ok(_) => Err(FsError::Protocol),
            Err(error) => Err(error),
        };
        if let Err(error) = &answer
            && !matches!(error, FsError::Refused(_))
        {
            // It may have been done.
            file.lock().map.forget(range.clone());
            self.names.forget_attributes(file.inode);
        }
        let (stamp, Covered { attributes, len }) = answer?;
        self.names.set_attributes(stamp, &attributes);
        drop(change);
        self.range_changed(file, &attributes, range.start..range.start + len, content);
        drop((order, quiet));
        Ok(len)
    }

    /// Waits until no commit is under way. A copy waits for what another mount holds back of its source, which may wait for this
    /// file in the same way: so nothing of it is dirty then, and nothing becomes so, and it can be given up meanwhile.
    async fn in_order<'a>(
        self: &Arc<Self>,
        file: &'a Pinned,
        content: Content,
    ) -> Result<(MutexGuard<'a, ()>, Option<Resize>), FsError> {
        loop {
            let order = file.order.lock().await;
            if content != Content::Other {
                return Ok((order, None));
            }
            let quiet = Resize::begin(file);
            if file.lock().dirty.is_clean() {
                return Ok((order, Some(quiet)));
            }
            drop((quiet, order));
            self.commit_all(file).await?;
        }
    }

    /// A change of a range was answered: what is known here follows.
    fn range_changed(&self, file: &Pinned, attributes: &Attributes, range: Range<u64>, content: Content) {
        let mut state = file.lock();
        state.follow(attributes);
        match content {
            Content::Same => return,
            Content::Hole => state.map.clear(range.clone()),
            Content::Other => state.map.forget(range.clone()),
        }
        let beside = [range.start.checked_sub(1), Some(range.end).filter(|end| *end < state.size)];
        let now = Instant::now();
        for stump in beside.into_iter().flatten().filter(|at| state.map.may_be_stump(*at)) {
            self.windows().suspect(file.inode, stump, 0, now);
        }
    }
}

/// A range of at least one byte within the largest file.
fn range_of(offset: u64, len: u64) -> Result<Range<u64>, FsError> {
    if len == 0 {
        return Err(MetaError::Invalid.into());
    }
    let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
    Ok(offset..end.ok_or(FsError::FileTooLarge)?)
}
