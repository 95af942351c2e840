//! Writes: into memory, as long as there is room for them.

use core::pin::pin;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep, timeout};

use crate::budget::{Taken, WRITE_BYTES_MAX};
use crate::dirty::{FILE_BYTES_MAX, Take};
use crate::file::{Pinned, Use};
use crate::handle::OpenFile;
use crate::operations::of_handle;
use crate::room::LAG;
use crate::{Core, FsError, HandleId};

/// A file with so many dirty bytes is written back whether or not they form whole extents.
const SCATTERED_MAX: u64 = 32 << 20;
/// So many extents are dirty at most before all files are written back: each takes memory beside its bytes.
const EXTENTS_MAX: u64 = 16 << 10;
/// A write gives up when nothing at all was committed for so long.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// Between two questions for room that may be there.
const ROOM_PAUSE: Duration = Duration::from_millis(250);
/// After this all that was committed before is counted by the owner.
const SURE_AFTER: Duration = LAG.saturating_add(Duration::from_millis(500));

/// How bytes came to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// By a call.
    Call,
    /// By the kernel, which writes pages of a mapping.
    Mapping,
}

impl Origin {
    /// Whether the kernel keeps pages locked until it is answered.
    fn holds_pages(self, open: &OpenFile) -> bool {
        self == Self::Mapping || !open.is_direct()
    }
}

/// What became of bytes that were to be kept in memory.
enum Stored {
    Kept,
    /// The session may not hold them back: the owner is to be asked.
    NotHeld,
}

impl Core {
    /// Writes into memory when there is room in it, and the handle is not `sync`. As [`write`](Self::write).
    pub fn try_write(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        data: &[u8],
    ) -> Option<Result<u32, FsError>> {
        let open = match self.writable(handle, offset, data) {
            Ok(open) => open,
            Err(error) => return Some(Err(error)),
        };
        let len = u32::try_from(data.len()).ok()?;
        let at_once = self.session.is_serving() && !open.mode.sync && data.len() <= WRITE_BYTES_MAX;
        let may_write = {
            let state = open.file.lock();
            self.may_write(&state) && !state.recall.is_dropping() && !state.is_resizing()
        };
        let kills = open.is_direct() && self.may_have_capabilities(open.file.inode);
        if !at_once || !may_write || kills || !self.memory.dirty.try_take(len) {
            return None;
        }
        if !self.has_room(0) {
            self.memory.dirty.untake(len);
            return None;
        }
        match self.store(&open, offset, data, Origin::Call, false) {
            Ok(Stored::Kept) => Some(Ok(len)),
            Ok(Stored::NotHeld) => {
                self.memory.dirty.untake(len);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Writes `data`, into memory, and answers how much of it: less than all only when there is no room for more. Waits only while too much is unwritten. Committed after 5 s at the latest.
    /// Of a `sync` handle, committed when answered.
    ///
    /// # Errors
    /// [`FsError::BadHandle`], [`FsError::FileTooLarge`], [`FsError::NoSpace`]; [`FsError::TimedOut`] when there is
    /// too much unwritten and for a minute nothing was committed, or when a change of the file's length takes as long; of a `sync` handle what [`fsync`](Self::fsync)
    /// says.
    pub async fn write(self: &Arc<Self>, handle: HandleId, offset: u64, data: &[u8]) -> Result<u32, FsError> {
        self.write_from(handle, offset, data, Origin::Call).await
    }

    /// Writes a page of a mapping: as [`write`](Self::write), but always where it says, and it does not wait for what waits
    /// for it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_mapped(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        data: &[u8],
    ) -> Result<u32, FsError> {
        self.write_from(handle, offset, data, Origin::Mapping).await
    }

    async fn write_from(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        origin: Origin,
    ) -> Result<u32, FsError> {
        let open = self.writable(handle, offset, data)?;
        self.session.serving().await?;
        let pages = origin.holds_pages(&open);
        if pages && origin == Origin::Call {
            self.may_fill(&open.file).await?;
        }
        if open.is_direct() && origin == Origin::Call {
            self.kill_capabilities(open.file.inode).await?;
        }
        let used = Use::begin(&open.file);
        // While the kernel drops pages it is answered also without the right to hold back what it writes, pages of a mapping at
        // once: they have no other order.
        let mut in_any_case = origin == Origin::Mapping;
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(WRITE_BYTES_MAX));
            // Chunks are at most 4 MiB.
            let len = chunk.len() as u32;
            let taken = match self.make_room(len).await {
                // What fits is written, as a short write.
                Err(FsError::NoSpace) if at > offset => break,
                made => made?,
            };
            self.resized(&open.file).await?;
            match self.store(&open, at, chunk, origin, in_any_case) {
                Ok(Stored::NotHeld) => {
                    drop(taken);
                    self.hold_writing(&open.file, pages).await.map_err(of_handle)?;
                    in_any_case = true;
                    continue;
                }
                stored => {
                    taken.spend();
                    stored?;
                }
            }
            rest = after;
            at += u64::from(len);
        }
        drop(used);
        // Pages of a mapping are synced by who asks for that.
        if open.mode.sync && origin == Origin::Call {
            self.fsync(handle).await?;
        }
        u32::try_from(at - offset).map_err(|_| FsError::FileTooLarge)
    }

    fn writable(&self, handle: HandleId, offset: u64, data: &[u8]) -> Result<Arc<OpenFile>, FsError> {
        let open = self.handles.get(handle)?;
        if !open.mode.write {
            return Err(FsError::BadHandle);
        }
        if let Some(lost) = open.untold_loss() {
            return Err(lost);
        }
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > FILE_BYTES_MAX) || u32::try_from(data.len()).is_err() {
            return Err(FsError::FileTooLarge);
        }
        Ok(open)
    }

    /// Whether the filesystem has room for what is dirty and so much more.
    fn has_room(&self, len: u32) -> bool {
        !self.full.load(Ordering::Relaxed) && self.room.has(self.wanted(len))
    }

    fn wanted(&self, len: u32) -> u64 {
        self.room.pending(self.memory.dirty.held() + u64::from(len))
    }

    /// Waits until it is known whether the filesystem has room for what is dirty and so much more.
    async fn find_room(self: &Arc<Self>, len: u32) -> Result<(), FsError> {
        let begun = Instant::now();
        while !self.has_room(len) {
            self.poll_space().await?;
            if self.has_room(len) {
                break;
            }
            // What was committed a moment ago may be counted twice, and what is dirty may take less than it may.
            let counted = begun.elapsed() > SURE_AFTER || !self.room.may_have(self.wanted(len));
            if counted || self.full.load(Ordering::Relaxed) {
                return Err(FsError::NoSpace);
            }
            self.kick_all();
            sleep(ROOM_PAUSE).await;
        }
        Ok(())
    }

    /// Takes memory for a write, once the filesystem has room for it. Its writer may give up at any wait.
    async fn make_room(self: &Arc<Self>, len: u32) -> Result<Taken<'_>, FsError> {
        self.find_room(len).await?;
        self.take_memory(len).await?;
        let taken = self.memory.dirty.taken(len);
        self.find_room(0).await?;
        Ok(taken)
    }

    /// Waits while the length of a file is being changed.
    async fn resized(&self, file: &Pinned) -> Result<(), FsError> {
        let mut progress = file.progress.subscribe();
        let ended = progress.wait_for(|_| !file.lock().is_resizing());
        tokio::select! {
            biased;
            waited = timeout(STALLED_MAX, ended) => waited.map(drop).map_err(|_| FsError::TimedOut),
            () = self.session.ended() => Err(FsError::SessionEnded),
        }
    }

    async fn take_memory(self: &Arc<Self>, len: u32) -> Result<(), FsError> {
        if self.memory.dirty.try_take(len) {
            return Ok(());
        }
        self.kick_all();
        let dirty = &self.memory.dirty;
        let mut taken = pin!(dirty.take(len));
        let (mut returned, mut since) = (dirty.returned(), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = &mut taken => return Ok(()),
                () = self.session.ended() => return Err(FsError::SessionEnded),
                () = sleep(ROOM_PAUSE) => {}
            }
            if self.full.load(Ordering::Relaxed) {
                return Err(FsError::NoSpace);
            }
            if dirty.returned() != returned {
                (returned, since) = (dirty.returned(), Instant::now());
            } else if since.elapsed() >= STALLED_MAX {
                return Err(FsError::TimedOut);
            }
        }
    }

    /// Puts bytes on top of the file. Memory for them was taken; it is given back after an error.
    fn store(
        self: &Arc<Self>,
        open: &OpenFile,
        offset: u64,
        data: &[u8],
        origin: Origin,
        in_any_case: bool,
    ) -> Result<Stored, FsError> {
        let mut state = open.file.lock();
        let for_recall = in_any_case && origin.holds_pages(open) && state.recall.is_dropping();
        if !self.may_write(&state) && !for_recall {
            return Ok(Stored::NotHeld);
        }
        let offset = if open.mode.append && origin == Origin::Call { state.length() } else { offset };
        let fits = offset.checked_add(data.len() as u64).is_some_and(|end| end <= FILE_BYTES_MAX);
        if !fits || self.session.has_ended() {
            drop(state);
            self.memory.dirty.give_back(data.len() as u64);
            return Err(if fits { FsError::SessionEnded } else { FsError::FileTooLarge });
        }
        let replaced = state.dirty.write(offset, data);
        self.room.count(&mut state);
        state.modified = Some(self.backend.now());
        state.held.written();
        let clean_before = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        let kick = match state.dirty.dirty() {
            SCATTERED_MAX.. => Some(Take::All),
            _ => state.dirty.has_full_run().then_some(Take::Full),
        };
        drop(state);
        if clean_before {
            self.unwritten.insert(&open.file);
        }
        self.memory.dirty.give_back(replaced);
        if self.room.extents() >= EXTENTS_MAX && !self.crowded.swap(true, Ordering::Relaxed) {
            self.kick_all();
        }
        if let Some(what) = kick {
            self.kick(&open.file, what);
        }
        Ok(Stored::Kept)
    }
}
