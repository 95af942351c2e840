//! Row values: CBOR with numbered fields. A field that is added later is optional; a number is never reused.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use weft_layout::Geometry;
use weft_types::{
    ByteCount, DataKeyId, Epoch, ExtentId, Generation, GroupId, Inode, NodeId, SlotSeq, Timestamp,
};
use weft_wire::compute::SessionHolder;
use weft_wire::meta::{Attributes, FileKind, MetaError, MetaReply, Name};

/// What the filesystem counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CountersRow {
    /// The local number of the next inode, below 2^48.
    #[n(0)]
    pub next_inode: u64,
    /// The next data key.
    #[n(1)]
    pub next_key: DataKeyId,
    /// The next inode's generation.
    #[n(2)]
    pub next_generation: Generation,
    /// Inodes, orphans among them.
    #[n(3)]
    pub inodes: u64,
    /// File bytes that maps refer to, those of work that is left among them.
    #[n(4)]
    pub mapped: ByteCount,
    /// Extents whose shards are on drives: those in use and dead ones.
    #[n(5)]
    pub extents: u64,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct InodeRow {
    /// Its attributes.
    #[n(0)]
    pub attributes: Attributes,
    /// Of a directory, where `..` leads; the root's parent is the root.
    #[n(1)]
    pub parent: Option<Inode>,
    /// Of a regular file, the key for its new extents.
    #[n(2)]
    pub key: Option<DataKeyId>,
    /// Of a directory, the number of names in it.
    #[n(3)]
    pub entries: u64,
    /// Bytes of the names of its extended attributes, each with a NUL.
    #[n(4)]
    pub xattr_name_bytes: u32,
    /// Bytes of the names and values of its extended attributes.
    #[n(5)]
    pub xattr_bytes: u32,
    /// Without a name: how many sessions have it open beside one.
    #[n(6)]
    pub users: Option<u32>,
    /// When its time of access was last set by somebody, other than by reading: reads before that do not count.
    #[n(7)]
    pub accessed_set: Option<Timestamp>,
}

impl InodeRow {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.attributes.kind == FileKind::Directory
    }
}

/// The names of a directory that share a hash: hardly ever more than one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct DentryRow {
    /// In the order of the names; never empty in a stored row.
    #[n(0)]
    pub names: Vec<NamedInode>,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NamedInode {
    /// The name.
    #[n(0)]
    pub name: Name,
    /// The inode behind it.
    #[n(1)]
    pub inode: Inode,
    /// That inode's type, which never changes.
    #[n(2)]
    pub kind: FileKind,
}

/// Extended attributes whose names share a hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct XattrRow {
    /// In the order of the names; never empty in a stored row.
    #[n(0)]
    pub xattrs: Vec<Xattr>,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Xattr {
    /// Its name with its namespace.
    #[n(0)]
    pub name: ByteVec,
    /// Its value.
    #[n(1)]
    pub value: ByteVec,
}

/// The target of a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SymlinkRow {
    /// The target.
    #[n(0)]
    pub target: ByteVec,
}

/// A run of file bytes: the `len` bytes before the end that its row's key has.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MapRow {
    /// Number of bytes, at least 1.
    #[n(0)]
    pub len: u32,
    /// The extent; geometry and group are in its row.
    #[n(1)]
    pub extent: ExtentId,
    /// The run's first byte in the extent's plaintext.
    #[n(2)]
    pub extent_offset: u32,
    /// The data key that the extent is sealed under.
    #[n(3)]
    pub key: DataKeyId,
}

/// An extent, in use or dead.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExtentRow {
    /// Its shape.
    #[n(0)]
    pub geometry: Geometry,
    /// Where its shards are.
    #[n(1)]
    pub group: GroupId,
    /// The membership of that group that it was written to.
    #[n(2)]
    pub group_epoch: Epoch,
    /// Runs in maps that are in it; 0 when it is dead.
    #[n(3)]
    pub references: u64,
    /// When the last reference went; absent while it is in use.
    #[n(4)]
    pub died: Option<Timestamp>,
}

/// A data key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DataKeyRow {
    /// The key under the filesystem key; opaque here.
    #[n(0)]
    pub wrapped: ByteVec,
    /// Inodes that use it for their new extents, those whose map is still being removed among them, and runs in maps of other
    /// inodes.
    #[n(1)]
    pub references: u64,
}

/// What is known of an inode that is gone but for its rows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReapingRow {
    /// Its data key, to be given up last.
    #[n(0)]
    pub key: Option<DataKeyId>,
}

/// An inode without a name. The row of one that lost its last name is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct OrphanRow {
    /// It never had one: it may still get its first.
    #[n(0)]
    pub unnamed: bool,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionRow {
    /// The node that opened it, by its certificate.
    #[n(0)]
    pub node: NodeId,
    /// The process behind it, by its own account.
    #[n(1)]
    pub holder: SessionHolder,
    /// Mutations are refused.
    #[n(2)]
    pub read_only: bool,
    /// When it was opened.
    #[n(3)]
    pub opened: Timestamp,
}

/// A session that has ended. The row goes when no shard that it left behind is on any drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ClosingRow {
    /// When it ended.
    #[n(0)]
    pub ended: Timestamp,
    /// When the last drive had closed it; absent while some drive may still take its shards.
    #[n(1)]
    pub closed: Option<Timestamp>,
}

/// The last mutation of a slot. Holds no key: a replay fetches it anew.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotRow {
    /// Its number.
    #[n(0)]
    pub seq: SlotSeq,
    /// What it was answered, when it was done.
    #[n(1)]
    pub reply: Option<MetaReply>,
    /// Why it was refused, when it was.
    #[n(2)]
    pub refusal: Option<MetaError>,
}
