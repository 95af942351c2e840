//! Compaction: small extents, and what is left of mostly dead ones, become long extents again, in the background and
//! without any effect on what files hold.

mod sections;
mod windows;

use core::ops::Range;
use core::time::Duration;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::MutexGuard;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_types::{ExtentId, FileOffset};
use weft_wire::meta::{Caller, Compact, MapEntry, MetaError, MetaOp};

use crate::dirty::{Piece, index};
use crate::file::Pinned;
use crate::map::{Segment, cut, end_of};
use crate::put::Stored;
use crate::{Core, FsError};
use sections::{Section, live_bytes, natural_range, sections};
use windows::Due;
pub(crate) use windows::Windows;

/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// Windows that are compacted at once while nothing else goes on.
const AT_ONCE: usize = 2;
/// While something else goes on, so many times as long as a compaction took is left to it.
const REST: u32 = 3;
const REST_MAX: Duration = Duration::from_secs(10);
/// A window with newer bytes in memory, or whose map changed meanwhile, is looked at again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// Without room for it.
const NO_ROOM: Duration = Duration::from_secs(10);
/// After a failure.
const FAILED: Duration = Duration::from_secs(60);
/// How long a compaction that was refused because of the placement goes on trying.
const PLACED_MAX: Duration = Duration::from_secs(25);

/// Why a window was not compacted, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// It changes just now.
    Changing,
    /// The file is no more, or soon will not be.
    Gone,
    Error(FsError),
}

impl From<FsError> for Obstacle {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Refused(MetaError::NotFound) => Self::Gone,
            FsError::Refused(MetaError::MapChanged) => Self::Changing,
            error => Self::Error(error),
        }
    }
}

impl Core {
    pub(crate) fn windows(&self) -> std::sync::MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compacts what is due most. Returns how long to leave the drives alone then.
    pub(crate) async fn compact_some(self: &Arc<Self>) -> Duration {
        let begun = Instant::now();
        let calm = self.memory.dirty.is_calm() && !self.windows().is_busy(begun);
        let mut running = JoinSet::new();
        for _ in 0..if calm { AT_ONCE } else { 1 } {
            let Some(due) = self.windows().take_due(begun) else { break };
            let core = Arc::clone(self);
            running.spawn(async move { core.compact_due(due).await });
        }
        if running.is_empty() {
            return TICK;
        }
        tokio::select! {
            biased;
            _ = running.join_all() => {}
            () = self.session.ended() => {}
        }
        if calm { Duration::ZERO } else { (begun.elapsed() * REST).min(REST_MAX) }
    }

    async fn compact_due(self: &Arc<Self>, due: Due) {
        let pause = match self.compact_window(due).await {
            Ok(()) | Err(Obstacle::Gone) => return,
            Err(Obstacle::Changing) => AGAIN,
            Err(Obstacle::Error(FsError::NoSpace)) => NO_ROOM,
            Err(Obstacle::Error(error)) => {
                let at = due.key.range().start;
                tracing::info!(inode = %due.key.inode, at, %error, "a compaction is postponed");
                FAILED
            }
        };
        self.windows().postpone(due, pause, Instant::now());
    }

    async fn compact_window(self: &Arc<Self>, due: Due) -> Result<(), Obstacle> {
        let key = due.key;
        // Asked also for a file in memory: what is remembered of one that is gone names extents that are gone, too.
        let file = self.files.pin(&self.attributes(key.inode).await?);
        if self.is_abandoned(&file) {
            return Err(Obstacle::Gone);
        }
        let end = file.lock().size;
        let window = key.range().start..key.range().end.min(end);
        if window.is_empty() {
            return Ok(());
        }
        let segments = self.segments(&file, window.clone()).await?;
        let around = segments.iter().fold(window, |around, segment| match segment {
            Segment::Hole(_) => around,
            Segment::Extent(_, entry) => {
                let natural = natural_range(entry);
                around.start.min(natural.start)..around.end.max(natural.end)
            }
        });
        let live = live_bytes(&self.segments(&file, around).await?);
        for section in sections(&segments, &live) {
            self.compact_section(&file, section, due.is_extreme()).await?;
        }
        Ok(())
    }

    /// What is behind a range of a file's committed bytes.
    async fn segments(self: &Arc<Self>, file: &Pinned, range: Range<u64>) -> Result<Vec<Segment>, FsError> {
        loop {
            let known = file.lock().map.segments(range.clone());
            match known {
                Ok(segments) => return Ok(segments),
                Err(unknown) => self.page_in(file, unknown).await?,
            }
        }
    }

    /// Rewrites a section. One that is written to all the time is rewritten all the same when it is `hot`: commits wait
    /// for it then, from when most of it was read.
    async fn compact_section(
        self: &Arc<Self>,
        file: &Pinned,
        mut section: Section,
        hot: bool,
    ) -> Result<(), Obstacle> {
        let len = section.range.end - section.range.start;
        let sealed = self.sealed_len(len)?;
        let memory = self.memory.compacted.hold(sealed.saturating_add(u32::try_from(len).unwrap_or(0))).await;
        self.find_room_beside(self.room.cost(len, 1)).await?;
        let key = self.writing_key(file).await?;
        if !hot && is_dirty(file, &section) {
            return Err(Obstacle::Changing);
        }
        let mut data = match self.read_runs(file, section.range.start, &section.runs).await {
            Err(FsError::Unreadable) => {
                // What is gone may have been replaced since the map was read.
                file.lock().map.forget(section.range.clone());
                return Err(FsError::Unreadable.into());
            }
            read => read?,
        };
        let mut order = None;
        if hot {
            // Most of what has changed since is read before anybody has to wait.
            self.read_changed(file, &mut section, &mut data).await?;
            order = Some(file.order.lock().await);
            self.read_changed(file, &mut section, &mut data).await?;
        } else if is_dirty(file, &section) || now_in(file, &section).as_ref() != Some(&section.runs) {
            return Err(Obstacle::Changing);
        }
        let piece = Piece { offset: section.range.start, data };
        let stored = self.put_extent(piece, key, memory).await?;
        self.exchange(file, &section, stored, order).await
    }

    /// Reads what of a section was committed since it was read.
    async fn read_changed(
        self: &Arc<Self>,
        file: &Pinned,
        section: &mut Section,
        data: &mut Bytes,
    ) -> Result<(), Obstacle> {
        let runs = now_in(file, section).ok_or(Obstacle::Changing)?;
        let changed: Vec<_> = runs.iter().filter(|run| !section.holds(run)).collect();
        if !changed.is_empty() {
            let mut patched = BytesMut::from(core::mem::take(data));
            for run in changed {
                let bytes = self.read_runs(file, run.offset.get(), core::slice::from_ref(run)).await?;
                let at = index(&(run.offset.get()..end_of(run)), section.range.start);
                patched[at].copy_from_slice(&bytes);
            }
            *data = patched.freeze();
        }
        section.runs = runs;
        Ok(())
    }

    /// Whether there is room for so much, beside what is dirty.
    async fn find_room_beside(&self, bytes: u64) -> Result<(), FsError> {
        self.poll_space().await?;
        let wanted = self.room.pending(self.memory.dirty.held()).saturating_add(bytes);
        let full = self.full.load(Ordering::Relaxed);
        if full || !self.room.has_in_reserve(wanted) { Err(FsError::NoSpace) } else { Ok(()) }
    }

    /// Puts a stored extent in the place of a section's runs, if these still are what the file holds there.
    async fn exchange(
        self: &Arc<Self>,
        file: &Pinned,
        section: &Section,
        stored: Stored,
        mut order: Option<MutexGuard<'_, ()>>,
    ) -> Result<(), Obstacle> {
        let mut stored = [stored];
        let until = Instant::now() + PLACED_MAX;
        loop {
            // No commit and no change of the length in between: what is known here of the map is the map.
            let held = match order.take() {
                Some(order) => order,
                None => file.order.lock().await,
            };
            match self.exchange_once(file, section, &stored[0]).await {
                Err(Obstacle::Error(error @ FsError::Refused(MetaError::StaleGroup)))
                    if Instant::now() < until =>
                {
                    drop(held);
                    self.put_moved(&mut stored, until, error).await?;
                }
                result => return result,
            }
        }
    }

    async fn exchange_once(&self, file: &Pinned, section: &Section, stored: &Stored) -> Result<(), Obstacle> {
        if now_in(file, section).as_ref() != Some(&section.runs) {
            return Err(Obstacle::Changing);
        }
        let op = Compact {
            inode: file.inode,
            start: FileOffset::new(section.range.start),
            len: section.range.end - section.range.start,
            expected: section.runs.clone(),
            extents: vec![stored.offer()],
        };
        let answer = self.session.meta(Caller::default(), MetaOp::Compact(op)).await;
        let mut state = file.lock();
        match answer {
            Ok(_) => {}
            Err(error) => {
                if error == FsError::Refused(MetaError::MapChanged) {
                    state.map.forget(section.range.clone());
                }
                return Err(error.into());
            }
        }
        state.map.place(stored.entry());
        drop(state);
        self.room.committed(self.room.cost(stored.len(), 1));
        let dead: Vec<ExtentId> = section.runs.iter().map(|run| run.extent).collect();
        self.extents.forget(&dead);
        self.counters.compaction();
        Ok(())
    }
}

/// Whether there is something newer in memory.
fn is_dirty(file: &Pinned, section: &Section) -> bool {
    file.lock().dirty.covers_some_of(&section.range)
}

/// The runs that a section's bytes are in now; `None` when some of it is in none, or unknown.
fn now_in(file: &Pinned, section: &Section) -> Option<Vec<MapEntry>> {
    let segments = file.lock().map.segments(section.range.clone()).ok()?;
    let run = |segment: &Segment| match segment {
        Segment::Hole(_) => None,
        Segment::Extent(range, entry) => cut(entry, range),
    };
    segments.iter().map(run).collect()
}
