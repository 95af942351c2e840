//! Attributes of inodes, targets of links, and the room of the filesystem.

use std::sync::Arc;

use weft_core::{AttributeChanges, Attributes, Core};
use weft_fusedev::protocol::{Answer, FileSystemSpace, SetAttributes};
use weft_fusedev::{Header, Reply};

use super::{Adapter, answer_attributes, caller, finish, or_refuse, permission_bits};
use crate::attributes::{inode, time_change};

impl Adapter {
    pub(super) fn get_attributes(
        &self,
        header: &Header,
        reply: Reply,
        answer: fn(&Core, Reply, &Attributes),
    ) {
        let (core, inode) = (Arc::clone(&self.core), inode(header.node));
        if let Some(result) = core.try_attributes(inode) {
            return finish(reply, result, |reply, found| answer(&core, reply, &found));
        }
        let work = {
            let core = Arc::clone(&core);
            async move { core.attributes(inode).await }
        };
        self.later(reply, work, move |reply, found| answer(&core, reply, &found));
    }

    pub(super) fn set_attributes(&self, header: &Header, asked: &SetAttributes, reply: Reply) {
        if let (Some(handle), Some(_)) = (asked.handle, asked.size) {
            or_refuse!(self.check_locks(header.node, handle, asked.lock_owner), reply);
        }
        let changes = AttributeChanges {
            mode: asked.mode.map(permission_bits),
            uid: asked.uid,
            gid: asked.gid,
            size: asked.size,
            accessed: asked.accessed.map(time_change),
            modified: asked.modified.map(time_change),
            kill_privileges: asked.kill_suidgid,
            made: None,
        };
        let (core, inode, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        if let Some(result) = core.try_set_attributes(inode, &changes) {
            return finish(reply, result, |reply, found| answer_attributes(&core, reply, &found));
        }
        let work = {
            let core = Arc::clone(&core);
            async move { core.set_attributes(caller, inode, changes).await }
        };
        self.later(reply, work, move |reply, found| answer_attributes(&core, reply, &found));
    }

    pub(super) fn read_link(&self, header: &Header, reply: Reply) {
        let (core, inode) = (Arc::clone(&self.core), inode(header.node));
        let work = async move { core.read_link(inode).await };
        self.later(reply, work, |reply, target| reply.data(&[&target]));
    }

    pub(super) fn space(&self, reply: Reply) {
        const UNIT: u32 = 4096;
        const NAME_BYTES_MAX: u32 = 255;
        let core = Arc::clone(&self.core);
        self.later(reply, async move { core.space().await }, |reply, space| {
            let units = |bytes: u64| bytes / u64::from(UNIT);
            reply.answer(&Answer::space(&FileSystemSpace {
                blocks: units(space.capacity.get()),
                free: units(space.free.get()),
                files: space.inodes_used.saturating_add(space.inodes_free),
                files_free: space.inodes_free,
                unit: UNIT,
                name_max: NAME_BYTES_MAX,
            }));
        });
    }
}
