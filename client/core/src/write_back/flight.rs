//! One flight: pieces are sealed and stored several at a time, and committed in the order of the file while others are
//! still on their way.

use core::future::Future;
use core::pin::Pin;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::commit::COMMIT_MAX;
use crate::dirty::Piece;
use crate::file::Pinned;
use crate::put::{MANY, MANY_BYTES, SHORT_BYTES, Stored, WritingKey};
use crate::{Core, FsError};

/// Extents of a file that are stored at once.
const PUTS_MAX: usize = 32;

type Committing = Pin<Box<dyn Future<Output = Result<(), FsError>> + Send>>;

/// Pieces of a file on their way.
pub(super) struct Flight {
    core: Arc<Core>,
    file: Pinned,
    key: WritingKey,
    /// Not begun, in the order of the file.
    pieces: VecDeque<Piece>,
    puts: JoinSet<Vec<(u64, Result<Stored, FsError>)>>,
    /// Offsets of those that are begun and not committed, in order.
    begun: VecDeque<u64>,
    stored: BTreeMap<u64, Stored>,
    committing: Option<Committing>,
    /// The first put that failed: no other is begun then.
    failed: Option<FsError>,
}

enum Event {
    Committed(Result<(), FsError>),
    Put(Vec<(u64, Result<Stored, FsError>)>),
    /// There is memory for so many pieces.
    Memory(Option<OwnedSemaphorePermit>, usize),
}

/// What is put next.
struct Batch {
    pieces: usize,
    /// Bytes of memory that it takes.
    sealed: u32,
}

impl Flight {
    pub(super) fn new(core: &Arc<Core>, file: &Pinned, pieces: Vec<Piece>, key: WritingKey) -> Self {
        Self {
            core: Arc::clone(core),
            file: file.clone(),
            key,
            pieces: pieces.into(),
            puts: JoinSet::new(),
            begun: VecDeque::new(),
            stored: BTreeMap::new(),
            committing: None,
            failed: None,
        }
    }

    /// Until all is committed, or no more can be. Also when some pieces cannot be stored the others are committed: else
    /// a flight that is larger than the room would fill it, each time anew, with what no map ever refers to.
    pub(super) async fn run(mut self) -> Result<(), FsError> {
        loop {
            self.commit_what_is_stored();
            if self.committing.is_none() && self.puts.is_empty() && !self.may_begin() {
                return self.failed.map_or(Ok(()), Err);
            }
            match self.next().await? {
                Event::Committed(result) => {
                    self.committing = None;
                    result?;
                }
                Event::Put(put) => {
                    for (offset, stored) in put {
                        match stored {
                            Ok(stored) => drop(self.stored.insert(offset, stored)),
                            Err(error) => self.not_stored(offset, error),
                        }
                    }
                }
                Event::Memory(memory, count) => self.begin(memory, count),
            }
        }
    }

    fn not_stored(&mut self, offset: u64, error: FsError) {
        if error == FsError::NoSpace {
            // Known at once: the commit of the others may wait for room as well.
            self.core.full.store(true, Ordering::Relaxed);
        }
        self.begun.retain(|begun| *begun != offset);
        self.failed.get_or_insert(error);
    }

    fn may_begin(&self) -> bool {
        self.failed.is_none() && self.puts.len() < PUTS_MAX && !self.pieces.is_empty()
    }

    async fn next(&mut self) -> Result<Event, FsError> {
        let may_begin = self.may_begin();
        let next = self.next_batch()?;
        // Taken here and not by the puts: so the first in the order of the file never waits for those behind it.
        let memory = self.core.memory.sealed.hold(next.sealed);
        let committing = self.committing.as_mut();
        let is_committing = committing.is_some();
        tokio::select! {
            biased;
            Some(result) = async { Some(committing?.await) }, if is_committing => Ok(Event::Committed(result)),
            Some(put) = self.puts.join_next() => {
                Ok(Event::Put(put.map_err(|_| FsError::SessionEnded)?))
            }
            memory = memory, if may_begin => Ok(Event::Memory(memory, next.pieces)),
        }
    }

    /// The pieces that are put next: one, or many short ones together.
    fn next_batch(&self) -> Result<Batch, FsError> {
        let mut batch = Batch { pieces: 0, sealed: 0 };
        let mut bytes = 0;
        for piece in self.pieces.iter().take(MANY) {
            let len = piece.data.len() as u64;
            bytes += len;
            if batch.pieces > 0 && (len > SHORT_BYTES || bytes > MANY_BYTES) {
                break;
            }
            batch.pieces += 1;
            batch.sealed = batch.sealed.saturating_add(self.core.sealed_len(len)?);
            if len > SHORT_BYTES {
                break;
            }
        }
        Ok(batch)
    }

    fn begin(&mut self, memory: Option<OwnedSemaphorePermit>, count: usize) {
        let mut pieces: Vec<Piece> = self.pieces.drain(..count.min(self.pieces.len())).collect();
        self.begun.extend(pieces.iter().map(|piece| piece.offset));
        let (core, key) = (Arc::clone(&self.core), self.key.clone());
        if pieces.len() > 1 {
            self.puts.spawn(async move {
                let offsets: Vec<u64> = pieces.iter().map(|piece| piece.offset).collect();
                let pieces = pieces.into_iter().map(|piece| (piece, key.clone())).collect();
                offsets.into_iter().zip(core.put_extents(pieces, memory).await).collect()
            });
        } else if let Some(piece) = pieces.pop() {
            self.puts.spawn(async move { vec![(piece.offset, core.put_extent(piece, key, memory).await)] });
        }
    }

    /// Begins a commit, unless one is under way: of what is stored without a gap; at the end, of all that is stored.
    fn commit_what_is_stored(&mut self) {
        if self.committing.is_some() {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < COMMIT_MAX {
            let Some(stored) = self.begun.front().and_then(|offset| self.stored.remove(offset)) else {
                break;
            };
            self.begun.pop_front();
            batch.push(stored);
        }
        if batch.is_empty() {
            return;
        }
        let (core, file) = (Arc::clone(&self.core), self.file.clone());
        self.committing = Some(Box::pin(async move { core.commit(&file, batch).await }));
    }
}
