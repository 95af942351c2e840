//! What an operation needs besides the rows.

use weft_types::{ByteCount, DataKeyId, Epoch, FilesystemId, GroupId, Inode, NameHash, SessionId, Timestamp};
use weft_wire::KeyBytes;
use weft_wire::meta::{Caller, MetaError};

/// Everything an operation is told.
pub struct Context<'a> {
    /// The owner's clock.
    pub now: Timestamp,
    /// Who asks; becomes the owner of what is made.
    pub caller: Caller,
    /// The session that asks.
    pub session: SessionId,
    /// Other sessions that have open what loses its last name, or for writing what is opened for that.
    pub users: &'a [SessionId],
    /// The filesystem.
    pub filesystem: FilesystemId,
    /// Hashes names.
    pub names: &'a dyn NameHasher,
    /// Makes and opens data keys.
    pub keys: &'a dyn KeyMaker,
    /// Knows the memberships of placement groups.
    pub groups: &'a dyn GroupEpochs,
    /// The room of the filesystem.
    pub space: SpaceView,
}

/// Files names under a keyed hash of the directory and the name.
pub trait NameHasher {
    /// The hash of a name within a directory. Also called with the names of extended attributes, behind a NUL
    /// that no file name has.
    fn hash(&self, parent: Inode, name: &[u8]) -> NameHash;
}

/// A data key and its wrapped form.
pub struct NewKey {
    /// The key, for the client.
    pub key: KeyBytes,
    /// The key under the filesystem key, for the row.
    pub wrapped: Vec<u8>,
}

/// Makes and opens data keys.
pub trait KeyMaker {
    /// A fresh random key, wrapped for this id.
    ///
    /// # Errors
    /// The refusal to answer when no key can be made.
    fn fresh(&self, id: DataKeyId) -> Result<NewKey, MetaError>;

    /// Opens what [`fresh`](Self::fresh) wrapped for this id.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] when it does not open.
    fn unwrap(&self, id: DataKeyId, wrapped: &[u8]) -> Result<KeyBytes, MetaError>;
}

/// The memberships of placement groups that the owner has acknowledged.
pub trait GroupEpochs {
    /// The oldest membership that new extents of this group may have been written to; `None` for no such group.
    fn floor(&self, group: GroupId) -> Option<Epoch>;
}

/// The room of a filesystem, net of parity and spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceView {
    /// What the filesystem could hold in all.
    pub capacity: ByteCount,
    /// What can still be written.
    pub free: ByteCount,
}
