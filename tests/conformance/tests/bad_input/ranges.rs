//! Offsets and lengths beyond what a file can have: 2^63 - 1 bytes on Linux.

use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::Row;
use crate::calls::read_write;

/// The largest offset.
const MOST: u64 = i64::MAX as u64;
/// -1 as the kernel reads it.
const NEGATIVE: u64 = u64::MAX;

fn write(folder: &Path, at: u64) -> Result<(), Errno> {
    rustix::io::pwrite(&read_write(folder)?, b"x", at).map(drop)
}

fn allocate(folder: &Path, at: u64, len: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(&read_write(folder)?, FallocateFlags::empty(), at, len)
}

pub(crate) const ROWS: [Row; 9] = [
    ("pread at -1", |f| rustix::io::pread(&read_write(f)?, &mut [0; 1], NEGATIVE).map(drop), Errno::INVAL),
    ("pwrite at -1", |f| write(f, NEGATIVE), Errno::INVAL),
    // The end would be 2^63: Linux refuses the sum before any filesystem is asked.
    ("pwrite over the largest offset", |f| write(f, MOST), Errno::INVAL),
    ("ftruncate to -1", |f| rustix::fs::ftruncate(&read_write(f)?, NEGATIVE), Errno::INVAL),
    ("fallocate of nothing", |f| allocate(f, 0, 0), Errno::INVAL),
    ("fallocate at -1", |f| allocate(f, NEGATIVE, 1), Errno::INVAL),
    ("fallocate of -1 bytes", |f| allocate(f, 0, NEGATIVE), Errno::INVAL),
    ("fallocate over the largest offset", |f| allocate(f, MOST, 2), Errno::FBIG),
    (
        "lseek to -1",
        |f| rustix::fs::seek(&read_write(f)?, rustix::fs::SeekFrom::Start(NEGATIVE)).map(drop),
        Errno::INVAL,
    ),
];
