//! Dirty bytes to the drives, and into the file's map.

mod commit;
mod flight;
mod group;

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep, timeout};
use weft_types::SessionId;
use weft_wire::meta::{Caller, MetaError, MetaOp, MetaReply};

use crate::dirty::{Piece, Take};
use crate::file::Pinned;
use crate::held::Held;
use crate::put::WritingKey;
use crate::{Core, FsError};
use flight::Flight;

/// Dirty bytes are sent when the oldest is this old, early enough that they are committed after 5 s.
pub(crate) const AGE_MAX: Duration = Duration::from_secs(3);
/// Those of a file that nobody has open any more: it is probably as it will be.
const AGE_CLOSED: Duration = Duration::from_secs(1);
/// The longest that an fsync waits.
const FSYNC_MAX: Duration = Duration::from_secs(60);
/// Extents of one flight.
const PIECES_MAX: usize = 1024;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What became of a flight.
enum Flown {
    Nothing,
    Landed,
    /// Placement changed under it: it is flown again at once.
    Again,
    Failed(FsError),
}

impl Core {
    /// Starts to write a file back, unless there is nothing to do.
    pub(crate) fn kick(self: &Arc<Self>, file: &Pinned, what: Take) {
        let mut state = file.lock();
        if state.dirty.dirty() == 0 {
            return;
        }
        state.wanted = Some(if state.wanted == Some(Take::All) { Take::All } else { what });
        if !state.flushing {
            state.flushing = true;
            drop(state);
            self.go_on(file.clone(), None);
        }
    }

    /// Writes a file back that is marked as flushing; `flown` is what became of its last flight.
    fn go_on(self: &Arc<Self>, file: Pinned, flown: Option<Flown>) {
        let core = Arc::clone(self);
        self.runtime.spawn(async move { core.write_back(&file, flown).await });
    }

    /// Starts to write every file back.
    pub(crate) fn kick_all(self: &Arc<Self>) {
        self.kick_many(self.unwritten.files());
    }

    /// Starts to write back what is old.
    pub(crate) fn kick_old(self: &Arc<Self>) {
        self.crowded.store(false, Ordering::Relaxed);
        let mut files = self.unwritten.files();
        files.retain(|file| {
            let state = file.lock();
            let age = if state.handles == 0 { AGE_CLOSED } else { AGE_MAX };
            state.since.is_some_and(|since| since.elapsed() >= age)
        });
        self.kick_many(files);
    }

    /// Starts to write files back: the small ones together.
    fn kick_many(self: &Arc<Self>, mut files: Vec<Pinned>) {
        // Those that wait for a group already have their turn.
        files.retain(|file| !file.lock().queued);
        let (small, others): (Vec<_>, Vec<_>) = files.into_iter().partition(group::may_join);
        if small.len() < 2 {
            for file in &small {
                file.lock().queued = false;
                self.kick(file, Take::All);
            }
        } else {
            self.write_back_together(small);
        }
        others.iter().for_each(|file| self.kick(file, Take::All));
    }

    /// Waits until everything written so far is committed.
    pub(crate) async fn commit_all(self: &Arc<Self>, file: &Pinned) -> Result<(), FsError> {
        let mut progress = file.progress.subscribe();
        let (target, failures) = {
            let state = file.lock();
            if state.dirty.is_clean() {
                return Ok(());
            }
            (state.departed + u64::from(state.dirty.dirty() > 0), state.failures)
        };
        self.kick(file, Take::All);
        let committed = progress.wait_for(|_| {
            let state = file.lock();
            state.landed >= target || state.dirty.is_clean() || state.failures != failures
        });
        tokio::select! {
            biased;
            waited = timeout(FSYNC_MAX, committed) => {
                if waited.is_err() {
                    return Err(FsError::TimedOut);
                }
            }
            () = self.session.ended() => return Err(FsError::SessionEnded),
        }
        let state = file.lock();
        let committed = state.landed >= target || (state.dirty.is_clean() && state.failures == failures);
        if committed { Ok(()) } else { Err(state.failure.unwrap_or(FsError::SessionEnded)) }
    }

    async fn write_back(self: &Arc<Self>, file: &Pinned, mut flown: Option<Flown>) {
        let mut pause = PAUSE_MIN;
        loop {
            let flown = match flown.take() {
                Some(flown) => flown,
                None => self.fly(file).await,
            };
            // Also when there was nothing to do: what was waited for may have been cut off.
            file.progress.send_modify(|count| *count += 1);
            match flown {
                Flown::Nothing => return,
                Flown::Landed => {
                    pause = PAUSE_MIN;
                    continue;
                }
                Flown::Again => {}
                Flown::Failed(error) => {
                    tracing::warn!(inode = %file.inode, %error, "bytes were not written, and are kept");
                    if self.session.has_ended() || error == FsError::Refused(MetaError::NotFound) {
                        let held = self.drop_dirty(file, error);
                        if held > 0 {
                            self.lose(held, error);
                        }
                        return;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Nobody will ever take these bytes. Returns how many there were.
    pub(crate) fn drop_dirty(&self, file: &Pinned, error: FsError) -> u64 {
        let mut state = file.lock();
        let held = state.dirty.held();
        state.dirty = crate::dirty::DirtyRuns::default();
        self.room.count(&mut state);
        state.flushing = false;
        state.wanted = None;
        state.since = None;
        (state.held, state.flight_held) = (Held::default(), Held::default());
        state.failure = Some(error);
        drop(state);
        self.memory.dirty.give_back(held);
        file.progress.send_modify(|count| *count += 1);
        held
    }

    /// One flight. The file's length cannot change meanwhile.
    async fn fly(self: &Arc<Self>, file: &Pinned) -> Flown {
        let order = file.order.lock().await;
        if self.is_abandoned(file) {
            // Nobody misses them.
            self.drop_dirty(file, FsError::Refused(MetaError::NotFound));
            return Flown::Nothing;
        }
        // After a failure drives are asked with one extent: those that serve, or have room, would keep the shards of
        // many.
        let careful = self.full.load(Ordering::Relaxed) || file.lock().careful;
        let most = if careful { 1 } else { PIECES_MAX };
        let Some((pieces, complete)) = depart(file, most, self.session.id()) else { return Flown::Nothing };
        let flown = match self.send(file, pieces).await {
            Ok(()) => self.landed(file, complete),
            Err(error) => self.came_back(file, error),
        };
        if matches!(flown, Flown::Again) {
            self.refresh_map().await;
        }
        drop(order);
        flown
    }

    /// Stores pieces and commits them.
    async fn send(self: &Arc<Self>, file: &Pinned, pieces: Vec<Piece>) -> Result<(), FsError> {
        let key: WritingKey = self.writing_key(file).await?;
        Flight::new(self, file, pieces, key).run().await
    }

    /// What was on its way is committed.
    fn landed(&self, file: &Pinned, complete: bool) -> Flown {
        let mut state = file.lock();
        self.full.store(false, Ordering::Relaxed);
        state.flight_modified = None;
        state.held_arrived();
        state.careful = false;
        if complete {
            state.landed = state.departed;
        }
        if state.dirty.dirty() == 0 {
            state.since = None;
        }
        if state.dirty.has_full_run() && state.wanted.is_none() {
            state.wanted = Some(Take::Full);
        }
        Flown::Landed
    }

    /// What was on its way is dirty again, where nothing newer is.
    fn came_back(&self, file: &Pinned, error: FsError) -> Flown {
        let mut state = file.lock();
        let newer = state.dirty.restore();
        self.room.count(&mut state);
        self.memory.dirty.give_back(newer);
        state.held_came_back();
        let written = state.flight_modified.take();
        // A time that was set came later than what departed.
        if !state.held.sets_modified() {
            state.modified = state.modified.max(written);
        }
        state.since = state.since.or_else(|| Some(Instant::now()));
        state.wanted = Some(Take::All);
        // Another session may take them, under other ids.
        let over = error == FsError::SessionEnded && !self.session.has_ended();
        if over || matches!(error, FsError::Refused(MetaError::ForeignExtent | MetaError::StaleGroup)) {
            return Flown::Again;
        }
        let full = matches!(error, FsError::NoSpace | FsError::Refused(MetaError::NoSpace));
        self.full.store(full, Ordering::Relaxed);
        state.careful = true;
        state.failures += 1;
        state.failure = Some(error);
        Flown::Failed(error)
    }

    /// Unlinked, and nobody can reach it any more: its bytes need not be written.
    pub(crate) fn is_abandoned(&self, file: &Pinned) -> bool {
        // The lock is let go first: whoever holds the references may look at files.
        let handles = file.lock().handles;
        handles == 0 && self.references.is_abandoned(file.inode)
    }

    /// The key for new extents of a file.
    pub(crate) async fn writing_key(&self, file: &Pinned) -> Result<WritingKey, FsError> {
        if let Some(key) = file.lock().writing_key() {
            return Ok(key);
        }
        match self.session.meta(Caller::default(), MetaOp::Open { inode: file.inode }).await?.reply {
            MetaReply::Opened(opened) => {
                let mut state = file.lock();
                state.learn_key(&opened.key);
                state.key = Some(opened.key.id);
                let key = state.key_of(opened.key.id).ok_or(FsError::Protocol)?;
                Ok((opened.key.id, key))
            }
            _ => Err(FsError::Protocol),
        }
    }
}

/// Takes what is to be written under a session, at most so many pieces; `None` ends the write-back. Whether it is everything
/// is told too.
fn depart(file: &Pinned, most: usize, session: SessionId) -> Option<(Vec<Piece>, bool)> {
    let mut state = file.lock();
    let judged = state.unjudged.is_none();
    let what = state.wanted.take().filter(|_| judged);
    let pieces = what.map(|what| state.dirty.take(what, most)).unwrap_or_default();
    if pieces.is_empty() {
        state.flushing = false;
        return None;
    }
    state.flight_session = Some(session);
    let complete = state.dirty.dirty() == 0;
    state.flight_modified = if complete { state.modified.take() } else { state.modified };
    if complete {
        state.held_departs();
        state.departed += 1;
        state.since = None;
    } else if pieces.len() == most {
        state.wanted = what;
    }
    Some((pieces, complete))
}
