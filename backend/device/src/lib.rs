//! The seam to the medium: positional reads and writes, a flush, and holes.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

mod file;
mod memory;

pub use file::{FileDevice, OpenDeviceError};
pub use memory::{Fault, MemoryDevice};

/// Where a store keeps its bytes. Calls may come from several threads at once; a write and a read of the same
/// bytes at the same time give some mixture, which checksums above tell.
pub trait Device: fmt::Debug + Send + Sync + 'static {
    /// Bytes, fixed while it is open.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// Those of the medium; `UnexpectedEof` past the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// As [`read_at`](Self::read_at), without waiting for the medium.
    ///
    /// # Errors
    /// `WouldBlock` where it would wait, or cannot tell; those of [`read_at`](Self::read_at).
    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Durable only after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// Those of the medium; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// On return all writes and holes before it outlast a loss of power, as far as the medium keeps its word.
    ///
    /// # Errors
    /// Those of the medium. What was written since the last flush may be lost then, and a later flush that
    /// succeeds does not bring it back.
    fn flush(&self) -> io::Result<()>;

    /// Makes a range read as zeroes, giving its space back where the medium can.
    ///
    /// # Errors
    /// Those of the medium; any part may have been erased.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;
}

impl<D: Device + ?Sized> Device for Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at_once(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        (**self).punch(range)
    }
}
