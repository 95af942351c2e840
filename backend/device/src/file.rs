//! A file as a device.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatfs};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::Device;

/// Why a file cannot serve as a device.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeviceError {
    /// Another process has it open, or this one has, already.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The host refused.
    #[error("cannot open {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// A regular file through the host's page cache, held under an exclusive lock while it is open.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    size: u64,
    /// The file lives in memory: reading it never waits.
    in_memory: bool,
}

/// `f_type` of tmpfs (Linux `TMPFS_MAGIC`).
const TMPFS_MAGIC: u64 = 0x0102_1994;

impl FileDevice {
    /// Opens a file that exists.
    ///
    /// # Errors
    /// [`OpenDeviceError`].
    pub fn open(path: &Path) -> Result<Self, OpenDeviceError> {
        Self::lock(path, OpenOptions::new().read(true).write(true).open(path), None)
    }

    /// Makes a sparse file of `size` bytes and opens it. The file must not exist.
    ///
    /// # Errors
    /// [`OpenDeviceError`].
    pub fn create(path: &Path, size: u64) -> Result<Self, OpenDeviceError> {
        Self::lock(path, OpenOptions::new().read(true).write(true).create_new(true).open(path), Some(size))
    }

    fn lock(path: &Path, opened: io::Result<File>, grow_to: Option<u64>) -> Result<Self, OpenDeviceError> {
        let failed = |source| OpenDeviceError::Io { path: path.to_owned(), source };
        let file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenDeviceError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        if let Some(size) = grow_to {
            file.set_len(size).map_err(failed)?;
        }
        let size = file.metadata().map_err(failed)?.len();
        let filesystem = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
        // The field's width and sign differ between processors.
        let in_memory = u64::try_from(filesystem.f_type) == Ok(TMPFS_MAGIC);
        Ok(Self { file, size, in_memory })
    }
}

impl Device for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    /// What is not in the page cache would wait, and so does everything where the host's filesystem cannot tell.
    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.in_memory {
            return self.read_at(buf, offset);
        }
        let len = buf.len();
        let read = preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
        // A part, an end and an error are all for a read that may wait to make sure of.
        if read == Ok(len) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, hole, range.start, range.end - range.start) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeroes(range),
            other => Ok(other?),
        }
    }
}

impl FileDevice {
    /// For hosts whose filesystem has no holes.
    fn write_zeroes(&self, range: Range<u64>) -> io::Result<()> {
        const STEP: usize = 64 << 10;
        let zeroes = [0; STEP];
        for offset in range.clone().step_by(STEP) {
            let left = usize::try_from(range.end - offset).unwrap_or(STEP).min(STEP);
            self.file.write_all_at(&zeroes[..left], offset)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("device");
        let first = FileDevice::create(&path, 1 << 20).expect("created");
        assert!(matches!(FileDevice::open(&path), Err(OpenDeviceError::InUse(_))));
        drop(first);
        assert_eq!(FileDevice::open(&path).expect("opens").size(), 1 << 20);
        assert!(matches!(FileDevice::create(&path, 1), Err(OpenDeviceError::Io { .. })), "it exists");
    }

    #[test]
    fn what_was_just_written_is_read_at_once() {
        // One on the disk, as far as the host has its temporary files there, and one in memory.
        let dirs = [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")];
        for dir in dirs.into_iter().flatten() {
            let device = FileDevice::create(&dir.path().join("device"), 1 << 20).expect("created");
            device.write_at(b"written", 4090).expect("written");
            let mut bytes = [0; 7];
            // A host's filesystem may not be able to tell; it must not lie.
            match device.read_at_once(&mut bytes, 4090) {
                Ok(()) => assert_eq!(&bytes, b"written"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            device.read_at_once(&mut bytes, (1 << 20) - 3).expect_err("past the end");
        }
    }

    #[test]
    fn a_file_in_memory_never_waits() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
        let device = FileDevice::create(&dir.path().join("device"), 1 << 20).expect("created");
        if device.in_memory {
            device.read_at_once(&mut [0; 9], 500_000).expect("a hole reads too");
        }
    }

    #[test]
    fn a_hole_reads_as_zeroes_and_spares_its_surroundings() {
        let dir = tempfile::tempdir().expect("tempdir");
        let device = FileDevice::create(&dir.path().join("device"), 1 << 20).expect("created");
        device.write_at(&[7; 200_000], 0).expect("written");
        device.punch(100..150_100).expect("punched");
        let mut bytes = vec![0; 200_000];
        device.read_at(&mut bytes, 0).expect("read");
        let holes = bytes.iter().enumerate().all(|(i, b)| (*b == 0) == (100..150_100).contains(&i));
        assert!(holes, "exactly the hole is zero");

        device.write_zeroes(150_050..200_000).expect("zeroed");
        device.read_at(&mut bytes, 0).expect("read");
        assert!(bytes[..100].iter().all(|b| *b == 7) && bytes[100..].iter().all(|b| *b == 0));
        assert!(device.read_at(&mut [0; 2], (1 << 20) - 1).is_err(), "past the end");
    }
}
