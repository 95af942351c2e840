//! Fetching ahead of reads.

use std::sync::Arc;

use weft_wire::meta::MapEntry;

use super::reading::{Part, committed};
use crate::Core;
use crate::extents::Slice;
use crate::fetch::{FetchError, Source};
use crate::file::{File, FileState};
use crate::map::end_of;
use crate::readahead::Advice;

impl Core {
    /// Fetches into memory what is likely to be read next, when there is memory to spare.
    pub(super) fn fetch_ahead(self: &Arc<Self>, file: &File, offset: u64, len: u32, advice: Advice) {
        match advice {
            Advice::Exact => {}
            Advice::Whole { ahead } => {
                let (state, end) = (file.lock(), offset.saturating_add(len.into()));
                // One that began before has come or is coming with this read.
                let behind = state.map.entries_from(end).filter(|entry| entry.offset.get() >= end);
                self.fetch_entries(&state, behind, ahead);
            }
            Advice::Back { ahead } => {
                let state = file.lock();
                let before = state.map.entries_before(offset).filter(|entry| end_of(entry) <= offset);
                self.fetch_entries(&state, before, ahead);
            }
            Advice::Stride { distance, count } => {
                let distances = (1..=count.into()).map_while(|step| distance.checked_mul(step));
                self.fetch_stride(file, offset, len, distances);
            }
        }
    }

    fn fetch_entries<'a>(
        self: &Arc<Self>,
        state: &FileState,
        entries: impl Iterator<Item = &'a MapEntry>,
        ahead: u32,
    ) {
        // More than are kept beside the one that is being read would drive each other out before they are read.
        let ahead = u64::from(ahead).min(self.extents.extents_max().saturating_sub(1)) as usize;
        for entry in entries.take(ahead).filter(|entry| !self.extents.is_coming(entry.extent)) {
            if let Some(key) = state.key_of(entry.key) {
                self.prefetch(Source { entry: entry.clone(), key });
            }
        }
    }

    /// As many bytes as are read, at these distances. Where it is not known what is there nobody is asked: the next page
    /// of the map comes with the read that needs it.
    fn fetch_stride(
        self: &Arc<Self>,
        file: &File,
        offset: u64,
        len: u32,
        distances: impl Iterator<Item = i64>,
    ) {
        let state = file.lock();
        for start in distances.map_while(|distance| offset.checked_add_signed(distance)) {
            let mut parts = Vec::new();
            let range = start..start.saturating_add(len.into());
            if committed(file, &state, &range, &mut parts).is_err() {
                return;
            }
            for part in parts.into_iter().filter(|part| !self.extents.is_coming(part.extent())) {
                if part.is_of_small() {
                    self.prefetch(part.into_source());
                } else if !self.extents.is_coming(part.slice()) {
                    self.prefetch_slice(part);
                }
            }
        }
    }

    /// Fetches an extent.
    fn prefetch(self: &Arc<Self>, source: Source) {
        let len = source.entry.geometry.plaintext_bytes().get() as u32;
        let core = Arc::clone(self);
        self.runtime.spawn(async move {
            let fetch = async {
                let _held = core.memory.fetched.try_hold(len).ok_or(FetchError::Unreadable)?;
                core.fetcher.fetch(&source, 0..len).await
            };
            // Whoever reads it will ask again, and be told why.
            let _ = core.extents.get_or_fetch(source.entry.extent, fetch).await;
        });
    }

    /// Fetches a part of an extent.
    fn prefetch_slice(self: &Arc<Self>, part: Part) {
        let core = Arc::clone(self);
        self.runtime.spawn(async move {
            let within = part.within();
            let fetch = async {
                let held = core.memory.fetched.try_hold(within.end - within.start);
                let _held = held.ok_or(FetchError::Unreadable)?;
                core.fetch_to_keep(&part).await
            };
            // As above.
            let _ = core.extents.get_or_fetch(Slice::new(part.extent(), &within), fetch).await;
        });
    }
}
