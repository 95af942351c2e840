//! The power that a file lends to whoever runs it, taken off when somebody without privileges changes the file.

use std::sync::Arc;

use weft_types::Inode;
use weft_wire::meta::{AttributeChanges, Attributes, Caller, FileKind, MetaError};

use crate::{Core, FsError};

const CAPABILITIES: &[u8] = b"security.capability";
/// `S_ISUID`.
const SET_USER_ID: u16 = 0o4000;
/// `S_ISGID`.
const SET_GROUP_ID: u16 = 0o2000;
/// `S_IXGRP`.
const GROUP_EXECUTE: u16 = 0o0010;

impl Core {
    /// Whether memory knows that there is nothing to do. As [`kill_privileges`](Self::kill_privileges).
    pub fn try_kill_privileges(&self, caller: Caller, inode: Inode) -> Option<Result<(), FsError>> {
        match self.try_attributes(inode)? {
            Ok(attributes) => (!has_privileges(&attributes, caller)).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Takes set-user-id off a regular file, and set-group-id where the group may execute or is not the caller's; durable when
    /// answered. To be called before a write, an allocation, or a copy into the file, by somebody who may not keep these bits
    /// (Linux `FUSE_WRITE_KILL_SUIDGID`). A change of the length says it by
    /// [`AttributeChanges::kill_privileges`](crate::AttributeChanges::kill_privileges).
    ///
    /// # Errors
    /// What the owner refuses; any of [`FsError`] when it cannot be asked.
    pub async fn kill_privileges(self: &Arc<Self>, caller: Caller, inode: Inode) -> Result<(), FsError> {
        let attributes = self.attributes(inode).await?;
        if !has_privileges(&attributes, caller) {
            return Ok(());
        }
        let changes = AttributeChanges { kill_privileges: true, ..AttributeChanges::default() };
        self.set_attributes(caller, inode, changes).await?;
        // A kernel that leaves the bits to us looks at those that it knows, until it is told: whoever runs the file next
        // would have their power.
        self.tell_kernel(move |kernel| kernel.forget_attributes(inode)).await;
        Ok(())
    }
}

impl Core {
    /// Whether a file may have capabilities (Linux capabilities(7), "File capabilities"), as far as memory knows.
    pub(super) fn may_have_capabilities(&self, inode: Inode) -> bool {
        self.try_get_xattr(inode, CAPABILITIES).is_none()
    }

    /// Takes capabilities off a file, before a write that goes around the kernel's pages: through them the kernel does it.
    pub(super) async fn kill_capabilities(self: &Arc<Self>, inode: Inode) -> Result<(), FsError> {
        let none = Err(FsError::Refused(MetaError::NoAttribute));
        match self.get_xattr(inode, CAPABILITIES).await {
            Ok(_) => {}
            Err(FsError::Refused(MetaError::NoAttribute)) => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.remove_xattr(Caller::default(), inode, CAPABILITIES).await {
            // Somebody else was faster.
            removed if removed == none => Ok(()),
            removed => removed,
        }
    }
}

/// Whether there is anything that the owner would take off.
fn has_privileges(attributes: &Attributes, caller: Caller) -> bool {
    let has = |bits| attributes.mode & bits != 0;
    let of_group = has(SET_GROUP_ID) && (has(GROUP_EXECUTE) || attributes.gid != caller.gid);
    attributes.kind == FileKind::File && (has(SET_USER_ID) || of_group)
}
