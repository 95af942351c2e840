//! Extents from the drives: direct, hedged, or given back from the rest of the stripe.

use core::ops::Range;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use weft_keys::{DataKey, ExtentSealer};
use weft_layout::{Codec, Column, Form, Geometry, Run};
use weft_types::{DriveId, FilesystemId, ShardIndex};
use weft_wire::drive::{GetRefusal, GetShard, ShardKey};
use weft_wire::meta::MapEntry;

use crate::backend::{Backend, Failure};
use crate::buffers;
use crate::cluster::{Cluster, MapView};
use crate::counters::Counters;
use crate::plan::{Gather, Step, Stripe, stripes};
use crate::seal::{open_run, span};

/// The longest that one drive is waited for.
const GET_DEADLINE: Duration = Duration::from_secs(10);
/// Between two questions to a drive that has too much to do.
const BUSY_PAUSE_MIN: Duration = Duration::from_millis(5);
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Ways to leave shards out that are tried when one of them must be damaged; 4+2 has 15.
const COMBINATIONS_MAX: usize = 1000;

/// Why an extent's bytes are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// Every drive that answered said that it has no such shard: the map may have moved on.
    Absent,
    /// Too many shards are damaged, missing or out of reach.
    Unreadable,
}

/// An extent and the key it is sealed under.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) entry: MapEntry,
    pub(crate) key: Arc<DataKey>,
}

/// Reads extents.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) codecs: Arc<Codecs>,
    pub(crate) filesystem: FilesystemId,
}

/// Codecs with their working memory, for whoever needs one.
#[derive(Debug, Default)]
pub(crate) struct Codecs(Mutex<Vec<Codec>>);

impl Codecs {
    pub(crate) fn with<T>(&self, geometry: Geometry, work: impl FnOnce(&mut Codec) -> T) -> T {
        let protection = geometry.protection();
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut codec =
            kept.filter(|codec| codec.protection() == protection).unwrap_or_else(|| Codec::new(protection));
        let result = work(&mut codec);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(codec);
        result
    }
}

/// Why a shard did not come; of those who may hold it, the last of these counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ShardError {
    Absent,
    OutOfReach,
    Damaged,
}

impl Fetcher {
    /// Plaintext bytes `range` of an extent; every one is verified.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        source: &Source,
        range: Range<u32>,
    ) -> Result<Bytes, FetchError> {
        let geometry = source.entry.geometry;
        let stripes = stripes(geometry, range.clone());
        let (Some(first), Some(last)) = (
            stripes.first().and_then(|stripe| stripe.wanted.first()),
            stripes.last().and_then(|stripe| stripe.wanted.last()),
        ) else {
            return Err(FetchError::Unreadable);
        };
        let covered = geometry.plaintext_range(first.blocks.start..last.blocks.end);
        let mut out = buffers::zeroed((covered.end - covered.start) as usize);
        for stripe in &stripes {
            Gathering::new(self, source, stripe, covered.start).run(&mut out).await?;
        }
        let wanted = range.start..range.end.min(covered.end);
        Ok(buffers::share(out).slice(span(wanted, covered.start)))
    }

    /// The bytes of a column that a shard stores, from whoever holds it. Where it is not is believed only by the newest
    /// map: it may have moved.
    async fn get(
        self: Arc<Self>,
        mut view: Arc<MapView>,
        entry: MapEntry,
        shard: ShardIndex,
        column: Column,
    ) -> (ShardIndex, Result<Bytes, ShardError>) {
        let mut asked = Vec::new();
        let mut worst = ShardError::Absent;
        loop {
            let slot = entry.geometry.protection().group_slot(shard, entry.extent.seq);
            let mut holders = view.holders(entry.group, entry.group_epoch, slot);
            holders.retain(|drive| !asked.contains(drive));
            // In the order of the lists, except that those which serve come before those which may not.
            holders.sort_by_key(|drive| self.cluster.avoids(&view, *drive));
            for drive in &holders {
                match self.get_from(*drive, &entry, shard, column).await {
                    Ok(bytes) => return (shard, Ok(bytes)),
                    Err(error) => worst = worst.max(error),
                }
            }
            asked.append(&mut holders);
            let newest = self.cluster.view();
            if newest.version() == view.version() {
                let error = if asked.is_empty() { ShardError::OutOfReach } else { worst };
                return (shard, Err(error));
            }
            view = newest;
        }
    }

    async fn get_from(
        &self,
        drive: DriveId,
        entry: &MapEntry,
        shard: ShardIndex,
        column: Column,
    ) -> Result<Bytes, ShardError> {
        let key = ShardKey { extent: entry.extent, index: shard };
        let asked = Instant::now();
        match self.ask(drive, GetShard { key, start: column.start(), len: column.len() }).await {
            Ok(bytes) if bytes.len() == column.len() as usize => {
                self.cluster.trust(drive);
                self.cluster.latency.record(column.len(), asked.elapsed());
                Ok(bytes)
            }
            Err(Failure::Refused(GetRefusal::Absent)) => Err(ShardError::Absent),
            Ok(_) | Err(Failure::Refused(GetRefusal::Damaged | GetRefusal::OutOfRange)) => {
                Err(ShardError::Damaged)
            }
            Err(failure) => {
                tracing::debug!(%drive, extent = %entry.extent, ?failure, "a shard was not read");
                self.cluster.suspect(drive);
                Err(ShardError::OutOfReach)
            }
        }
    }

    /// Asks one drive; again while it has too much to do, which says nothing about the shard.
    async fn ask(&self, drive: DriveId, call: GetShard) -> Result<Bytes, Failure<GetRefusal>> {
        let until = Instant::now() + GET_DEADLINE;
        let mut pause = BUSY_PAUSE_MIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.backend.get(drive, call, left).await {
                Err(Failure::Busy) if pause < left => sleep(pause).await,
                Err(Failure::Busy) => return Err(Failure::TimedOut),
                answer => return answer,
            }
            pause = (pause * 2).min(BUSY_PAUSE_MAX);
        }
    }
}

/// The reading of one stripe.
struct Gathering<'a> {
    fetcher: &'a Arc<Fetcher>,
    source: &'a Source,
    stripe: &'a Stripe,
    base: u32,
    view: Arc<MapView>,
    sealer: ExtentSealer,
    gather: Gather,
    shards: HashMap<ShardIndex, Bytes>,
    opened: Vec<ShardIndex>,
    absent: usize,
    lost: usize,
}

impl<'a> Gathering<'a> {
    /// `base` is the extent's byte that `out` begins with.
    fn new(fetcher: &'a Arc<Fetcher>, source: &'a Source, stripe: &'a Stripe, base: u32) -> Self {
        let entry = &source.entry;
        let view = fetcher.cluster.view();
        let protection = entry.geometry.protection();
        let gather = Gather::new(entry.geometry, stripe, |shard| {
            let slot = protection.group_slot(shard, entry.extent.seq);
            let holder = view.holders(entry.group, entry.group_epoch, slot).first().copied();
            holder.is_none_or(|drive| fetcher.cluster.avoids(&view, drive))
        });
        let sealer = ExtentSealer::new(&source.key, fetcher.filesystem, entry.extent);
        let (shards, opened) = (HashMap::new(), Vec::new());
        Self { fetcher, source, stripe, base, view, sealer, gather, shards, opened, absent: 0, lost: 0 }
    }

    fn geometry(&self) -> Geometry {
        self.source.entry.geometry
    }

    async fn run(mut self, out: &mut [u8]) -> Result<(), FetchError> {
        // Polled by this task: a task for each would be woken, and wake this one.
        let mut calls = FuturesUnordered::new();
        let mut late = self.late_at();
        loop {
            self.open_wanted(out);
            match self.gather.step() {
                Step::Direct => return Ok(()),
                Step::Rest if self.give_back(out) => {
                    self.fetcher.counters.reconstruction();
                    return Ok(());
                }
                Step::Rest => self.gather.widen(),
                Step::Impossible => return Err(self.verdict()),
                Step::Wait => {}
            }
            let requests = self.gather.requests();
            if !requests.is_empty() {
                late = self.late_at();
            }
            for shard in requests {
                let column = self.geometry().stored_column(shard, self.stripe.column);
                let (fetcher, view) = (Arc::clone(self.fetcher), Arc::clone(&self.view));
                calls.push(fetcher.get(view, self.source.entry.clone(), shard, column));
            }
            match self.gather.step() {
                Step::Wait if calls.is_empty() => return Err(self.verdict()),
                Step::Wait => {}
                _ => continue,
            }
            tokio::select! {
                biased;
                Some((shard, outcome)) = calls.next() => self.arrived(shard, outcome),
                () = sleep_until(late) => {
                    self.begin_alternative();
                    late = self.late_at() + GET_DEADLINE;
                }
            }
        }
    }

    fn late_at(&self) -> Instant {
        Instant::now() + self.fetcher.cluster.latency.late_after(self.stripe.column.len())
    }

    fn begin_alternative(&mut self) {
        for shard in self.gather.late() {
            let entry = &self.source.entry;
            let slot = entry.geometry.protection().group_slot(shard, entry.extent.seq);
            if let Some(drive) = self.view.holders(entry.group, entry.group_epoch, slot).first() {
                self.fetcher.cluster.late(*drive);
            }
        }
    }

    fn arrived(&mut self, shard: ShardIndex, outcome: Result<Bytes, ShardError>) {
        match outcome {
            Ok(bytes) => {
                self.shards.insert(shard, bytes);
                self.gather.got(shard);
            }
            Err(error) => {
                self.gather.failed(shard);
                match error {
                    ShardError::Absent => self.absent += 1,
                    ShardError::Damaged => {
                        self.lost += 1;
                        self.fetcher.counters.damaged();
                    }
                    ShardError::OutOfReach => self.lost += 1,
                }
            }
        }
    }

    fn verdict(&self) -> FetchError {
        if self.absent > 0 && self.lost == 0 { FetchError::Absent } else { FetchError::Unreadable }
    }

    /// Opens the wanted shards that have come; one that fails its tag counts as damaged.
    fn open_wanted(&mut self, out: &mut [u8]) {
        for run in &self.stripe.wanted {
            if self.opened.contains(&run.shard) {
                continue;
            }
            let Some(bytes) = self.shards.get(&run.shard) else { continue };
            let start = (run.column.start() - self.stripe.column.start()) as usize;
            let slots = bytes.get(start..start + run.column.len() as usize);
            if slots.is_some_and(|slots| self.open(run, slots, out)) {
                self.opened.push(run.shard);
            } else {
                self.damaged(run.shard);
            }
        }
    }

    fn open(&self, run: &Run, slots: &[u8], out: &mut [u8]) -> bool {
        open_run(&self.sealer, self.geometry(), run, slots, self.base, out)
    }

    fn damaged(&mut self, shard: ShardIndex) {
        tracing::warn!(extent = %self.source.entry.extent, %shard, "a shard fails its tag");
        self.shards.remove(&shard);
        self.gather.failed(shard);
        self.lost += 1;
        self.fetcher.counters.damaged();
    }

    /// Makes what is wanted from what is there, and verifies it.
    fn give_back(&mut self, out: &mut [u8]) -> bool {
        match self.geometry().form() {
            Form::Mirrored => self.copy_over(out),
            Form::Striped => self.reconstruct(out),
        }
    }

    fn copy_over(&mut self, out: &mut [u8]) -> bool {
        let Some(run) = self.stripe.wanted.first() else { return false };
        for shard in self.gather.available() {
            let good = self.shards.get(&shard).is_some_and(|bytes| self.open(run, bytes, out));
            if good {
                return true;
            }
            self.damaged(shard);
        }
        false
    }

    fn reconstruct(&mut self, out: &mut [u8]) -> bool {
        let missing: Vec<&Run> =
            self.stripe.wanted.iter().filter(|run| !self.opened.contains(&run.shard)).collect();
        let wanted: Vec<ShardIndex> = missing.iter().map(|run| run.shard).collect();
        let available = self.gather.available();
        let needed = self.geometry().protection().data().into();
        let column = self.stripe.column;
        combinations(available.len(), needed).take(COMBINATIONS_MAX).any(|chosen| {
            let bytes = |index: &usize| {
                let shard = available[*index];
                (shard, self.shards.get(&shard).map_or(&[][..], |bytes| &bytes[..]))
            };
            let given: Vec<(ShardIndex, &[u8])> = chosen.iter().map(bytes).collect();
            let restored =
                self.fetcher.codecs.with(self.geometry(), |codec| codec.reconstruct(column, &given, &wanted));
            let Ok(restored) = restored else { return false };
            missing.iter().zip(&restored).all(|(run, bytes)| {
                let start = (run.column.start() - column.start()) as usize;
                self.open(run, &bytes[start..start + run.column.len() as usize], out)
            })
        })
    }
}

/// All ways to choose `k` of `0..n`, in lexical order.
fn combinations(n: usize, k: usize) -> impl Iterator<Item = Vec<usize>> {
    let first = (k <= n).then(|| (0..k).collect::<Vec<_>>());
    core::iter::successors(first, move |last| {
        let movable = (0..k).rev().find(|i| last[*i] < n - k + i)?;
        let mut next = last.clone();
        next[movable] += 1;
        for i in movable + 1..k {
            next[i] = next[i - 1] + 1;
        }
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::combinations;

    #[test]
    fn every_choice_is_made_once() {
        let all: Vec<_> = combinations(4, 2).collect();
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert_eq!(combinations(3, 3).count(), 1);
        assert_eq!(combinations(2, 3).count(), 0);
        assert_eq!(combinations(6, 4).count(), 15);
    }
}
