//! Open files.

use std::sync::Arc;

use weft_core::{HandleId, OpenMode};
use weft_fusedev::protocol::flags::{O_ACCMODE, O_DSYNC, O_RDONLY};
use weft_fusedev::protocol::{Allocate, Answer, CopyRange, Open, Opened, Read, Release, Seek, Write};
use weft_fusedev::{Errno, Handle, Header, Reply};

use super::{Adapter, finish};
use crate::attributes::inode;
use crate::kernel;

/// What the descriptor is for. Appending is left to the kernel, which holds the file's length: a page of a mapping
/// that is written through an appending descriptor must go to its own place.
pub(super) const fn open_mode(flags: u32) -> OpenMode {
    let write = flags & O_ACCMODE != O_RDONLY;
    // The kernel reads a page before it writes a part of it, through any descriptor that it has.
    OpenMode { read: true, write, append: false, sync: flags & O_DSYNC != 0 }
}

const fn handle_id(handle: Handle) -> HandleId {
    HandleId::new(handle.get())
}

impl Adapter {
    pub(super) fn open(&self, header: &Header, asked: Open, reply: Reply) {
        let (core, inode, mode) = (Arc::clone(&self.core), inode(header.node), open_mode(asked.flags));
        let flags = kernel::open_flags(asked.flags);
        let answer = move |reply: Reply, handle: HandleId| {
            reply.answer(&Answer::opened(&Opened { handle: Handle::new(handle.get()), flags }));
        };
        if let Some(result) = core.try_open(inode, mode) {
            return finish(reply, result, answer);
        }
        let work = {
            let core = Arc::clone(&core);
            async move { core.open(inode, mode).await }
        };
        self.later_held(reply, work, answer, move |handle| core.release(handle));
    }

    pub(super) fn read(&self, asked: &Read, reply: Reply) {
        let (core, handle) = (Arc::clone(&self.core), handle_id(asked.handle));
        let (offset, size) = (asked.offset, asked.size);
        if let Some(result) = core.try_read(handle, offset, size) {
            return finish(reply, result, |reply, bytes| reply.data(&[&bytes]));
        }
        let work = async move { core.read(handle, offset, size).await };
        self.later(reply, work, |reply, bytes| reply.data(&[&bytes]));
    }

    pub(super) fn write(&self, asked: &Write<'_>, reply: Reply) {
        let (handle, offset) = (handle_id(asked.handle), asked.offset);
        let answer = |reply: Reply, len| reply.answer(&Answer::written(len));
        if let Some(result) = self.core.try_write(handle, offset, asked.data) {
            return finish(reply, result, answer);
        }
        // No room among the dirty bytes, or a synchronous descriptor: a task waits, with a copy, since the buffer is this
        // thread's.
        let (core, data) = (Arc::clone(&self.core), asked.data.to_vec());
        let work = async move { core.write(handle, offset, &data).await };
        if asked.from_cache {
            // Pages of a mapping: whoever caused them to be written now, they are many processes'.
            self.later_in_any_case(reply, work, answer);
        } else {
            self.later(reply, work, answer);
        }
    }

    pub(super) fn flush(&self, handle: Handle, reply: Reply) {
        finish(reply, self.core.flush(handle_id(handle)), |reply, ()| reply.ok());
    }

    pub(super) fn release(&self, asked: &Release, reply: Reply) {
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

    /// Core allocates nothing ahead yet; the kernel does not ask again.
    pub(super) fn allocate(_asked: &Allocate, reply: Reply) {
        reply.error(Errno::NOSYS);
    }

    /// Core tells no holes yet; the kernel takes the whole file for data.
    pub(super) fn seek(_asked: &Seek, reply: Reply) {
        reply.error(Errno::NOSYS);
    }

    /// Core copies nothing by itself yet; the kernel reads and writes.
    pub(super) fn copy_range(_asked: &CopyRange, reply: Reply) {
        reply.error(Errno::NOSYS);
    }
}
