//! What `stat` shows, and what may be changed of it.

use minicbor::{Decode, Encode};
use weft_types::{ByteCount, Generation, Inode, Timestamp};

/// On whose behalf an operation runs: becomes the owner of what it makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Caller {
    /// POSIX user id.
    #[n(0)]
    pub uid: u32,
    /// POSIX group id.
    #[n(1)]
    pub gid: u32,
}

/// The type of an inode (POSIX `S_IFMT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum FileKind {
    /// A regular file.
    #[n(0)]
    File,
    /// A directory.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Symlink,
    /// A FIFO.
    #[n(3)]
    Fifo,
    /// A socket.
    #[n(4)]
    Socket,
    /// A character device.
    #[n(5)]
    CharDevice,
    /// A block device.
    #[n(6)]
    BlockDevice,
}

/// An inode's attributes (POSIX `struct stat`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Attributes {
    /// Its number.
    #[n(0)]
    pub inode: Inode,
    /// Tells it from an earlier inode of the same number.
    #[n(1)]
    pub generation: Generation,
    /// Its type.
    #[n(2)]
    pub kind: FileKind,
    /// Permission, set-id and sticky bits: `0..=0o7777`.
    #[n(3)]
    pub mode: u16,
    /// Number of names; a directory has two and one more for each subdirectory.
    #[n(4)]
    pub links: u32,
    /// Owner.
    #[n(5)]
    pub uid: u32,
    /// Group.
    #[n(6)]
    pub gid: u32,
    /// Device number of a device node, in the kernel's encoding; else 0.
    #[n(7)]
    pub device: u32,
    /// Length in bytes; of a symbolic link, of its target.
    #[n(8)]
    pub size: u64,
    /// Bytes of file data that are backed by extents: `st_blocks` times 512, rounded up.
    #[n(9)]
    pub allocated: ByteCount,
    /// Last read.
    #[n(10)]
    pub accessed: Timestamp,
    /// Last change of the content.
    #[n(11)]
    pub modified: Timestamp,
    /// Last change of the inode.
    #[n(12)]
    pub changed: Timestamp,
    /// When it was made.
    #[n(13)]
    pub created: Timestamp,
    /// Counts every change of content or attributes.
    #[n(14)]
    pub change: u64,
    /// It has no extended attributes, access lists among them; else it may have some.
    #[n(15)]
    #[cbor(default, skip_if = "is_false")]
    pub no_xattrs: bool,
}

/// A new value of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TimeChange {
    /// The owner's clock.
    #[n(0)]
    Now,
    /// This time.
    #[n(1)]
    At(#[n(0)] Timestamp),
}

/// What of an inode's attributes is to change; absent fields stay. Any change sets `changed`: to the
/// owner's clock, unless `made` is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct AttributeChanges {
    /// New permission bits, `0..=0o7777`.
    #[n(0)]
    pub mode: Option<u16>,
    /// New owner.
    #[n(1)]
    pub uid: Option<u32>,
    /// New group.
    #[n(2)]
    pub gid: Option<u32>,
    /// New length: shorter drops what is beyond, longer reads as zeroes.
    #[n(3)]
    pub size: Option<u64>,
    /// New access time.
    #[n(4)]
    pub accessed: Option<TimeChange>,
    /// New modification time.
    #[n(5)]
    pub modified: Option<TimeChange>,
    /// Of a regular file, takes set-user-id off, and set-group-id where the group may execute or is not the caller's: somebody
    /// without privileges changes what the file holds. After a new mode.
    #[n(6)]
    #[cbor(default, skip_if = "is_false")]
    pub kill_privileges: bool,
    /// When it was made, of a change that the mount has shown already: `changed` becomes this, and never earlier.
    #[n(7)]
    pub made: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the derived encoder calls it")]
pub(crate) const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the derived encoder calls it")]
pub(super) const fn is_zero(mask: &u16) -> bool {
    *mask == 0
}
