//! Files that have no name yet (Linux `O_TMPFILE`).

use std::sync::Arc;

use weft_types::Inode;
use weft_wire::meta::{Attributes, Caller, MakeUnnamed, MetaOp, MetaReply};

use super::names::Made;
use crate::references::Reference;
use crate::{Core, FsError, HandleId, OpenMode};

impl Core {
    /// Makes a regular file without a name and opens it. It goes when it has neither references nor handles, or with the
    /// session, unless [`link`](Self::link) gives it a name before; that an `O_EXCL` one must not get one is the frontend's to
    /// see to. `parent` says its group and access list; `mode`, `umask` and the reference as of
    /// [`make_node`](Self::make_node).
    ///
    /// # Errors
    /// What the owner refuses; [`FsError::TooManyHandles`]; any of [`FsError`] when it cannot be asked.
    pub async fn create_unnamed(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        mode: u16,
        umask: u16,
        open: OpenMode,
    ) -> Result<(Attributes, HandleId), FsError> {
        let core = Arc::clone(self);
        let op = MakeUnnamed { parent, mode, umask };
        self.complete(async move { core.make_unnamed(caller, op).await }).await?.open(self, open)
    }

    async fn make_unnamed(self: &Arc<Self>, caller: Caller, op: MakeUnnamed) -> Result<Made, FsError> {
        let done = self.session.meta(caller, MetaOp::MakeUnnamed(op)).await?;
        let MetaReply::Opened(opened) = done.reply else { return Err(FsError::Protocol) };
        let file = self.new_file(done.stamp, &opened);
        let inode = opened.attributes.inode;
        self.names.set_attributes(done.stamp, &opened.attributes);
        if !done.inherited {
            self.names.set_no_xattrs(done.stamp, inode);
        }
        // In this order: what is without a name and unknown is reaped.
        let reference = Reference::new(&self.references, inode);
        self.references.orphaned(inode);
        Ok(Made { attributes: opened.attributes, file: Some(file), reference })
    }
}
