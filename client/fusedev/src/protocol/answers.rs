//! Answers, as the kernel reads them.

use core::time::Duration;

use rustix::io::Errno;

use super::attributes::{Entry, NodeAttributes};
use super::ids::{Handle, Unique};
use super::locks::Lock;
use super::negotiation::Agreement;
use super::writer::Fields;

/// Bytes of `struct fuse_out_header`.
const HEADER: usize = 16;

/// A file that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What later requests call it.
    pub handle: Handle,
    /// `FOPEN_*` of [`flags`](super::flags).
    pub flags: u32,
}

impl Opened {
    fn put(&self, fields: &mut Fields) {
        fields.u64(self.handle.get()).u32(self.flags).u32(0);
    }
}

/// `struct statfs`, in units of `unit` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// All units.
    pub blocks: u64,
    /// Those that are free.
    pub free: u64,
    /// Inodes, used or not.
    pub files: u64,
    /// Those that are free.
    pub files_free: u64,
    /// Bytes of a unit.
    pub unit: u32,
    /// Longest name, in bytes.
    pub name_max: u32,
}

/// An answer's fixed fields. What has none is [`Answer::empty`].
#[derive(Clone)]
pub struct Answer(Fields);

impl Answer {
    fn of(put: impl FnOnce(&mut Fields)) -> Self {
        let mut fields = Fields::new();
        put(&mut fields);
        Self(fields)
    }

    /// Done; nothing more to say.
    pub fn empty() -> Self {
        Self(Fields::new())
    }

    /// LOOKUP and whatever makes a name.
    pub fn entry(entry: &Entry) -> Self {
        Self::of(|fields| entry.put(fields))
    }

    /// LOOKUP: there is no such name, and that may be believed for so long.
    pub fn no_entry(ttl: Duration) -> Self {
        Self::of(|fields| Entry::put_none(ttl, fields))
    }

    /// GETATTR and SETATTR; they may be believed for so long.
    pub fn attributes(ttl: Duration, attributes: &NodeAttributes) -> Self {
        Self::of(|fields| {
            fields.u64(ttl.as_secs()).u32(ttl.subsec_nanos()).u32(0);
            attributes.put(fields);
        })
    }

    /// STATX.
    pub fn extended_attributes(ttl: Duration, attributes: &NodeAttributes) -> Self {
        Self::of(|fields| {
            fields.u64(ttl.as_secs()).u32(ttl.subsec_nanos()).zeroes(4 + 16);
            attributes.put_extended(fields);
        })
    }

    /// OPEN and OPENDIR.
    pub fn opened(opened: &Opened) -> Self {
        Self::of(|fields| opened.put(fields))
    }

    /// CREATE and TMPFILE.
    pub fn created(entry: &Entry, opened: &Opened) -> Self {
        Self::of(|fields| {
            entry.put(fields);
            opened.put(fields);
        })
    }

    /// WRITE and COPY_FILE_RANGE: so many bytes.
    pub fn written(len: u32) -> Self {
        Self::of(|fields| {
            fields.u32(len).u32(0);
        })
    }

    /// COPY_FILE_RANGE_64: so many bytes.
    pub fn copied(len: u64) -> Self {
        Self::of(|fields| {
            fields.u64(len);
        })
    }

    /// LSEEK: there.
    pub fn found_at(offset: u64) -> Self {
        Self::of(|fields| {
            fields.u64(offset);
        })
    }

    /// GETXATTR and LISTXATTR without room: so much is wanted.
    pub fn xattr_size(len: u32) -> Self {
        Self::of(|fields| {
            fields.u32(len).u32(0);
        })
    }

    /// STATFS.
    pub fn space(space: &FileSystemSpace) -> Self {
        Self::of(|fields| {
            fields.u64(space.blocks).u64(space.free).u64(space.free);
            fields.u64(space.files).u64(space.files_free);
            fields.u32(space.unit).u32(space.name_max).u32(space.unit).zeroes(4 + 24);
        })
    }

    /// GETLK: what is in the way, or an [`Unlock`](super::LockKind::Unlock).
    pub fn lock(lock: &Lock) -> Self {
        Self::of(|fields| lock.put(fields))
    }

    /// INIT.
    pub fn agreement(agreement: &Agreement) -> Self {
        Self::of(|fields| agreement.put(fields))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// `struct fuse_out_header`: the answer to a request, with so many bytes behind it.
pub fn answer_header(unique: Unique, error: Option<Errno>, len: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    // Answers are bounded by what was asked for, a few megabytes.
    let len = (HEADER + len) as u32;
    let error = error.map_or(0, |error| -error.raw_os_error());
    header[..4].copy_from_slice(&len.to_ne_bytes());
    header[4..8].copy_from_slice(&error.to_ne_bytes());
    header[8..].copy_from_slice(&unique.get().to_ne_bytes());
    header
}
