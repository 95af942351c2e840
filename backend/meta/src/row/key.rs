//! Row keys: one byte of kind, then fixed fields, big-endian, so that bytes sort as the fields do.

use weft_types::{DataKeyId, ExtentId, Inode, NameHash, SessionId, SlotId};

/// The key of a row.
///
/// Kinds never change their number nor their fields: keys are on the drives. The order of encoded keys is the
/// order of the enum's `Ord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// The one row of counters.
    Counters,
    /// An inode's attributes.
    Inode(Inode),
    /// The names of a directory that share a hash.
    Dentry {
        /// The directory.
        parent: Inode,
        /// The hash of the names; the readdir cookie.
        hash: NameHash,
    },
    /// The extended attributes of an inode whose names share a hash.
    Xattr {
        /// The inode.
        inode: Inode,
        /// The hash of the names.
        hash: NameHash,
    },
    /// The target of a symbolic link.
    Symlink(Inode),
    /// A run of file bytes that is in an extent. Filed by its end, so that the run that covers an offset is the
    /// first whose key is greater than the offset.
    MapEntry {
        /// The file.
        inode: Inode,
        /// The first byte behind the run.
        end: u64,
    },
    /// An extent that maps refer to.
    Extent(ExtentId),
    /// A data key.
    DataKey(DataKeyId),
    /// An extent that no map refers to any more; its shards are still on drives.
    DeadExtent(ExtentId),
    /// An inode without a name that a session may still have open.
    Orphan {
        /// The session that took the last name away.
        session: SessionId,
        /// The inode.
        inode: Inode,
    },
    /// An open session.
    Session(SessionId),
    /// The last mutation of a session's slot.
    Slot {
        /// The session.
        session: SessionId,
        /// Its slot.
        slot: SlotId,
    },
    /// Work left: the file's map still has runs beyond the file's length.
    Truncating(Inode),
    /// Work left: rows of an inode that is gone.
    Reaping(Inode),
    /// Work left: orphans and slots of a session that has ended.
    Ending(SessionId),
    /// A session that has ended: whether every drive has closed it, and so its orphans can be told.
    Closing(SessionId),
}

/// How a row's value lies in the log and the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    /// As it is: needed without keys, by rebuild and garbage collection.
    Clear,
    /// Sealed under the metadata key.
    Sealed,
    /// Sealed, and padded before so that its length tells less of what is in it.
    SealedPadded,
}

/// Bytes are no row key: an unknown kind, a wrong length, or a hash that no name has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a row key: {kind:?} and {len} bytes in all")]
pub struct RowKeyError {
    /// The first byte, when there is one.
    pub kind: Option<u8>,
    /// Number of bytes.
    pub len: usize,
}

/// The kinds, by their first byte; in the order of the enum.
mod kind {
    pub(super) const COUNTERS: u8 = 1;
    pub(super) const INODE: u8 = 2;
    pub(super) const DENTRY: u8 = 3;
    pub(super) const XATTR: u8 = 4;
    pub(super) const SYMLINK: u8 = 5;
    pub(super) const MAP_ENTRY: u8 = 6;
    pub(super) const EXTENT: u8 = 7;
    pub(super) const DATA_KEY: u8 = 8;
    pub(super) const DEAD_EXTENT: u8 = 9;
    pub(super) const ORPHAN: u8 = 10;
    pub(super) const SESSION: u8 = 11;
    pub(super) const SLOT: u8 = 12;
    pub(super) const TRUNCATING: u8 = 13;
    pub(super) const REAPING: u8 = 14;
    pub(super) const ENDING: u8 = 15;
    pub(super) const CLOSING: u8 = 16;
}

impl RowKey {
    /// Most bytes of an encoded key.
    pub const BYTES_MAX: usize = 25;

    /// The bytes: kind, then fields.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, fields): (u8, &[&[u8]]) = match self {
            Self::Counters => (kind::COUNTERS, &[]),
            Self::Inode(inode) => (kind::INODE, &[&be(*inode)]),
            Self::Dentry { parent, hash } => (kind::DENTRY, &[&be(*parent), &hash.get().to_be_bytes()]),
            Self::Xattr { inode, hash } => (kind::XATTR, &[&be(*inode), &hash.get().to_be_bytes()]),
            Self::Symlink(inode) => (kind::SYMLINK, &[&be(*inode)]),
            Self::MapEntry { inode, end } => (kind::MAP_ENTRY, &[&be(*inode), &end.to_be_bytes()]),
            Self::Extent(extent) => (kind::EXTENT, &[&extent.to_bytes()]),
            Self::DataKey(id) => (kind::DATA_KEY, &[&id.get().to_be_bytes()]),
            Self::DeadExtent(extent) => (kind::DEAD_EXTENT, &[&extent.to_bytes()]),
            Self::Orphan { session, inode } => (kind::ORPHAN, &[&session.to_bytes(), &be(*inode)]),
            Self::Session(session) => (kind::SESSION, &[&session.to_bytes()]),
            Self::Slot { session, slot } => (kind::SLOT, &[&session.to_bytes(), &slot.get().to_be_bytes()]),
            Self::Truncating(inode) => (kind::TRUNCATING, &[&be(*inode)]),
            Self::Reaping(inode) => (kind::REAPING, &[&be(*inode)]),
            Self::Ending(session) => (kind::ENDING, &[&session.to_bytes()]),
            Self::Closing(session) => (kind::CLOSING, &[&session.to_bytes()]),
        };
        key_of(kind, fields)
    }

    /// The key whose bytes these are.
    ///
    /// # Errors
    /// [`RowKeyError`] for anything that [`encode`](Self::encode) does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowKeyError> {
        let mut fields = Fields(bytes);
        fields
            .key()
            .filter(|_| fields.0.is_empty())
            .ok_or_else(|| RowKeyError { kind: bytes.first().copied(), len: bytes.len() })
    }

    /// How the value of this row is kept.
    ///
    /// In clear is what rebuild and garbage collection read without a key, and what only counts. A slot's row is
    /// sealed because the answer in it shows attributes.
    pub const fn sealing(&self) -> Sealing {
        match self {
            Self::Inode(_)
            | Self::Xattr { .. }
            | Self::Symlink(_)
            | Self::MapEntry { .. }
            | Self::DataKey(_)
            | Self::Slot { .. } => Sealing::Sealed,
            Self::Dentry { .. } => Sealing::SealedPadded,
            Self::Counters
            | Self::Extent(_)
            | Self::DeadExtent(_)
            | Self::Orphan { .. }
            | Self::Session(_)
            | Self::Truncating(_)
            | Self::Reaping(_)
            | Self::Ending(_)
            | Self::Closing(_) => Sealing::Clear,
        }
    }
}

fn be(inode: Inode) -> [u8; 8] {
    inode.get().to_be_bytes()
}

fn key_of(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(RowKey::BYTES_MAX);
    out.push(kind);
    fields.iter().for_each(|field| out.extend_from_slice(field));
    out
}

/// Ranges of encoded keys, first inclusive, last exclusive: what [`scan`](crate::Transaction::scan) takes.
pub(crate) mod range {
    use super::{ExtentId, Inode, RowKey, SessionId, be, key_of, kind};

    /// An encoded range.
    pub(crate) type Range = (Vec<u8>, Vec<u8>);

    /// All keys that start with these fields.
    fn prefix(kind: u8, fields: &[&[u8]]) -> Range {
        let from = key_of(kind, fields);
        let mut until = from.clone();
        // The kind is below 255, so that some byte can always be raised.
        while let Some(last) = until.pop() {
            if last < u8::MAX {
                until.push(last + 1);
                break;
            }
        }
        (from, until)
    }

    /// Names of a directory whose hash is greater than `cookie`.
    pub(crate) fn dentries_after(parent: Inode, cookie: u64) -> Range {
        let (_, until) = prefix(kind::DENTRY, &[&be(parent)]);
        (key_of(kind::DENTRY, &[&be(parent), &cookie.saturating_add(1).to_be_bytes()]), until)
    }

    /// Extended attributes of an inode.
    pub(crate) fn xattrs(inode: Inode) -> Range {
        prefix(kind::XATTR, &[&be(inode)])
    }

    /// Runs of a file that end behind `offset`.
    pub(crate) fn map_behind(inode: Inode, offset: u64) -> Range {
        let (_, until) = prefix(kind::MAP_ENTRY, &[&be(inode)]);
        (RowKey::MapEntry { inode, end: offset.saturating_add(1) }.encode(), until)
    }

    /// Extents in use, after one of them.
    pub(crate) fn extents(after: Option<ExtentId>) -> Range {
        behind(prefix(kind::EXTENT, &[]), after.map(RowKey::Extent))
    }

    /// Dead extents, after one of them.
    pub(crate) fn dead_extents(after: Option<ExtentId>) -> Range {
        behind(prefix(kind::DEAD_EXTENT, &[]), after.map(RowKey::DeadExtent))
    }

    /// Sessions, after one of them.
    pub(crate) fn sessions(after: Option<SessionId>) -> Range {
        behind(prefix(kind::SESSION, &[]), after.map(RowKey::Session))
    }

    /// Sessions that have ended.
    pub(crate) fn closing() -> Range {
        prefix(kind::CLOSING, &[])
    }

    /// Orphans of a session.
    pub(crate) fn orphans(session: SessionId) -> Range {
        prefix(kind::ORPHAN, &[&session.to_bytes()])
    }

    /// Slots of a session.
    pub(crate) fn slots(session: SessionId) -> Range {
        prefix(kind::SLOT, &[&session.to_bytes()])
    }

    /// All work that is left.
    pub(crate) fn work() -> Range {
        (vec![kind::TRUNCATING], vec![kind::ENDING + 1])
    }

    /// The rest of a range of keys of one length, behind one of them.
    fn behind((from, until): Range, key: Option<RowKey>) -> Range {
        let Some(key) = key else { return (from, until) };
        let mut from = key.encode();
        from.push(0);
        (from, until)
    }
}

/// What is left of a key while it is decoded.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn key(&mut self) -> Option<RowKey> {
        let [kind] = self.take()?;
        Some(match kind {
            kind::COUNTERS => RowKey::Counters,
            kind::INODE => RowKey::Inode(self.inode()?),
            kind::DENTRY => RowKey::Dentry { parent: self.inode()?, hash: self.hash()? },
            kind::XATTR => RowKey::Xattr { inode: self.inode()?, hash: self.hash()? },
            kind::SYMLINK => RowKey::Symlink(self.inode()?),
            kind::MAP_ENTRY => RowKey::MapEntry { inode: self.inode()?, end: self.u64()? },
            kind::EXTENT => RowKey::Extent(self.extent()?),
            kind::DATA_KEY => RowKey::DataKey(DataKeyId::new(self.u64()?)),
            kind::DEAD_EXTENT => RowKey::DeadExtent(self.extent()?),
            kind::ORPHAN => RowKey::Orphan { session: self.session()?, inode: self.inode()? },
            kind::SESSION => RowKey::Session(self.session()?),
            kind::SLOT => RowKey::Slot { session: self.session()?, slot: self.slot()? },
            kind::TRUNCATING => RowKey::Truncating(self.inode()?),
            kind::REAPING => RowKey::Reaping(self.inode()?),
            kind::ENDING => RowKey::Ending(self.session()?),
            kind::CLOSING => RowKey::Closing(self.session()?),
            _ => return None,
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn inode(&mut self) -> Option<Inode> {
        self.u64().map(Inode::new)
    }

    fn hash(&mut self) -> Option<NameHash> {
        self.u64().and_then(NameHash::new)
    }

    fn session(&mut self) -> Option<SessionId> {
        self.take().map(SessionId::from_bytes)
    }

    fn extent(&mut self) -> Option<ExtentId> {
        self.take().map(ExtentId::from_bytes)
    }

    fn slot(&mut self) -> Option<SlotId> {
        self.take().map(u16::from_be_bytes).map(SlotId::new)
    }
}
