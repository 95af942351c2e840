//! How files are opened: by core, and for the kernel's page cache.

use weft_core::OpenMode;
use weft_fusedev::protocol::flags::*;

use crate::{CacheMode, MountOptions};

/// What a mount says of all its files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    /// Around the kernel's page cache.
    direct: bool,
    /// A write is on the drives when it returns.
    through: bool,
}

impl Opening {
    pub(crate) fn of(options: &MountOptions) -> Self {
        Self { direct: options.cache == CacheMode::Direct, through: options.writes_through() }
    }

    /// What a descriptor is for, by the flags of `open`.
    pub(crate) const fn mode(self, flags: u32) -> OpenMode {
        let write = flags & O_ACCMODE != O_RDONLY;
        let sync = self.through || flags & O_DSYNC != 0;
        // The kernel reads a page before it writes a part of it, through any descriptor that it has.
        OpenMode { read: true, write, append: flags & O_APPEND != 0, sync }
    }

    /// How a file is cached by the kernel: pages stay over an open, since extents do not change behind the mount. Several may
    /// write at once where an application asks for direct IO.
    ///
    /// What only writes goes through the page cache too. Around it the kernel would copy each byte once less (measured by a
    /// filesystem in memory: 5 GB/s instead of 1.4 by requests of 1 MiB), but it leaves it to the filesystem then to take
    /// set-user-id bits and capabilities from the file, and not every kernel drops the pages that others have of it.
    ///
    /// `around`: this one goes around the page cache, which is also what keeps a file from being mapped for writing by several
    /// (ENODEV).
    pub(crate) const fn for_kernel(self, flags: u32, around: bool) -> u32 {
        match flags & O_ACCMODE {
            _ if self.direct || around => FOPEN_DIRECT_IO,
            // A descriptor that only reads is flushed all the same: locks of its process go then.
            O_RDONLY => FOPEN_KEEP_CACHE,
            _ => FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_s_words_decide_how_files_are_opened() {
        const O_RDWR: u32 = 2;
        let rows = [
            ("", false, FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES),
            ("sync", true, FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES),
            ("readcache", true, FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES),
            ("forcedirect", false, FOPEN_DIRECT_IO, FOPEN_DIRECT_IO),
        ];
        for (list, through, reads, writes) in rows {
            let opening = Opening::of(&MountOptions::parse(list).expect(list));
            assert_eq!(opening.mode(O_RDWR).sync, through, "{list}");
            assert!(opening.mode(O_RDWR | O_DSYNC).sync, "{list}");
            assert_eq!(opening.for_kernel(O_RDONLY, false), reads, "{list}");
            assert_eq!(opening.for_kernel(O_RDWR, false), writes, "{list}");
            assert_eq!(opening.for_kernel(O_RDWR, true), FOPEN_DIRECT_IO, "{list}");
        }
    }
}
