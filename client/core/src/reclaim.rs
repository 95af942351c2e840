//! Telling the next owner of the metadata what this session holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::sleep;
use weft_types::Epoch;
use weft_wire::locks::{HeldLock, LockRefusal, RECLAIM_MAX, Reclaim};

use crate::backend::Failure;
use crate::session::{ATTEMPT, PAUSE_MAX, PAUSE_MIN};
use crate::{Core, FsError};

impl Core {
    /// An ownership has answered, and says whether it awaits what this session holds.
    pub(crate) fn hear_of_owner(self: &Arc<Self>, epoch: Epoch, awaits: bool) {
        let known = self.locks.epoch();
        let is_other =
            if awaits { known.is_none_or(|known| epoch > known) } else { self.locks.hear_of(epoch) };
        if is_other {
            let core = Arc::clone(self);
            self.runtime.spawn(async move { core.tell(known, epoch).await });
        }
    }

    /// Tells the next ownership what is held here, unless that was done since `known` was the one that knew. Goes on also
    /// when nobody waits for it.
    ///
    /// # Errors
    /// [`FsError::SessionEnded`]; [`FsError::Protocol`]
    pub(crate) async fn tell_owner(
        self: &Arc<Self>,
        known: Option<Epoch>,
        next: Epoch,
    ) -> Result<(), FsError> {
        let core = Arc::clone(self);
        let told = self.runtime.spawn(async move { core.tell(known, next).await }).await;
        // Else the runtime is shutting down.
        told.unwrap_or(Err(FsError::SessionEnded))
    }

    async fn tell(self: &Arc<Self>, known: Option<Epoch>, next: Epoch) -> Result<(), FsError> {
        let _turn = self.locks.telling.lock().await;
        // What an earlier one said may come late.
        if self.locks.epoch() != known || known.is_some_and(|known| next < known) {
            return Ok(());
        }
        let locks = self.locks.begin_telling();
        let mut epoch = next;
        let refused = loop {
            match self.tell_all(epoch, &locks).await? {
                Ok(refused) => break refused,
                Err(newer) => epoch = newer,
            }
        };
        self.locks.told(epoch, &refused);
        if !refused.is_empty() {
            tracing::error!(locks = refused.len(), "locks were lost: another mount has what excludes them");
            let core = Arc::clone(self);
            self.runtime.spawn(async move { core.forget_in_kernel_of(&refused).await });
        }
        Ok(())
    }

    /// Who reads a file by a lock that was lost is to ask for it, and not to be answered by the kernel's pages.
    async fn forget_in_kernel_of(&self, lost: &[HeldLock]) {
        let inodes: BTreeSet<_> = lost.iter().map(|lock| lock.inode).collect();
        self.tell_kernel(move |kernel| inodes.into_iter().for_each(|inode| kernel.forget_data(inode))).await;
    }

    /// Tells one ownership everything. Answers what it refused, or which one is to be told instead.
    async fn tell_all(
        &self,
        epoch: Epoch,
        locks: &[HeldLock],
    ) -> Result<Result<Vec<HeldLock>, Epoch>, FsError> {
        let mut refused = Vec::new();
        for part in locks.chunks(RECLAIM_MAX) {
            match self.tell_part(epoch, part, false).await? {
                Ok(more) => refused.extend(more),
                Err(newer) => return Ok(Err(newer)),
            }
        }
        Ok(self.tell_part(epoch, &[], true).await?.map(|_| refused))
    }

    async fn tell_part(
        &self,
        epoch: Epoch,
        locks: &[HeldLock],
        last: bool,
    ) -> Result<Result<Vec<HeldLock>, Epoch>, FsError> {
        let (filesystem, session) = (self.session.filesystem(), self.session.id());
        let call = Reclaim { filesystem, session, epoch, last, locks: locks.to_vec() };
        let mut pause = PAUSE_MIN;
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.backend.reclaim(call.clone(), ATTEMPT) => answer,
                () = self.session.over(session) => return Err(FsError::SessionEnded),
            };
            match answer {
                Ok(reclaimed) => return Ok(Ok(reclaimed.refused)),
                Err(Failure::Refused(LockRefusal::ReclaimFirst { epoch: newer })) if newer > epoch => {
                    return Ok(Err(newer));
                }
                Err(Failure::Refused(LockRefusal::SessionEnded)) => {
                    self.session.end(session);
                    return Err(FsError::SessionEnded);
                }
                Err(Failure::Refused(LockRefusal::Overtaken) | Failure::Broken) => {
                    return Err(FsError::Protocol);
                }
                // One that is about to be replaced may say which it is; the next is heard of soon.
                Err(
                    Failure::Refused(LockRefusal::ReclaimFirst { .. })
                    | Failure::Busy
                    | Failure::Unreachable
                    | Failure::TimedOut,
                ) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}
