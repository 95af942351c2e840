//! Locks on ranges and files.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};
use weft_layout::Region;
use weft_types::{Epoch, Inode, LockKind, LockOwner, LockRange};
use weft_wire::locks::{Lock, LockConflict, LockOp, LockOutcome, LockRefusal, Locked};

use crate::backend::Failure;
use crate::locks::{Key, LockRequest, Mirror, Pending, Slot};
use crate::session::{ATTEMPT, OPERATION_MAX, PAUSE_MAX, PAUSE_MIN};
use crate::{Core, FsError};

/// An answer that a request waits and that took less than this came because too many wait: the next attempt is put off.
const KEPT: Duration = Duration::from_secs(1);
/// The longest that somebody who closes a file waits until its locks are gone.
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// Between two attempts of one that waits with too many others.
const POLL_MAX: Duration = Duration::from_secs(2);

impl Core {
    /// Sets a range to a mode for an owner (`F_SETLK`, `flock` with `LOCK_NB`), or waits until that is possible
    /// (`F_SETLKW`, `flock`). When the future is dropped, the request is taken back in the background: then nothing of it is
    /// held, and other requests of the same owner on this file wait for that. A `flock` that was to be converted is lost
    /// then, as on Linux.
    ///
    /// # Errors
    /// [`FsError::WouldBlock`] without `wait`, [`FsError::Deadlock`] with it, [`FsError::TooManyLocks`];
    /// [`FsError::SessionEnded`], and without `wait` [`FsError::TimedOut`]; [`FsError::Protocol`].
    pub async fn set_lock(self: &Arc<Self>, request: LockRequest, wait: bool) -> Result<(), FsError> {
        if wait {
            return self.request_lock(request, true).await;
        }
        match timeout(OPERATION_MAX, self.request_lock(request, false)).await {
            Ok(answer) => answer,
            Err(_) => Err(FsError::TimedOut),
        }
    }

    /// Lets go of a range for an owner (`F_UNLCK`, `LOCK_UN`). It is done, however long it takes, also when the future is
    /// dropped.
    ///
    /// # Errors
    /// [`FsError::TooManyLocks`] when a lock would be split; [`FsError::SessionEnded`]; [`FsError::TimedOut`]: it is done
    /// later.
    pub async fn unlock(
        self: &Arc<Self>,
        inode: Inode,
        kind: LockKind,
        owner: LockOwner,
        range: LockRange,
    ) -> Result<(), FsError> {
        let key = Key { inode, kind, owner };
        self.locks.forget_lost(key, whole_of(kind, range));
        self.let_go(key, LockOp::Unlock { range }).await
    }

    /// Lets go of all that an owner has of a file, as `close` does: of `fcntl` with the owner that the kernel names when a
    /// descriptor is closed, of `flock` with that of the open file. Nobody is asked when that owner has no lock there. Waits
    /// for half a second at most, and not at all when that was in vain the last time: who closes a file need not be there
    /// until its locks are gone.
    ///
    /// # Errors
    /// [`FsError::SessionEnded`]; [`FsError::TimedOut`]: it is done later.
    pub async fn release_locks(
        self: &Arc<Self>,
        inode: Inode,
        kind: LockKind,
        owner: LockOwner,
    ) -> Result<(), FsError> {
        let key = Key { inode, kind, owner };
        if self.locks.is_idle(key) {
            return Ok(());
        }
        self.locks.forget_lost(key, LockRange::WHOLE);
        let Some(releasing) = self.locks.begin_release(key) else {
            // It holds no more than is let go of already.
            let released = async {
                self.locks.released(key).await;
                Ok(())
            };
            return self.closes(released).await;
        };
        let core = Arc::clone(self);
        let released = self.complete(async move {
            let _alone = core.locks.let_go(key).await;
            drop(releasing);
            core.carry_out(key, LockOp::Release {}).await
        });
        self.closes(released).await
    }

    /// Waits as long as somebody does who closes a file.
    async fn closes(&self, released: impl Future<Output = Result<(), FsError>>) -> Result<(), FsError> {
        let patience = if self.locks.is_silent() { Duration::ZERO } else { CLOSE_MAX };
        timeout(patience, released).await.unwrap_or_else(|_| {
            self.locks.set_silent(true);
            Err(FsError::TimedOut)
        })
    }

    /// Whether an owner may have locks of a file: then they are to be [let go of](Self::release_locks) when it closes it.
    pub fn has_locks(&self, inode: Inode, kind: LockKind, owner: LockOwner) -> bool {
        !self.locks.is_idle(Key { inode, kind, owner })
    }

    /// The lock that is in the way of one that might be asked for (`F_GETLK`); `None`: nothing is.
    ///
    /// # Errors
    /// [`FsError::TooManyLocks`] for too many requests; any of [`FsError`] when the owner cannot be asked.
    pub async fn test_lock(self: &Arc<Self>, request: LockRequest) -> Result<Option<LockConflict>, FsError> {
        let LockRequest { range, mode, .. } = request;
        let tested = async {
            let key = request.key();
            self.locks.settled(key).await;
            let slot = self.locks.slot()?;
            match self.until_answered(&slot, key, LockOp::Test { range, mode }, |_, _| {}).await? {
                LockOutcome::Conflict { with } => Ok(Some(with)),
                outcome => done(outcome).map(|()| None),
            }
        };
        timeout(OPERATION_MAX, tested).await.unwrap_or(Err(FsError::TimedOut))
    }

    /// Whether any owner's locks were lost and not let go of yet: without that no
    /// [`is_lock_lost`](Self::is_lock_lost) need be asked.
    pub fn has_lost_locks(&self) -> bool {
        self.locks.has_lost()
    }

    /// Whether an owner's locks on a file were lost: the session ended, or a new owner of the metadata knew of others that
    /// exclude them. Holds until the owner lets go of what was lost, by [`unlock`](Self::unlock) or
    /// [`release_locks`](Self::release_locks). What it does to the file meanwhile is not protected, and a frontend refuses it
    /// (EIO).
    pub fn is_lock_lost(&self, inode: Inode, kind: LockKind, owner: LockOwner) -> bool {
        self.locks.is_lost(Key { inode, kind, owner })
    }

    async fn request_lock(self: &Arc<Self>, request: LockRequest, wait: bool) -> Result<(), FsError> {
        let key = request.key();
        self.locks.settled(key).await;
        let slot = self.locks.slot()?;
        let pending = self.locks.begin(key);
        let mut asking =
            Asking { core: Arc::clone(self), request, pending, slot: Some(slot), answered: false };
        let LockRequest { range, mode, pid, .. } = request;
        let op = LockOp::Set { range, mode, pid, wait };
        loop {
            let Some(slot) = asking.slot.as_mut() else { return Err(FsError::Protocol) };
            let note = |mirror: &mut Mirror, locked: &Locked| note_set(mirror, &request, pending, locked);
            match self.until_answered(slot, key, op, note).await {
                // It goes on as long as the session may.
                Err(FsError::TimedOut) if wait => {}
                // It was out of hearing for so long that it has left the queue.
                Ok(LockOutcome::Cancelled {}) => slot.again(),
                answer => {
                    asking.answered = matches!(answer, Ok(_) | Err(FsError::SessionEnded));
                    return done(answer?);
                }
            }
        }
    }

    /// Lets go of something, whatever becomes of the caller.
    async fn let_go(self: &Arc<Self>, key: Key, op: LockOp) -> Result<(), FsError> {
        let core = Arc::clone(self);
        self.complete(async move {
            let _alone = core.locks.let_go(key).await;
            core.carry_out(key, op).await
        })
        .await
    }

    /// Carries out what needs no waiting. The caller lets nobody else of the holder in.
    async fn carry_out(self: &Arc<Self>, key: Key, op: LockOp) -> Result<(), FsError> {
        let slot = self.locks.reserved_slot().await;
        let pending = self.locks.begin(key);
        let note = |mirror: &mut Mirror, locked: &Locked| {
            let change = match (op, locked.outcome) {
                (LockOp::Unlock { range }, LockOutcome::Done {}) => (whole_of(key.kind, range), None),
                (LockOp::Release {}, LockOutcome::Done {}) => {
                    mirror.released();
                    (LockRange::WHOLE, None)
                }
                (LockOp::Set { range, mode, pid, .. }, LockOutcome::Done {}) => (range, Some((mode, pid))),
                _ => return,
            };
            mirror.changed(locked.at, change);
        };
        let outcome = self.until_done(&slot, key, op, note).await;
        self.locks.end(key, pending);
        done(outcome?)
    }

    /// Takes back a request that was given up. When it was granted before, it is undone.
    async fn take_back(self: &Arc<Self>, request: LockRequest, pending: Pending, slot: Slot) {
        let key = request.key();
        let before = self.locks.held(key, request.change().0);
        let cancel = self.locks.reserved_slot().await;
        let op = LockOp::Cancel { slot: slot.id, seq: slot.seq };
        let note = |mirror: &mut Mirror, locked: &Locked| note_set(mirror, &request, pending, locked);
        let outcome = self.until_done(&cancel, key, op, note).await;
        drop((slot, cancel));
        self.locks.end(key, pending);
        let was_granted = outcome == Ok(LockOutcome::Done {});
        match request.kind {
            LockKind::Posix if was_granted => self.set_back(key, request.range, &before).await,
            // One of a whole file that was to be converted may be gone already.
            LockKind::Flock if was_granted || !before.is_empty() => {
                self.unlock_again(key, LockRange::WHOLE).await;
            }
            _ => {}
        }
    }

    /// A range becomes what it was before it was granted. What was held is so without a break, as far as it goes: others wait
    /// for it, and would come between.
    async fn set_back(self: &Arc<Self>, key: Key, range: LockRange, before: &[Region]) {
        for Region { range, mode, pid } in before.iter().copied() {
            if let Err(error) = self.carry_out(key, LockOp::Set { range, mode, pid, wait: false }).await {
                tracing::warn!(%error, ?key, "a lock is lost: what was to replace it was given up");
                self.locks.lose(key, range);
            }
        }
        for gap in gaps(range, before) {
            self.unlock_again(key, gap).await;
        }
    }

    async fn unlock_again(self: &Arc<Self>, key: Key, range: LockRange) {
        if let Err(error) = self.carry_out(key, LockOp::Unlock { range }).await {
            tracing::debug!(%error, ?key, "what was given up when it was granted stays");
        }
    }

    /// As [`until_answered`](Self::until_answered), for what must be done as long as there is a session.
    async fn until_done(
        self: &Arc<Self>,
        slot: &Slot,
        key: Key,
        op: LockOp,
        note: impl Fn(&mut Mirror, &Locked),
    ) -> Result<LockOutcome, FsError> {
        loop {
            match self.until_answered(slot, key, op, &note).await {
                Err(FsError::TimedOut) => {}
                answer => return answer,
            }
        }
    }

    /// Makes a request until it is answered, and has not to wait any more, by the ownership that knows what is held here.
    async fn until_answered(
        self: &Arc<Self>,
        slot: &Slot,
        key: Key,
        op: LockOp,
        note: impl Fn(&mut Mirror, &Locked),
    ) -> Result<LockOutcome, FsError> {
        let (mut pause, mut poll) = (PAUSE_MIN, PAUSE_MIN);
        loop {
            self.session.serving().await?;
            let Some(epoch) = self.locks.epoch() else {
                // Whoever it is will say so.
                self.tell_owner(None, Epoch::new(0)).await?;
                continue;
            };
            let (filesystem, session) = (self.session.filesystem(), self.session.id());
            let Key { inode, kind, owner } = key;
            let call =
                Lock { filesystem, session, epoch, slot: slot.id, seq: slot.seq, inode, kind, owner, op };
            let asked = Instant::now();
            let answer = tokio::select! {
                biased;
                answer = self.backend.lock(call, ATTEMPT) => answer,
                () = self.session.over(session) => return Err(FsError::SessionEnded),
            };
            if matches!(answer, Ok(_) | Err(Failure::Refused(_))) {
                self.locks.set_silent(false);
            }
            match answer {
                // What it has granted was lost with it.
                Ok(_) if self.session.is_over(session) => return Err(FsError::SessionEnded),
                // Else another one has begun since: it knows nothing of this, and is asked again.
                Ok(locked) if self.locks.note(key, epoch, |mirror| note(mirror, &locked)) => {
                    if locked.outcome != (LockOutcome::Waiting {}) {
                        return Ok(locked.outcome);
                    }
                    if asked.elapsed() < KEPT {
                        sleep(poll).await;
                        poll = (poll * 2).min(POLL_MAX);
                    }
                }
                Ok(_) => {}
                Err(Failure::Refused(LockRefusal::ReclaimFirst { epoch: next })) => {
                    self.tell_owner(Some(epoch), next).await?;
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(Failure::Refused(LockRefusal::SessionEnded)) => {
                    self.session.end(session);
                    return Err(FsError::SessionEnded);
                }
                Err(Failure::Refused(LockRefusal::Overtaken) | Failure::Broken) => {
                    return Err(FsError::Protocol);
                }
                Err(Failure::Busy | Failure::Unreachable | Failure::TimedOut) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

/// A request for a lock that somebody waits for. Dropped without an answer, it is taken back.
struct Asking {
    core: Arc<Core>,
    request: LockRequest,
    pending: Pending,
    slot: Option<Slot>,
    answered: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Self { core, request, pending, slot, answered } = self;
        let (key, request, pending) = (request.key(), *request, *pending);
        let Some(slot) = slot.take().filter(|_| !*answered && !core.session.has_ended()) else {
            core.locks.end(key, pending);
            return;
        };
        let (core, alone) = (Arc::clone(core), core.locks.give_up(key));
        core.runtime.clone().spawn(async move {
            core.take_back(request, pending, slot).await;
            drop(alone);
        });
    }
}

/// What of a range is in none of these regions of it, which are in order.
fn gaps(range: LockRange, regions: &[Region]) -> Vec<LockRange> {
    let mut gaps = Vec::new();
    let mut from = range.start();
    for region in regions {
        gaps.extend(region.range.start().checked_sub(1).and_then(|end| LockRange::new(from, end)));
        from = region.range.end().saturating_add(1);
    }
    gaps.extend(LockRange::new(from, range.end()));
    gaps
}

/// Of a whole file there is no other range.
const fn whole_of(kind: LockKind, range: LockRange) -> LockRange {
    match kind {
        LockKind::Posix => range,
        LockKind::Flock => LockRange::WHOLE,
    }
}

/// What an answer to a request for a lock says of what is held.
fn note_set(mirror: &mut Mirror, request: &LockRequest, pending: Pending, locked: &Locked) {
    let converts = request.kind == LockKind::Flock;
    match locked.outcome {
        LockOutcome::Done {} => mirror.changed(locked.at, request.change()),
        LockOutcome::Waiting {} if converts => mirror.let_go(locked.at),
        LockOutcome::WouldBlock {} if converts => mirror.changed(locked.at, (LockRange::WHOLE, None)),
        _ => {}
    }
    if locked.outcome == (LockOutcome::Waiting {}) {
        mirror.waits(pending, locked.at);
    }
}

/// What a request came to in the end.
const fn done(outcome: LockOutcome) -> Result<(), FsError> {
    match outcome {
        LockOutcome::Done {} => Ok(()),
        LockOutcome::WouldBlock {} => Err(FsError::WouldBlock),
        LockOutcome::Deadlock {} => Err(FsError::Deadlock),
        LockOutcome::TooMany {} => Err(FsError::TooManyLocks),
        LockOutcome::Conflict { .. } | LockOutcome::Waiting {} | LockOutcome::Cancelled {} => {
            Err(FsError::Protocol)
        }
    }
}
