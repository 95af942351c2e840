//! The answers.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use weft_types::{ByteCount, Inode};

use super::{Attributes, FileKind, KeyGrant, MapEntry, Name};

/// The answer to an operation that was done; [`MetaOp`](super::MetaOp) says which operation has which.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MetaReply {
    /// It is done, and there is nothing to tell.
    #[n(0)]
    Done,
    /// Attributes, after the operation.
    #[n(1)]
    Attributes(#[n(0)] Attributes),
    /// A regular file and its key.
    #[n(2)]
    Opened(#[n(0)] Opened),
    /// A name went.
    #[n(3)]
    Removed(#[n(0)] Removed),
    /// A name moved.
    #[n(4)]
    Renamed {
        /// What the new name was before, when it was replaced.
        #[n(0)]
        replaced: Option<Removed>,
    },
    /// Target of a symbolic link.
    #[n(5)]
    Target(#[n(0)] ByteVec),
    /// A page of a directory.
    #[n(6)]
    Directory(#[n(0)] DirectoryPage),
    /// Value of an extended attribute.
    #[n(7)]
    Value(#[n(0)] ByteVec),
    /// Names of extended attributes.
    #[n(8)]
    Names(#[n(0)] Vec<ByteVec>),
    /// A page of an extent map.
    #[n(9)]
    Map(#[n(0)] MapPage),
    /// Room of the filesystem.
    #[n(10)]
    Space(#[n(0)] Space),
    /// Attributes of the files that were committed, in the order of their commits.
    #[n(11)]
    Committed(#[n(0)] Vec<Attributes>),
    /// A regular file and its whole map, as they are at one moment.
    #[n(12)]
    Found(#[n(0)] Found),
    /// An operation on a range is done as far as this tells.
    #[n(13)]
    Covered(#[n(0)] Covered),
    /// There is no such name: the answer to a lookup.
    #[n(14)]
    Absent,
    /// Who else writes to a file.
    #[n(15)]
    Writers {
        /// Another session has it open for writing.
        #[n(0)]
        others: bool,
    },
}

/// How far an operation on a range of a file has come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Covered {
    /// Attributes of the file that it changes, as they are now.
    #[n(0)]
    pub attributes: Attributes,
    /// It is done for so many bytes from the beginning of the range: at least 1, unless there was nothing to do.
    #[n(1)]
    pub len: u64,
}

/// A regular file that may be read and written.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Opened {
    /// Its attributes.
    #[n(0)]
    pub attributes: Attributes,
    /// The key for its new extents.
    #[n(1)]
    pub key: KeyGrant,
}

/// A regular file and all of its map.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Found {
    /// Its attributes.
    #[n(0)]
    pub attributes: Attributes,
    /// Its map, from the beginning to the end, with the keys that it names: no more than was asked for.
    #[n(1)]
    pub map: MapPage,
}

/// An inode that lost a name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Removed {
    /// Its attributes after the removal.
    #[n(0)]
    pub attributes: Attributes,
    /// That was its last name. It stays until the session [reaps](super::MetaOp::Reap) it or ends.
    #[n(1)]
    pub orphaned: bool,
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DirectoryPage {
    /// In the order of their cookies.
    #[n(0)]
    pub entries: Vec<DirectoryEntry>,
    /// There is nothing after them.
    #[n(1)]
    pub end: bool,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DirectoryEntry {
    /// Where to go on after it. Stable as long as the name stays; greater than 2. Names may share a cookie; they are
    /// then together in one page, even beyond its limit, and a frontend passes all of them on or none.
    #[n(0)]
    pub cookie: u64,
    /// The name.
    #[n(1)]
    pub name: Name,
    /// The inode behind it.
    #[n(2)]
    pub inode: Inode,
    /// That inode's type.
    #[n(3)]
    pub kind: FileKind,
    /// That inode's attributes, when they were asked for.
    #[n(4)]
    pub attributes: Option<Attributes>,
}

/// A page of an extent map.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MapPage {
    /// In the order of their offsets.
    #[n(0)]
    pub entries: Vec<MapEntry>,
    /// Nothing of what was asked comes after them.
    #[n(1)]
    pub end: bool,
    /// The keys that the entries name.
    #[n(2)]
    pub keys: Vec<KeyGrant>,
}

/// Room of a filesystem, net of parity and spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Space {
    /// What the filesystem could hold in all.
    #[n(0)]
    pub capacity: ByteCount,
    /// What can still be written.
    #[n(1)]
    pub free: ByteCount,
    /// Inodes in use.
    #[n(2)]
    pub inodes_used: u64,
    /// Inodes that can still be made.
    #[n(3)]
    pub inodes_free: u64,
}
