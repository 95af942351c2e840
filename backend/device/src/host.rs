//! What a host does to a file in the caller's own thread.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate, fstatfs};
use rustix::io::Errno;

use crate::{AlignedBuf, BLOCK};

/// `f_type` of tmpfs (Linux `TMPFS_MAGIC`).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Bytes of zeroes written at a time.
const ZEROES: usize = 256 << 10;

/// Whether the file lives in memory: reading it never waits.
pub(crate) fn is_in_memory(file: &File) -> io::Result<bool> {
    // The field's width and sign differ between processors.
    Ok(u64::try_from(fstatfs(file)?.f_type) == Ok(TMPFS_MAGIC))
}

/// Writes all of it. What comes through in part goes on from a block, as direct IO must.
pub(crate) fn write_all(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut through = 0;
    while through < bytes.len() {
        let count = match file.write_at(&bytes[through..], offset + through as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        let all = through + count == bytes.len();
        let whole = if all { count } else { count - count % BLOCK };
        if whole == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        through += whole;
    }
    Ok(())
}

/// Makes a range read as zeroes: by a hole, which a file gives the space back for and a block device unmaps where it
/// promises to read zeroes then. Others are asked to write zeroes, and where they have no command for it, or take whole
/// sectors only, zeroes are sent.
pub(crate) fn erase(file: &File, range: &Range<u64>) -> io::Result<()> {
    for mode in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
        match fallocate(file, mode | FallocateFlags::KEEP_SIZE, range.start, range.end - range.start) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            done => return Ok(done?),
        }
    }
    write_zeroes(file, range)
}

fn write_zeroes(file: &File, range: &Range<u64>) -> io::Result<()> {
    let mut zeroes = AlignedBuf::new();
    zeroes.resize(ZEROES);
    for offset in range.clone().step_by(ZEROES) {
        let left = usize::try_from(range.end - offset).unwrap_or(ZEROES).min(ZEROES);
        write_all(file, &zeroes.as_slice()[..left], offset)?;
    }
    Ok(())
}

/// Sees to it that the range has its blocks, where the host can.
pub(crate) fn reserve(file: &File, range: &Range<u64>) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_that_are_sent_spare_their_surroundings() {
        let file = tempfile::tempfile().expect("a file");
        write_all(&file, &[7; 600_000], 0).expect("written");
        write_zeroes(&file, &(100..550_000)).expect("zeroed");
        let mut bytes = vec![1; 600_000];
        file.read_exact_at(&mut bytes, 0).expect("read");
        let holes = bytes.iter().enumerate().all(|(at, byte)| (*byte == 0) == (100..550_000).contains(&at));
        assert!(holes, "exactly the range is zero");
    }
}
