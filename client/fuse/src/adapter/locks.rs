//! Locks of `fcntl` and `flock`, which the owner of the metadata grants across mounts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_core::{LockConflict, LockMode, LockOwner, LockRange};
use weft_fusedev::protocol::{Answer, Lock, LockKind, LockRequest};
use weft_fusedev::{Errno, Handle, Header, NodeId, Patience, Reply};
use weft_types::SessionId;

use super::{Adapter, finish, or_refuse};
use crate::attributes::inode;
use crate::errno::errno;

/// Who locks a file, and how.
pub(super) type Locker = (weft_core::LockKind, LockOwner);

/// By whom each open file was locked. The kernel tells when a process closes a descriptor, but not when the last one of an
/// open file goes whose own locks (`F_OFD_SETLK`) go with it.
#[derive(Debug, Default)]
pub(super) struct Lockers(Mutex<HashMap<Handle, BTreeSet<Locker>>>);

impl Lockers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Handle, BTreeSet<Locker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, handle: Handle, locker: Locker) {
        self.lock().entry(handle).or_default().insert(locker);
    }

    /// A process closed a descriptor of an open file: its locks went, and others that it takes are not of this one. Locks of
    /// open files stay.
    pub(super) fn flushed(&self, handle: Handle, owner: LockOwner) {
        if let Some(lockers) = self.lock().get_mut(&handle) {
            lockers.remove(&(weft_core::LockKind::Posix, owner));
        }
    }

    /// The open file is closed.
    pub(super) fn take(&self, handle: Handle) -> BTreeSet<Locker> {
        self.lock().remove(&handle).unwrap_or_default()
    }

    /// Whether this holds of anybody by whose locks an open file is used: of `by`, when it is known which process uses it, and
    /// of those that locked the open file itself.
    fn any(&self, handle: Handle, by: Option<LockOwner>, holds: impl Fn(Locker) -> bool) -> bool {
        let of_process = by.is_some_and(|by| holds((weft_core::LockKind::Posix, by)));
        let counts = |locker: &Locker| by.is_none() || locker.0 == weft_core::LockKind::Flock;
        let known = self.lock();
        let mut lockers = known.get(&handle).into_iter().flatten();
        of_process || lockers.any(|locker| counts(locker) && holds(*locker))
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
        self.lockers.note(asked.handle, (request.kind, request.owner));
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

    /// Refuses what somebody does to a file by locks that were lost: others may have them, and it would go on as if alone. It
    /// ends when these locks are let go of.
    pub(super) fn check_locks(
        &self,
        node: NodeId,
        handle: Handle,
        by: Option<weft_fusedev::protocol::LockOwner>,
    ) -> Result<(), Errno> {
        if !self.core.has_lost_locks() {
            return Ok(());
        }
        let inode = inode(node);
        let lost = |(kind, owner)| self.core.is_lock_lost(inode, kind, owner);
        if self.lockers.any(handle, by.map(owner), lost) { Err(Errno::IO) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::LockKind::{Flock, Posix};

    #[test]
    fn who_uses_an_open_file_answers_for_its_own_locks_and_for_those_of_the_open_file() {
        let lockers = Lockers::default();
        let (handle, me, other, file) =
            (Handle::new(1), LockOwner::new(1), LockOwner::new(2), LockOwner::new(3));
        lockers.note(handle, (Posix, other));
        lockers.note(handle, (Flock, file));
        let lost = |which: Locker| move |locker: Locker| locker == which;
        // Who lost what, who uses the file, and whether that is refused.
        let rows = [
            ((Posix, me), Some(me), true),
            ((Posix, other), Some(me), false),
            ((Posix, other), None, true),
            ((Flock, file), Some(me), true),
            ((Flock, file), None, true),
            ((Posix, me), None, false),
        ];
        for (which, by, refused) in rows {
            assert_eq!(lockers.any(handle, by, lost(which)), refused, "{which:?} {by:?}");
            let elsewhere = lockers.any(Handle::new(2), by, lost(which));
            assert_eq!(elsewhere, which == (Posix, me) && by == Some(me), "{which:?} {by:?}");
        }
        lockers.flushed(handle, other);
        assert!(!lockers.any(handle, None, lost((Posix, other))));
        assert_eq!(lockers.take(handle), BTreeSet::from([(Flock, file)]));
    }
}
