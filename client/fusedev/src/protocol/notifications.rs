//! What the kernel is told without having asked.

use super::ids::NodeId;
use super::writer::Fields;

/// Something in the kernel's caches is no longer so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification {
    /// The attributes of an inode, and of its pages those in a range.
    Inode {
        /// The inode.
        node: NodeId,
        /// The first byte; negative when no page is to go.
        offset: i64,
        /// So many bytes; 0 for all that follow.
        len: i64,
    },
    /// Every name of the mount is looked up again before it is believed.
    Epoch,
}

impl Notification {
    /// Its number (`enum fuse_notify_code`).
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::Inode { .. } => 2,
            Self::Epoch => 8,
        }
    }

    /// The message, as it is written to the device.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut fields = Fields::new();
        if let Self::Inode { node, offset, len } = self {
            fields.u64(node.get()).i64(offset).i64(len);
        }
        let total = 16 + fields.as_slice().len();
        let mut message = Vec::with_capacity(total);
        // A few fields.
        message.extend_from_slice(&(total as u32).to_ne_bytes());
        message.extend_from_slice(&self.code().to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(fields.as_slice());
        message
    }
}
