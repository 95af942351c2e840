//! What is agreed with the kernel.

use std::path::Path;

use weft_fusedev::protocol::flags::*;
use weft_fusedev::{Terms, device_at};
use weft_types::ByteCount;

/// Largest WRITE, and largest READ: the most the kernel sends without a raised sysctl. Measured: 128 KiB requests
/// reach a third of the rate of 1 MiB ones, and 4 MiB gains nothing more.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel keeps under way in the background (readahead, writes of mappings).
const BACKGROUND_MAX: u16 = 64;

/// Threads that read requests. Two keep both a reader and a writer moving; more wake each other (measured: the
/// second thread with a descriptor of its own adds a third to four jobs' rate).
pub(crate) const THREADS: usize = 2;
/// What the kernel reads ahead of a sequential reader at most. Its default, 128 KiB, would keep stripes waiting.
const READ_AHEAD_MAX: u64 = 4 << 20;

/// What is asked for, and why.
const WANTED: [(u64, &str); 15] = [
    (ASYNC_READ, "a sequential reader's requests are under way together"),
    (BIG_WRITES, "requests of 1 MiB"),
    (MAX_PAGES, "requests of 1 MiB"),
    (PARALLEL_DIROPS, "core takes any number of requests about a directory"),
    (DO_READDIRPLUS, "a listing answers the lookups that follow it"),
    (READDIRPLUS_AUTO, "but only where some follow"),
    (ASYNC_DIO, "parts of a direct read or write are under way together"),
    (CACHE_SYMLINKS, "targets never change"),
    (
        EXPORT_SUPPORT,
        "LOOKUP of . and .. is answered: handles of files (open_by_handle_at) outlive the kernel's cache",
    ),
    (POSIX_LOCKS, "locks of fcntl are granted across mounts"),
    (FLOCK_LOCKS, "locks of flock as well"),
    (DONT_MASK, "the umask counts only where there is no default access list"),
    (POSIX_ACL, "access lists are kept by the owner of the metadata, and enforced by the kernel"),
    (SETXATTR_EXT, "who sets an access list and is not of the group takes set-group-id off"),
    (HANDLE_KILLPRIV_V2, "who writes takes set-user-id off, without a question before each write"),
];

/// What is not, and why. A test sees that every bit is in one of the two tables.
#[cfg(test)]
const LEFT_OUT: [(u64, &str); 27] = [
    (HANDLE_KILLPRIV, "superseded by its second version"),
    (ATOMIC_O_TRUNC, "the kernel truncates by SETATTR after OPEN, which core does in one operation anyway"),
    (WRITEBACK_CACHE, "the kernel would decide when data is dirty"),
    (AUTO_INVAL_DATA, "pages go when they are told to: a commit that sets a time would throw good ones away"),
    (EXPLICIT_INVAL_DATA, "a file that was truncated loses its pages by itself"),
    (SPLICE_WRITE, "answers lie in this process's memory: a pipe between would copy them no less"),
    (SPLICE_MOVE, "as SPLICE_WRITE"),
    (SPLICE_READ, "requests are read once, into memory"),
    (HAS_IOCTL_DIR, "no ioctl is answered"),
    (NO_OPEN_SUPPORT, "open files have state in core"),
    (NO_OPENDIR_SUPPORT, "only says that OPENDIR may be refused for good; it is answered at once"),
    (ABORT_ERROR, "an aborted connection and an unmounted one end alike"),
    (
        DIRECT_IO_ALLOW_MMAP,
        "what another mount writes as well must not be mapped for writing: ENODEV says so",
    ),
    (MAP_ALIGNMENT, "of virtiofs"),
    (SUBMOUNTS, "of virtiofs"),
    (HAS_INODE_DAX, "of virtiofs"),
    (INIT_EXT, "always agreed upon where the kernel has it"),
    (SECURITY_CTX, "labels of new files are set by SETXATTR"),
    (CREATE_SUPP_GROUP, "the owner of the metadata decides by the directory's set-group-id bit"),
    (HAS_EXPIRE_ONLY, "only says that the notification is there"),
    (PASSTHROUGH, "there is no other file to pass to"),
    (NO_EXPORT_SUPPORT, "handles are answered"),
    (HAS_RESEND, "no other process takes a connection over"),
    (ALLOW_IDMAP, "the owner of the metadata sees the users of this host"),
    (OVER_IO_URING, "requests come by read: another transport, to be measured by itself"),
    (REQUEST_TIMEOUT, "core bounds its waits itself, and a lock may be waited for for ever"),
    (1 << 31, "reserved"),
];

/// What this frontend can serve.
pub(crate) fn terms() -> Terms {
    Terms {
        flags: WANTED.iter().fold(0, |all, (flag, _)| all | flag),
        max_write: REQUEST_BYTES_MAX,
        max_readahead: REQUEST_BYTES_MAX,
        max_background: BACKGROUND_MAX,
    }
}

/// The kernel caps what a FUSE filesystem may ask for at its own default; root may raise it afterwards. Where that
/// is not possible, reading is slower and right.
pub(crate) fn set_read_ahead(at: &Path, most: ByteCount) {
    let Some(device) = device_at(at) else { return };
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    let kib = most.get().min(READ_AHEAD_MAX) >> 10;
    if let Err(error) = std::fs::write(&setting, kib.to_string()) {
        tracing::info!(%error, setting, "the kernel's readahead stays at its default");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_decided_upon_once() {
        // FILE_OPS (1 << 2) was never used.
        let mut seen: u64 = 1 << 2;
        for (flag, why) in WANTED.iter().chain(&LEFT_OUT) {
            assert_eq!(seen & flag, 0, "{why}");
            seen |= flag;
        }
        assert_eq!(seen, (1 << 43) - 1, "all that version 7.45 has");
    }
}
