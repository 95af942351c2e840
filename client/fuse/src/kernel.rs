//! What is agreed with the kernel: for a mount, and for a filesystem that is to be held against one.

use std::path::Path;

use fuser::{Config, FopenFlags, InitFlags, KernelConfig, MountOption, OpenAccMode, OpenFlags, SessionACL};

/// Largest WRITE, and largest READ: the most the kernel sends without a raised sysctl. Measured: 128 KiB requests
/// reach a third of the rate of 1 MiB ones, and 4 MiB gains nothing more.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel keeps under way in the background (readahead, writes of mappings).
const BACKGROUND_MAX: u16 = 64;

/// Threads that read requests. Two keep both a reader and a writer moving; more wake each other (measured: the
/// second thread with a descriptor of its own adds a third to four jobs' rate).
const THREADS: usize = 2;
/// What the kernel reads ahead of a sequential reader, in KiB. Its default, 128, would keep stripes waiting.
const READ_AHEAD_KIB: u32 = 4096;

/// How requests are read: by several threads, from users of all kinds.
pub fn session(options: Vec<MountOption>) -> Config {
    let mut config = Config::default();
    config.mount_options = options;
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
}

/// Asks for what this frontend can serve.
///
/// Left out on purpose: the write-back cache (the kernel would decide when data is dirty), POSIX and BSD locks (the
/// kernel keeps them for this mount), ACLs, and `AUTO_INVAL_DATA` (this mount is the only writer; dropping pages
/// because a commit set a time would throw away good ones).
pub fn agree(config: &mut KernelConfig) {
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

/// How a file is cached by the kernel: pages stay over an open, since extents do not change behind the mount. Several may
/// write at once where an application asks for direct IO.
///
/// What only writes goes through the page cache too. Around it the kernel would copy each byte once less (measured by a
/// filesystem in memory: 5 GB/s instead of 1.4 by requests of 1 MiB), but it leaves it to the filesystem then to take
/// set-user-id bits and capabilities from the file, and not every kernel drops the pages that others have of it.
pub fn open_flags(flags: OpenFlags) -> FopenFlags {
    let base = FopenFlags::FOPEN_KEEP_CACHE;
    match flags.acc_mode() {
        // A descriptor that only reads has nothing to send at close.
        OpenAccMode::O_RDONLY => base | FopenFlags::FOPEN_NOFLUSH,
        OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => base | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
    }
}

/// The kernel caps what a FUSE filesystem may ask for at its own default; root may raise it afterwards. Where that
/// is not possible, reading is slower and right.
pub fn raise_read_ahead(at: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(device) = device_of(&mounts, at) else { return };
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = std::fs::write(&setting, READ_AHEAD_KIB.to_string()) {
        tracing::info!(%error, setting, "the kernel's readahead stays at its default");
    }
}

/// `major:minor` of what is mounted last at a path, out of the text of `/proc/self/mountinfo`. Asking the mount
/// itself would wait for an answer that nobody gives yet.
fn device_of<'a>(mounts: &'a str, at: &Path) -> Option<&'a str> {
    let at = at.to_str()?.replace(' ', "\\040");
    let here = mounts.lines().rev().find(|line| line.split(' ').nth(4) == Some(&at))?;
    here.split(' ').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_path_is_found() {
        let mounts = "36 35 98:0 / /mnt rw - ext4 /dev/a rw\n\
                      41 36 0:52 / /mnt rw - fuse.weft weft:default rw\n\
                      42 36 0:53 / /mnt/a\\040b rw - fuse.weft weft:default rw\n";
        assert_eq!(device_of(mounts, Path::new("/mnt")), Some("0:52"));
        assert_eq!(device_of(mounts, Path::new("/mnt/a b")), Some("0:53"));
        assert_eq!(device_of(mounts, Path::new("/other")), None);
    }
}
