//! Names: looking up, making, linking, moving, removing.

use std::sync::Arc;

use weft_core::{Attributes, FsError, HandleId, MetaError, NewNode, RenameMode};
use weft_fusedev::protocol::flags::{O_EXCL, RENAME_EXCHANGE, RENAME_NOREPLACE};
use weft_fusedev::protocol::{Answer, Create, MakeNode, Opened};
use weft_fusedev::{Errno, Handle, Header, NodeId, Reply};

use super::{Adapter, answer_entry, caller, finish, name, or_refuse, permission_bits};
use crate::attributes::{entry, inode};
use crate::errno::errno;

impl Adapter {
    pub(super) fn lookup(&self, header: &Header, text: &[u8], reply: Reply) {
        let (core, parent) = (Arc::clone(&self.core), inode(header.node));
        match text {
            // Handles of files that the kernel has forgotten: the inode itself, and the directory that holds it.
            b"." => {
                return self.later_entry(reply, async move {
                    let found = core.attributes(parent).await?;
                    // Nobody has it open, or the kernel would know it: it is being collected.
                    if found.links == 0 {
                        return Err(MetaError::NotFound.into());
                    }
                    core.remember(found.inode);
                    Ok(found)
                });
            }
            b".." => return self.later_entry(reply, async move { core.lookup_parent(parent).await }),
            _ => {}
        }
        let name = or_refuse!(name(text), reply);
        if let Some(result) = core.try_lookup(parent, &name) {
            return finish(reply, result, |reply, found| answer_entry(&core, reply, &found));
        }
        self.later_entry(reply, async move { core.lookup(parent, &name).await });
    }

    pub(super) fn make_node(&self, header: &Header, asked: &MakeNode<'_>, reply: Reply) {
        const S_IFMT: u32 = 0o170_000;
        let node = match asked.mode & S_IFMT {
            0 | 0o100_000 => NewNode::File,
            0o010_000 => NewNode::Fifo,
            0o140_000 => NewNode::Socket,
            0o020_000 => NewNode::CharDevice(asked.device),
            0o060_000 => NewNode::BlockDevice(asked.device),
            _ => return reply.error(Errno::INVAL),
        };
        self.make(header, asked.name, node, (asked.mode, asked.umask), reply);
    }

    pub(super) fn make_directory(&self, header: &Header, text: &[u8], modes: (u32, u32), reply: Reply) {
        self.make(header, text, NewNode::Directory, modes, reply);
    }

    pub(super) fn make_symlink(&self, header: &Header, text: &[u8], target: &[u8], reply: Reply) {
        self.make(header, text, NewNode::Symlink { target: target.to_vec().into() }, (0o777, 0), reply);
    }

    fn make(&self, header: &Header, text: &[u8], node: NewNode, (mode, umask): (u32, u32), reply: Reply) {
        let (mode, umask) = (permission_bits(mode), permission_bits(umask));
        let (core, parent, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let name = or_refuse!(name(text), reply);
        self.later_entry(reply, async move { core.make_node(caller, parent, name, node, mode, umask).await });
    }

    pub(super) fn link(&self, header: &Header, node: NodeId, text: &[u8], reply: Reply) {
        let (core, parent, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let (linked, name) = (inode(node), or_refuse!(name(text), reply));
        self.later_entry(reply, async move { core.link(caller, linked, parent, name).await });
    }

    pub(super) fn unlink(&self, header: &Header, text: &[u8], reply: Reply) {
        let (core, parent, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let name = or_refuse!(name(text), reply);
        let work = async move { core.unlink(caller, parent, name).await };
        self.later(reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn remove_directory(&self, header: &Header, text: &[u8], reply: Reply) {
        let (core, parent, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let name = or_refuse!(name(text), reply);
        let work = async move { core.remove_directory(caller, parent, name).await };
        self.later(reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn rename(
        &self,
        header: &Header,
        text: &[u8],
        (new_parent, new_text): (NodeId, &[u8]),
        flags: u32,
        reply: Reply,
    ) {
        let mode = match flags {
            0 => RenameMode::Replace,
            RENAME_NOREPLACE => RenameMode::NoReplace,
            RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return reply.error(Errno::INVAL),
        };
        let (core, caller) = (Arc::clone(&self.core), caller(header));
        let from = (inode(header.node), or_refuse!(name(text), reply));
        let to = (inode(new_parent), or_refuse!(name(new_text), reply));
        let work = async move { core.rename(caller, from, to, mode).await };
        self.later(reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn create(&self, header: &Header, asked: &Create<'_>, reply: Reply) {
        let (core, parent, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let (mode, umask) = (permission_bits(asked.mode), permission_bits(asked.umask));
        let name = or_refuse!(name(asked.name), reply);
        let open = self.opening.mode(asked.flags);
        let exclusive = asked.flags & O_EXCL != 0;
        let work = async move {
            core.create(caller, parent, name, mode, umask, open).await.map_err(|error| match error {
                // Another mount was faster. The kernel looks the name up again, and opens what it finds if its caller may.
                FsError::Refused(MetaError::Exists) if !exclusive => Errno::STALE,
                error => errno(&error),
            })
        };
        self.answer_created(reply, work, asked.flags);
    }

    /// Answers with what was made and is open.
    fn answer_created<W>(&self, reply: Reply, work: W, flags: u32)
    where
        W: Future<Output = Result<(Attributes, HandleId), Errno>> + Send + 'static,
    {
        let (core, holder, opening) = (Arc::clone(&self.core), Arc::clone(&self.core), self.opening);
        let answer = move |reply: Reply, (found, handle): (_, HandleId)| {
            let _telling = core.telling();
            let flags = opening.for_kernel(flags, core.is_direct(handle));
            let opened = Opened { handle: Handle::new(handle.get()), flags };
            reply.answer(&Answer::created(&entry(&core, &found), &opened));
        };
        self.later_held(reply, work, answer, move |(found, handle)| {
            holder.release(handle);
            holder.forget(found.inode, 1);
        });
    }

    /// `O_TMPFILE`: that one with `O_EXCL` gets no name the kernel sees to.
    pub(super) fn create_unnamed(&self, header: &Header, asked: &Create<'_>, reply: Reply) {
        let (core, parent, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let (mode, umask) = (permission_bits(asked.mode), permission_bits(asked.umask));
        let (open, flags) = (self.opening.mode(asked.flags), asked.flags);
        let work = async move {
            core.create_unnamed(caller, parent, mode, umask, open).await.map_err(|error| errno(&error))
        };
        self.answer_created(reply, work, flags);
    }
}
