//! What happened, in order, over all drives: what a cut of the power at one moment leaves of each.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use weft_device::Device;
use weft_device::crash::Recorder;
use weft_wire::ownership::ShardRow;

use crate::process::Executed;

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A call is on its way to a drive.
    Called(usize),
    /// A drive writes, punches or flushes.
    Io(usize),
    /// The shard's row is replaced.
    Row(ShardRow),
    /// An action was executed in memory.
    Executed(Arc<Executed>),
    /// The action of this number was answered.
    Answered(usize),
    /// An owner took over and found what there was after an action.
    TookOver(Arc<Executed>),
    /// The index was copied.
    Index(PathBuf),
}

/// A call to a drive.
#[derive(Debug)]
struct Call {
    drive: usize,
    /// Inputs and outputs of the drive when it was done; `None` as long as it is not.
    until: Option<usize>,
}

/// What a cut finds of one drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reached {
    /// So many of its inputs and outputs are done.
    done: usize,
    /// With what it was asked for already it may have come to here.
    until: usize,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    calls: Vec<Call>,
}

/// The record of a run.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Mutex<State>);

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked with it")
    }

    pub(crate) fn note(&self, event: Event) {
        self.lock().events.push(event);
    }

    /// A call is sent. Calls to one drive are carried out in the order in which they are sent.
    pub(crate) fn called(&self, drive: usize) -> usize {
        let mut state = self.lock();
        let call = state.calls.len();
        state.calls.push(Call { drive, until: None });
        state.events.push(Event::Called(call));
        call
    }

    /// A call is done, and the drive is at this input or output.
    pub(crate) fn carried_out(&self, call: usize, until: usize) {
        self.lock().calls[call].until = Some(until);
    }

    /// What happened before a moment.
    pub(crate) fn until(&self, cut: usize) -> Vec<Event> {
        self.lock().events[..cut].to_vec()
    }

    /// Moments from `from` on that differ in what a cut at them may leave.
    pub(crate) fn cuts(&self, from: usize) -> Vec<usize> {
        let state = self.lock();
        let tells = |at: &usize| !matches!(state.events[*at], Event::Called(_) | Event::Index(_));
        (from..state.events.len()).filter(tells).chain([state.events.len()]).collect()
    }

    pub(crate) fn now(&self) -> usize {
        self.lock().events.len()
    }

    /// Inputs and outputs so far.
    pub(crate) fn ios(&self) -> usize {
        self.lock().events.iter().filter(|event| matches!(event, Event::Io(_))).count()
    }

    fn reached(&self, drive: usize, cut: usize) -> Reached {
        let state = self.lock();
        let events = &state.events[..cut];
        let done = events.iter().filter(|event| matches!(event, Event::Io(of) if *of == drive)).count();
        let asked = events.iter().filter_map(|event| match event {
            Event::Called(call) => Some(&state.calls[*call]).filter(|call| call.drive == drive)?.until,
            _ => None,
        });
        Reached { done, until: asked.fold(done, usize::max) }
    }

    /// What a cut at this moment leaves of a drive. Seed 0 takes all that may be lost, seed 1 nothing; others are drawn
    /// from.
    pub(crate) fn left(&self, drive: usize, recorder: &Recorder, cut: usize, seed: u64) -> Vec<u8> {
        let Reached { done, until } = self.reached(drive, cut);
        let at = match seed {
            0 => done,
            1 => until,
            seed => done + Draw::new(&[seed, cut as u64, drive as u64]).below(until - done + 1),
        };
        let medium = if at < until { recorder.crash(at, seed) } else { recorder.crash_between(at, seed) };
        medium.bytes()
    }
}

/// The medium of a drive, which notes what is done to it.
#[derive(Debug)]
pub(crate) struct Medium {
    pub(crate) drive: usize,
    pub(crate) recorder: Recorder,
    pub(crate) timeline: Arc<Timeline>,
}

impl Medium {
    /// The recorder and the timeline count the same.
    fn noted(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let before = self.recorder.now();
        let done = act();
        if self.recorder.now() > before {
            self.timeline.note(Event::Io(self.drive));
        }
        done
    }
}

impl Device for Medium {
    fn size(&self) -> u64 {
        self.recorder.size()
    }

    fn block(&self) -> u32 {
        self.recorder.block()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.recorder.read_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.recorder.read_at_once(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.noted(|| self.recorder.write_at(bytes, offset))
    }

    fn flush(&self) -> io::Result<()> {
        self.noted(|| self.recorder.flush())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.noted(|| self.recorder.punch(range))
    }
}

/// Numbers that nothing decides but what they are drawn from.
pub(crate) struct Draw(blake3::OutputReader);

impl Draw {
    pub(crate) fn new(from: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in from {
            hasher.update(&part.to_le_bytes());
        }
        Self(hasher.finalize_xof())
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % bound as u64).expect("below a usize")
    }
}
