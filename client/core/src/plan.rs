//! What to read of an extent, and what else when that does not come.

use core::ops::Range;

use weft_layout::{Column, Form, Geometry, Run};
use weft_types::ShardIndex;

/// Runs that are read together, and given back together from the same column of N shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stripe {
    /// Covers the columns of all runs.
    pub(crate) column: Column,
    /// What is wanted, in the order of the file; never empty.
    pub(crate) wanted: Vec<Run>,
}

/// Cuts a range of an extent's plaintext into stripes. Runs are read together unless most of what would be read
/// for that is not wanted: the end of one shard and the beginning of the next share no column.
pub(crate) fn stripes(geometry: Geometry, range: Range<u32>) -> Vec<Stripe> {
    let runs: Vec<Run> = geometry.runs(range).collect();
    let Some(hull) = hull(&runs) else { return Vec::new() };
    let wanted: u64 = runs.iter().map(|run| u64::from(run.column.len())).sum();
    if u64::from(hull.len()) * runs.len() as u64 <= 2 * wanted {
        return vec![Stripe { column: hull, wanted: runs }];
    }
    runs.into_iter().map(|run| Stripe { column: run.column, wanted: vec![run] }).collect()
}

fn hull(runs: &[Run]) -> Option<Column> {
    let start = runs.iter().map(|run| run.column.start()).min()?;
    let end = runs.iter().map(|run| run.column.start() + run.column.len()).max()?;
    Column::new(start, end)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asked { late: bool },
    Got,
    Failed,
}

/// What a gathering waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// All wanted shards are there.
    Direct,
    /// Enough shards are there to give back what is wanted; of a mirrored extent, another copy is.
    Rest,
    /// More has to come.
    Wait,
    /// Nothing more can come: it is beyond repair.
    Impossible,
}

/// The reading of one stripe: which shards to ask for, as others fail, are late, or turn out to be damaged.
///
/// Shards that are avoided are asked for last. A shard that stores nothing of the column is there from the start.
#[derive(Debug)]
pub(crate) struct Gather {
    states: Vec<State>,
    avoided: Vec<bool>,
    wanted: Vec<ShardIndex>,
    mirrored: bool,
    needed: usize,
}

impl Gather {
    pub(crate) fn new(geometry: Geometry, stripe: &Stripe, avoided: impl Fn(ShardIndex) -> bool) -> Self {
        let mirrored = geometry.form() == Form::Mirrored;
        let protection = geometry.protection();
        let count = if mirrored { protection.parity() + 1 } else { protection.width() };
        let state = |shard| {
            let stored = geometry.stored_column(shard, stripe.column);
            if stored.is_empty() { State::Got } else { State::Idle }
        };
        Self {
            states: (0..count).map(|index| state(ShardIndex::new(index))).collect(),
            avoided: (0..count).map(|index| avoided(ShardIndex::new(index))).collect(),
            wanted: stripe.wanted.iter().map(|run| run.shard).collect(),
            mirrored,
            needed: if mirrored { 1 } else { protection.data().into() },
        }
    }

    /// The shards to ask for now; they count as asked for from here on.
    pub(crate) fn requests(&mut self) -> Vec<ShardIndex> {
        if !self.mirrored && self.hopes() {
            let wanted = self.wanted.clone();
            return wanted.into_iter().filter(|shard| self.ask(*shard)).collect();
        }
        let mut requests = Vec::new();
        let mut coming = self.count(|state| matches!(state, State::Got | State::Asked { late: false }));
        for last_resort in [false, true] {
            for index in 0..self.states.len() {
                let shard = shard(index);
                if coming < self.needed && self.avoided[index] == last_resort && self.ask(shard) {
                    requests.push(shard);
                    coming += 1;
                }
            }
        }
        requests
    }

    /// A shard has come.
    pub(crate) fn got(&mut self, shard: ShardIndex) {
        if self.states[shard.get()] != State::Failed {
            self.states[shard.get()] = State::Got;
        }
    }

    /// A shard will not come, or is damaged.
    pub(crate) fn failed(&mut self, shard: ShardIndex) {
        self.states[shard.get()] = State::Failed;
    }

    /// Too much time has passed: what was asked for and has not come is late. Returns those shards.
    pub(crate) fn late(&mut self) -> Vec<ShardIndex> {
        let mut late = Vec::new();
        for (index, state) in self.states.iter_mut().enumerate() {
            if *state == (State::Asked { late: false }) {
                *state = State::Asked { late: true };
                late.push(shard(index));
            }
        }
        late
    }

    /// What was given back is not right: one of the shards it was made from must be damaged. One more is needed to
    /// do without any of them. Copies are told apart one by one instead.
    pub(crate) fn widen(&mut self) {
        if self.mirrored {
            return;
        }
        self.needed = self.count(|state| state == State::Got).max(self.needed) + 1;
    }

    /// The shards that are there, those that store nothing of the column included.
    pub(crate) fn available(&self) -> Vec<ShardIndex> {
        let there = self.states.iter().enumerate().filter(|(_, state)| **state == State::Got);
        there.map(|(index, _)| shard(index)).collect()
    }

    pub(crate) fn is_got(&self, shard: ShardIndex) -> bool {
        self.states[shard.get()] == State::Got
    }

    pub(crate) fn step(&self) -> Step {
        if self.wanted.iter().all(|shard| self.is_got(*shard)) {
            return Step::Direct;
        }
        let got = self.count(|state| state == State::Got);
        if got >= self.needed {
            return Step::Rest;
        }
        let hope = self.count(|state| matches!(state, State::Idle | State::Asked { .. }));
        let wanted_may_come = self.wanted.iter().all(|shard| self.states[shard.get()] != State::Failed);
        if got + hope >= self.needed || (wanted_may_come && hope > 0) { Step::Wait } else { Step::Impossible }
    }

    /// The wanted shards may all still come in time, so nothing else needs to be read.
    fn hopes(&self) -> bool {
        self.wanted.iter().all(|shard| match self.states[shard.get()] {
            State::Idle => !self.avoided[shard.get()],
            State::Asked { late } => !late,
            State::Got => true,
            State::Failed => false,
        })
    }

    fn ask(&mut self, shard: ShardIndex) -> bool {
        let state = &mut self.states[shard.get()];
        let idle = *state == State::Idle;
        if idle {
            *state = State::Asked { late: false };
        }
        idle
    }

    fn count(&self, what: impl Fn(State) -> bool) -> usize {
        self.states.iter().filter(|state| what(**state)).count()
    }
}

fn shard(index: usize) -> ShardIndex {
    ShardIndex::new(u8::try_from(index).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests;
