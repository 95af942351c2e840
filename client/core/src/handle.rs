//! Open files.

use core::fmt;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::FsError;
use crate::file::Pinned;
use crate::readahead::{Advice, ReadAheadBound, Readahead};

/// One open of a file. Never given twice within a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(u64);

impl HandleId {
    /// The handle with this number, as the kernel gives it back.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number, for the kernel.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// Every write goes to the end of the file, whatever offset it names (`O_APPEND`).
    pub append: bool,
    /// Every write answers after its durable commit (`O_SYNC`, `O_DSYNC`).
    pub sync: bool,
}

/// Open handles of a mount at most.
const HANDLES_MAX: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };

/// What stands behind a handle.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: Pinned,
    pub(crate) mode: OpenMode,
    /// It is read and written around the kernel's pages.
    direct: AtomicBool,
    readahead: Mutex<Readahead>,
    /// Failures of the file that this handle was told of.
    told: AtomicU64,
    /// The state of the file at the last read that was noted.
    noted: AtomicU64,
}

impl OpenFile {
    pub(crate) fn advise(&self, offset: u64, len: u32, bound: &ReadAheadBound) -> Advice {
        let mut readahead = self.readahead.lock().unwrap_or_else(PoisonError::into_inner);
        readahead.advise(offset, len.into(), bound.get())
    }

    /// Whether a file is read by this handle for the first time in this state.
    pub(crate) fn is_first_read(&self, state: u64) -> bool {
        self.noted.swap(state, Ordering::Relaxed) != state
    }

    fn closed(&self) {
        let mut state = self.file.lock();
        state.handles -= 1;
        state.writers -= u32::from(self.mode.write);
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// To be called before anybody writes.
    pub(crate) fn go_around_pages(&self) {
        self.direct.store(true, Ordering::Relaxed);
    }

    /// A failure to write that this handle was not told of; it is now.
    pub(crate) fn untold_failure(&self) -> Option<FsError> {
        let (failures, failure) = {
            let mut state = self.file.lock();
            state.untold_loss = 0;
            (state.failures, state.failure)
        };
        let told = self.told.swap(failures, Ordering::Relaxed);
        failure.filter(|_| told != failures)
    }

    /// As [`untold_failure`](Self::untold_failure), when what was written is not kept any more.
    pub(crate) fn untold_loss(&self) -> Option<FsError> {
        let lost = self.file.lock().failures_at_loss;
        if self.told.load(Ordering::Relaxed) < lost { self.untold_failure() } else { None }
    }
}

/// The open handles.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    open: RwLock<HashMap<HandleId, Arc<OpenFile>>>,
    last: AtomicU64,
}

impl Handles {
    pub(crate) fn open(&self, file: Pinned, mode: OpenMode) -> Result<HandleId, FsError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= HANDLES_MAX {
            return Err(FsError::TooManyHandles);
        }
        let id = HandleId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let told = {
            let mut state = file.lock();
            state.handles += 1;
            state.writers += u32::from(mode.write);
            AtomicU64::new(state.failures)
        };
        open.insert(
            id,
            Arc::new(OpenFile {
                file,
                mode,
                // Where its end is only core knows.
                direct: AtomicBool::new(mode.append),
                readahead: Mutex::default(),
                told,
                noted: AtomicU64::new(0),
            }),
        );
        Ok(id)
    }

    pub(crate) fn get(&self, id: HandleId) -> Result<Arc<OpenFile>, FsError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.get(&id).cloned().ok_or(FsError::BadHandle)?;
        if open.file.is_gone() { Err(FsError::Stale) } else { Ok(open) }
    }

    pub(crate) fn close(&self, id: HandleId) -> Option<Arc<OpenFile>> {
        let closed = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        closed.closed();
        Some(closed)
    }

    /// Closes all of them.
    pub(crate) fn close_all(&self) {
        let closed = core::mem::take(&mut *self.open.write().unwrap_or_else(PoisonError::into_inner));
        for open in closed.values() {
            open.closed();
        }
    }
}
