//! Extended attributes.

use std::sync::Arc;

use weft_core::XattrMode;
use weft_fusedev::protocol::{Answer, SetXattr};
use weft_fusedev::{Errno, Header, Reply};

use super::{Adapter, caller, finish, or_refuse};
use crate::attributes::inode;

/// The name of an extended attribute in a namespace that is kept here; of `system.` there are access lists alone.
fn xattr_name(name: &[u8]) -> Result<&[u8], Errno> {
    const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    const ACCESS_LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
    let kept = NAMESPACES.iter().any(|namespace| name.starts_with(namespace)) || ACCESS_LISTS.contains(&name);
    if kept { Ok(name) } else { Err(Errno::OPNOTSUPP) }
}

/// The value, or its length alone when the caller offers no room.
fn answer_value(reply: Reply, room: u32, value: &[u8]) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    match room {
        0 => reply.answer(&Answer::xattr_size(len)),
        room if room < len => reply.error(Errno::RANGE),
        _ => reply.data(&[value]),
    }
}

impl Adapter {
    pub(super) fn set_xattr(&self, header: &Header, asked: &SetXattr<'_>, reply: Reply) {
        let mode = match asked.flags {
            0 => XattrMode::Any,
            1 => XattrMode::Create,
            2 => XattrMode::Replace,
            3 => XattrMode::CreateAndReplace,
            _ => return reply.error(Errno::INVAL),
        };
        let name = or_refuse!(xattr_name(asked.name), reply).to_vec();
        let (core, inode, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let (value, kills) = (asked.value.to_vec(), asked.kill_sgid);
        let work = async move { core.set_xattr(caller, inode, &name, &value, mode, kills).await };
        self.later(reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn get_xattr(&self, header: &Header, name: &[u8], room: u32, reply: Reply) {
        let (inode, name) = (inode(header.node), or_refuse!(xattr_name(name), reply));
        let answer = move |reply: Reply, value: Vec<u8>| answer_value(reply, room, &value);
        if let Some(result) = self.core.try_get_xattr(inode, name) {
            return finish(reply, result, answer);
        }
        let (core, name) = (Arc::clone(&self.core), name.to_vec());
        self.later(reply, async move { core.get_xattr(inode, &name).await }, answer);
    }

    pub(super) fn list_xattrs(&self, header: &Header, room: u32, reply: Reply) {
        let (core, inode) = (Arc::clone(&self.core), inode(header.node));
        let work = async move { core.list_xattrs(inode).await };
        self.later(reply, work, move |reply, names| {
            // The list ends every name with a NUL.
            let list: Vec<u8> = names.iter().flat_map(|name| name.iter().copied().chain([0])).collect();
            answer_value(reply, room, &list);
        });
    }

    pub(super) fn remove_xattr(&self, header: &Header, name: &[u8], reply: Reply) {
        let name = or_refuse!(xattr_name(name), reply).to_vec();
        let (core, inode, caller) = (Arc::clone(&self.core), inode(header.node), caller(header));
        let work = async move { core.remove_xattr(caller, inode, &name).await };
        self.later(reply, work, |reply, ()| reply.ok());
    }
}
