//! Several sessions on one filesystem: what is remembered here, and how it is forgotten.

mod attaching;
mod fate;
mod following;
mod recalls;

use core::time::Duration;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use tokio::time::{sleep, timeout};
use weft_types::Inode;
use weft_wire::coherence::Stamp;
use weft_wire::meta::{Caller, MetaOp, MetaReply, Opened};

use crate::file::{FileState, Pinned};
use crate::recall::{Recall, Writing};
use crate::session::OPERATION_MAX;
use crate::{Core, FsError};

pub(crate) use attaching::attach;
pub(crate) use following::follow;
pub(crate) use recalls::watch;

/// How long a read waits for the kernel to have dropped its pages, before it is held to be what the kernel waits for.
const DROPPED_SOON: Duration = Duration::from_millis(5);

/// The same after some rounds of which each was too short.
const DROPPED_LATEST: Duration = Duration::from_secs(1);

/// How long a write that the kernel waits for while it drops pages asks for the right to be held back.
const GIVEN_SOON: Duration = Duration::from_millis(100);

/// Between two questions about what is being recalled: answers do not hold until that is done.
pub(crate) const RECALLED_PAUSE: Duration = Duration::from_millis(1);

/// A kernel that remembers what it was told, and is told to forget it. Calls may block while the kernel waits for reads
/// that it has asked for; they are made on threads of their own.
pub trait KernelCache: Send + Sync {
    /// Drops all names, with the attributes behind them; whether that is possible. If not, they go by themselves when the
    /// time that they were told with is over.
    fn forget_names(&self) -> bool;
    /// Drops the attributes of an inode.
    fn forget_attributes(&self, inode: Inode);
    /// Drops the pages and the attributes of a file; those that were written through a mapping are written first.
    fn forget_data(&self, inode: Inode);
}

/// A file is being made.
pub(crate) struct Creating<'a>(&'a AtomicU32);

impl<'a> Creating<'a> {
    pub(crate) fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The kernel in front of this filesystem, once there is one.
#[derive(Default)]
pub(crate) struct Kernel {
    cache: OnceLock<Arc<dyn KernelCache>>,
    /// Held by who tells it how long it may remember something.
    telling: RwLock<()>,
}

impl Core {
    /// From now on this kernel is told what to forget. To be called once, before it asks for anything.
    pub fn serve_kernel(&self, kernel: Arc<dyn KernelCache>) {
        // A second one would be a mistake of the frontend, and changes nothing.
        let _ = self.kernel.cache.set(kernel);
    }

    /// To be held while a kernel is told something that it may remember for [`cache_ttl`](Self::cache_ttl): what is to be
    /// forgotten is forgotten after that.
    pub fn telling(&self) -> RwLockReadGuard<'_, ()> {
        self.kernel.telling.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until whoever is telling a kernel something has done so.
    pub(crate) fn all_told(&self) {
        drop(self.kernel.telling.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Runs what may block on a thread of its own.
    pub(crate) async fn tell_kernel<T: Send + 'static>(
        &self,
        tell: impl FnOnce(&dyn KernelCache) -> T + Send + 'static,
    ) -> Option<T> {
        let kernel = Arc::clone(self.kernel.cache.get()?);
        self.runtime.spawn_blocking(move || tell(&*kernel)).await.ok()
    }

    /// Whether there are other sessions: files that are written are best not cached by a kernel, which could not be told to
    /// forget a page while it waits for its own writing.
    pub fn is_shared(&self) -> bool {
        !self.session.is_alone()
    }

    /// Whether what is written to a file may be held back.
    pub(crate) fn may_write(&self, state: &FileState) -> bool {
        match state.writing {
            _ if state.recall.is_blocked() => false,
            Writing::Held(_) | Writing::Kept => true,
            // Where it ends may have been forgotten for others that are gone by now.
            Writing::Not => self.session.is_alone() && state.is_known(),
        }
    }

    /// Asks the owner to let this session hold back what it writes to a file, until it may.
    /// `pages`: also while a recall waits for the kernel to have it written.
    pub(crate) async fn hold_writing(&self, file: &Pinned, pages: bool) -> Result<(), FsError> {
        if self.session.is_read_only() {
            return Err(weft_wire::meta::MetaError::ReadOnly.into());
        }
        loop {
            let goes_on = |recall: Recall| recall.is_none() || (pages && recall.is_dropping());
            self.recalled(file, goes_on, OPERATION_MAX).await?;
            let dropping = {
                let state = file.lock();
                if self.may_write(&state) {
                    return Ok(());
                }
                !state.recall.is_none()
            };
            let asked = self.session.meta(Caller::default(), MetaOp::Write { inode: file.inode });
            if dropping {
                // Whoever got the right counts as its holder until it has forgotten the file, which waits for this write. The
                // other one's kernel may wait for such a write as well: then neither gets it, and both are taken.
                return timeout(GIVEN_SOON, asked).await.map_or(Ok(()), |given| given.map(drop));
            }
            let done = timeout(OPERATION_MAX, asked).await.map_err(|_| FsError::TimedOut)??;
            let MetaReply::Opened(opened) = done.reply else { return Err(FsError::Protocol) };
            self.names.set_attributes(done.stamp, &opened.attributes);
            if self.may_hold_writing(file, done.stamp, &opened) {
                return Ok(());
            }
            sleep(RECALLED_PAUSE).await;
        }
    }

    /// The owner let a file be written behind; false: it was recalled before that was heard.
    fn may_hold_writing(&self, file: &Pinned, stamp: Stamp, opened: &Opened) -> bool {
        let mut state = file.lock();
        state.learn_key(&opened.key);
        state.key = Some(opened.key.id);
        let holds = self.names.believes(stamp, file.inode) && state.recall.is_none();
        if holds {
            state.know(&opened.attributes);
            state.hold_writing(stamp);
        }
        holds
    }

    /// Waits until nothing of a file is withheld for another session.
    async fn unblocked(&self, file: &Pinned) -> Result<(), FsError> {
        self.recalled(file, |recall| recall.is_none(), OPERATION_MAX).await
    }

    /// Before a request for which the kernel keeps pages locked, a read or a write through its cache: waits while the file is
    /// withheld for another session. While the kernel drops its pages it may wait for this very request: it goes on then, and
    /// the pages are dropped again where they may have been filled by it.
    pub(crate) async fn may_fill(&self, file: &Pinned) -> Result<(), FsError> {
        let arrived = file.lock().drops;
        loop {
            let recall = file.lock().recall;
            match recall {
                Recall::None => return Ok(()),
                Recall::Blocked => self.unblocked(file).await?,
                Recall::Dropping { .. } => {
                    let (drops, patience) = {
                        let state = file.lock();
                        (state.drops, state.patience)
                    };
                    if arrived != drops {
                        // The kernel waits for it, and drops its page afterwards.
                        return Ok(());
                    }
                    let dropped = self.recalled(file, |recall| !recall.is_dropping(), patience).await;
                    if dropped == Err(FsError::TimedOut) {
                        let mut state = file.lock();
                        if state.recall.is_dropping() {
                            state.refills(arrived);
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Waits until the length of a file is known.
    pub(crate) async fn learn_length(self: &Arc<Self>, file: &Pinned) -> Result<(), FsError> {
        loop {
            if file.lock().is_known() {
                return Ok(());
            }
            self.attributes(file.inode).await?;
            if !file.lock().is_known() {
                // It is being recalled.
                sleep(RECALLED_PAUSE).await;
            }
        }
    }

    async fn recalled(
        &self,
        file: &Pinned,
        reached: impl Fn(Recall) -> bool,
        patience: Duration,
    ) -> Result<(), FsError> {
        let mut progress = file.progress.subscribe();
        let waited = progress.wait_for(|_| reached(file.lock().recall));
        tokio::select! {
            biased;
            waited = timeout(patience, waited) => waited.map(drop).map_err(|_| FsError::TimedOut),
            () = self.session.ended() => Err(FsError::SessionEnded),
        }
    }
}
