//! The thread that speaks with the kernel's ring.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use rustix::io::Errno;

use super::queue::{Done, Queue, Request};
use crate::BLOCK;
use crate::pool::PooledBuf;

/// Requests at the kernel at a time.
const DEPTH: usize = 128;

/// Entries of the ring: every request has one at most, and the wake-up another.
const ENTRIES: u32 = 2 * DEPTH as u32;

/// The most that one entry asks for.
const MOST: usize = 16 << 20;

/// Marks the completion that says that something was queued.
const WAKE: u64 = u64::MAX;

/// How long a wait lasts when nothing has a deadline.
const IDLE: Duration = Duration::from_secs(3600);

/// A read that the kernel has, and with it the memory that the kernel fills.
struct Flight {
    request: Request,
    /// Bytes that are through, a multiple of [`BLOCK`].
    through: usize,
}

pub(super) struct Driver {
    ring: IoUring,
    file: Arc<File>,
    queue: Arc<Queue>,
    /// By the number that the kernel gives back.
    flights: BTreeMap<u64, Flight>,
    next: u64,
    /// The kernel will say when the queue's wake-up is written.
    listening: bool,
}

impl Driver {
    pub(super) fn new(file: Arc<File>, queue: Arc<Queue>) -> io::Result<Self> {
        let best = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES);
        // Kernels before 6.1 do not know these.
        let ring = best.or_else(|error| match error.raw_os_error() {
            Some(errno) if errno == Errno::INVAL.raw_os_error() => IoUring::new(ENTRIES),
            _ => Err(error),
        })?;
        if !ring.params().is_feature_ext_arg() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, file, queue, flights: BTreeMap::new(), next: 0, listening: false })
    }

    /// Serves until the device is closed.
    pub(super) fn run(mut self) {
        let outcome = self.serve();
        self.queue.stop();
        if let Err(error) = &outcome {
            tracing::error!(%error, "the ring of a device failed");
        }
        // Nothing more is submitted, so these can only be told.
        while let Some(request) = self.queue.pop() {
            self.tell(request.done, Err(io::ErrorKind::BrokenPipe.into()));
        }
        for (_, mut flight) in std::mem::take(&mut self.flights) {
            self.tell(flight.request.done.take(), Err(io::ErrorKind::BrokenPipe.into()));
            // The kernel may still fill it, so it is nobody's for good.
            std::mem::forget(flight.request.buf);
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let wait = self.expire(Instant::now());
            self.listen()?;
            while self.flights.len() < DEPTH
                && let Some(request) = self.queue.pop()
            {
                self.launch(Flight { request, through: 0 })?;
            }
            // What is stuck is waited for no longer than its caller did.
            let waited_for = self.flights.values().any(|flight| flight.request.done.is_some());
            if !waited_for && self.queue.is_drained() {
                return Ok(());
            }
            self.enter(wait)?;
            self.land()?;
        }
    }

    /// Hands over what is prepared, and sleeps until something completes.
    fn enter(&self, wait: Duration) -> io::Result<()> {
        let pause = Timespec::new().sec(wait.as_secs()).nsec(wait.subsec_nanos());
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&pause)) {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                // The time is over; a signal; the kernel wants its completions read, or has no memory just now.
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Has the kernel say when something is queued.
    fn listen(&mut self) -> io::Result<()> {
        if !self.listening {
            let wake = Fd(self.queue.wake.as_raw_fd());
            let entry = opcode::PollAdd::new(wake, rustix::event::PollFlags::IN.bits().into()).build();
            // SAFETY: the entry names no memory, and the queue keeps its descriptor open as long as this driver.
            unsafe { push(&mut self.ring, entry.user_data(WAKE)) }?;
            self.listening = true;
        }
        Ok(())
    }

    /// Gives the kernel what is left of a request.
    fn launch(&mut self, mut flight: Flight) -> io::Result<()> {
        let file = Fd(self.file.as_raw_fd());
        let through = flight.through;
        let (start, len) = rest(&mut flight.request.buf, through);
        let entry =
            opcode::Read::new(file, start, len).offset(flight.request.offset + through as u64).build();
        let number = self.next;
        self.next += 1;
        self.flights.insert(number, flight);
        // SAFETY: `rest` names memory within the request's buffer, which neither moves nor is freed while the
        // request is in `flights`, and it stays there until its completion has come (`land`) or is leaked (`run`).
        // The file is open as long as this driver, and the kernel holds it for what is in flight.
        unsafe { push(&mut self.ring, entry.user_data(number)) }
    }

    /// Takes what completed.
    fn land(&mut self) -> io::Result<()> {
        let landed: Vec<(u64, i32)> =
            self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (number, result) in landed {
            if number == WAKE {
                self.listening = false;
                // It fails only when it was not written after all.
                let _ = rustix::io::read(&self.queue.wake, &mut [0_u8; 8]);
            } else if let Some(flight) = self.flights.remove(&number) {
                self.arrived(flight, result)?;
            }
        }
        Ok(())
    }

    fn arrived(&mut self, mut flight: Flight, result: i32) -> io::Result<()> {
        let Some(done) = flight.request.done.take() else {
            self.queue.counters.came_back();
            return Ok(());
        };
        let outcome = match usize::try_from(result) {
            Ok(count) => continue_after(&mut flight, count),
            Err(_) => match Errno::from_raw_os_error(result.saturating_neg()) {
                Errno::INTR | Errno::AGAIN => Ok(true),
                errno => Err(errno.into()),
            },
        };
        match outcome {
            Ok(true) => {
                flight.request.done = Some(done);
                return self.launch(flight);
            }
            Ok(false) => self.tell(Some(done), Ok(flight.request.buf)),
            Err(error) => self.tell(Some(done), Err(error)),
        }
        Ok(())
    }

    /// Gives up what took too long, and says how long nothing else will.
    fn expire(&mut self, now: Instant) -> Duration {
        let (late, mut earliest) = self.queue.expired(now);
        let mut told: Vec<Option<Done>> = late.into_iter().map(|request| request.done).collect();
        for flight in self.flights.values_mut().filter(|flight| flight.request.done.is_some()) {
            let deadline = flight.request.deadline;
            if deadline <= now {
                self.queue.counters.stuck();
                told.push(flight.request.done.take());
            } else {
                earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
            }
        }
        for done in told {
            self.queue.counters.stalled();
            self.tell(done, Err(io::ErrorKind::TimedOut.into()));
        }
        earliest.map_or(IDLE, |earliest| earliest.saturating_duration_since(now))
    }

    fn tell(&self, done: Option<Done>, outcome: io::Result<PooledBuf>) {
        if outcome.is_err() {
            self.queue.counters.failed();
        }
        // A caller's fault is not everybody's.
        if let Some(done) = done
            && catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err()
        {
            tracing::error!("the receiver of an IO panicked");
        }
    }
}

/// Counts what came through, and says whether something is left.
fn continue_after(flight: &mut Flight, count: usize) -> io::Result<bool> {
    if flight.through + count >= flight.request.buf.len() {
        return Ok(false);
    }
    // Direct IO goes on from a block, so a part of one is done again.
    let whole = count - count % BLOCK;
    if whole == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    flight.through += whole;
    Ok(true)
}

/// What of a buffer is not through: where, and how much of it one entry asks for.
fn rest(buf: &mut PooledBuf, through: usize) -> (*mut u8, u32) {
    let len = buf.len().saturating_sub(through).min(MOST);
    (buf.start_mut().wrapping_add(through), len as u32)
}

/// Puts an entry into the ring.
///
/// # Safety
/// What the entry names must stay valid until its completion has come.
unsafe fn push(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<()> {
    // SAFETY: as of this function.
    unsafe { ring.submission().push(&entry) }.map_err(|_| io::ErrorKind::ResourceBusy.into())
}
