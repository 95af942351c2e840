//! A file or block device by direct IO: reads are submitted and awaited by a thread of their own, everything else by
//! the caller's.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::counters::Counters;
use crate::pool::{Pool, PooledBuf};
use crate::watchdog::{OnStall, Watchdog};
use crate::{BLOCK, Device, IoCounters, ReadDone, check_block, host, whole_blocks};

mod driver;
mod queue;

use queue::{Done, Queue, Request};

/// Bytes of one request of [`UringDevice::read_at`]; several go on at once.
const CHUNK: usize = 1 << 20;

/// What a caller waits beyond the driver's own deadline: the driver itself may be held up by the host.
const GRACE: Duration = Duration::from_secs(1);

/// A regular file or a block device that was opened for direct IO.
#[derive(Debug)]
pub struct UringDevice {
    file: Arc<File>,
    queue: Arc<Queue>,
    pool: Arc<Pool>,
    size: u64,
    /// The file lives in memory: reading it never waits.
    in_memory: bool,
    stall_after: Duration,
    counters: Arc<Counters>,
    watchdog: Watchdog,
    /// Says when the driver has ended, and with it its use of the file.
    ended: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl UringDevice {
    /// Serves `size` bytes of `file`, which must be open for direct IO and is closed when this is dropped.
    ///
    /// # Errors
    /// What the host says where it refuses a ring; `Unsupported` where its kernel is older than 5.11.
    pub(crate) fn start(file: File, size: u64, name: &str, stall_after: Duration) -> io::Result<Self> {
        let in_memory = host::is_in_memory(&file)?;
        let (file, counters) = (Arc::new(file), Arc::new(Counters::default()));
        let queue = Arc::new(Queue::new(Arc::clone(&counters))?);
        let (ready, readied) = mpsc::sync_channel(1);
        let (ending, ended) = mpsc::sync_channel(1);
        let (shared, read_from) = (Arc::clone(&queue), Arc::clone(&file));
        // The ring is made where it is used: a kernel may serve a ring with a single submitter better.
        thread::Builder::new().name(format!("io-{name}")).spawn(move || {
            match driver::Driver::new(read_from, shared) {
                Ok(driver) => {
                    let _ = ready.send(Ok(()));
                    driver.run();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
            let _ = ending.send(());
        })?;
        readied.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        let watchdog = Watchdog::start(name, stall_after, Arc::clone(&counters))?;
        let (pool, ended) = (Arc::new(Pool::default()), ended.into());
        Ok(Self { file, queue, pool, size, in_memory, stall_after, counters, watchdog, ended })
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<Range<u64>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size);
        Ok(offset..end.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    fn request(&self, blocks: &Range<u64>, len: usize, done: Done) -> Request {
        let (buf, deadline) = (self.pool.take(len), Instant::now() + self.stall_after);
        Request { offset: blocks.start, buf, done: Some(done), deadline }
    }

    /// Reads the blocks, several requests at once, and waits for all of them; `each` sees what came from where.
    fn read_blocks(&self, blocks: &Range<u64>, mut each: impl FnMut(u64, PooledBuf)) -> io::Result<()> {
        let (sender, outcomes) = mpsc::channel();
        let mut failed = None;
        for start in blocks.clone().step_by(CHUNK) {
            let len = (blocks.end - start).min(CHUNK as u64);
            let sender = sender.clone();
            let done = Box::new(move |outcome| drop(sender.send((start, outcome))));
            let request = self.request(&(start..start + len), len as usize, done);
            failed = self.queue.push_patiently(request).err();
            if failed.is_some() {
                break;
            }
        }
        drop(sender);
        let give_up_at = Instant::now() + self.stall_after + GRACE;
        loop {
            match outcomes.recv_timeout(give_up_at.saturating_duration_since(Instant::now())) {
                Ok((at, Ok(buf))) => each(at, buf),
                Ok((_, Err(error))) => failed = Some(error),
                // Each request has told, or has gone with a driver that said why.
                Err(mpsc::RecvTimeoutError::Disconnected) => return failed.map_or(Ok(()), Err),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.counters.stalled();
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
}

/// The blocks that hold a range.
fn covering(range: &Range<u64>) -> Range<u64> {
    let block = BLOCK as u64;
    range.start - range.start % block..range.end.next_multiple_of(block)
}

impl Device for UringDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u32 {
        BLOCK as u32
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let range = self.check(offset, buf.len())?;
        if range.is_empty() {
            return Ok(());
        }
        if self.in_memory {
            return self.watchdog.call(|| self.file.read_exact_at(buf, offset));
        }
        self.read_blocks(&covering(&range), |at, read| {
            let wanted = range.start.max(at)..range.end.min(at + read.len() as u64);
            let to = (wanted.start - range.start) as usize..(wanted.end - range.start) as usize;
            let from = (wanted.start - at) as usize..(wanted.end - at) as usize;
            buf[to].copy_from_slice(&read.as_slice()[from]);
        })
    }

    /// Direct IO waits for the medium, unless that is the host's memory.
    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(offset, buf.len())?;
        if self.in_memory {
            self.file.read_exact_at(buf, offset)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// Reads the blocks that hold the range into a buffer of the device's and gives a part of that; one that keeps
    /// a small slice of it for long should copy it. `ResourceBusy` where too much waits already.
    fn read_then(&self, range: Range<u64>, done: ReadDone) {
        if range.start > range.end || range.end > self.size {
            return done(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if range.is_empty() {
            return done(Ok(Bytes::new()));
        }
        let blocks = covering(&range);
        let Ok(len) = usize::try_from(blocks.end - blocks.start) else {
            return done(Err(io::ErrorKind::OutOfMemory.into()));
        };
        if self.in_memory {
            // Another thread costs more than the copy.
            let mut buf = self.pool.take((range.end - range.start) as usize);
            let read = self.watchdog.call(|| self.file.read_exact_at(buf.as_mut_slice(), range.start));
            return done(read.map(|()| Bytes::from_owner(buf)));
        }
        let asked = (range.start - blocks.start) as usize..(range.end - blocks.start) as usize;
        let taken = Box::new(move |outcome: io::Result<PooledBuf>| {
            done(outcome.map(|buf| Bytes::from_owner(buf).slice(asked)));
        });
        self.queue.push(self.request(&blocks, len, taken));
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        check_block(self.block(), bytes, offset)?;
        if bytes.as_ptr().align_offset(BLOCK) == 0 {
            return self.watchdog.call(|| host::write_all(&self.file, bytes, offset));
        }
        let mut aligned = self.pool.take(bytes.len());
        aligned.as_mut_slice().copy_from_slice(bytes);
        self.watchdog.call(|| host::write_all(&self.file, aligned.as_slice(), offset))
    }

    fn flush(&self) -> io::Result<()> {
        self.watchdog.call(|| self.file.sync_data())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        if range.start > range.end || range.end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let range = whole_blocks(&range, self.block());
        if range.is_empty() {
            return Ok(());
        }
        self.watchdog.call(|| host::erase(&self.file, &range))
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        self.watchdog.call(|| host::reserve(&self.file, &range))
    }

    fn on_stall(&self, tell: OnStall) {
        self.watchdog.on_stall(tell);
    }

    fn counters(&self) -> IoCounters {
        self.counters.read()
    }
}

impl Drop for UringDevice {
    /// Waits until the driver has let the file go, so that it can be opened again; not for ever.
    fn drop(&mut self) {
        self.queue.stop();
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = ended.recv_timeout(self.stall_after);
    }
}

#[cfg(test)]
mod tests;
