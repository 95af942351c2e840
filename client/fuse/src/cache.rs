//! The kernel as a cache that can be told to forget.

use weft_core::KernelCache;
use weft_fusedev::{Known, Notifier};
use weft_types::Inode;

use crate::attributes::node;

/// The kernel behind a mount's session.
pub(crate) struct Cache(pub(crate) Notifier);

/// Attributes alone.
const NO_PAGES: i64 = -1;

impl Cache {
    fn forget(&self, inode: Inode, offset: i64) {
        // An inode that it does not know it remembers nothing of; and one that does not hear us any more serves nobody.
        if let Err(error) = self.0.invalidate_inode(node(inode), offset, 0) {
            tracing::debug!(%inode, %error, "the kernel was not told what to forget");
        }
    }
}

impl KernelCache for Cache {
    fn forget_names(&self) -> bool {
        self.0.begin_epoch().is_ok_and(|known| known == Known::Dropped)
    }

    fn forget_attributes(&self, inode: Inode) {
        self.forget(inode, NO_PAGES);
    }

    fn forget_data(&self, inode: Inode) {
        // From the beginning to the end.
        self.forget(inode, 0);
    }
}
