//! Telling the kernel what is no longer so.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustix::io::Errno;

use crate::channel::Channel;
use crate::protocol::{Agreement, NodeId, Notification};

/// Writes to a mount's device, from any thread but one that handles a request: the kernel may wait for the answer to one
/// (of the same directory, or of the same page) before it does as it is told.
#[derive(Debug, Clone)]
pub struct Notifier {
    channel: Arc<Channel>,
    has_epochs: bool,
}

/// Whether the kernel knew what it was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It did, and does no more.
    Dropped,
    /// It did not.
    Unknown,
}

impl Notifier {
    pub(crate) const fn new(channel: Arc<Channel>, agreement: &Agreement) -> Self {
        Self { channel, has_epochs: agreement.has_epochs() }
    }

    /// The attributes of an inode are asked for again, and of its pages those of a range are dropped: `len` bytes from
    /// `offset` on, all that follow when `len` is 0, none when `offset` is negative. Waits for pages that are being read.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn invalidate_inode(&self, node: NodeId, offset: i64, len: i64) -> io::Result<Known> {
        self.tell(Notification::Inode { node, offset, len })
    }

    /// Every name is looked up again before it is believed. Waits for nothing. [`Known::Unknown`] of a kernel that cannot be
    /// told so (before 6.16).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn begin_epoch(&self) -> io::Result<Known> {
        if self.has_epochs { self.tell(Notification::Epoch) } else { Ok(Known::Unknown) }
    }

    fn tell(&self, notification: Notification) -> io::Result<Known> {
        match self.channel.send(&[IoSlice::new(&notification.to_bytes())]) {
            Ok(()) => Ok(Known::Dropped),
            Err(Errno::NOENT) => Ok(Known::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}
