//! Files that have no name yet (Linux `O_TMPFILE`).

use std::sync::Arc;

use weft_types::Inode;
use weft_wire::meta::{Attributes, Caller, MakeUnnamed, MetaOp, MetaReply};

use crate::file::Pinned;
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
        let (attributes, file) = self.complete(async move { core.make_unnamed(caller, op).await }).await?;
        match self.handles.open(file, open) {
            Ok(handle) => Ok((attributes, handle)),
            Err(error) => {
                self.references.forget(attributes.inode, 1);
                Err(error)
            }
        }
    }

    async fn make_unnamed(
        self: &Arc<Self>,
        caller: Caller,
        op: MakeUnnamed,
    ) -> Result<(Attributes, Pinned), FsError> {
        let done = self.session.meta(caller, MetaOp::MakeUnnamed(op)).await?;
        let MetaReply::Opened(opened) = done.reply else { return Err(FsError::Protocol) };
        let file = self.new_file(done.stamp, &opened);
        let inode = opened.attributes.inode;
        self.names.set_attributes(done.stamp, &opened.attributes);
        if !done.inherited {
            self.names.set_no_xattrs(done.stamp, inode);
        }
        // In this order: what is without a name and unknown is reaped.
        self.references.remember(inode);
        self.references.orphaned(inode);
        Ok((opened.attributes, file))
    }
}
