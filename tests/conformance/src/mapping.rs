//! A shared mapping of a file.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// Bytes of a file, mapped shared.
#[derive(Debug)]
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps the first `len` bytes, at least one and all within the file. The file must not be cut while it is mapped:
    /// touching what is gone is a SIGBUS, which ends the test.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(file: &File, len: usize) -> io::Result<Self> {
        Self::at(file, 0, len)
    }

    /// Maps the first bytes of a file that is open for reading; otherwise as [`of`](Self::of). What would write through it ends
    /// the test.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn to_read(file: &File, len: usize) -> io::Result<Self> {
        Self::with(file, 0, len, ProtFlags::READ)
    }

    /// Maps bytes from an offset on, which the kernel wants on a page; otherwise as [`of`](Self::of).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn at(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        Self::with(file, offset, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn with(file: &File, offset: u64, len: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: the kernel chooses where, so nothing that is there is replaced; nothing refers to it but this value.
        let start = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, file, offset) }?;
        Ok(Self { start: start.cast(), len })
    }

    /// Bytes of the file.
    ///
    /// # Panics
    /// When the range is not within the mapping.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at <= self.len && len <= self.len - at, "beyond the mapping");
        let mut out = vec![0; len];
        // SAFETY: the range is mapped (above) as long as `self`, and `out` is as long. Others may write the file
        // meanwhile, as they may with any file; no reference to its bytes is made.
        unsafe { ptr::copy_nonoverlapping(self.start.add(at), out.as_mut_ptr(), len) };
        out
    }

    /// Changes bytes of the file.
    ///
    /// # Panics
    /// When the range is not within the mapping.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.len && bytes.len() <= self.len - at, "beyond the mapping");
        // SAFETY: the range is mapped for writing (above) as long as `self`; no reference to it is ever made.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
    }

    /// `msync(MS_SYNC)`: what was changed is the file's when it returns.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is mapped as long as `self`; msync changes no memory.
        Ok(unsafe { msync(self.start.cast(), self.len, MsyncFlags::SYNC) }?)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `with` made, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}
