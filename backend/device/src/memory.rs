//! A device in memory, with switches for what goes wrong with real ones.

use std::io;
use std::ops::Range;
use std::sync::Mutex;

use super::{Device, check_block, whole_blocks};

/// What a [`MemoryDevice`] does wrong from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every write fails, as on a full host; holes succeed.
    Writes,
    /// Every write fails after half of its bytes; holes succeed.
    Tears,
    /// Every write fails after half of its bytes, and so does what would take it back.
    TearsForGood,
    /// The host has no space left: what has its blocks can be written, nothing more gets any.
    Reserves,
    /// Every hole takes too long.
    Holes,
    /// Every flush fails.
    Flushes,
    /// Every read fails.
    Reads,
    /// Every read would wait for the medium.
    Cold,
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    bytes: Vec<u8>,
    /// What outlasts a loss of power.
    durable: Vec<u8>,
    /// Ranges written since the last flush, in order.
    dirty: Vec<Range<usize>>,
    fault: Fault,
    flushes: u64,
    patient_reads: u64,
}

/// A device for tests: it forgets what was not flushed when told to, fails when told to, and can be damaged.
#[derive(Debug)]
pub struct MemoryDevice {
    state: Mutex<State>,
    block: u32,
}

impl MemoryDevice {
    /// A device of `size` zeroes.
    pub fn new(size: usize) -> Self {
        Self::from_bytes(vec![0; size])
    }

    /// A device that holds these bytes, all durable.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let durable = bytes.clone();
        Self { state: Mutex::new(State { bytes, durable, ..State::default() }), block: 1 }
    }

    /// The same, which refuses writes that do not start and end on multiples of `block` bytes.
    #[must_use]
    pub fn with_block(self, block: u32) -> Self {
        Self { block, ..self }
    }

    /// What a reader sees.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// What is left after a loss of power, had each write since the last flush been kept or lost as `keeps`
    /// says, which is asked for every 512 bytes of every such write in order.
    pub fn after_power_loss(&self, mut keeps: impl FnMut() -> bool) -> Vec<u8> {
        let state = self.lock();
        let mut left = state.durable.clone();
        for range in &state.dirty {
            for start in range.clone().step_by(512) {
                let end = (start + 512).min(range.end);
                if keeps() {
                    left[start..end].copy_from_slice(&state.bytes[start..end]);
                }
            }
        }
        left
    }

    /// Changes bytes as decay would, durably.
    pub fn damage(&self, offset: usize, damage: impl Fn(&mut [u8]), len: usize) {
        let mut state = self.lock();
        let end = (offset + len).min(state.bytes.len());
        damage(&mut state.bytes[offset..end]);
        let now = state.bytes[offset..end].to_vec();
        state.durable[offset..end].copy_from_slice(&now);
    }

    /// From now on this goes wrong.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// Flushes so far.
    pub fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Reads so far that would have waited for a real medium.
    pub fn patient_reads(&self) -> u64 {
        self.lock().patient_reads
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn slice(&self, offset: u64, len: usize) -> io::Result<Range<usize>> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(len).filter(|end| *end <= self.bytes.len());
        Ok(start..end.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(Fault::Reads, io::ErrorKind::Other)?;
        buf.copy_from_slice(&self.bytes[self.slice(offset, buf.len())?]);
        Ok(())
    }

    fn check(&self, fault: Fault, kind: io::ErrorKind) -> io::Result<()> {
        if self.fault == fault { Err(kind.into()) } else { Ok(()) }
    }
}

impl Device for MemoryDevice {
    fn size(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    fn block(&self) -> u32 {
        self.block
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.patient_reads += 1;
        state.read(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.lock();
        state.check(Fault::Cold, io::ErrorKind::WouldBlock)?;
        state.read(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_block(self.block, bytes, offset)?;
        let mut state = self.lock();
        state.check(Fault::Writes, io::ErrorKind::StorageFull)?;
        let range = state.slice(offset, bytes.len())?;
        if matches!(state.fault, Fault::Tears | Fault::TearsForGood) {
            let half = range.start..range.start + range.len() / 2;
            state.bytes[half.clone()].copy_from_slice(&bytes[..half.len()]);
            state.dirty.push(half);
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.bytes[range.clone()].copy_from_slice(bytes);
        state.dirty.push(range);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.check(Fault::Flushes, io::ErrorKind::Other)?;
        let State { bytes, durable, dirty, flushes, .. } = &mut *state;
        for range in dirty.drain(..) {
            durable[range.clone()].copy_from_slice(&bytes[range]);
        }
        *flushes += 1;
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.lock();
        state.check(Fault::TearsForGood, io::ErrorKind::Other)?;
        state.check(Fault::Holes, io::ErrorKind::TimedOut)?;
        let range = whole_blocks(&range, self.block);
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let range = state.slice(range.start, len)?;
        state.bytes[range.clone()].fill(0);
        state.dirty.push(range);
        Ok(())
    }

    fn reserve(&self, _: Range<u64>) -> io::Result<()> {
        self.lock().check(Fault::Reserves, io::ErrorKind::StorageFull)
    }
}
