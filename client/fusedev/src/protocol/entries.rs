//! Filling the kernel's buffers with the entries of a directory.

use super::attributes::Entry;
use super::ids::NodeId;
use super::writer::Fields;

/// One name of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// Its inode.
    pub node: NodeId,
    /// Where to go on after it.
    pub cookie: u64,
    /// Its inode's type, the highest four bits of a mode (`DT_*`).
    pub kind: u32,
    /// The name.
    pub name: &'a [u8],
}

/// Bytes of `struct fuse_dirent` before the name, and of `struct fuse_entry_out`.
const DIRENT: usize = 24;
const ENTRY_OUT: usize = 128;
const ALIGNMENT: usize = 8;

/// The answer to READDIR or READDIRPLUS.
#[derive(Debug)]
pub struct Directory {
    bytes: Vec<u8>,
    room: usize,
}

/// What is kept for an answer at most, whatever the kernel offers.
const ROOM_MAX: u32 = 1 << 20;

impl Directory {
    /// An empty one for a buffer of so many bytes.
    pub fn new(room: u32) -> Self {
        let room = room.min(ROOM_MAX) as usize;
        Self { bytes: Vec::with_capacity(room), room }
    }

    /// Adds an entry; false when it does not fit: the answer is full.
    #[must_use]
    pub fn push(&mut self, entry: &DirectoryEntry<'_>) -> bool {
        let fits = self.has_room(0, entry.name);
        if fits {
            self.put(entry);
        }
        fits
    }

    /// Adds an entry of READDIRPLUS, with what a lookup of its name answers; false when it does not fit. Without that, as
    /// for `.` and `..`, the kernel counts no reference.
    #[must_use]
    pub fn push_plus(&mut self, entry: &DirectoryEntry<'_>, looked_up: Option<&Entry>) -> bool {
        let fits = self.has_room(ENTRY_OUT, entry.name);
        if fits {
            let mut fields = Fields::new();
            match looked_up {
                Some(found) => found.put(&mut fields),
                None => drop(fields.zeroes(ENTRY_OUT)),
            }
            self.bytes.extend_from_slice(fields.as_slice());
            self.put(entry);
        }
        fits
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn has_room(&self, before: usize, name: &[u8]) -> bool {
        let len = before + (DIRENT + name.len()).next_multiple_of(ALIGNMENT);
        self.bytes.len() + len <= self.room
    }

    fn put(&mut self, entry: &DirectoryEntry<'_>) {
        let mut fields = Fields::new();
        // A name that fits a buffer is shorter than 4 GiB.
        let len = entry.name.len() as u32;
        fields.u64(entry.node.get()).u64(entry.cookie).u32(len).u32(entry.kind);
        self.bytes.extend_from_slice(fields.as_slice());
        self.bytes.extend_from_slice(entry.name);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}
