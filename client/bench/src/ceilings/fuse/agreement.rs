//! What is agreed with the kernel: the same as by a Weft mount, by the crate that this yardstick stands on.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fuser::{Config, FopenFlags, InitFlags, KernelConfig, MountOption, OpenAccMode, OpenFlags, SessionACL};

/// Largest WRITE, and largest READ.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel keeps under way in the background.
const BACKGROUND_MAX: u16 = 64;
/// Threads that read requests.
const THREADS: usize = 2;
/// What the kernel reads ahead of a sequential reader, in KiB.
const READ_AHEAD_KIB: u32 = 4096;

/// How requests are read: by several threads, from users of all kinds.
pub(super) fn session(options: Vec<MountOption>) -> Config {
    let mut config = Config::default();
    config.mount_options = options;
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
}

/// Asks for what a Weft mount asks for.
pub(super) fn agree(config: &mut KernelConfig) {
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

/// How a file is cached by the kernel.
pub(super) fn open_flags(flags: OpenFlags) -> FopenFlags {
    let base = FopenFlags::FOPEN_KEEP_CACHE;
    match flags.acc_mode() {
        OpenAccMode::O_RDONLY => base | FopenFlags::FOPEN_NOFLUSH,
        OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => base | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
    }
}

/// Raises what the kernel reads ahead, where that is allowed.
pub(super) fn raise_read_ahead(at: &Path) {
    let Ok(device) = at.metadata().map(|mounted| mounted.dev()) else { return };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let _ =
        std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB.to_string());
}
