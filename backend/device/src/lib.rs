//! The seam to the medium: positional reads and writes, a flush, and holes.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

mod aligned;
mod counters;
#[cfg(any(test, feature = "testing"))]
pub mod crash;
mod file;
mod host;
mod memory;
mod open;
mod pool;
mod uring;
mod watchdog;
mod workers;

pub use aligned::{AlignedBuf, BLOCK};
pub use file::FileDevice;
pub use memory::{Fault, MemoryDevice};
pub use open::{IoMode, OpenDeviceError, OpenOptions, Opened, STALL_AFTER, open};
pub use uring::UringDevice;
pub use watchdog::OnStall;

/// Takes the outcome of a read, on any thread; it must not wait.
pub type ReadDone = Box<dyn FnOnce(io::Result<Bytes>) + Send>;

/// What went wrong at a device since it was opened, and what goes on now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Requests that failed, stalled ones among them.
    pub errors: u64,
    /// Requests that were given up because they took too long.
    pub stalls: u64,
    /// Requests that were given up and that the host has not given back yet.
    pub stuck: u64,
}

/// Where a store keeps its bytes. Calls may come from several threads at once; a write and a read of the same
/// bytes at the same time give some mixture, which checksums above tell.
pub trait Device: fmt::Debug + Send + Sync + 'static {
    /// Bytes, fixed while it is open.
    fn size(&self) -> u64;

    /// Writes must start and end on multiples of this many bytes: 1 where anything goes, [`BLOCK`] for direct IO.
    fn block(&self) -> u32 {
        1
    }

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

    /// Reads `range` and hands it to `done`, which is called exactly once, on this or on another thread: with the
    /// whole range, or with an error as of [`read_at`](Self::read_at). The caller does not wait where the medium
    /// would make it.
    fn read_then(&self, range: Range<u64>, done: ReadDone) {
        done(read_whole(self, &range));
    }

    /// Writes all of `bytes` at `offset`, waiting for the medium on the caller's thread however long that takes: see
    /// [`on_stall`](Self::on_stall). Durable only after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// `InvalidInput` where the range does not keep to [`block`](Self::block); those of the medium, and `TimedOut`:
    /// any part may have been written, and may still be written later.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// On return all writes and holes before it outlast a loss of power, as far as the medium keeps its word.
    ///
    /// # Errors
    /// Those of the medium, and `TimedOut`. What was written since the last flush may be lost then, and a later flush that
    /// succeeds does not bring it back.
    fn flush(&self) -> io::Result<()>;

    /// Makes a range read as zeroes, giving its space back where the medium can. Where [`block`](Self::block) is
    /// more than 1, only whole blocks within the range are erased.
    ///
    /// # Errors
    /// Those of the medium; any part may have been erased.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// Sees to it that writes in a range do not fail for want of space on the host, until the range is punched: a
    /// sparse file gets its blocks. Nothing is read or written by it. A medium that has all its space does nothing.
    ///
    /// # Errors
    /// `StorageFull` when the host has none; those of the medium.
    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        let _ = range;
        Ok(())
    }

    /// Has `tell` told of every write, flush and hole that takes too long, while it lasts. The call itself fails with
    /// `TimedOut` once the host gives it back, whenever that is. A medium that never stalls tells nothing.
    fn on_stall(&self, tell: OnStall) {
        drop(tell);
    }

    /// What went wrong so far. Always nothing for a medium that does not count.
    fn counters(&self) -> IoCounters {
        IoCounters::default()
    }

    /// A request was given up as too slow and the host has not given it back yet.
    fn stalled(&self) -> bool {
        self.counters().stuck > 0
    }
}

/// Refuses a write that does not start and end on blocks.
fn check_block(block: u32, bytes: &[u8], offset: u64) -> io::Result<()> {
    let block = u64::from(block);
    if offset.is_multiple_of(block) && (bytes.len() as u64).is_multiple_of(block) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "a write must start and end on blocks"))
}

/// The whole blocks within a range; an empty range where there are none.
fn whole_blocks(range: &Range<u64>, block: u32) -> Range<u64> {
    let block = u64::from(block);
    let end = range.end - range.end % block;
    let start = range.start.checked_next_multiple_of(block).unwrap_or(end);
    start.min(end)..end
}

/// Reads a range that may lie anywhere, waiting for it.
fn read_whole(device: &(impl Device + ?Sized), range: &Range<u64>) -> io::Result<Bytes> {
    if range.end > device.size() || range.start > range.end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let len = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = vec![0; len];
    device.read_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

impl<D: Device + ?Sized> Device for Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn block(&self) -> u32 {
        (**self).block()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at_once(buf, offset)
    }

    fn read_then(&self, range: Range<u64>, done: ReadDone) {
        (**self).read_then(range, done);
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

    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        (**self).reserve(range)
    }

    fn on_stall(&self, tell: OnStall) {
        (**self).on_stall(tell);
    }

    fn counters(&self) -> IoCounters {
        (**self).counters()
    }
}
