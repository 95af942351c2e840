//! How a metadata operation says no.

use minicbor::{Decode, Encode};

/// The closed set of reasons. Each is one POSIX error at the edge of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum MetaError {
    /// ENOENT: no such name, or no such inode any more.
    #[n(0)]
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST.
    #[n(1)]
    #[error("the name exists")]
    Exists,
    /// ENOTDIR.
    #[n(2)]
    #[error("not a directory")]
    NotDirectory,
    /// EISDIR.
    #[n(3)]
    #[error("is a directory")]
    IsDirectory,
    /// ENOTEMPTY.
    #[n(4)]
    #[error("the directory is not empty")]
    NotEmpty,
    /// EINVAL: an argument that cannot be meant, such as a directory moved below itself.
    #[n(5)]
    #[error("invalid argument")]
    Invalid,
    /// EMLINK: the inode has as many names as it can have.
    #[n(6)]
    #[error("too many links")]
    TooManyLinks,
    /// EPERM: not allowed for this type of inode, such as a hard link to a directory.
    #[n(7)]
    #[error("operation not permitted")]
    NotPermitted,
    /// ENOSPC: no room for data, or for metadata.
    #[n(8)]
    #[error("no space left")]
    NoSpace,
    /// ENODATA: no such extended attribute.
    #[n(9)]
    #[error("no such attribute")]
    NoAttribute,
    /// E2BIG: an extended attribute's value, or all of an inode's, are too long.
    #[n(10)]
    #[error("the attribute is too long")]
    AttributeTooLong,
    /// ENAMETOOLONG: a symbolic link's target or an attribute's name is too long.
    #[n(11)]
    #[error("the name is too long")]
    NameTooLong,
    /// EFBIG: beyond the largest file.
    #[n(12)]
    #[error("the file would be too large")]
    FileTooLarge,
    /// EROFS: the session only reads.
    #[n(13)]
    #[error("the session is read-only")]
    ReadOnly,
    /// ESTALE, EIO at a mount: the session has ended; nothing of it is served any more.
    #[n(14)]
    #[error("the session has ended")]
    SessionEnded,
    /// EIO: the slot's sequence is not the next one, nor a retry of the last.
    #[n(15)]
    #[error("the slot is out of step")]
    SlotOutOfStep,
    /// EIO: stored metadata is damaged; the owner's log says where.
    #[n(16)]
    #[error("stored metadata is damaged")]
    Damaged,
    /// EIO: extents of another session, or of a group's earlier membership, were offered.
    #[n(17)]
    #[error("the extents are not this session's to commit")]
    ForeignExtent,
    /// EIO: the extents were put under an earlier membership of their group. Fetch the map, put the shards that moved,
    /// and commit again with the same ids.
    #[n(18)]
    #[error("the extents were put under an earlier membership of their group")]
    StaleGroup,
    /// EIO: the map is not what was expected any more. A compaction begins anew.
    #[n(19)]
    #[error("the map has changed")]
    MapChanged,
    /// EIO: the session is not attached under the term that it names. It attaches, and asks again in the same slot.
    #[n(30)]
    #[error("the session is not attached")]
    NotAttached,
}
