//! The operations.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use weft_types::{FileOffset, Inode, Timestamp};

use super::attributes::{is_false, is_zero};
use super::{Allocate, AttributeChanges, CopyRange, MapEntry, Name, NewExtent};

/// Longest target of a symbolic link in bytes (Linux `PATH_MAX` less its NUL).
pub const SYMLINK_BYTES_MAX: usize = 4095;
/// Longest name of an extended attribute in bytes (Linux `XATTR_NAME_MAX`).
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Longest value of an extended attribute in bytes (Linux `XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 65_536;

/// One operation. Its number is never reused; an owner that does not know a number refuses the call as malformed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MetaOp {
    /// The attributes of an inode. Answers [`Attributes`](super::MetaReply::Attributes).
    #[n(0)]
    GetAttributes {
        /// Which inode.
        #[n(0)]
        inode: Inode,
    },
    /// The inode behind a name. Answers [`Attributes`](super::MetaReply::Attributes), or
    /// [`Found`](super::MetaReply::Found) when it is a regular file and has a map as was asked for.
    #[n(1)]
    Lookup {
        /// The directory.
        #[n(0)]
        parent: Inode,
        /// The name in it; absent asks for the directory's own parent (`..`).
        #[n(1)]
        name: Option<Name>,
        /// Answer a regular file's map as well, if the whole of it has at most so many entries. The owner may answer
        /// [`Attributes`](super::MetaReply::Attributes) all the same: it does above
        /// [`FOUND_ENTRIES_MAX`](super::FOUND_ENTRIES_MAX), and one that does not know this field always does.
        #[n(2)]
        map_entries: Option<u32>,
    },
    /// Changes attributes, among them the length. Answers [`Attributes`](super::MetaReply::Attributes).
    #[n(2)]
    SetAttributes {
        /// Which inode.
        #[n(0)]
        inode: Inode,
        /// What to change.
        #[n(1)]
        changes: AttributeChanges,
    },
    /// Makes a file, directory, symbolic link or special file. Answers [`Opened`](super::MetaReply::Opened) for a
    /// regular file, else [`Attributes`](super::MetaReply::Attributes).
    #[n(3)]
    MakeNode(#[n(0)] MakeNode),
    /// Removes a name that is not a directory's. Answers [`Removed`](super::MetaReply::Removed).
    #[n(4)]
    Unlink {
        /// The directory.
        #[n(0)]
        parent: Inode,
        /// The name in it.
        #[n(1)]
        name: Name,
    },
    /// Removes an empty directory. Answers [`Removed`](super::MetaReply::Removed).
    #[n(5)]
    RemoveDirectory {
        /// The directory that holds it.
        #[n(0)]
        parent: Inode,
        /// Its name there.
        #[n(1)]
        name: Name,
    },
    /// Gives an inode another name, or its first one. Answers [`Attributes`](super::MetaReply::Attributes).
    #[n(6)]
    Link {
        /// Which inode; not a directory.
        #[n(0)]
        inode: Inode,
        /// The directory of the new name.
        #[n(1)]
        parent: Inode,
        /// The new name.
        #[n(2)]
        name: Name,
    },
    /// Moves a name. Answers [`Renamed`](super::MetaReply::Renamed).
    #[n(7)]
    Rename(#[n(0)] Rename),
    /// The target of a symbolic link. Answers [`Target`](super::MetaReply::Target).
    #[n(8)]
    ReadLink {
        /// Which inode.
        #[n(0)]
        inode: Inode,
    },
    /// A page of a directory. Answers [`Directory`](super::MetaReply::Directory).
    #[n(9)]
    ListDirectory(#[n(0)] ListDirectory),
    /// The value of an extended attribute. Answers [`Value`](super::MetaReply::Value).
    #[n(10)]
    GetXattr {
        /// Which inode.
        #[n(0)]
        inode: Inode,
        /// The attribute's name with its namespace, such as `user.color`.
        #[n(1)]
        name: ByteVec,
    },
    /// The names of an inode's extended attributes. Answers [`Names`](super::MetaReply::Names).
    #[n(11)]
    ListXattrs {
        /// Which inode.
        #[n(0)]
        inode: Inode,
    },
    /// Sets an extended attribute. Answers [`Done`](super::MetaReply::Done).
    #[n(12)]
    SetXattr(#[n(0)] SetXattr),
    /// Removes an extended attribute. Answers [`Done`](super::MetaReply::Done).
    #[n(13)]
    RemoveXattr {
        /// Which inode.
        #[n(0)]
        inode: Inode,
        /// The attribute's name.
        #[n(1)]
        name: ByteVec,
    },
    /// Attributes and data key of a regular file. Answers [`Opened`](super::MetaReply::Opened).
    #[n(14)]
    Open {
        /// Which inode.
        #[n(0)]
        inode: Inode,
    },
    /// A page of a file's extent map, and the keys that it names. Answers [`Map`](super::MetaReply::Map).
    #[n(15)]
    ReadMap(#[n(0)] ReadMap),
    /// Puts new extents into a file's map. Answers [`Attributes`](super::MetaReply::Attributes).
    #[n(16)]
    Commit(#[n(0)] Commit),
    /// The session no longer holds these unlinked inodes open: collect them. Answers [`Done`](super::MetaReply::Done).
    #[n(17)]
    Reap {
        /// Inodes whose removal was answered with `orphaned`. Others are ignored.
        #[n(0)]
        inodes: Vec<Inode>,
    },
    /// Room and inodes of the filesystem. Answers [`Space`](super::MetaReply::Space).
    #[n(18)]
    GetSpace,
    /// Puts extents in the place of others with the same bytes. Answers [`Done`](super::MetaReply::Done).
    #[n(19)]
    Compact(#[n(0)] Compact),
    /// Puts new extents into the maps of several files, each as a [`Commit`](Self::Commit): all or nothing. At most
    /// [`FILES_MAX`]. Answers [`Committed`](super::MetaReply::Committed).
    #[n(20)]
    CommitFiles(#[n(0)] Vec<Commit>),
    /// Allocates, empties or zeroes a range of a file. Answers [`Covered`](super::MetaReply::Covered): of a range with very
    /// many runs a part is done, and the rest is to be asked for.
    #[n(21)]
    Allocate(#[n(0)] Allocate),
    /// Puts a range of a file in another place, of it or of another file. Answers [`Covered`](super::MetaReply::Covered) with
    /// the attributes of the file that it is put into: the range may end before it does, and of very many runs a part is done.
    #[n(22)]
    CopyRange(#[n(0)] CopyRange),
    /// Makes a regular file without a name, which stays until the session [reaps](Self::Reap) it or ends, unless a
    /// [link](Self::Link) gives it its first name. Answers [`Opened`](super::MetaReply::Opened).
    #[n(23)]
    MakeUnnamed(#[n(0)] MakeUnnamed),
    /// Inodes were read: their access times become these, unless they are later already, and nothing else changes. At most
    /// [`ENTRIES_MAX`](super::ENTRIES_MAX); those that are gone are ignored. Answers [`Done`](super::MetaReply::Done).
    #[n(24)]
    Accessed(#[n(0)] Vec<Access>),
    /// The session wants to hold back what it writes to a regular file: as [`Open`](Self::Open), and nobody else remembers
    /// anything of it when this is answered.
    #[n(25)]
    Write {
        /// Which file.
        #[n(0)]
        inode: Inode,
    },
    /// The session has opened a regular file for writing. Answers [`Writers`](super::MetaReply::Writers).
    #[n(26)]
    OpenWriting {
        /// Which file.
        #[n(0)]
        inode: Inode,
    },
}

/// Most files of one [`MetaOp::CommitFiles`].
pub const FILES_MAX: usize = 256;

/// Makes an inode and its first name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MakeNode {
    /// The directory.
    #[n(0)]
    pub parent: Inode,
    /// The name in it.
    #[n(1)]
    pub name: Name,
    /// What to make.
    #[n(2)]
    pub node: NewNode,
    /// Permission bits: `0..=0o7777`.
    #[n(3)]
    pub mode: u16,
    /// Permission bits that are taken off, unless the directory has a default access list, which then says what they are. 0
    /// when the caller's umask is already applied.
    #[n(4)]
    #[cbor(default, skip_if = "is_zero")]
    pub umask: u16,
}

/// Makes a regular file that has no name yet (Linux `O_TMPFILE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MakeUnnamed {
    /// The directory that it would be in: says its group and its access list.
    #[n(0)]
    pub parent: Inode,
    /// Permission bits: `0..=0o7777`.
    #[n(1)]
    pub mode: u16,
    /// As [`MakeNode::umask`].
    #[n(2)]
    pub umask: u16,
}

/// When an inode was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Access {
    /// Which inode.
    #[n(0)]
    pub inode: Inode,
    /// When.
    #[n(1)]
    pub at: Timestamp,
}

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NewNode {
    /// A regular file.
    #[n(0)]
    File,
    /// A directory.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Symlink {
        /// What it points to: 1 to [`SYMLINK_BYTES_MAX`] bytes, none of them NUL.
        #[n(0)]
        target: ByteVec,
    },
    /// A FIFO.
    #[n(3)]
    Fifo,
    /// A socket.
    #[n(4)]
    Socket,
    /// A character device with this number.
    #[n(5)]
    CharDevice(#[n(0)] u32),
    /// A block device with this number.
    #[n(6)]
    BlockDevice(#[n(0)] u32),
}

/// What to do when the new name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RenameMode {
    /// Replace it (POSIX `rename`).
    #[n(0)]
    Replace,
    /// Refuse (Linux `RENAME_NOREPLACE`).
    #[n(1)]
    NoReplace,
    /// Exchange the two; the new name must exist (Linux `RENAME_EXCHANGE`).
    #[n(2)]
    Exchange,
}

/// Moves a name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rename {
    /// The directory it is in.
    #[n(0)]
    pub parent: Inode,
    /// The name.
    #[n(1)]
    pub name: Name,
    /// The directory it goes to.
    #[n(2)]
    pub new_parent: Inode,
    /// Its name there.
    #[n(3)]
    pub new_name: Name,
    /// What to do when that name exists.
    #[n(4)]
    pub mode: RenameMode,
}

/// Lists a directory in the order of its cookies.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ListDirectory {
    /// The directory.
    #[n(0)]
    pub inode: Inode,
    /// List what comes after this cookie; 0 starts. `.` and `..` are the frontend's to add: cookies from the
    /// owner are greater than 2.
    #[n(1)]
    pub after: u64,
    /// At most this many entries; the owner may answer fewer.
    #[n(2)]
    pub limit: u32,
    /// Whether to answer each entry's attributes.
    #[n(3)]
    pub with_attributes: bool,
}

/// Whether an extended attribute may or must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum XattrMode {
    /// Create or replace.
    #[n(0)]
    Any,
    /// It must not exist (`XATTR_CREATE`).
    #[n(1)]
    Create,
    /// It must exist (`XATTR_REPLACE`).
    #[n(2)]
    Replace,
    /// Both, so it is refused as what is the case: [`Exists`](super::MetaError::Exists) or
    /// [`NoAttribute`](super::MetaError::NoAttribute).
    #[n(3)]
    CreateAndReplace,
}

/// Sets an extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SetXattr {
    /// Which inode.
    #[n(0)]
    pub inode: Inode,
    /// The attribute's name with its namespace: 1 to [`XATTR_NAME_BYTES_MAX`] bytes, none of them NUL.
    #[n(1)]
    pub name: ByteVec,
    /// Its value: at most [`XATTR_VALUE_BYTES_MAX`] bytes.
    #[n(2)]
    pub value: ByteVec,
    /// Whether it may or must exist.
    #[n(3)]
    pub mode: XattrMode,
    /// Of an access list: takes set-group-id off, as for a caller who is not in the file's group (Linux
    /// `FUSE_SETXATTR_ACL_KILL_SGID`).
    #[n(4)]
    #[cbor(default, skip_if = "is_false")]
    pub kill_set_group_id: bool,
}

/// Asks for a page of a file's extent map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadMap {
    /// Which file.
    #[n(0)]
    pub inode: Inode,
    /// The first entry answered is the one that covers this offset, or the next after it.
    #[n(1)]
    pub from: u64,
    /// Entries that start at or beyond this offset are not answered.
    #[n(2)]
    pub until: u64,
    /// At most this many entries; the owner may answer fewer.
    #[n(3)]
    pub limit: u32,
}

/// Puts sealed extents into a file's map; they replace whatever was there. All or nothing.
///
/// Bytes of an extent beyond the file's length, which `size_min` may have raised, are left out. Several extents that
/// replace more than 2^18 runs together are refused with [`Invalid`](super::MetaError::Invalid): they are to be
/// committed one by one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Commit {
    /// Which file.
    #[n(0)]
    pub inode: Inode,
    /// The extents, not overlapping each other; at most [`ENTRIES_MAX`](super::ENTRIES_MAX).
    #[n(1)]
    pub extents: Vec<NewExtent>,
    /// The file is at least this long now: a commit never shortens.
    #[n(2)]
    pub size_min: u64,
    /// When the newest of these bytes was written, unless the modification time was set explicitly since. The change time
    /// becomes this too, and never earlier: the mount has shown it, and a commit is no change by itself.
    #[n(3)]
    pub modified: Option<Timestamp>,
    /// What else was set of the file while its bytes waited: takes effect with them, after `modified`. No length.
    #[n(4)]
    pub attributes: Option<AttributeChanges>,
}

/// Rewrites part of a file's map without changing what the file holds: no attribute changes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Compact {
    /// Which file.
    #[n(0)]
    pub inode: Inode,
    /// First byte of the range.
    #[n(1)]
    pub start: FileOffset,
    /// Number of bytes of the range.
    #[n(2)]
    pub len: u64,
    /// All runs of the map in the range, cut to it, as the caller read them: file offset, length, extent, and offset in
    /// the extent count. Otherwise the answer is [`MapChanged`](super::MetaError::MapChanged).
    #[n(3)]
    pub expected: Vec<MapEntry>,
    /// What takes their place, within the range.
    #[n(4)]
    pub extents: Vec<NewExtent>,
}
