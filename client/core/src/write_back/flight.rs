//! One flight: pieces are sealed and stored several at a time, and committed in the order of the file while others are
//! still on their way.

use core::future::Future;
use core::pin::Pin;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use weft_keys::DataKey;
use weft_types::DataKeyId;

use super::commit::COMMIT_MAX;
use crate::dirty::Piece;
use crate::file::Pinned;
use crate::put::Stored;
use crate::{Core, FsError};

/// Extents of a file that are stored at once.
const PUTS_MAX: usize = 32;

type Committing = Pin<Box<dyn Future<Output = Result<(), FsError>> + Send>>;

/// Pieces of a file on their way.
pub(super) struct Flight {
    core: Arc<Core>,
    file: Pinned,
    key: (DataKeyId, Arc<DataKey>),
    /// Not begun, in the order of the file.
    pieces: VecDeque<Piece>,
    puts: JoinSet<(u64, Result<Stored, FsError>)>,
    /// Offsets of those that are begun and not committed, in order.
    begun: VecDeque<u64>,
    stored: BTreeMap<u64, Stored>,
    committing: Option<Committing>,
    /// The first put that failed: no other is begun then.
    failed: Option<FsError>,
}

enum Event {
    Committed(Result<(), FsError>),
    Put(u64, Result<Stored, FsError>),
    Memory(Option<OwnedSemaphorePermit>),
}

impl Flight {
    pub(super) fn new(
        core: &Arc<Core>,
        file: &Pinned,
        pieces: Vec<Piece>,
        key: (DataKeyId, Arc<DataKey>),
    ) -> Self {
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
                Event::Put(offset, Ok(stored)) => drop(self.stored.insert(offset, stored)),
                Event::Put(offset, Err(error)) => {
                    self.begun.retain(|begun| *begun != offset);
                    self.failed.get_or_insert(error);
                }
                Event::Memory(memory) => self.begin(memory),
            }
        }
    }

    fn may_begin(&self) -> bool {
        self.failed.is_none() && self.puts.len() < PUTS_MAX && !self.pieces.is_empty()
    }

    async fn next(&mut self) -> Result<Event, FsError> {
        let may_begin = self.may_begin();
        let first = self.pieces.front().map_or(1, |piece| piece.data.len() as u64);
        // Taken here and not by the puts: so the first in the order of the file never waits for those behind it.
        let memory = self.core.memory.sealed.hold(self.core.sealed_len(first)?);
        let committing = self.committing.as_mut();
        let is_committing = committing.is_some();
        tokio::select! {
            biased;
            Some(result) = async { Some(committing?.await) }, if is_committing => Ok(Event::Committed(result)),
            Some(put) = self.puts.join_next() => {
                let (offset, result) = put.map_err(|_| FsError::SessionEnded)?;
                Ok(Event::Put(offset, result))
            }
            memory = memory, if may_begin => Ok(Event::Memory(memory)),
        }
    }

    fn begin(&mut self, memory: Option<OwnedSemaphorePermit>) {
        let Some(piece) = self.pieces.pop_front() else { return };
        self.begun.push_back(piece.offset);
        let (core, key) = (Arc::clone(&self.core), self.key.clone());
        self.puts.spawn(async move { (piece.offset, core.put_extent(piece, key, memory).await) });
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
