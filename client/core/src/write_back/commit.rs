//! Stored extents into the file's map, here and at the owner.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use weft_types::SessionId;
use weft_wire::meta::{Attributes, Caller, Commit, MetaError, MetaOp, MetaReply};

use crate::file::Pinned;
use crate::map::Replaced;
use crate::put::Stored;
use crate::{Core, FsError};

/// Extents of one commit.
pub(super) const COMMIT_MAX: usize = 256;
/// How long a commit that was refused because of the placement goes on trying.
const PLACED_MAX: Duration = Duration::from_secs(25);

impl Core {
    /// Commits extents, in the order of the file.
    pub(super) async fn commit(self: &Arc<Self>, file: &Pinned, batch: Vec<Stored>) -> Result<(), FsError> {
        let mut size = batch.len();
        let mut rest = batch;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(size));
            match self.commit_placed(file, &mut rest).await {
                Ok(()) => rest = later,
                // So much is replaced at once that the owner wants one extent at a time.
                Err(FsError::Refused(MetaError::Invalid)) if rest.len() > 1 => {
                    size = 1;
                    rest.extend(later);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Commits one batch; when a group has other members by now, what moved is put again before.
    async fn commit_placed(self: &Arc<Self>, file: &Pinned, batch: &mut [Stored]) -> Result<(), FsError> {
        let until = Instant::now() + PLACED_MAX;
        loop {
            match self.commit_once(file, batch).await {
                Err(error @ FsError::Refused(MetaError::StaleGroup)) if Instant::now() < until => {
                    self.put_moved(batch, until, error).await?;
                }
                result => return result,
            }
        }
    }

    /// Waits for a map by which groups of these extents have other members, and puts to those what they lack.
    pub(crate) async fn put_moved(
        self: &Arc<Self>,
        batch: &mut [Stored],
        until: Instant,
        error: FsError,
    ) -> Result<(), FsError> {
        let Some(session) = batch.first().map(|stored| stored.extent.session) else { return Ok(()) };
        let mut map = self.cluster.subscribe();
        let _asking = self.cluster.ask();
        loop {
            map.mark_unchanged();
            let mut moved = false;
            for stored in &mut *batch {
                moved |= self.put_again(stored).await?;
            }
            if moved {
                return Ok(());
            }
            tokio::select! {
                biased;
                changed = timeout_at(until, map.changed()) => drop(changed.map_err(|_| error)?),
                () = self.session.over(session) => return Err(FsError::SessionEnded),
            }
        }
    }

    async fn commit_once(&self, file: &Pinned, batch: &[Stored]) -> Result<(), FsError> {
        let op = MetaOp::Commit(commit_of(file, batch));
        let change = self.names.change([file.inode]);
        let session = flown_under(&[file])?;
        let done = self.session.meta_under(session, Caller::default(), op).await?;
        let MetaReply::Attributes(attributes) = done.reply else { return Err(FsError::Protocol) };
        self.names.set_attributes(done.stamp, &attributes);
        drop(change);
        self.applied(file, batch, &attributes);
        Ok(())
    }

    /// Commits the extents of several files by one operation; all of them, or none. When what moved cannot be put again,
    /// [`MetaError::StaleGroup`]: that one extent found no place says nothing of the other files.
    pub(super) async fn commit_files(
        self: &Arc<Self>,
        files: &[&Pinned],
        stored: &mut [Stored],
        counts: &[usize],
    ) -> Result<(), FsError> {
        let until = Instant::now() + PLACED_MAX;
        loop {
            match self.commit_files_once(files, stored, counts).await {
                Err(error @ FsError::Refused(MetaError::StaleGroup)) if Instant::now() < until => {
                    self.put_moved(stored, until, error).await.map_err(|moving| match moving {
                        FsError::SessionEnded => moving,
                        _ => error,
                    })?;
                }
                result => return result,
            }
        }
    }

    async fn commit_files_once(
        &self,
        files: &[&Pinned],
        stored: &[Stored],
        counts: &[usize],
    ) -> Result<(), FsError> {
        let mut batches = Vec::with_capacity(files.len());
        let mut rest = stored;
        for count in counts {
            let (batch, later) = rest.split_at(*count);
            batches.push(batch);
            rest = later;
        }
        let commits = files.iter().zip(&batches).map(|(file, batch)| commit_of(file, batch)).collect();
        let change = self.names.change(files.iter().map(|file| file.inode));
        let session = flown_under(files)?;
        let op = MetaOp::CommitFiles(commits);
        let answer = self.session.meta_under(session, Caller::default(), op).await?;
        let stamp = answer.stamp;
        let committed = match answer.reply {
            MetaReply::Committed(committed) if committed.len() == files.len() => committed,
            _ => return Err(FsError::Protocol),
        };
        committed.iter().for_each(|attributes| self.names.set_attributes(stamp, attributes));
        drop(change);
        for ((file, batch), attributes) in files.iter().zip(batches).zip(&committed) {
            self.applied(file, batch, attributes);
        }
        Ok(())
    }

    /// A commit was answered: what is known here follows.
    fn applied(&self, file: &Pinned, batch: &[Stored], attributes: &Attributes) {
        let mut state = file.lock();
        state.follow(attributes);
        let replaced: Vec<_> = batch.iter().map(|stored| state.map.place(stored.entry())).collect();
        let arrived = state.dirty.arrive(batch.iter().map(|stored| stored.offset.get()));
        self.room.count(&mut state);
        drop(state);
        self.room.committed(batch.iter().map(|stored| self.room.cost(stored.len(), 1)).sum());
        self.memory.dirty.give_back(arrived);
        self.note_replaced(file, batch, &replaced);
    }

    /// What a commit left behind: dead extents, and windows that may be worth a compaction.
    fn note_replaced(&self, file: &Pinned, batch: &[Stored], replaced: &[Replaced]) {
        let now = Instant::now();
        let mut windows = self.windows();
        for (stored, replaced) in batch.iter().zip(replaced) {
            windows.committed(file.inode, stored.offset.get(), stored.len(), now);
            for stump in &replaced.stumps {
                windows.suspect(file.inode, *stump, 0, now);
            }
            self.extents.forget(&replaced.gone);
        }
    }
}

/// The session that files are on their way under: what has departed under one is committed under no other, for which it
/// would have to be judged first.
fn flown_under(files: &[&Pinned]) -> Result<SessionId, FsError> {
    let mut sessions = files.iter().map(|file| file.lock().flight_session);
    let first = sessions.next().flatten().ok_or(FsError::Protocol)?;
    if sessions.all(|session| session == Some(first)) { Ok(first) } else { Err(FsError::SessionEnded) }
}

fn commit_of(file: &Pinned, batch: &[Stored]) -> Commit {
    let state = file.lock();
    Commit {
        inode: file.inode,
        extents: batch.iter().map(Stored::offer).collect(),
        size_min: batch.iter().map(Stored::end).max().unwrap_or(0),
        modified: state.flight_modified,
        attributes: state.flight_held.changes(),
    }
}
