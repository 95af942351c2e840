//! What happened: a hash over all of it, the last of what matters in words, and the first thing that must not be.
//!
//! What matters to a reader is noted; every message and every IO goes into the hash alone, unless it is asked for.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Events that are told with a violation.
const TOLD: usize = 120;

/// What must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// Bytes and names that were acknowledged are there.
    AcknowledgedStays,
    /// No answer is older than what was acknowledged, or seen, before it was asked for.
    NothingStale,
    /// Nothing is committed under an ownership behind the place where a later one has begun.
    OneHistory,
    /// An operation that arrives again is answered as it was before, and not done again.
    DoneOnce,
    /// No key and nonce seal two texts.
    NonceOnce,
    /// No shard is deleted that is needed, or may be.
    NeededShardStays,
    /// An old copy of the cluster store serves nobody.
    OldStoreServesNobody,
    /// When faults stop, everything works again within bounded time, and survives losses.
    Heals,
    /// Operations that must succeed do, and what was written can be opened.
    Serves,
}

/// Something that the rules exclude has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The schedule in which it did.
    pub seed: u64,
    /// The rule.
    pub invariant: Invariant,
    /// What.
    pub what: String,
    /// The last events before it.
    pub events: Vec<String>,
    /// A hash over all events, messages and IOs up to it.
    pub hash: [u8; 32],
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        write!(f, "seed {}: {:?}: {}", self.seed, self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}

/// The record of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    seed: u64,
    began: Instant,
    told: Told,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hasher: blake3::Hasher,
    events: VecDeque<String>,
    count: u64,
    violation: Option<Violation>,
}

/// What of a trace is also written to the standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// What matters to a reader.
    Events,
    /// Every message and every IO too.
    Everything,
}

/// Bytes of a detail's text that count: what is longer lists contents, whose hash is told where they are read or written.
const DETAIL: usize = 512;

/// Puts the beginning of what is formatted into a hash.
struct Hashing<'a> {
    hasher: &'a mut blake3::Hasher,
    left: usize,
}

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let counts = text.len().min(self.left);
        self.hasher.update(&text.as_bytes()[..counts]);
        self.left -= counts;
        if self.left == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

impl Trace {
    /// An empty one.
    pub(crate) fn new(seed: u64, told: Told) -> Self {
        let (hasher, events) = (blake3::Hasher::new(), VecDeque::new());
        let state = State { hasher, events, count: 0, violation: None };
        Self { seed, began: Instant::now(), told, state: Mutex::new(state) }
    }

    /// A message, or an IO.
    pub(crate) fn detail(&self, detail: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        if self.told == Told::Everything {
            println!("{:11.6}   {detail}", at.as_secs_f64());
        }
        let mut state = self.state();
        state.count += 1;
        state.hasher.update(&at.as_nanos().to_le_bytes());
        // It ends with an error when the rest does not count.
        let _ = fmt::Write::write_fmt(&mut Hashing { hasher: &mut state.hasher, left: DETAIL }, detail);
        state.hasher.update(b"\n");
    }

    /// Something happened.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        let text = format!("{:9.4} {event}", at.as_secs_f64());
        let mut state = self.state();
        state.hasher.update(text.as_bytes());
        state.hasher.update(b"\n");
        state.count += 1;
        if self.told >= Told::Events {
            println!("{text}");
        }
        if state.events.len() == TOLD {
            state.events.pop_front();
        }
        state.events.push_back(text);
    }

    /// Something happened that must not. The first is kept.
    pub(crate) fn violate(&self, invariant: Invariant, what: fmt::Arguments<'_>) {
        self.note(format_args!("VIOLATION {invariant:?}: {what}"));
        let mut state = self.state();
        if state.violation.is_none() {
            let events = state.events.iter().cloned().collect();
            let (what, hash) = (what.to_string(), *state.hasher.finalize().as_bytes());
            state.violation = Some(Violation { seed: self.seed, invariant, what, events, hash });
        }
    }

    /// What must not have happened, if anything.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.state().violation.clone()
    }

    /// Whether something must not have happened.
    pub(crate) fn is_violated(&self) -> bool {
        self.state().violation.is_some()
    }

    /// How many events there were, and a hash of them all.
    pub(crate) fn summary(&self) -> (u64, [u8; 32]) {
        let state = self.state();
        (state.count, *state.hasher.finalize().as_bytes())
    }

    /// Simulated time since the beginning.
    pub(crate) fn elapsed(&self) -> core::time::Duration {
        self.began.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
