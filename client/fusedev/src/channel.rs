//! One descriptor of a mount.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::clone::clone_of;

const DEVICE: &str = "/dev/fuse";

/// Requests are read from it, and answered to the one that they were read from.
#[derive(Debug)]
pub(crate) struct Channel {
    device: OwnedFd,
}

/// What came of a wait for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes of one.
    Request(usize),
    /// Nothing: it was taken back meanwhile.
    Nothing,
    /// There is no mount any more.
    End,
}

impl Channel {
    /// A descriptor that is to become a mount's.
    pub(crate) fn open() -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
        Ok(Self { device: device.into() })
    }

    pub(crate) const fn of(device: OwnedFd) -> Self {
        Self { device }
    }

    /// Another descriptor of the same mount: its reader does not contend with this one's.
    pub(crate) fn another(&self) -> io::Result<Self> {
        let another = Self::open()?;
        clone_of(another.as_fd(), self.as_fd())?;
        Ok(another)
    }

    /// Waits for a request.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        match rustix::io::read(&self.device, buffer) {
            Ok(0) | Err(Errno::NODEV | Errno::CONNABORTED) => Ok(Received::End),
            Ok(len) => Ok(Received::Request(len)),
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes one message: an answer or a notification.
    pub(crate) fn send(&self, parts: &[IoSlice<'_>]) -> Result<(), Errno> {
        loop {
            match rustix::io::writev(&self.device, parts) {
                Err(Errno::INTR) => {}
                // The kernel takes a message as a whole or not at all.
                sent => return sent.map(drop),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
