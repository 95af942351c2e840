//! Limits of a filesystem.

/// Most names of an inode that is not a directory.
pub const LINKS_MAX: u32 = 65_000;
/// Most links of a directory: two less is the most subdirectories.
pub const DIRECTORY_LINKS_MAX: u32 = i32::MAX.cast_unsigned();
/// Longest file in bytes: POSIX `off_t` ends there.
pub const FILE_BYTES_MAX: u64 = i64::MAX.cast_unsigned();
/// What a directory shows as its size, whatever is in it.
pub const DIRECTORY_SIZE: u64 = 4096;
/// Most bytes of the names of an inode's extended attributes, each with a NUL (Linux `XATTR_LIST_MAX`).
pub const XATTR_LIST_BYTES_MAX: u32 = 65_536;
/// Most bytes of the names and values of an inode's extended attributes.
pub const XATTRS_BYTES_MAX: u32 = 1 << 20;
/// Most rows of a page of a directory; with every name and attribute at its longest, half of a message.
pub const DIRECTORY_PAGE_MAX: u32 = 1024;
/// Most runs that one commit of several extents replaces; a commit of one extent is bounded by its bytes.
pub const REPLACED_RUNS_MAX: usize = 1 << 18;
/// Runs that one operation puts in another place.
pub const COPIED_RUNS_MAX: usize = 512;
/// Rows that an operation removes itself before it leaves the rest as work.
pub const INLINE_ROWS: usize = 1024;
