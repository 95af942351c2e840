//! More than one descriptor of a mount.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `_IOR(229, 0, uint32_t)`: named a reading one, though the kernel reads the number from where it points.
const FUSE_DEV_IOC_CLONE: Opcode = opcode::read::<u32>(229, 0);

/// Makes a descriptor of the device that belongs to no mount one of the mount that the other belongs to.
pub(crate) fn clone_of(new: BorrowedFd<'_>, mounted: BorrowedFd<'_>) -> io::Result<()> {
    let number = u32::try_from(mounted.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: the opcode is one of the device's, and the device reads a `uint32_t` for it, which is what it is given: the
    // number of a descriptor that is borrowed, so open, until the call returns. It writes nothing.
    let done = unsafe { ioctl(new, Setter::<FUSE_DEV_IOC_CLONE, u32>::new(number)) };
    Ok(done?)
}
