//! Operations on ranges of files.

use minicbor::{Decode, Encode};
use weft_types::{FileOffset, Inode};

/// What becomes of a range (Linux `fallocate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum AllocateMode {
    /// The file is at least as long as the range reaches; what it holds stays (POSIX `posix_fallocate`).
    #[n(0)]
    Allocate,
    /// Nothing but the times changes (`FALLOC_FL_KEEP_SIZE`).
    #[n(1)]
    AllocateKeepSize,
    /// A hole: it reads as zeroes and takes no room; the length stays (`FALLOC_FL_PUNCH_HOLE`).
    #[n(2)]
    PunchHole,
    /// It reads as zeroes, and the file is at least as long as it reaches (`FALLOC_FL_ZERO_RANGE`).
    #[n(3)]
    ZeroRange,
    /// It reads as zeroes as far as the file reaches; the length stays.
    #[n(4)]
    ZeroRangeKeepSize,
}

impl AllocateMode {
    /// Whether nothing of what the range holds stays.
    pub const fn clears(self) -> bool {
        matches!(self, Self::PunchHole | Self::ZeroRange | Self::ZeroRangeKeepSize)
    }

    /// Whether the file becomes as long as the range reaches.
    pub const fn extends(self) -> bool {
        matches!(self, Self::Allocate | Self::ZeroRange)
    }
}

/// Allocates, empties or zeroes a range of a regular file. Sets the modification time.
///
/// Nothing is reserved: what is written anew goes to new extents, so that bytes set aside could not be used for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Allocate {
    /// Which file.
    #[n(0)]
    pub inode: Inode,
    /// What becomes of the range.
    #[n(1)]
    pub mode: AllocateMode,
    /// First byte of the range.
    #[n(2)]
    pub offset: FileOffset,
    /// Number of bytes, at least 1. Beyond the largest file it is refused with
    /// [`FileTooLarge`](super::MetaError::FileTooLarge).
    #[n(3)]
    pub len: u64,
}

/// Puts a range of a regular file in another place: both refer to the same extents then (Linux `copy_file_range`). Sets the
/// modification time of the file that it is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CopyRange {
    /// The file that has the range.
    #[n(0)]
    pub from: Inode,
    /// First byte of it.
    #[n(1)]
    pub from_offset: FileOffset,
    /// The file that it is put into: as much as was there before is replaced. It may be the same file when the ranges do not
    /// overlap.
    #[n(2)]
    pub to: Inode,
    /// Where its first byte goes.
    #[n(3)]
    pub to_offset: FileOffset,
    /// Number of bytes. What lies beyond the end of the first file does not count.
    #[n(4)]
    pub len: u64,
}
