//! A file or block device by direct IO, submitted and awaited by a thread of its own.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::FallocateFlags;

use crate::pool::{Pool, PooledBuf};
use crate::{BLOCK, Device, IoCounters, ReadDone, check_block, whole_blocks};

mod driver;
mod queue;

use queue::{Action, Done, Queue, Request};

/// Bytes of one request of [`UringDevice::write_at`] and [`UringDevice::read_at`]; several go on at once.
const CHUNK: usize = 1 << 20;

/// What a caller waits beyond the driver's own deadline: the driver itself may be held up by the host.
const GRACE: Duration = Duration::from_secs(1);

/// A regular file or a block device that was opened for direct IO.
#[derive(Debug)]
pub struct UringDevice {
    queue: Arc<Queue>,
    pool: Arc<Pool>,
    size: u64,
    stall_after: Duration,
    /// Says when the driver has ended, and with it every use of the file.
    ended: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl UringDevice {
    /// Serves `size` bytes of `file`, which must be open for direct IO and is closed when this is dropped.
    ///
    /// # Errors
    /// What the host says where it refuses a ring; `Unsupported` where its kernel is older than 5.11.
    pub(crate) fn start(file: File, size: u64, name: &str, stall_after: Duration) -> io::Result<Self> {
        let queue = Arc::new(Queue::new()?);
        let (ready, readied) = mpsc::sync_channel(1);
        let (ending, ended) = mpsc::sync_channel(1);
        let shared = Arc::clone(&queue);
        // The ring is made where it is used: a kernel may serve a ring with a single submitter better.
        thread::Builder::new().name(format!("io-{name}")).spawn(move || {
            match driver::Driver::new(file, shared) {
                Ok(driver) => {
                    let _ = ready.send(Ok(()));
                    driver.run();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
            let _ = ending.send(());
        })?;
        readied.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        let pool = Arc::new(Pool::default());
        Ok(Self { queue, pool, size, stall_after, ended: ended.into() })
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<Range<u64>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size);
        Ok(offset..end.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    fn request(&self, action: Action, done: Done) -> Request {
        Request { action, done: Some(done), deadline: Instant::now() + self.stall_after }
    }

    /// Queues the requests that `next` gives, and waits for all of them; `each` sees every success.
    fn wait_for(
        &self,
        mut next: impl FnMut() -> Option<Action>,
        mut each: impl FnMut(u64, PooledBuf),
    ) -> io::Result<()> {
        let (sender, outcomes) = mpsc::channel();
        let mut failed = None;
        while failed.is_none()
            && let Some(action) = next()
        {
            let (sender, at) = (sender.clone(), action.offset());
            let done = Box::new(move |outcome| drop(sender.send((at, outcome))));
            failed = self.queue.push_patiently(self.request(action, done)).err();
        }
        drop(sender);
        let give_up_at = Instant::now() + self.stall_after + GRACE;
        loop {
            match outcomes.recv_timeout(give_up_at.saturating_duration_since(Instant::now())) {
                Ok((at, Ok(Some(buf)))) => each(at, buf),
                Ok((_, Ok(None))) => {}
                Ok((_, Err(error))) => failed = Some(graver(failed, error)),
                // Each request has told, or has gone with a driver that said why.
                Err(mpsc::RecvTimeoutError::Disconnected) => return failed.map_or(Ok(()), Err),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.queue.counters.stalls.fetch_add(1, Relaxed);
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    fn erase(&self, range: Range<u64>, mode: FallocateFlags) -> io::Result<()> {
        let mut once = Some(Action::Erase { range, mode });
        self.wait_for(|| once.take(), |_, _| {})
    }

    fn write_zeroes(&self, range: Range<u64>) -> io::Result<()> {
        let mut starts = range.clone().step_by(CHUNK);
        let next = || {
            let start = starts.next()?;
            let len = (range.end - start).min(CHUNK as u64) as usize;
            let mut buf = self.pool.take(len);
            buf.as_mut_slice().fill(0);
            Some(Action::Write { offset: start, buf })
        };
        self.wait_for(next, |_, _| {})
    }
}

/// Of two failures the one that promises less: what found no space was not done, while anything else may have been, or
/// may be yet.
fn graver(earlier: Option<io::Error>, now: io::Error) -> io::Error {
    earlier.filter(|earlier| earlier.kind() != io::ErrorKind::StorageFull).unwrap_or(now)
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
        let blocks = covering(&range);
        let mut starts = blocks.clone().step_by(CHUNK);
        let next = || {
            let start = starts.next()?;
            let len = (blocks.end - start).min(CHUNK as u64) as usize;
            Some(Action::Read { offset: start, buf: self.pool.take(len) })
        };
        self.wait_for(next, |at, read| {
            let wanted = range.start.max(at)..range.end.min(at + read.len() as u64);
            let to = (wanted.start - range.start) as usize..(wanted.end - range.start) as usize;
            let from = (wanted.start - at) as usize..(wanted.end - at) as usize;
            buf[to].copy_from_slice(&read.as_slice()[from]);
        })
    }

    /// Direct IO always waits for the medium.
    fn read_at_once(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
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
        let asked = (range.start - blocks.start) as usize..(range.end - blocks.start) as usize;
        let taken = Box::new(move |outcome: io::Result<Option<PooledBuf>>| {
            let buf = outcome.and_then(|buf| buf.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            done(buf.map(|buf| Bytes::from_owner(buf).slice(asked)));
        });
        self.queue.push(self.request(Action::Read { offset: blocks.start, buf: self.pool.take(len) }, taken));
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        check_block(self.block(), bytes, offset)?;
        let mut chunks = bytes.chunks(CHUNK).zip((offset..).step_by(CHUNK));
        let next = || {
            let (chunk, offset) = chunks.next()?;
            let mut buf = self.pool.take(chunk.len());
            buf.as_mut_slice().copy_from_slice(chunk);
            Some(Action::Write { offset, buf })
        };
        self.wait_for(next, |_, _| {})
    }

    fn flush(&self) -> io::Result<()> {
        let mut once = Some(Action::Flush);
        self.wait_for(|| once.take(), |_, _| {})
    }

    /// By a hole: a file gives the space back, and a block device unmaps where it promises to read zeroes then.
    /// Others are asked to write zeroes, and where they have no command for it, zeroes are sent.
    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        if range.start > range.end || range.end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let range = whole_blocks(&range, self.block());
        if range.is_empty() {
            return Ok(());
        }
        for mode in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            match self.erase(range.clone(), mode | FallocateFlags::KEEP_SIZE) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                done => return done,
            }
        }
        self.write_zeroes(range)
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        match self.erase(range, FallocateFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done,
        }
    }

    fn counters(&self) -> IoCounters {
        self.queue.counters.read()
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
