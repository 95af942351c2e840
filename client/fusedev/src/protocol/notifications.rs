//! What the kernel is told without having asked.

use super::ids::NodeId;
use super::writer::Fields;

/// Something in the kernel's caches is no longer so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification<'a> {
    /// The attributes of an inode, and of its pages those in a range.
    Inode {
        /// The inode.
        node: NodeId,
        /// The first byte; negative when no page is to go.
        offset: i64,
        /// So many bytes; 0 for all that follow.
        len: i64,
    },
    /// What is known of a name.
    Entry {
        /// Its directory.
        parent: NodeId,
        /// The name.
        name: &'a [u8],
        /// It may stay in use, and is looked up again before it is believed; else it is dropped.
        expire_only: bool,
    },
    /// A name was removed, or leads to another inode; who watches it is told.
    Delete {
        /// Its directory.
        parent: NodeId,
        /// What it led to.
        child: NodeId,
        /// The name.
        name: &'a [u8],
    },
    /// Every name of the mount is looked up again before it is believed.
    Epoch,
}

const FUSE_EXPIRE_ONLY: u32 = 1;

impl<'a> Notification<'a> {
    /// Its number (`enum fuse_notify_code`).
    pub(crate) const fn code(&self) -> i32 {
        match self {
            Self::Inode { .. } => 2,
            Self::Entry { .. } => 3,
            Self::Delete { .. } => 6,
            Self::Epoch => 8,
        }
    }

    pub(crate) fn put(&self, fields: &mut Fields) {
        // Names have at most 255 bytes.
        let len = |name: &[u8]| name.len() as u32;
        match *self {
            Self::Inode { node, offset, len } => fields.u64(node.get()).i64(offset).i64(len),
            Self::Entry { parent, name, expire_only } => {
                let flags = if expire_only { FUSE_EXPIRE_ONLY } else { 0 };
                fields.u64(parent.get()).u32(len(name)).u32(flags)
            }
            Self::Delete { parent, child, name } => {
                fields.u64(parent.get()).u64(child.get()).u32(len(name)).u32(0)
            }
            Self::Epoch => fields,
        };
    }

    /// The name behind the fields; it ends with a NUL that its length does not count.
    pub(crate) const fn name(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Entry { name, .. } | Self::Delete { name, .. } => Some(name),
            Self::Inode { .. } | Self::Epoch => None,
        }
    }

    /// The message, as it is written to the device.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut fields = Fields::new();
        self.put(&mut fields);
        let name = self.name();
        let behind = name.map_or(0, |name| name.len() + 1);
        let total = 16 + fields.as_slice().len() + behind;
        let mut message = Vec::with_capacity(total);
        // As above.
        message.extend_from_slice(&(total as u32).to_ne_bytes());
        message.extend_from_slice(&self.code().to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(fields.as_slice());
        if let Some(name) = name {
            message.extend_from_slice(name);
            message.push(0);
        }
        message
    }
}
