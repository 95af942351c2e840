//! Attributes of inodes, and names that lead to them.

use core::time::Duration;

use super::ids::{Handle, LockOwner, NodeId};
use super::writer::Fields;

/// A time as `struct timespec` counts: seconds since 1970, and nanoseconds forward from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// What a time is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChange {
    /// The time at which the filesystem does it.
    Now,
    /// This one.
    At(Time),
}

/// `struct stat` of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAttributes {
    /// Its number, for `st_ino`.
    pub node: NodeId,
    /// Length in bytes.
    pub size: u64,
    /// Allocated, in units of 512 bytes.
    pub blocks: u64,
    /// Last read.
    pub accessed: Time,
    /// Contents last changed.
    pub modified: Time,
    /// Inode last changed.
    pub changed: Time,
    /// Made; told to `statx` alone.
    pub created: Time,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Names.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a device node its number, in the kernel's encoding of 32 bits.
    pub device: u32,
    /// Preferred length of requests, in bytes.
    pub block_size: u32,
}

/// `struct statx` bits: everything that `stat` tells.
const STATX_BASIC_STATS: u32 = 0x7ff;
/// And the time at which the inode was made.
const STATX_BTIME: u32 = 0x800;

impl NodeAttributes {
    /// `struct fuse_attr`, 88 bytes.
    pub(crate) fn put(&self, fields: &mut Fields) {
        fields.u64(self.node.get()).u64(self.size).u64(self.blocks);
        for time in [self.accessed, self.modified, self.changed] {
            fields.i64(time.seconds);
        }
        for time in [self.accessed, self.modified, self.changed] {
            fields.u32(time.nanos);
        }
        fields.u32(self.mode).u32(self.links).u32(self.uid).u32(self.gid);
        fields.u32(self.device).u32(self.block_size).u32(0);
    }

    /// `struct fuse_statx`, 256 bytes.
    pub(crate) fn put_extended(&self, fields: &mut Fields) {
        fields.u32(STATX_BASIC_STATS | STATX_BTIME).u32(self.block_size).u64(0);
        fields.u32(self.links).u32(self.uid).u32(self.gid);
        // Type and permissions are the low 16 bits of the mode.
        fields.u16(self.mode as u16).zeroes(2);
        fields.u64(self.node.get()).u64(self.size).u64(self.blocks).u64(0);
        for time in [self.accessed, self.created, self.changed, self.modified] {
            fields.i64(time.seconds).u32(time.nanos).zeroes(4);
        }
        let (major, minor) = split_device(self.device);
        fields.u32(major).u32(minor).zeroes(8 + 14 * 8);
    }
}

/// Major and minor number: the kernel's encoding has 12 bits of the one between 8 and 12 of the other.
const fn split_device(device: u32) -> (u32, u32) {
    ((device & 0x000f_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0x000f_ff00))
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The inode. The kernel counts one reference to it, and gives it back by FORGET.
    pub node: NodeId,
    /// Tells inodes apart that had the same number one after the other.
    pub generation: u64,
    /// How long the kernel may believe the name.
    pub name_ttl: Duration,
    /// How long it may believe the attributes.
    pub attributes_ttl: Duration,
    /// The attributes.
    pub attributes: NodeAttributes,
}

impl Entry {
    /// `struct fuse_entry_out`, 128 bytes.
    pub(crate) fn put(&self, fields: &mut Fields) {
        fields.u64(self.node.get()).u64(self.generation);
        fields.u64(self.name_ttl.as_secs()).u64(self.attributes_ttl.as_secs());
        fields.u32(self.name_ttl.subsec_nanos()).u32(self.attributes_ttl.subsec_nanos());
        self.attributes.put(fields);
    }

    /// No such name, for as long as it may be believed.
    pub(crate) fn put_none(ttl: Duration, fields: &mut Fields) {
        fields.zeroes(16).u64(ttl.as_secs()).u64(0).u32(ttl.subsec_nanos()).u32(0).zeroes(88);
    }
}

/// What SETATTR asks for. What is none stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttributes {
    /// Of the descriptor by which it is done, if by one.
    pub handle: Option<Handle>,
    /// Type and permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last read.
    pub accessed: Option<TimeChange>,
    /// Contents last changed.
    pub modified: Option<TimeChange>,
    /// Inode last changed; only with a write-back cache.
    pub changed: Option<Time>,
    /// Who truncates, for mandatory locks.
    pub lock_owner: Option<LockOwner>,
    /// Set-user-id and set-group-id bits go; only as agreed.
    pub kill_suidgid: bool,
}
