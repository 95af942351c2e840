//! Symbolic links' targets and extended attributes.

use std::sync::Arc;

use minicbor::bytes::ByteVec;
use weft_types::Inode;
use weft_wire::meta::{Caller, MetaError, MetaOp, MetaReply, SetXattr, XattrMode};

use crate::{Core, FsError};

impl Core {
    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `Refused(Invalid)` for anything else; any of [`FsError`] when the owner cannot be asked.
    pub async fn read_link(self: &Arc<Self>, inode: Inode) -> Result<Vec<u8>, FsError> {
        match self.ask(MetaOp::ReadLink { inode }).await?.reply {
            MetaReply::Target(target) => {
                self.note_access(inode);
                Ok(target.into())
            }
            _ => Err(FsError::Protocol),
        }
    }

    /// The value of an extended attribute; `name` has its namespace.
    ///
    /// # Errors
    /// `Refused(NoAttribute)` when there is none of that name; any of [`FsError`] when the owner cannot be asked.
    pub async fn get_xattr(self: &Arc<Self>, inode: Inode, name: &[u8]) -> Result<Vec<u8>, FsError> {
        if let Some(answer) = self.try_get_xattr(inode, name) {
            return answer;
        }
        self.settle_access_list(inode, name).await?;
        // Kernels ask for names that hardly any inode has: which ones there are answers all of them.
        if !self.list_xattrs(inode).await?.iter().any(|known| known == name) {
            return Err(MetaError::NoAttribute.into());
        }
        match self.ask(MetaOp::GetXattr { inode, name: ByteVec::from(name.to_vec()) }).await?.reply {
            MetaReply::Value(value) => Ok(value.into()),
            _ => Err(FsError::Protocol),
        }
    }

    /// Whether memory knows that there is no such extended attribute. As [`get_xattr`](Self::get_xattr).
    pub fn try_get_xattr(&self, inode: Inode, name: &[u8]) -> Option<Result<Vec<u8>, FsError>> {
        let known = self.names.xattrs(inode).filter(|_| self.session.is_serving())?;
        (!known.contains(name)).then_some(Err(FsError::Refused(MetaError::NoAttribute)))
    }

    /// The names of an inode's extended attributes.
    ///
    /// # Errors
    /// Any of [`FsError`] when the owner cannot be asked.
    pub async fn list_xattrs(self: &Arc<Self>, inode: Inode) -> Result<Vec<Vec<u8>>, FsError> {
        self.session.serving().await?;
        if let Some(names) = self.names.xattrs(inode) {
            return Ok(names.iter().cloned().collect());
        }
        let ticket = self.names.ticket(inode);
        let done = self.ask(MetaOp::ListXattrs { inode }).await?;
        let MetaReply::Names(names) = done.reply else { return Err(FsError::Protocol) };
        let names: Vec<Vec<u8>> = names.into_iter().map(Vec::from).collect();
        self.names.remember_xattrs(
            ticket.answered(done.stamp),
            inode,
            Arc::new(names.iter().cloned().collect()),
        );
        Ok(names)
    }

    /// Sets an extended attribute; durable when answered. An access list (`system.posix_acl_access`) sets the mode as well:
    /// `kill_set_group_id` takes set-group-id off with it.
    ///
    /// # Errors
    /// What the owner refuses; any of [`FsError`] when it cannot be asked.
    pub async fn set_xattr(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        kill_set_group_id: bool,
    ) -> Result<(), FsError> {
        self.settle_access_list(inode, name).await?;
        let (name, value) = (ByteVec::from(name.to_vec()), ByteVec::from(value.to_vec()));
        let op = MetaOp::SetXattr(SetXattr { inode, name, value, mode, kill_set_group_id });
        self.change_xattrs(caller, inode, op).await
    }

    /// Removes an extended attribute; durable when answered.
    ///
    /// # Errors
    /// `Refused(NoAttribute)` when there is none of that name; any of [`FsError`] when the owner cannot be asked.
    pub async fn remove_xattr(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        name: &[u8],
    ) -> Result<(), FsError> {
        self.settle_access_list(inode, name).await?;
        let op = MetaOp::RemoveXattr { inode, name: ByteVec::from(name.to_vec()) };
        self.change_xattrs(caller, inode, op).await
    }

    /// A mode that waits for bytes of its file changes the access list, and the list the mode: neither overtakes the other.
    async fn settle_access_list(self: &Arc<Self>, inode: Inode, name: &[u8]) -> Result<(), FsError> {
        if name == b"system.posix_acl_access" { self.commit_inode(inode).await } else { Ok(()) }
    }

    async fn change_xattrs(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        op: MetaOp,
    ) -> Result<(), FsError> {
        let core = Arc::clone(self);
        let changed = async move {
            let _change = core.names.change([inode]);
            let done = core.session.meta(caller, op).await;
            core.names.forget_xattrs(inode);
            // With the attributes as they are now: an earlier change that is answered after this one would say that there are
            // no extended attributes.
            match core.touched(&[inode], done)?.1 {
                MetaReply::Done => Ok(()),
                _ => Err(FsError::Protocol),
            }
        };
        self.complete(changed).await
    }
}
