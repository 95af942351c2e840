//! Locks of `fcntl` and `flock`, which the owner of the metadata grants across mounts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_core::{LockConflict, LockMode, LockOwner, LockRange};
use weft_fusedev::protocol::{Answer, Lock, LockKind, LockRequest};
use weft_fusedev::{Errno, Handle, Header, Patience, Reply};
use weft_types::SessionId;

use super::{Adapter, finish, or_refuse};
use crate::attributes::inode;
use crate::errno::errno;

/// By whom ranges were locked through each open file. The kernel tells when a process closes a descriptor, but not when the
/// last one of an open file goes whose own locks (`F_OFD_SETLK`) go with it.
#[derive(Debug, Default)]
pub(super) struct Lockers(Mutex<HashMap<Handle, BTreeSet<LockOwner>>>);

impl Lockers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Handle, BTreeSet<LockOwner>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, handle: Handle, owner: LockOwner) {
        self.lock().entry(handle).or_default().insert(owner);
    }

    /// A process closed a descriptor of an open file: its locks went, and others that it takes are not of this one. Locks of
    /// open files stay.
    pub(super) fn flushed(&self, handle: Handle, owner: LockOwner) {
        if let Some(owners) = self.lock().get_mut(&handle) {
            owners.remove(&owner);
        }
    }

    /// The open file is closed.
    pub(super) fn take(&self, handle: Handle) -> BTreeSet<LockOwner> {
        self.lock().remove(&handle).unwrap_or_default()
    }
}

/// An owner, as the kernel numbers it.
pub(super) const fn owner(owner: weft_fusedev::protocol::LockOwner) -> LockOwner {
    LockOwner::new(owner.get())
}

fn request(header: &Header, asked: &LockRequest, mode: LockMode) -> Result<weft_core::LockRequest, Errno> {
    Ok(weft_core::LockRequest {
        inode: inode(header.node),
        kind: if asked.flock { weft_core::LockKind::Flock } else { weft_core::LockKind::Posix },
        owner: owner(asked.owner),
        pid: asked.lock.process,
        range: LockRange::new(asked.lock.start, asked.lock.end).ok_or(Errno::INVAL)?,
        mode,
    })
}

/// What is in the way; of a process on another host the number means nothing here, and none is told.
fn in_the_way(found: Option<LockConflict>, asked: Lock, here: SessionId) -> Lock {
    let Some(found) = found else { return Lock { kind: LockKind::Unlock, ..asked } };
    let kind = match found.mode {
        LockMode::Shared => LockKind::Read,
        LockMode::Exclusive => LockKind::Write,
    };
    let process = if found.session == here { found.pid } else { 0 };
    Lock { start: found.range.start(), end: found.range.end(), kind, process }
}

impl Adapter {
    pub(super) fn get_lock(&self, header: &Header, asked: &LockRequest, reply: Reply) {
        let mode = match asked.lock.kind {
            LockKind::Read => LockMode::Shared,
            LockKind::Write => LockMode::Exclusive,
            LockKind::Unlock => return reply.error(Errno::INVAL),
        };
        let (core, lock, here) = (Arc::clone(&self.core), asked.lock, self.core.session());
        let request = or_refuse!(request(header, asked, mode), reply);
        self.later(reply, async move { core.test_lock(request).await }, move |reply, found| {
            reply.answer(&Answer::lock(&in_the_way(found, lock, here)));
        });
    }

    pub(super) fn set_lock(&self, header: &Header, asked: &LockRequest, wait: bool, mut reply: Reply) {
        let core = Arc::clone(&self.core);
        let mode = match asked.lock.kind {
            LockKind::Read => LockMode::Shared,
            LockKind::Write => LockMode::Exclusive,
            LockKind::Unlock => {
                let request = or_refuse!(request(header, asked, LockMode::Shared), reply);
                let weft_core::LockRequest { inode, kind, owner, range, .. } = request;
                let work = async move { core.unlock(inode, kind, owner, range).await };
                return self.later(reply, work, |reply, ()| reply.ok());
            }
        };
        let request = or_refuse!(request(header, asked, mode), reply);
        if !asked.flock {
            self.lockers.note(asked.handle, request.owner);
        }
        if !wait {
            return self
                .later(reply, async move { core.set_lock(request, false).await }, |reply, ()| reply.ok());
        }
        // It may wait for ever: any signal ends it. What was asked for is taken back then.
        let interrupted = reply.interrupted(Patience::UntilSignal);
        self.core.spawn(async move {
            tokio::select! {
                biased;
                result = core.set_lock(request, true) => finish(reply, result, |reply, ()| reply.ok()),
                () = interrupted => reply.error(Errno::INTR),
            }
        });
    }

    /// Lets go of what an owner has locked of a file, if anything.
    pub(super) fn unlock_all(&self, header: &Header, kind: weft_core::LockKind, owner: LockOwner) {
        let (core, inode) = (Arc::clone(&self.core), inode(header.node));
        if core.has_locks(inode, kind, owner) {
            self.core.spawn(async move {
                if let Err(error) = core.release_locks(inode, kind, owner).await {
                    tracing::debug!(%inode, errno = ?errno(&error), "locks go with the session");
                }
            });
        }
    }
}
