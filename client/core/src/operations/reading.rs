//! Reads: what is dirty on top of what is committed.

use core::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_types::{ExtentId, Inode};
use weft_wire::meta::{MapEntry, MetaOp, MetaReply, ReadMap};

use crate::dirty::index;
use crate::extents::Slice;
use crate::fetch::{FetchError, Source};
use crate::file::{File, FileState, Pinned, Use};
use crate::foresight::FORESEEN_ENTRIES;
use crate::map::{Segment, end_of};
use crate::operations::of_handle;
use crate::readahead::Advice;
use crate::{Core, FsError, HandleId, buffers};

/// The longest read.
const READ_BYTES_MAX: u32 = 16 << 20;
/// Shorter extents are always fetched whole.
const SMALL_BYTES: u64 = 128 << 10;
/// How far ahead of a read its map is asked for.
const MAP_AHEAD: u64 = 256 << 20;
/// Entries of a page.
const PAGE: u32 = 512;
/// Parts of a read that are fetched at once.
const PARTS_MAX: usize = 32;
/// How often a read starts over because the map or the placement moved on.
const RETRIES: usize = 3;

/// A part of a read that is in an extent.
#[derive(Debug, Clone)]
pub(super) struct Part {
    file: Range<u64>,
    source: Source,
}

impl Part {
    pub(super) const fn extent(&self) -> ExtentId {
        self.source.entry.extent
    }

    pub(super) fn into_source(self) -> Source {
        self.source
    }

    /// Whether its extent is always fetched whole.
    pub(super) fn is_of_small(&self) -> bool {
        self.source.entry.geometry.plaintext_bytes().get() <= SMALL_BYTES
    }

    pub(super) fn slice(&self) -> Slice {
        Slice::new(self.extent(), &self.within())
    }

    pub(super) fn within(&self) -> Range<u32> {
        let skipped = self.file.start - self.source.entry.offset.get();
        // The part lies within the entry, which is at most 4 GiB long. That the entry lies within the extent is the owner's
        // word: who takes the bytes compares their number.
        let start = self.source.entry.extent_offset.saturating_add(skipped as u32);
        start..start.saturating_add((self.file.end - self.file.start) as u32)
    }
}

/// A read as far as memory answers it.
struct Prepared {
    start: u64,
    len: usize,
    /// What is dirty, and zeroes; none when one extent answers all of it.
    out: Option<Vec<u8>>,
    parts: Vec<Part>,
}

impl Prepared {
    /// The part that is all of the read.
    fn only(&self) -> Option<&Part> {
        match &self.parts[..] {
            [part] if self.out.is_none() => Some(part),
            _ => None,
        }
    }

    fn into_out(self) -> Vec<u8> {
        self.out.unwrap_or_else(|| buffers::zeroed(self.len))
    }
}

/// What stands in the way of a read.
pub(super) enum Obstacle {
    /// This range of the map must be asked for.
    Map(Range<u64>),
    /// The length must be asked for, or waited for.
    Length,
    Error(FsError),
}

impl Core {
    /// Bytes of a file, from memory. As [`read`](Self::read).
    pub fn try_read(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        len: u32,
    ) -> Option<Result<Bytes, FsError>> {
        let open = self.handles.get(handle).ok().filter(|open| open.mode.read)?;
        if !self.session.is_serving() {
            return None;
        }
        if !open.file.lock().recall.is_none() {
            return None;
        }
        let mut prepared = prepare(&open.file, offset, len.min(READ_BYTES_MAX)).ok()?;
        let slices = prepared.parts.iter().map(|part| self.cached(part)).collect::<Option<Vec<_>>>()?;
        self.note_read(&open);
        self.fetch_ahead(&open.file, offset, len, open.advise(offset, len, &self.read_ahead));
        if prepared.only().is_some() {
            return slices.into_iter().next().map(Ok);
        }
        let (start, parts) = (prepared.start, core::mem::take(&mut prepared.parts));
        let mut out = prepared.into_out();
        for (part, bytes) in parts.iter().zip(slices) {
            out[index(&part.file, start)].copy_from_slice(&bytes);
        }
        Some(Ok(buffers::share(out)))
    }

    /// Bytes of a file: `len` of them, at most 16 MiB; fewer only at its end. Every byte was verified.
    ///
    /// # Errors
    /// [`FsError::BadHandle`]; [`FsError::Unreadable`] when the damage is beyond repair; any of [`FsError`] when the
    /// owner cannot be asked.
    pub async fn read(self: &Arc<Self>, handle: HandleId, offset: u64, len: u32) -> Result<Bytes, FsError> {
        let open = self.handles.get(handle)?;
        if !open.mode.read {
            return Err(FsError::BadHandle);
        }
        self.session.serving().await?;
        self.may_fill(&open.file).await?;
        let _use = Use::begin(&open.file);
        self.note_read(&open);
        let len = len.min(READ_BYTES_MAX);
        let advice = open.advise(offset, len, &self.read_ahead);
        let mut error = FetchError::Unreadable;
        for attempt in 0..RETRIES {
            let prepared = self.prepare_read(&open.file, offset, len, advice).await.map_err(of_handle)?;
            self.fetch_ahead(&open.file, offset, len, advice);
            match self.fetch_parts(prepared, advice).await {
                Ok(bytes) => return Ok(bytes),
                Err(failed) => error = failed,
            }
            let moved = self.refresh_map().await;
            if attempt == 0 {
                // What is gone may have been replaced since the map was read: it is believed when read anew.
                open.file.lock().map.forget(offset..offset.saturating_add(len.into()));
            } else if !moved {
                break;
            }
        }
        tracing::error!(inode = %open.file.inode, offset, ?error, "bytes cannot be read");
        self.counters.unreadable();
        Err(FsError::Unreadable)
    }

    /// Asks for the map until it covers the read.
    async fn prepare_read(
        self: &Arc<Self>,
        file: &Pinned,
        offset: u64,
        len: u32,
        advice: Advice,
    ) -> Result<Prepared, FsError> {
        let mut asked = false;
        loop {
            match prepare(file, offset, len) {
                Ok(prepared) => {
                    self.learn_from_read(file, asked);
                    return Ok(prepared);
                }
                Err(Obstacle::Map(range)) => {
                    // Backwards, what comes next is before it; once, because such a page may end before it too.
                    let ahead = if advice.is_backwards() && !asked { MAP_AHEAD } else { 0 };
                    self.page_in(file, range.start.saturating_sub(ahead)..range.end).await?;
                }
                Err(Obstacle::Length) => {
                    self.may_fill(file).await?;
                    self.learn_length(file).await?;
                    continue;
                }
                Err(Obstacle::Error(error)) => return Err(error),
            }
            asked = true;
        }
    }

    /// A file is read: its map came with its name, or was asked for and could have come so.
    fn learn_from_read(&self, file: &Pinned, asked: bool) {
        let mut state = file.lock();
        let could = asked && state.map.is_whole(state.size, FORESEEN_ENTRIES);
        if core::mem::take(&mut state.foreseen) || could {
            self.foresight.pays();
        }
    }

    /// The bytes of runs that follow each other without a gap from `start` on.
    pub(crate) async fn read_runs(
        self: &Arc<Self>,
        file: &Pinned,
        start: u64,
        runs: &[MapEntry],
    ) -> Result<Bytes, FsError> {
        let parts = {
            let state = file.lock();
            let part = |run: &MapEntry| {
                let source = Source { entry: run.clone(), key: state.key_of(run.key)? };
                Some(Part { file: run.offset.get()..end_of(run), source })
            };
            runs.iter().map(part).collect::<Option<Vec<_>>>().ok_or(FsError::Protocol)?
        };
        let end = parts.last().map_or(start, |part| part.file.end);
        let prepared = Prepared { start, len: index(&(start..end), start).len(), out: None, parts };
        let read = self.fetch_parts(prepared, Advice::Whole { ahead: 0 }).await;
        read.map_err(|_| FsError::Unreadable)
    }

    /// Asks for the map of a file from the beginning of a range on.
    pub(crate) async fn page_in(self: &Arc<Self>, file: &Pinned, range: Range<u64>) -> Result<(), FsError> {
        let version = file.lock().map.version();
        let asked = range.start..range.end.max(range.start.saturating_add(MAP_AHEAD));
        let op = ReadMap { inode: file.inode, from: asked.start, until: asked.end, limit: PAGE };
        let MetaReply::Map(page) = self.ask(MetaOp::ReadMap(op)).await?.reply else {
            return Err(FsError::Protocol);
        };
        let mut state = file.lock();
        for grant in &page.keys {
            state.learn_key(grant);
        }
        if !self.session.is_read_only() {
            self.windows().look_at(file.inode, &page.entries, Instant::now());
        }
        let answers = state.map.page(version, asked, page.entries, page.end);
        if answers { Ok(()) } else { Err(FsError::Protocol) }
    }

    async fn fetch_parts(
        self: &Arc<Self>,
        mut prepared: Prepared,
        advice: Advice,
    ) -> Result<Bytes, FetchError> {
        if let Some(part) = prepared.only() {
            return self.part(part.clone(), advice).await;
        }
        let (start, parts) = (prepared.start, core::mem::take(&mut prepared.parts));
        let (mut parts, mut out) = (parts.into_iter(), prepared.into_out());
        let mut fetches = JoinSet::new();
        loop {
            while fetches.len() < PARTS_MAX {
                let Some(part) = parts.next() else { break };
                let core = Arc::clone(self);
                fetches.spawn_on(
                    async move { (part.file.clone(), core.part(part, advice).await) },
                    &self.runtime,
                );
            }
            match fetches.join_next().await {
                None => return Ok(buffers::share(out)),
                Some(fetched) => {
                    let (file, bytes) = fetched.map_err(|_| FetchError::Unreadable)?;
                    out[index(&file, start)].copy_from_slice(&bytes?);
                }
            }
        }
    }

    /// A part that is in memory, exactly as long as it is.
    fn cached(&self, part: &Part) -> Option<Bytes> {
        let within = part.within();
        match self.extents.get(part.extent()) {
            // An entry that reaches beyond its extent is damage of the map: who fetches it says so.
            Some(whole) => {
                let sound = whole.len() >= within.end as usize;
                sound.then(|| whole.slice(within.start as usize..within.end as usize))
            }
            None => self.extents.get(part.slice()),
        }
    }

    /// One part, exactly as long as it is.
    async fn part(self: &Arc<Self>, part: Part, advice: Advice) -> Result<Bytes, FetchError> {
        if let Some(cached) = self.cached(&part) {
            return Ok(cached);
        }
        let within = part.within();
        match advice {
            _ if part.is_of_small() => {}
            Advice::Whole { .. } | Advice::Back { .. } => {}
            Advice::Exact => {
                let _held = self.memory.fetched.hold(within.end - within.start).await;
                return self.fetch_exact(&part).await;
            }
            Advice::Stride { .. } => {
                let fetch = async {
                    let _held = self.memory.fetched.hold(within.end - within.start).await;
                    self.fetch_to_keep(&part).await
                };
                // It may be on its way, ahead of this read.
                return self.extents.get_or_fetch(part.slice(), fetch).await;
            }
        }
        let whole = self.whole(&part.source).await?;
        // An entry that reaches beyond its extent is damage of the map.
        let sound = whole.len() >= within.end as usize;
        let bytes = sound.then(|| whole.slice(within.start as usize..within.end as usize));
        bytes.ok_or(FetchError::Unreadable)
    }

    /// As [`fetch_exact`](Self::fetch_exact), without the rest of the blocks that they are in: what is kept is counted by
    /// its length.
    pub(super) async fn fetch_to_keep(&self, part: &Part) -> Result<Bytes, FetchError> {
        self.fetch_exact(part).await.map(|exact| Bytes::copy_from_slice(&exact))
    }

    /// The bytes of a part alone.
    async fn fetch_exact(&self, part: &Part) -> Result<Bytes, FetchError> {
        let within = part.within();
        let exact = self.fetcher.fetch(&part.source, within.clone()).await?;
        if exact.len() == within.len() { Ok(exact) } else { Err(FetchError::Unreadable) }
    }

    async fn whole(self: &Arc<Self>, source: &Source) -> Result<Bytes, FetchError> {
        let len = source.entry.geometry.plaintext_bytes().get() as u32;
        let fetch = async {
            let _held = self.memory.fetched.hold(len).await;
            self.fetcher.fetch(source, 0..len).await
        };
        self.extents.get_or_fetch(source.entry.extent, fetch).await
    }
}

/// A read as far as memory goes: dirty bytes in place, the rest as parts of extents, zeroes where nothing is.
fn prepare(file: &File, offset: u64, len: u32) -> Result<Prepared, Obstacle> {
    let state = file.lock();
    if !state.is_known() || state.recall.is_blocked() {
        return Err(Obstacle::Length);
    }
    let end = state.length().min(offset.saturating_add(len.into()));
    let mut prepared = Prepared { start: offset, len: 0, out: None, parts: Vec::new() };
    if end <= offset {
        return Ok(prepared);
    }
    // At most 16 MiB.
    prepared.len = (end - offset) as usize;
    let wanted = offset..end;
    if state.dirty.covers_some_of(&wanted) {
        let mut out = buffers::zeroed(prepared.len);
        for gap in state.dirty.read(offset, &mut out).iter() {
            committed(file, &state, &gap, &mut prepared.parts)?;
        }
        prepared.out = Some(out);
    } else {
        committed(file, &state, &wanted, &mut prepared.parts)?;
        if prepared.parts.first().is_none_or(|part| part.file != wanted) {
            prepared.out = Some(buffers::zeroed(prepared.len));
        }
    }
    Ok(prepared)
}

/// The parts of extents that hold a range of the committed bytes.
pub(super) fn committed(
    file: &File,
    state: &FileState,
    range: &Range<u64>,
    parts: &mut Vec<Part>,
) -> Result<(), Obstacle> {
    // Behind the committed length there are only holes.
    let committed = range.start..range.end.min(state.size);
    if committed.is_empty() {
        return Ok(());
    }
    for segment in state.map.segments(committed).map_err(Obstacle::Map)? {
        if let Segment::Extent(range, entry) = segment {
            let key = state.key_of(entry.key).ok_or_else(|| no_key(file.inode, &entry))?;
            parts.push(Part { file: range, source: Source { entry, key } });
        }
    }
    Ok(())
}

/// The owner grants the keys of all entries of a page.
fn no_key(inode: Inode, entry: &MapEntry) -> Obstacle {
    tracing::error!(%inode, key = %entry.key, "the owner granted no key for an extent");
    Obstacle::Error(FsError::Protocol)
}
