//! What is agreed with the kernel when the mount is made.

use fuser::{InitFlags, KernelConfig};

/// Largest WRITE, and largest READ: the most the kernel sends without a raised sysctl. Measured: 128 KiB requests
/// reach a third of the rate of 1 MiB ones, and 4 MiB gains nothing more.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel keeps under way in the background (readahead, writes of mappings).
const BACKGROUND_MAX: u16 = 64;

/// Asks for what this frontend can serve.
///
/// Left out on purpose: the write-back cache (the kernel would decide when data is dirty), POSIX and BSD locks (the
/// kernel keeps them for this mount), ACLs, and `AUTO_INVAL_DATA` (this mount is the only writer; dropping pages
/// because a commit set a time would throw away good ones).
pub(crate) fn agree(config: &mut KernelConfig) {
    let wanted = [
        InitFlags::FUSE_ASYNC_READ,
        InitFlags::FUSE_BIG_WRITES,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_MAX_PAGES,
    ];
    for flag in wanted {
        // A kernel that lacks one serves without it.
        let _ = config.add_capabilities(flag);
    }
    let _ = config.set_max_write(REQUEST_BYTES_MAX);
    let _ = config.set_max_readahead(REQUEST_BYTES_MAX);
    let _ = config.set_max_background(BACKGROUND_MAX);
}
