//! A drive's medium: sparse, losing and tearing what was not flushed, failing in the middle of what is done to it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_device::{BLOCK, Device};

use crate::dice::Dice;

/// How many flushes later a flush is done that was answered before.
const LATE: usize = 12;
/// Bytes a medium writes whole or not at all.
const SECTOR: usize = 512;

type Page = [u8; BLOCK];
/// What a medium holds, by the number of the page; what is absent is zeroes. Cheap to clone.
pub(crate) type Pages = BTreeMap<u64, Arc<Page>>;

/// Something that was done to a medium, whether or not it had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Io {
    /// Read: the first bytes of the hash of what.
    Read { offset: u64, len: usize, content: u64 },
    /// Written: the first bytes of the hash of what.
    Write { offset: u64, len: usize, content: u64 },
    /// Flushed.
    Flush,
    /// Punched.
    Punch { start: u64, end: u64 },
}

/// One page written, or erased, since the last flush.
type Change = (u64, Option<Arc<Page>>);

/// A device in memory.
#[derive(Debug)]
pub(crate) struct Media {
    size: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What a reader sees.
    seen: Pages,
    /// What outlasts a loss of power.
    durable: Pages,
    unflushed: Vec<Change>,
    /// Writes and flushes until it fails; `None`: it does not.
    fails_after: Option<u64>,
    dead: bool,
    /// Flushes are answered before they are done.
    lies: bool,
    /// What such flushes have yet to do.
    answered: VecDeque<Vec<Change>>,
    /// What was done and not yet told.
    ios: Vec<Io>,
}

impl Media {
    /// One that holds this. `lies`: its flushes are answered before they are done.
    pub(crate) fn new(size: u64, pages: Pages, lies: bool) -> Self {
        let state = State {
            seen: pages.clone(),
            durable: pages,
            unflushed: Vec::new(),
            fails_after: None,
            dead: false,
            lies,
            answered: VecDeque::new(),
            ios: Vec::new(),
        };
        Self { size, state: Mutex::new(state) }
    }

    /// From so many writes and flushes on, the one under way included, nothing has an effect any more.
    pub(crate) fn fail_after(&self, ios: u64) {
        self.state().fails_after = Some(ios);
    }

    /// Whether it has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Nothing has an effect any more.
    pub(crate) fn kill(&self) {
        self.state().dead = true;
    }

    /// What was done since it was asked last.
    pub(crate) fn take_ios(&self) -> Vec<Io> {
        core::mem::take(&mut self.state().ios)
    }

    /// What outlasts a loss of power for certain.
    pub(crate) fn durable(&self) -> Pages {
        self.state().durable.clone()
    }

    /// What is left after a loss of power now: what was flushed, and of the rest all, nothing, or any sectors in any order.
    pub(crate) fn after_power_loss(&self, dice: &mut Dice) -> Pages {
        let state = self.state();
        let mut left = state.durable.clone();
        let mut changes: Vec<_> = state.answered.iter().flatten().chain(&state.unflushed).cloned().collect();
        match dice.below(4) {
            0 => changes.clear(),
            1 => {}
            2 => changes.truncate(dice.index(changes.len() + 1)),
            _ => {
                for at in (1..changes.len()).rev() {
                    changes.swap(at, dice.index(at + 1));
                }
                for (number, page) in changes {
                    tear(&mut left, number, page.as_deref(), dice.next());
                }
                return left;
            }
        }
        for (number, page) in changes {
            apply(&mut left, number, page);
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that has an effect, unless the medium has failed.
    fn act(&self, io: Io, act: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state();
        state.ios.push(io);
        match &mut state.fails_after {
            Some(0) => state.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if state.dead {
            return Err(io::Error::other("the medium is gone"));
        }
        act(&mut state);
        Ok(())
    }
}

fn content(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(blake3::hash(bytes).as_bytes()[..8].try_into().expect("8 bytes"))
}

fn apply(pages: &mut Pages, number: u64, page: Option<Arc<Page>>) {
    match page {
        Some(page) => drop(pages.insert(number, page)),
        None => drop(pages.remove(&number)),
    }
}

/// Writes the sectors whose bit in `kept` is set.
fn tear(pages: &mut Pages, number: u64, page: Option<&Page>, kept: u64) {
    let mut torn = pages.get(&number).map_or([0; BLOCK], |page| **page);
    for (sector, at) in (0..BLOCK).step_by(SECTOR).enumerate() {
        if kept >> sector & 1 == 1 {
            match page {
                Some(page) => torn[at..at + SECTOR].copy_from_slice(&page[at..at + SECTOR]),
                None => torn[at..at + SECTOR].fill(0),
            }
        }
    }
    pages.insert(number, Arc::new(torn));
}

impl Device for Media {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u32 {
        BLOCK as u32
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.dead || offset.saturating_add(buf.len() as u64) > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = &mut *buf;
        while !rest.is_empty() {
            let within = (at % BLOCK as u64) as usize;
            let len = rest.len().min(BLOCK - within);
            let (part, behind) = rest.split_at_mut(len);
            match state.seen.get(&(at / BLOCK as u64)) {
                Some(page) => part.copy_from_slice(&page[within..within + len]),
                None => part.fill(0),
            }
            at += len as u64;
            rest = behind;
        }
        state.ios.push(Io::Read { offset, len: buf.len(), content: content(buf) });
        Ok(())
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let aligned = offset.is_multiple_of(BLOCK as u64) && bytes.len().is_multiple_of(BLOCK);
        if !aligned || offset.saturating_add(bytes.len() as u64) > self.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.act(Io::Write { offset, len: bytes.len(), content: content(bytes) }, |state| {
            for (number, page) in (offset / BLOCK as u64..).zip(bytes.as_chunks::<BLOCK>().0) {
                let page = Arc::new(*page);
                state.seen.insert(number, Arc::clone(&page));
                state.unflushed.push((number, Some(page)));
            }
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.act(Io::Flush, |state| {
            let mut flushed = core::mem::take(&mut state.unflushed);
            if state.lies {
                state.answered.push_back(flushed);
                flushed = Vec::new();
                if state.answered.len() > LATE {
                    flushed = state.answered.pop_front().unwrap_or_default();
                }
            }
            for (number, page) in flushed {
                apply(&mut state.durable, number, page);
            }
        })
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let (first, end) = (range.start.div_ceil(BLOCK as u64), range.end / BLOCK as u64);
        self.act(Io::Punch { start: range.start, end: range.end }, |state| {
            let gone: Vec<_> = state.seen.range(first..end.max(first)).map(|(number, _)| *number).collect();
            for number in gone {
                state.seen.remove(&number);
                state.unflushed.push((number, None));
            }
        })
    }
}
