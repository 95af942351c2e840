//! A file as a device.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};

use super::counters::Counters;
use super::open::{OpenDeviceError, lock};
use super::watchdog::{OnStall, Watchdog};
use super::workers::Workers;
use super::{Device, IoCounters, ReadDone, host};

/// A regular file or a block device through the host's page cache, nobody else's while it is open.
#[derive(Debug)]
pub struct FileDevice {
    medium: Arc<Medium>,
    size: u64,
    /// Without it callers wait as long as the host does, and nobody is told.
    bounds: Option<Bounds>,
}

/// What keeps a slow host from holding up more than it must.
#[derive(Debug)]
struct Bounds {
    counters: Arc<Counters>,
    watchdog: Watchdog,
    /// Threads that read in the caller's stead.
    workers: Workers,
}

/// What is shared with the threads that wait.
#[derive(Debug)]
struct Medium {
    file: File,
    /// The file lives in memory: reading it never waits.
    in_memory: bool,
}

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
        lock(&file, path)?;
        if let Some(size) = grow_to {
            file.set_len(size).map_err(failed)?;
        }
        let size = file.metadata().map_err(failed)?.len();
        Self::over(file, size).map_err(failed)
    }

    /// Serves `size` bytes of a file that is open already and ours alone.
    pub(crate) fn over(file: File, size: u64) -> io::Result<Self> {
        let in_memory = host::is_in_memory(&file)?;
        Ok(Self { medium: Arc::new(Medium { file, in_memory }), size, bounds: None })
    }

    /// Has threads read in the caller's stead, and tells what takes longer than `stall_after`.
    pub(crate) fn bounded(self, name: &str, stall_after: Duration) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let watchdog = Watchdog::start(name, stall_after, Arc::clone(&counters))?;
        let workers = Workers::start(name, stall_after, Arc::clone(&counters))?;
        Ok(Self { bounds: Some(Bounds { counters, watchdog, workers }), ..self })
    }

    /// Lets the caller's own thread wait for the host.
    fn call(&self, call: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let file = &self.medium.file;
        match &self.bounds {
            None => call(file),
            Some(bounds) => bounds.watchdog.call(|| call(file)),
        }
    }

    fn check(&self, range: &Range<u64>) -> io::Result<usize> {
        let len = range.end.checked_sub(range.start).filter(|_| range.end <= self.size);
        len.and_then(|len| usize::try_from(len).ok()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Medium {
    fn read(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.in_memory {
            return self.file.read_exact_at(buf, offset);
        }
        let len = buf.len();
        let read = preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
        // A part, an end and an error are all for a read that may wait to make sure of.
        if read == Ok(len) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Device for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let len = self.check(&(offset..offset.saturating_add(buf.len() as u64)))?;
        let Some(bounds) = &self.bounds else { return self.medium.file.read_exact_at(buf, offset) };
        if self.medium.read_at_once(buf, offset).is_ok() {
            return Ok(());
        }
        let medium = Arc::clone(&self.medium);
        let read = bounds.workers.run(move || {
            let read = medium.read(len, offset);
            // Let go before the caller knows, who may open the file again.
            drop(medium);
            read
        });
        buf.copy_from_slice(&read?);
        Ok(())
    }

    /// What is not in the page cache would wait, and so does everything where the host's filesystem cannot tell.
    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(&(offset..offset.saturating_add(buf.len() as u64)))?;
        self.medium.read_at_once(buf, offset)
    }

    /// What is in the page cache is given at once. `ResourceBusy` where too much waits already.
    fn read_then(&self, range: Range<u64>, done: ReadDone) {
        let len = match self.check(&range) {
            Ok(len) => len,
            Err(error) => return done(Err(error)),
        };
        let mut bytes = vec![0; len];
        let Some(bounds) = &self.bounds else {
            let read = self.medium.file.read_exact_at(&mut bytes, range.start);
            return done(read.map(|()| Bytes::from(bytes)));
        };
        if self.medium.read_at_once(&mut bytes, range.start).is_ok() {
            return done(Ok(bytes.into()));
        }
        let (medium, start) = (Arc::clone(&self.medium), range.start);
        bounds.workers.read(
            move || {
                let read = medium.file.read_exact_at(&mut bytes, start);
                read.map(|()| Bytes::from(bytes))
            },
            done,
        );
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(&(offset..offset.saturating_add(bytes.len() as u64)))?;
        self.call(|file| file.write_all_at(bytes, offset))
    }

    fn flush(&self) -> io::Result<()> {
        self.call(File::sync_data)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        if self.check(&range)? == 0 {
            return Ok(());
        }
        self.call(|file| host::erase(file, &range))
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        self.call(|file| host::reserve(file, &range))
    }

    fn on_stall(&self, tell: OnStall) {
        if let Some(bounds) = &self.bounds {
            bounds.watchdog.on_stall(tell);
        }
    }

    fn counters(&self) -> IoCounters {
        self.bounds.as_ref().map(|bounds| bounds.counters.read()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_has_its_blocks_until_it_is_punched() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("device");
        let device = FileDevice::create(&path, 4 << 20).expect("created");
        let bytes = || std::fs::metadata(&path).expect("stat").blocks() * 512;
        assert_eq!(bytes(), 0, "it begins sparse");
        device.reserve(0..1 << 20).expect("reserved");
        assert!(bytes() >= 1 << 20);
        let mut read = [1; 4096];
        device.read_at(&mut read, 4096).expect("read");
        assert_eq!(read, [0; 4096], "it holds nothing yet");
        device.punch(0..1 << 20).expect("punched");
        assert_eq!(bytes(), 0);
    }

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
        if device.medium.in_memory {
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

        assert!(device.read_at(&mut [0; 2], (1 << 20) - 1).is_err(), "past the end");
    }
}
