//! Operations on a filesystem's metadata: what a client asks and what its owner answers.

mod attributes;
mod error;
mod map;
mod name;
mod op;
mod range;
mod reply;

pub(crate) use attributes::is_false;
pub use attributes::{AttributeChanges, Attributes, Caller, FileKind, TimeChange};
pub use error::MetaError;
pub use map::{ENTRIES_MAX, FOUND_ENTRIES_MAX, KeyGrant, MapEntry, NewExtent};
pub use name::{NAME_BYTES_MAX, Name, NameError};
pub use op::{
    Access, Commit, Compact, FILES_MAX, ListDirectory, MakeNode, MakeUnnamed, MetaOp, NewNode, ReadMap,
    Rename, RenameMode, SYMLINK_BYTES_MAX, SetXattr, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XattrMode,
};
pub use range::{Allocate, AllocateMode, CopyRange};
pub use reply::{Covered, DirectoryEntry, DirectoryPage, Found, MapPage, MetaReply, Opened, Removed, Space};
