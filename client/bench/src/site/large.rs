//! The large file: which generation of each block was written last.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::BenchError;
use crate::aligned::Aligned;
use crate::error::During;
use crate::parameters::REQUEST;
use crate::pattern::{BLOCK, Pattern, Place};
use crate::stop::Stop;

/// The number of the large file in the pattern.
const NUMBER: u64 = 0;

/// One large file, known to its last byte.
pub(crate) struct Large {
    path: PathBuf,
    pattern: Pattern,
    /// How often each block was written before; nothing while there is no file.
    generations: Vec<AtomicU32>,
    /// Of the next file as a whole.
    next: u32,
    blocks: u64,
}

/// A file that is open around the page cache where the filesystem lets us.
pub(crate) struct DirectFile {
    /// The file.
    pub(crate) file: File,
    /// Whether it is.
    pub(crate) direct: bool,
}

impl Large {
    pub(super) fn new(path: PathBuf, pattern: Pattern, blocks: u64) -> Self {
        Self { path, pattern, generations: Vec::new(), next: 0, blocks }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, so that the next one is written anew.
    pub(crate) fn remove(&mut self) -> Result<(), BenchError> {
        self.generations.clear();
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.during("remove", &self.path),
        }
    }

    /// Makes it empty; its bytes will be of a generation that no earlier one had.
    pub(crate) fn create(&mut self) -> Result<File, BenchError> {
        let file = File::create(&self.path).during("create", &self.path)?;
        self.next += 1;
        let next = self.next;
        self.generations = (0..self.blocks).map(|_| AtomicU32::new(next)).collect();
        Ok(file)
    }

    /// Writes it whole unless it is there; durable on return.
    pub(crate) fn ensure(&mut self, stop: &Stop) -> Result<(), BenchError> {
        if !self.generations.is_empty() {
            return Ok(());
        }
        let file = self.create()?;
        let mut buffer = Aligned::new(REQUEST);
        for offset in self.requests() {
            stop.check()?;
            self.fill(offset, buffer.bytes());
            file.write_all_at(buffer.bytes(), offset).during("write", &self.path)?;
        }
        file.sync_all().during("fsync", &self.path)
    }

    /// The offsets of its sequential requests.
    pub(crate) fn requests(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.blocks * BLOCK as u64).step_by(REQUEST)
    }

    /// Fills a buffer with what belongs at this offset, a multiple of [`BLOCK`].
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) {
        for (block, bytes) in (offset / BLOCK as u64..).zip(buffer.chunks_exact_mut(BLOCK)) {
            self.pattern.fill(self.place(block), bytes);
        }
    }

    /// Fills a buffer with what is to replace a block from now on.
    pub(crate) fn fill_next(&self, block: u64, buffer: &mut [u8]) {
        // Nobody else is at this block.
        self.generation(block).fetch_add(1, Ordering::Relaxed);
        self.pattern.fill(self.place(block), buffer);
    }

    /// Fails unless the buffer holds what was written last at this offset.
    pub(crate) fn check(&self, offset: u64, buffer: &[u8]) -> Result<(), BenchError> {
        for (block, bytes) in (offset / BLOCK as u64..).zip(buffer.chunks_exact(BLOCK)) {
            if !self.pattern.matches(self.place(block), bytes) {
                return Err(BenchError::WrongBytes { path: self.path.clone(), offset: block * BLOCK as u64 });
            }
        }
        Ok(())
    }

    /// Reads it all and checks it; how long that takes matters to nobody.
    pub(crate) fn check_whole(&self, stop: &Stop) -> Result<(), BenchError> {
        let file = File::open(&self.path).during("open", &self.path)?;
        let mut buffer = Aligned::new(REQUEST);
        for offset in self.requests() {
            stop.check()?;
            file.read_exact_at(buffer.bytes(), offset).during("read", &self.path)?;
            self.check(offset, buffer.bytes())?;
        }
        Ok(())
    }

    /// Opens it around the page cache, or through it where the filesystem refuses that.
    pub(crate) fn open_direct(&self, write: bool) -> Result<DirectFile, BenchError> {
        open_direct(&self.path, OpenOptions::new().read(true).write(write)).during("open", &self.path)
    }

    fn place(&self, block: u64) -> Place {
        Place { file: NUMBER, block, generation: self.generation(block).load(Ordering::Relaxed) }
    }

    fn generation(&self, block: u64) -> &AtomicU32 {
        &self.generations[usize::try_from(block).expect("blocks are counted in memory")]
    }
}

/// Opens a file around the page cache, or through it where the filesystem refuses that.
pub(crate) fn open_direct(path: &Path, options: &OpenOptions) -> std::io::Result<DirectFile> {
    let direct = options.clone().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
    match direct {
        Ok(file) => Ok(DirectFile { file, direct: true }),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            options.open(path).map(|file| DirectFile { file, direct: false })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(folder: &Path) -> Large {
        Large::new(folder.join("large"), Pattern::new(5), 512)
    }

    #[test]
    fn what_was_written_is_right_and_what_changed_behind_its_back_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut large = large(folder.path());
        large.ensure(&Stop::default()).expect("written");
        large.check_whole(&Stop::default()).expect("right");
        let file = OpenOptions::new().write(true).open(large.path()).expect("opens");
        file.write_all_at(b"x", 5 * BLOCK as u64 + 7).expect("written");
        let error = large.check_whole(&Stop::default()).expect_err("wrong");
        assert!(
            matches!(error, BenchError::WrongBytes { offset, .. } if offset == 5 * BLOCK as u64),
            "{error}"
        );
    }

    #[test]
    fn an_overwritten_block_is_wrong_until_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut large = large(folder.path());
        large.ensure(&Stop::default()).expect("written");
        let mut block = vec![0; BLOCK];
        large.fill_next(9, &mut block);
        assert!(large.check_whole(&Stop::default()).is_err(), "a write that was lost is seen");
        let file = OpenOptions::new().write(true).open(large.path()).expect("opens");
        file.write_all_at(&block, 9 * BLOCK as u64).expect("written");
        large.check_whole(&Stop::default()).expect("right");
    }

    #[test]
    fn a_second_file_has_other_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut large = large(folder.path());
        large.ensure(&Stop::default()).expect("written");
        let first = std::fs::read(large.path()).expect("read");
        large.remove().expect("removed");
        large.ensure(&Stop::default()).expect("written");
        assert_ne!(first, std::fs::read(large.path()).expect("read"));
        large.check_whole(&Stop::default()).expect("right");
    }

    #[test]
    fn a_stop_ends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let stop = Stop::default();
        stop.now();
        assert!(matches!(large(folder.path()).ensure(&stop), Err(BenchError::Interrupted)));
    }
}
