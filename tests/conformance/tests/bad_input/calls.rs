//! Flags, descriptors and kinds of files that do not fit the call.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    Advice, AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Timespec,
    Timestamps, XattrFlags,
};
use rustix::io::Errno;

use crate::Row;

pub(crate) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RWXU)
}

pub(crate) fn read_write(folder: &Path) -> Result<OwnedFd, Errno> {
    open(&folder.join("f"), OFlags::RDWR)
}

fn read_only(folder: &Path) -> Result<OwnedFd, Errno> {
    open(&folder.join("f"), OFlags::RDONLY)
}

fn directory(folder: &Path) -> Result<OwnedFd, Errno> {
    open(&folder.join("d"), OFlags::RDONLY)
}

fn copy(from: &OwnedFd, at: u64, to: &OwnedFd, to_at: u64, len: usize) -> Result<(), Errno> {
    let (mut at, mut to_at) = (at, to_at);
    rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), len).map(drop)
}

fn set(folder: &Path, flags: XattrFlags) -> Result<(), Errno> {
    rustix::fs::setxattr(folder.join("f"), "user.v", b"v", flags)
}

fn times(folder: &Path, nanos: i64) -> Result<(), Errno> {
    let time = Timespec { tv_sec: 1, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, folder.join("f"), &times, AtFlags::empty())
}

fn map(descriptor: &OwnedFd, offset: u64, len: usize) -> Result<(), Errno> {
    let file = std::fs::File::from(descriptor.try_clone().map_err(|_| Errno::MFILE)?);
    weft_conformance::Mapping::at(&file, offset, len)
        .map(drop)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

pub(crate) const ROWS: [Row; 31] = [
    ("open a directory for writing", |f| open(&f.join("d"), OFlags::WRONLY).map(drop), Errno::ISDIR),
    ("open a directory to create it", |f| open(&f.join("d"), OFlags::CREATE).map(drop), Errno::ISDIR),
    (
        "open to create anew what is there",
        |f| open(&f.join("f"), OFlags::CREATE | OFlags::EXCL).map(drop),
        Errno::EXIST,
    ),
    (
        "open to create a directory",
        |f| open(&f.join("x"), OFlags::CREATE | OFlags::DIRECTORY).map(drop),
        Errno::INVAL,
    ),
    ("open O_TMPFILE for reading", |f| open(f, OFlags::TMPFILE | OFlags::RDONLY).map(drop), Errno::INVAL),
    (
        "open O_TMPFILE in a file",
        |f| open(&f.join("f"), OFlags::TMPFILE | OFlags::RDWR).map(drop),
        Errno::NOTDIR,
    ),
    (
        "open a fifo that nobody reads",
        |f| open(&f.join("p"), OFlags::WRONLY | OFlags::NONBLOCK).map(drop),
        Errno::NXIO,
    ),
    (
        "openat2 with a flag that nobody has",
        |f| {
            let flags = OFlags::from_bits_retain(1 << 30);
            rustix::fs::openat2(CWD, f.join("f"), flags, Mode::empty(), ResolveFlags::empty()).map(drop)
        },
        Errno::INVAL,
    ),
    (
        "mknod of no kind",
        |f| rustix::fs::mknodat(CWD, f.join("x"), FileType::Symlink, Mode::RWXU, 0),
        Errno::INVAL,
    ),
    (
        "mknod of a directory",
        |f| rustix::fs::mknodat(CWD, f.join("x"), FileType::Directory, Mode::RWXU, 0),
        Errno::PERM,
    ),
    ("read a directory", |f| rustix::io::read(&directory(f)?, &mut [0; 9]).map(drop), Errno::ISDIR),
    ("write to what is open for reading", |f| rustix::io::write(&read_only(f)?, b"x").map(drop), Errno::BADF),
    (
        "read from what is open for writing",
        |f| rustix::io::read(&open(&f.join("f"), OFlags::WRONLY)?, &mut [0; 9]).map(drop),
        Errno::BADF,
    ),
    ("ftruncate what is open for reading", |f| rustix::fs::ftruncate(&read_only(f)?, 1), Errno::INVAL),
    (
        "fallocate what is open for reading",
        |f| rustix::fs::fallocate(&read_only(f)?, FallocateFlags::empty(), 0, 9),
        Errno::BADF,
    ),
    (
        "fallocate with a mode that nobody has",
        |f| rustix::fs::fallocate(&read_write(f)?, FallocateFlags::from_bits_retain(1 << 20), 0, 9),
        Errno::OPNOTSUPP,
    ),
    (
        "punch a hole and change the length",
        |f| rustix::fs::fallocate(&read_write(f)?, FallocateFlags::PUNCH_HOLE, 0, 9),
        Errno::OPNOTSUPP,
    ),
    (
        "lseek before the start",
        |f| rustix::fs::seek(&read_write(f)?, SeekFrom::Current(-1)).map(drop),
        Errno::INVAL,
    ),
    (
        "lseek for data beyond the end",
        |f| rustix::fs::seek(&read_write(f)?, SeekFrom::Data(5)).map(drop),
        Errno::NXIO,
    ),
    (
        "lseek for a hole beyond the end",
        |f| rustix::fs::seek(&read_write(f)?, SeekFrom::Hole(6)).map(drop),
        Errno::NXIO,
    ),
    (
        "copy within one file onto itself",
        |f| {
            let file = read_write(f)?;
            copy(&file, 0, &file, 1, 4)
        },
        Errno::INVAL,
    ),
    ("copy to what is open for reading", |f| copy(&read_only(f)?, 0, &read_only(f)?, 9, 1), Errno::BADF),
    (
        "copy to what is open for appending",
        |f| copy(&read_only(f)?, 0, &open(&f.join("g"), OFlags::WRONLY | OFlags::APPEND)?, 9, 1),
        Errno::BADF,
    ),
    ("copy from a directory", |f| copy(&directory(f)?, 0, &read_write(f)?, 9, 1), Errno::ISDIR),
    (
        "fadvise with a negative length",
        |f| rustix::fs::fadvise(&read_write(f)?, 0, std::num::NonZeroU64::new(1 << 63), Advice::Normal),
        Errno::INVAL,
    ),
    ("setxattr with both flags", |f| set(f, XattrFlags::CREATE | XattrFlags::REPLACE), Errno::NODATA),
    ("setxattr with a flag that nobody has", |f| set(f, XattrFlags::from_bits_retain(1 << 5)), Errno::INVAL),
    ("utimensat with 10^9 nanoseconds", |f| times(f, 1_000_000_000), Errno::INVAL),
    ("readlink of a file", |f| rustix::fs::readlink(f.join("f"), Vec::new()).map(drop), Errno::INVAL),
    ("map a file for writing that is open for reading", |f| map(&read_only(f)?, 0, 5), Errno::ACCESS),
    ("map from beside a page", |f| map(&read_write(f)?, 1, 5), Errno::INVAL),
];
