//! A medium that keeps a record of what was done to it, and tells what a power cut at any instant may leave.
//!
//! The promise of a medium is small: what was written before a flush began that has completed is there. Of
//! everything after it any subset may be there, in any order, and each write in any subset of its sectors.
//!
//! ```
//! use weft_device::{crash, Device};
//!
//! let recorder = crash::Recorder::new(1 << 20);
//! recorder.write_at(b"promised", 0)?;
//! recorder.flush()?;
//! let promised_at = recorder.now();
//! recorder.write_at(b"not yet!", 8)?;
//! for cut in 0..=recorder.now() {
//!     for seed in 0..4 {
//!         let medium = recorder.crash(cut, seed);
//!         let mut bytes = [0; 8];
//!         medium.read_at(&mut bytes, 0)?;
//!         assert!(cut < promised_at || &bytes == b"promised");
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Device, MemoryDevice, check_block, whole_blocks};

/// Bytes a medium writes whole or not at all.
pub const SECTOR: usize = 512;

/// What was done to the medium.
#[derive(Debug, Clone)]
enum Io {
    Write { offset: usize, bytes: Vec<u8> },
    Punch { range: Range<usize> },
    Flush,
}

impl Io {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Write { offset, bytes } => *offset..*offset + bytes.len(),
            Self::Punch { range } => range.clone(),
            Self::Flush => 0..0,
        }
    }

    /// Does to `medium` what this did, as far as `part` of it goes.
    fn apply(&self, medium: &mut [u8], part: Range<usize>) {
        match self {
            Self::Write { offset, bytes } => {
                medium[part.clone()].copy_from_slice(&bytes[part.start - offset..part.end - offset]);
            }
            Self::Punch { .. } => medium[part].fill(0),
            Self::Flush => {}
        }
    }
}

/// How much of what was not flushed a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Everything.
    All,
    /// Nothing, the write in flight included.
    Nothing,
    /// Everything after so many of the writes since the last flush; the next one is torn by `seed`.
    After {
        /// Writes and holes since the last flush that are whole.
        kept: usize,
        /// Which of the torn one's sectors are there.
        seed: u64,
    },
    /// Each write is whole, gone or torn, as drawn from `seed`, and they reached the medium in an order drawn
    /// from it.
    Random {
        /// What is drawn from.
        seed: u64,
    },
}

#[derive(Debug)]
struct State {
    /// What it held before the record began.
    origin: Vec<u8>,
    /// What a reader sees.
    bytes: Vec<u8>,
    ios: Vec<Io>,
    /// Flushes are left out of the record: what a store looks like whose author forgot one.
    forgets_flushes: bool,
}

/// A device in memory that records every write, hole and flush.
#[derive(Debug)]
pub struct Recorder {
    state: Mutex<State>,
    block: u32,
}

impl Recorder {
    /// One of `size` zeroes.
    pub fn new(size: usize) -> Self {
        Self::from_bytes(vec![0; size])
    }

    /// One that holds these bytes, all durable.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let state = State { origin: bytes.clone(), bytes, ios: Vec::new(), forgets_flushes: false };
        Self { state: Mutex::new(state), block: 1 }
    }

    /// The same, which refuses writes that do not start and end on multiples of `block` bytes.
    #[must_use]
    pub fn with_block(self, block: u32) -> Self {
        Self { block, ..self }
    }

    /// From now on flushes succeed and do nothing: a test that then still passes proves nothing.
    pub fn forget_flushes(&self) {
        self.lock().forgets_flushes = true;
    }

    /// Writes, holes and flushes so far: the position in the record. What was acknowledged when this is `n` must
    /// be there after every [`crash`](Self::crash) at `n` or later.
    pub fn now(&self) -> usize {
        self.lock().ios.len()
    }

    /// The same as [`now`](Self::now), as the end of a loop over all cuts: `0..=recorder.ios()`.
    pub fn ios(&self) -> usize {
        self.now()
    }

    /// The medium after a power cut when the first `cut` of the record had completed and the next was in flight.
    /// Seeds 0 and 1 are the extremes (it takes all, or nothing), 2 and 3 keep a prefix, all others a
    /// random part. The same cut and seed always give the same bytes.
    pub fn crash(&self, cut: usize, seed: u64) -> MemoryDevice {
        let unflushed = self.unflushed(cut);
        let loss = drawn_loss(cut, seed, unflushed.len());
        self.left(cut, loss, unflushed)
    }

    /// The same, when nothing was in flight: the device was idle after the first `cut` of the record.
    pub fn crash_between(&self, cut: usize, seed: u64) -> MemoryDevice {
        let mut unflushed = self.unflushed(cut);
        unflushed.end = unflushed.end.min(cut);
        let loss = drawn_loss(cut, seed, unflushed.len());
        self.left(cut, loss, unflushed)
    }

    fn left(&self, cut: usize, loss: Loss, unflushed: Range<usize>) -> MemoryDevice {
        let state = self.lock();
        let mut medium = state.origin.clone();
        for io in &state.ios[..unflushed.start] {
            io.apply(&mut medium, io.range());
        }
        let unflushed = &state.ios[unflushed];
        match loss {
            Loss::All => {}
            Loss::Nothing => unflushed.iter().for_each(|io| io.apply(&mut medium, io.range())),
            Loss::After { kept, seed } => {
                let kept = kept.min(unflushed.len());
                unflushed[..kept].iter().for_each(|io| io.apply(&mut medium, io.range()));
                if let Some(torn) = unflushed.get(kept) {
                    tear(torn, &mut medium, &mut Draw::new(cut as u64, seed));
                }
            }
            Loss::Random { seed } => shuffle_in(unflushed, &mut medium, &mut Draw::new(cut as u64, seed)),
        }
        MemoryDevice::from_bytes(medium).with_block(self.block)
    }

    /// What of the record a cut at `cut` may lose: from the start of the last flush that completed before it to
    /// the one in flight.
    fn unflushed(&self, cut: usize) -> Range<usize> {
        let state = self.lock();
        let cut = cut.min(state.ios.len());
        let flushed = state.ios[..cut].iter().rposition(|io| matches!(io, Io::Flush)).unwrap_or(0);
        flushed..(cut + 1).min(state.ios.len())
    }

    /// What a reader sees.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    fn record(&self, io: Io) -> io::Result<()> {
        let mut state = self.lock();
        let range = io.range();
        if range.end > state.bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        io.apply(&mut state.bytes, range);
        state.ios.push(io);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drawn_loss(cut: usize, seed: u64, unflushed: usize) -> Loss {
    match seed {
        0 => Loss::All,
        1 => Loss::Nothing,
        2 | 3 => {
            let mut draw = Draw::new(cut as u64, seed);
            Loss::After { kept: draw.below(unflushed + 1), seed: draw.next() }
        }
        seed => Loss::Random { seed },
    }
}

/// Each sector of it reaches the medium or does not.
fn tear(io: &Io, medium: &mut [u8], draw: &mut Draw) {
    let range = io.range();
    let mut start = range.start;
    while start < range.end {
        // Sectors are the medium's, wherever the write begins.
        let end = (start + 1).next_multiple_of(SECTOR).min(range.end);
        if draw.below(2) == 0 {
            io.apply(medium, start..end);
        }
        start = end;
    }
}

fn shuffle_in(ios: &[Io], medium: &mut [u8], draw: &mut Draw) {
    let mut order: Vec<&Io> = ios.iter().collect();
    for at in (1..order.len()).rev() {
        order.swap(at, draw.below(at + 1));
    }
    for io in order {
        match draw.below(3) {
            0 => {}
            1 => io.apply(medium, io.range()),
            _ => tear(io, medium, draw),
        }
    }
}

/// A stream of numbers that only the cut and the seed decide (SplitMix64, Steele et al. 2014).
struct Draw(u64);

impl Draw {
    fn new(cut: u64, seed: u64) -> Self {
        let mut draw = Self(seed);
        let mixed = draw.next() ^ cut.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

impl Device for Recorder {
    fn size(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    fn block(&self) -> u32 {
        self.block
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.lock();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(state.bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_block(self.block, bytes, offset)?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if offset.checked_add(bytes.len()).is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.record(Io::Write { offset, bytes: bytes.to_vec() })
    }

    fn flush(&self) -> io::Result<()> {
        if self.lock().forgets_flushes {
            return Ok(());
        }
        self.record(Io::Flush)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let whole = whole_blocks(&range, self.block);
        let bound = |at| usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof);
        let range = bound(whole.start)?..bound(whole.end)?;
        if range.is_empty() { Ok(()) } else { self.record(Io::Punch { range }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize, usize),
        Punch(usize, usize),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_usize..15_000, 1_usize..3000).prop_map(|(at, len)| Step::Write(at, len)),
            1 => (0_usize..15_000, 1_usize..3000).prop_map(|(at, len)| Step::Punch(at, len)),
            2 => Just(Step::Flush),
        ]
    }

    /// Every write has a fill of its own, so a byte tells which write it is of.
    fn record(steps: &[Step]) -> Recorder {
        let recorder = Recorder::new(20_000);
        for (fill, step) in steps.iter().enumerate() {
            match step {
                Step::Write(at, len) => recorder.write_at(&vec![fill as u8 + 1; *len], *at as u64),
                Step::Punch(at, len) => recorder.punch(*at as u64..(*at + *len) as u64),
                Step::Flush => recorder.flush(),
            }
            .expect("done");
        }
        recorder
    }

    /// For each byte, every value it may have after a cut.
    fn possible(steps: &[Step], cut: usize) -> Vec<Vec<u8>> {
        let mut bytes = vec![vec![0]; 20_000];
        for (at, step) in steps.iter().enumerate().take(cut + 1) {
            let (range, value) = match step {
                Step::Write(start, len) => (*start..start + len, at as u8 + 1),
                Step::Punch(start, len) => (*start..start + len, 0),
                Step::Flush if at < cut => {
                    bytes.iter_mut().for_each(|values| *values = vec![values[values.len() - 1]]);
                    continue;
                }
                Step::Flush => continue,
            };
            bytes[range].iter_mut().for_each(|values| values.push(value));
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_was_flushed_is_there_and_the_rest_is_of_some_write(steps in prop::collection::vec(step(), 1..25), seeds in prop::collection::vec(0_u64..1000, 1..4)) {
            let recorder = record(&steps);
            prop_assert_eq!(recorder.ios(), steps.len());
            for cut in 0..=recorder.ios() {
                let possible = possible(&steps, cut);
                for seed in &seeds {
                    let left = recorder.crash(cut, *seed).bytes();
                    prop_assert_eq!(&left, &recorder.crash(cut, *seed).bytes(), "the same again");
                    for (byte, values) in left.iter().zip(&possible) {
                        prop_assert!(values.contains(byte), "{} is not of {:?}", byte, values);
                    }
                }
                let newest: Vec<u8> = possible.iter().map(|values| values[values.len() - 1]).collect();
                prop_assert_eq!(recorder.crash(cut, 1).bytes(), newest);
                let oldest: Vec<u8> = possible.iter().map(|values| values[0]).collect();
                prop_assert_eq!(recorder.crash(cut, 0).bytes(), oldest);
            }
        }
    }

    #[test]
    fn a_write_is_torn_between_sectors_only_and_in_every_way() {
        let recorder = Recorder::new(8192);
        recorder.write_at(&[9; 2000], 100).expect("written");
        let sectors = [100..512, 512..1024, 1024..1536, 1536..2048, 2048..2100];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 4..600 {
            let left = recorder.crash(1, seed).bytes();
            let there: Vec<bool> = sectors.iter().map(|sector| left[sector.start] == 9).collect();
            for (sector, there) in sectors.iter().zip(&there) {
                assert!(left[sector.clone()].iter().all(|byte| (*byte == 9) == *there), "a sector is whole");
            }
            assert!(left[..100].iter().chain(&left[2100..]).all(|byte| *byte == 0));
            seen.insert(there);
        }
        assert_eq!(seen.len(), 32, "every subset");
    }

    #[test]
    fn later_writes_may_be_there_without_earlier_ones() {
        let recorder = Recorder::new(4096);
        recorder.write_at(&[1; 512], 0).expect("written");
        recorder.write_at(&[2; 512], 512).expect("written");
        recorder.write_at(&[3; 512], 0).expect("written");
        let left: std::collections::BTreeSet<_> = (4..200)
            .map(|seed| recorder.crash(3, seed).bytes())
            .map(|bytes| (bytes[0], bytes[512]))
            .collect();
        let all = [(0, 0), (0, 2), (1, 0), (1, 2), (3, 0), (3, 2)];
        assert_eq!(left, all.into());
    }

    #[test]
    fn what_an_idle_device_was_not_asked_for_is_not_there() {
        let recorder = Recorder::new(4096);
        recorder.write_at(&[1; 512], 0).expect("written");
        recorder.write_at(&[2; 512], 0).expect("written");
        assert_eq!(recorder.crash(1, 1).bytes()[0], 2, "in flight");
        for seed in 0..50 {
            assert!(recorder.crash_between(1, seed).bytes()[0] < 2);
        }
    }

    #[test]
    fn a_forgotten_flush_shows() {
        let recorder = Recorder::new(4096);
        recorder.forget_flushes();
        recorder.write_at(&[1; 512], 0).expect("written");
        recorder.flush().expect("it says");
        assert_eq!(recorder.crash(recorder.now(), 0).bytes()[0], 0, "gone");
    }

    #[test]
    fn blocks_are_kept_to() {
        let recorder = Recorder::new(1 << 16).with_block(4096);
        assert_eq!(
            recorder.write_at(&[1; 4096], 512).expect_err("refused").kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            recorder.write_at(&[1; 512], 4096).expect_err("refused").kind(),
            io::ErrorKind::InvalidInput
        );
        recorder.write_at(&[1; 12288], 4096).expect("written");
        recorder.punch(5000..13_000).expect("punched");
        let bytes = recorder.bytes();
        assert!(
            bytes[4096..8192].iter().chain(&bytes[12288..16384]).all(|byte| *byte == 1),
            "parts of blocks stay"
        );
        assert!(bytes[8192..12288].iter().all(|byte| *byte == 0));
        recorder.write_at(&[1; 4096], 1 << 16).expect_err("past the end");
    }
}
