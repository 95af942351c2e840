//! The bits of the protocol, by their names in `<linux/fuse.h>`.

/// INIT: reads may be sent before earlier ones of the same file are answered.
pub const ASYNC_READ: u64 = 1 << 0;
/// INIT: `fcntl` locks are the filesystem's.
pub const POSIX_LOCKS: u64 = 1 << 1;
/// INIT: the filesystem truncates by OPEN and CREATE with `O_TRUNC`.
pub const ATOMIC_O_TRUNC: u64 = 1 << 3;
/// INIT: LOOKUP of `.` and `..` is answered, so handles of files outlive what the kernel remembers.
pub const EXPORT_SUPPORT: u64 = 1 << 4;
/// INIT: WRITE may be longer than a page.
pub const BIG_WRITES: u64 = 1 << 5;
/// INIT: the filesystem applies the umask.
pub const DONT_MASK: u64 = 1 << 6;
/// INIT: answers may be spliced into the device.
pub const SPLICE_WRITE: u64 = 1 << 7;
/// INIT: pages may be moved into the device.
pub const SPLICE_MOVE: u64 = 1 << 8;
/// INIT: requests may be spliced from the device.
pub const SPLICE_READ: u64 = 1 << 9;
/// INIT: `flock` locks are the filesystem's.
pub const FLOCK_LOCKS: u64 = 1 << 10;
/// INIT: IOCTL is sent of directories too.
pub const HAS_IOCTL_DIR: u64 = 1 << 11;
/// INIT: pages go when attributes tell another time or length.
pub const AUTO_INVAL_DATA: u64 = 1 << 12;
/// INIT: listings tell attributes.
pub const DO_READDIRPLUS: u64 = 1 << 13;
/// INIT: only while somebody looks the names up.
pub const READDIRPLUS_AUTO: u64 = 1 << 14;
/// INIT: direct reads and writes of one call are sent at once.
pub const ASYNC_DIO: u64 = 1 << 15;
/// INIT: the kernel keeps dirty pages.
pub const WRITEBACK_CACHE: u64 = 1 << 16;
/// INIT: OPEN may be left out.
pub const NO_OPEN_SUPPORT: u64 = 1 << 17;
/// INIT: a directory takes several requests at once.
pub const PARALLEL_DIROPS: u64 = 1 << 18;
/// INIT: set-user-id bits and capabilities are taken away by the filesystem, always.
pub const HANDLE_KILLPRIV: u64 = 1 << 19;
/// INIT: ACLs are kept by the filesystem and obeyed by the kernel.
pub const POSIX_ACL: u64 = 1 << 20;
/// INIT: who reads the device after an abort is told `ECONNABORTED`.
pub const ABORT_ERROR: u64 = 1 << 21;
/// INIT: requests have as many pages as the answer says.
pub const MAX_PAGES: u64 = 1 << 22;
/// INIT: targets of symbolic links are kept.
pub const CACHE_SYMLINKS: u64 = 1 << 23;
/// INIT: OPENDIR may be left out.
pub const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
/// INIT: pages go only when a notification says so.
pub const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
/// INIT: of shared memory windows.
pub const MAP_ALIGNMENT: u64 = 1 << 26;
/// INIT: directories may be mounts of their own.
pub const SUBMOUNTS: u64 = 1 << 27;
/// INIT: set-user-id and set-group-id bits are taken away by the filesystem when a request says so.
pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
/// INIT: SETXATTR has its longer form.
pub const SETXATTR_EXT: u64 = 1 << 29;
/// INIT: there is a second word of flags.
pub const INIT_EXT: u64 = 1 << 30;
/// INIT: new files come with their security context.
pub const SECURITY_CTX: u64 = 1 << 32;
/// INIT: shared memory windows, file by file.
pub const HAS_INODE_DAX: u64 = 1 << 33;
/// INIT: new files come with a group of the caller's.
pub const CREATE_SUPP_GROUP: u64 = 1 << 34;
/// INIT: names may be told to be looked up again, instead of being dropped.
pub const HAS_EXPIRE_ONLY: u64 = 1 << 35;
/// INIT: files for direct IO may be mapped.
pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
/// INIT: files may be passed through to others.
pub const PASSTHROUGH: u64 = 1 << 37;
/// INIT: the filesystem is never exported.
pub const NO_EXPORT_SUPPORT: u64 = 1 << 38;
/// INIT: requests may be asked for again.
pub const HAS_RESEND: u64 = 1 << 39;
/// INIT: mounts may map users.
pub const ALLOW_IDMAP: u64 = 1 << 40;
/// INIT: requests come through an io_uring.
pub const OVER_IO_URING: u64 = 1 << 41;
/// INIT: requests that take too long end the connection.
pub const REQUEST_TIMEOUT: u64 = 1 << 42;

/// OPEN is answered: reads and writes go around the page cache.
pub const FOPEN_DIRECT_IO: u32 = 1;
/// OPEN is answered: the page cache stays as it is.
pub const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// OPEN is answered: closing a descriptor sends no FLUSH.
pub const FOPEN_NOFLUSH: u32 = 1 << 5;
/// OPEN is answered: several direct writes may be under way at once.
pub const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// `open` flags: the bits that say whether a descriptor reads, writes, or both.
pub const O_ACCMODE: u32 = 0o3;
/// `open` flags: reads.
pub const O_RDONLY: u32 = 0o0;
/// `open` flags: writes are durable when they return (`O_SYNC` has this bit too).
pub const O_DSYNC: u32 = 0o10_000;
/// `open` flags: what has the name already is not opened.
pub const O_EXCL: u32 = 0o200;
/// Writes go to the end.
pub const O_APPEND: u32 = 0o2000;

/// RENAME2: not over another file.
pub const RENAME_NOREPLACE: u32 = 1;
/// RENAME2: the two change places.
pub const RENAME_EXCHANGE: u32 = 2;
