//! Attributes as the kernel wants them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use weft_types::Timestamp;
use weft_wire::meta::{Attributes, FileKind, TimeChange};

/// Preferred size of requests in `st_blksize`: what `cp` and the like read and write at once.
const IO_BYTES: u32 = 1 << 20;

/// `struct stat` of an inode.
pub(crate) fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.inode.get()),
        size: attributes.size,
        blocks: attributes.allocated.get().div_ceil(512),
        atime: system_time(attributes.accessed),
        mtime: system_time(attributes.modified),
        ctime: system_time(attributes.changed),
        crtime: system_time(attributes.created),
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.device,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// A directory of which only the number is known: what a listing says of `.` and `..`.
pub(crate) const fn nameless(ino: INodeNo) -> FileAttr {
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// The kernel's word for a kind of inode.
pub(crate) const fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// A time that the kernel asks to be set.
pub(crate) fn time_change(time: TimeOrNow) -> TimeChange {
    match time {
        TimeOrNow::Now => TimeChange::Now,
        TimeOrNow::SpecificTime(time) => TimeChange::At(timestamp(time)),
    }
}

/// Undoes the reading of fuser 0.18: it takes a time of `s` seconds before 1970 and `n` nanoseconds forward from there,
/// as `struct timespec` counts, for `s` seconds and `n` nanoseconds before 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp::from_unix(since),
        Err(before) => {
            let before = before.duration();
            Timestamp { seconds: -before.as_secs().cast_signed(), nanos: before.subsec_nanos() }
        }
    }
}

/// A stored time that no clock can show reads as 1970: times are never worth failing a `stat`.
fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let seconds =
        if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    seconds.and_then(|seconds| seconds.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_on_both_sides_of_1970_are_shown() {
        let shown = |seconds, nanos| system_time(Timestamp { seconds, nanos });
        assert_eq!(shown(5, 1), UNIX_EPOCH + Duration::new(5, 1));
        assert_eq!(shown(-1, 999_999_999), UNIX_EPOCH - Duration::from_nanos(1));
        assert_eq!(shown(-152_391_233, 0), UNIX_EPOCH - Duration::from_secs(152_391_233));
    }

    #[test]
    fn times_are_taken_as_the_kernel_meant_them() {
        let as_fuser_reads = |seconds: u64, nanos| UNIX_EPOCH - Duration::new(seconds, nanos);
        let meant = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(timestamp(as_fuser_reads(152_391_233, 123_456_789)), meant(-152_391_233, 123_456_789));
        assert_eq!(timestamp(as_fuser_reads(1, 0)), meant(-1, 0));
        assert_eq!(timestamp(UNIX_EPOCH + Duration::new(5, 1)), meant(5, 1));
    }
}
