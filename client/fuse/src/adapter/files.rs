//! Open files.

use std::sync::Arc;

use weft_core::{AllocateMode, Caller, Core, FsError, HandleId, LockKind, SeekWhat};
use weft_fusedev::protocol::{
    Allocate, Answer, CopyRange, LockOwner, Open, Opened, Read, Release, Seek, Write,
};
use weft_fusedev::{Errno, Handle, Header, Reply};

use weft_types::Inode;

use super::locks::owner;
use super::{Adapter, caller, finish, or_refuse};
use crate::attributes::inode;
use crate::errno::errno;

/// `FALLOC_FL_KEEP_SIZE`.
const KEEP_SIZE: u32 = 1;
/// `FALLOC_FL_PUNCH_HOLE`, which the kernel refuses alone.
const PUNCH_HOLE_KEEP_SIZE: u32 = 2 | KEEP_SIZE;
/// `FALLOC_FL_ZERO_RANGE`.
const ZERO_RANGE: u32 = 16;
const ZERO_RANGE_KEEP_SIZE: u32 = ZERO_RANGE | KEEP_SIZE;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

const fn handle_id(handle: Handle) -> HandleId {
    HandleId::new(handle.get())
}

/// Before a change of a file by requests that do not say whether its set-id bits go: they stay for root alone.
async fn lose_privileges(core: &Arc<Core>, caller: Caller, inode: Inode) -> Result<(), FsError> {
    if caller.uid == 0 { Ok(()) } else { core.kill_privileges(caller, inode).await }
}

impl Adapter {
    pub(super) fn open(&self, header: &Header, asked: Open, reply: Reply) {
        let (core, inode) = (Arc::clone(&self.core), inode(header.node));
        let (opened, opening, flags) = (Arc::clone(&core), self.opening, asked.flags);
        let mode = opening.mode(flags);
        let answer = move |reply: Reply, handle: HandleId| {
            let flags = opening.for_kernel(flags, opened.is_direct(handle));
            reply.answer(&Answer::opened(&Opened { handle: Handle::new(handle.get()), flags }));
        };
        if let Some(result) = core.try_open(inode, mode) {
            return finish(reply, result, answer);
        }
        let work = {
            let core = Arc::clone(&core);
            async move { core.open(inode, mode).await.map_err(|error| errno(&error)) }
        };
        self.later_held(reply, work, answer, move |handle| core.release(handle));
    }

    pub(super) fn read(&self, header: &Header, asked: &Read, reply: Reply) {
        or_refuse!(self.check_locks(header.node, asked.handle, asked.lock_owner), reply);
        let (core, handle) = (Arc::clone(&self.core), handle_id(asked.handle));
        let (offset, size) = (asked.offset, asked.size);
        if let Some(result) = core.try_read(handle, offset, size) {
            return finish(reply, result, |reply, bytes| reply.data(&[&bytes]));
        }
        let work = async move { core.read(handle, offset, size).await };
        self.later(reply, work, |reply, bytes| reply.data(&[&bytes]));
    }

    pub(super) fn write(&self, header: &Header, asked: &Write<'_>, reply: Reply) {
        if !asked.from_cache {
            // Pages of a mapping are many processes'.
            or_refuse!(self.check_locks(header.node, asked.handle, asked.lock_owner), reply);
        }
        let (handle, offset) = (handle_id(asked.handle), asked.offset);
        let answer = |reply: Reply, len| reply.answer(&Answer::written(len));
        let (inode, caller) = (inode(header.node), caller(header));
        let kills = asked.kill_suidgid && self.core.try_kill_privileges(caller, inode).is_none();
        if !kills
            && !asked.from_cache
            && let Some(result) = self.core.try_write(handle, offset, asked.data)
        {
            return finish(reply, result, answer);
        }
        // No room among the dirty bytes, or a synchronous descriptor: a task waits, with a copy, since the buffer is this
        // thread's.
        let (core, data, from_cache) = (Arc::clone(&self.core), asked.data.to_vec(), asked.from_cache);
        let work = async move {
            if kills {
                core.kill_privileges(caller, inode).await?;
            }
            if from_cache {
                core.write_mapped(handle, offset, &data).await
            } else {
                core.write(handle, offset, &data).await
            }
        };
        if from_cache {
            // Pages of a mapping: whoever caused them to be written now, they are many processes'.
            self.later_in_any_case(reply, work, answer);
        } else {
            self.later(reply, work, answer);
        }
    }

    pub(super) fn flush(&self, header: &Header, handle: Handle, by: LockOwner, reply: Reply) {
        let owner = owner(by);
        self.lockers.flushed(handle, owner);
        if self.core.has_locks(inode(header.node), LockKind::Posix, owner) {
            // They are gone when close returns, as long as the owner of the metadata answers.
            let (core, inode) = (Arc::clone(&self.core), inode(header.node));
            let work = async move {
                match core.release_locks(inode, LockKind::Posix, owner).await {
                    // They go as soon as the owner of the metadata answers: who is killed does not wait for it.
                    Ok(()) | Err(FsError::TimedOut) => {}
                    Err(error) => return Err(error),
                }
                core.flush(handle_id(handle))
            };
            return self.later_in_any_case(reply, work, |reply, ()| reply.ok());
        }
        finish(reply, self.core.flush(handle_id(handle)), |reply, ()| reply.ok());
    }

    pub(super) fn release(&self, header: &Header, asked: &Release, reply: Reply) {
        let mut lockers = self.lockers.take(asked.handle);
        lockers.extend(asked.flock_owner.map(|by| (LockKind::Flock, owner(by))));
        for (kind, by) in lockers {
            self.unlock_all(header, kind, by);
        }
        self.core.release(handle_id(asked.handle));
        reply.ok();
    }

    pub(super) fn sync(&self, handle: Handle, reply: Reply) {
        let (core, handle) = (Arc::clone(&self.core), handle_id(handle));
        self.later(reply, async move { core.fsync(handle).await }, |reply, ()| reply.ok());
    }

    pub(super) fn sync_filesystem(&self, reply: Reply) {
        let core = Arc::clone(&self.core);
        self.later(reply, async move { core.sync_all().await }, |reply, ()| reply.ok());
    }

    pub(super) fn allocate(&self, header: &Header, asked: &Allocate, reply: Reply) {
        or_refuse!(self.check_locks(header.node, asked.handle, None), reply);
        let mode = match asked.mode {
            0 => AllocateMode::Allocate,
            KEEP_SIZE => AllocateMode::AllocateKeepSize,
            PUNCH_HOLE_KEEP_SIZE => AllocateMode::PunchHole,
            ZERO_RANGE => AllocateMode::ZeroRange,
            ZERO_RANGE_KEEP_SIZE => AllocateMode::ZeroRangeKeepSize,
            _ => return reply.error(Errno::OPNOTSUPP),
        };
        let (core, handle) = (Arc::clone(&self.core), handle_id(asked.handle));
        let (offset, len) = (asked.offset, asked.len);
        let (inode, caller) = (inode(header.node), caller(header));
        let work = async move {
            lose_privileges(&core, caller, inode).await?;
            core.allocate(handle, mode, offset, len).await
        };
        self.later(reply, work, |reply, ()| reply.ok());
    }

    /// The kernel asks for data and holes alone: where other offsets are it knows itself.
    pub(super) fn seek(&self, asked: &Seek, reply: Reply) {
        let what = match asked.whence {
            SEEK_DATA => SeekWhat::Data,
            SEEK_HOLE => SeekWhat::Hole,
            _ => return reply.error(Errno::INVAL),
        };
        let (core, handle, offset) = (Arc::clone(&self.core), handle_id(asked.handle), asked.offset);
        let work = async move { core.seek(handle, offset, what).await };
        self.later(reply, work, |reply, found| reply.answer(&Answer::found_at(found)));
    }

    pub(super) fn copy_range(&self, header: &Header, asked: &CopyRange, reply: Reply) {
        if asked.flags != 0 {
            return reply.error(Errno::INVAL);
        }
        or_refuse!(self.check_locks(header.node, asked.from, None), reply);
        or_refuse!(self.check_locks(asked.to_node, asked.to, None), reply);
        let core = Arc::clone(&self.core);
        let CopyRange { from, from_offset, to_node, to, to_offset, len, wide, .. } = *asked;
        let (inode, caller) = (inode(to_node), caller(header));
        let (from, to) = (handle_id(from), handle_id(to));
        // The narrow answer has 32 bits.
        let len = if wide { len } else { len.min(u64::from(u32::MAX)) };
        let work = async move {
            lose_privileges(&core, caller, inode).await?;
            core.copy_range(from, from_offset, to, to_offset, len).await
        };
        self.later(reply, work, move |reply, copied| {
            // No more than was asked for.
            let narrow = || Answer::written(u32::try_from(copied).unwrap_or(u32::MAX));
            reply.answer(&if wide { Answer::copied(copied) } else { narrow() });
        });
    }
}
