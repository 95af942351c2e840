//! The session: its lease, and operations that are done exactly once.

mod slots;

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep, timeout_at};
use weft_types::{FilesystemId, SessionId};
use weft_wire::coherence::{Attach, Hold, Place, Term};
use weft_wire::compute::{
    CloseSession, Meta, MetaDone, OtherSession, RenewSession, SessionOpened, SessionRenewed,
};
use weft_wire::grant::SignedGrant;
use weft_wire::meta::{Caller, MetaError, MetaOp};

use crate::FsError;
use crate::backend::{Backend, Failure};
use slots::Slots;

/// The longest that an operation waits for the owner of the metadata.
pub(crate) const OPERATION_MAX: Duration = Duration::from_secs(30);
/// One attempt of a metadata call.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(8);
/// Renewals are no farther apart: after a takeover others wait until this session has told what it holds.
const RENEWAL_MAX: Duration = Duration::from_secs(1);
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(20);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long closing a session may take.
const CLOSE: Duration = Duration::from_secs(5);

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Until then nobody else changes what this session has cached without recalling it.
    Leased {
        until: Instant,
        /// It has no place among the sessions: nothing that is cached counts, and nothing is asked.
        detached: bool,
    },
    /// It never comes back.
    Ended,
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    backend: Arc<dyn Backend>,
    id: SessionId,
    filesystem: FilesystemId,
    read_only: bool,
    lease: Mutex<Duration>,
    place: Mutex<Place>,
    standing: weft_watch::Sender<Standing>,
    slots: Slots,
    grant: SignedGrant,
    others: Vec<OtherSession>,
}

impl Session {
    /// `asked` is when the session was asked for: the lease counts from there.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        opened: &SessionOpened,
        read_only: bool,
        asked: Instant,
    ) -> Self {
        let lease = Duration::from_millis(opened.lease_ms.into());
        Self {
            backend,
            id: opened.session,
            filesystem: opened.filesystem,
            read_only,
            lease: Mutex::new(lease),
            standing: weft_watch::Sender::new(Standing::Leased { until: asked + lease, detached: false }),
            place: Mutex::new(opened.place),
            slots: Slots::new(opened.slots),
            grant: opened.grant.clone(),
            others: opened.others.clone(),
        }
    }

    pub(crate) const fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) const fn filesystem(&self) -> FilesystemId {
        self.filesystem
    }

    /// What drives want to see before they take the session's shards.
    pub(crate) const fn grant(&self) -> &SignedGrant {
        &self.grant
    }

    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.standing.borrow() == Standing::Ended
    }

    /// How long the lease still holds; zero without one.
    pub(crate) fn remaining(&self) -> Duration {
        match *self.standing.borrow() {
            Standing::Leased { until, .. } => until.saturating_duration_since(Instant::now()),
            Standing::Ended => Duration::ZERO,
        }
    }

    /// The session's place among others.
    pub(crate) fn place(&self) -> Place {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no other session: whatever is told may be remembered, and written behind.
    pub(crate) fn is_alone(&self) -> bool {
        self.place().alone
    }

    /// The session has no place under this term any more: until it has another one, nothing is served.
    pub(crate) fn detach(&self, term: Term) {
        if self.place().term == term {
            self.standing.send_if_modified(|standing| match standing {
                Standing::Leased { detached, .. } => !core::mem::replace(detached, true),
                Standing::Ended => false,
            });
        }
    }

    /// Waits until the session is to attach; false: it has ended.
    pub(crate) async fn detached(&self) -> bool {
        let lost = |standing: &Standing| !matches!(standing, Standing::Leased { detached: false, .. });
        // The sender lives as long as `self`.
        let _ = self.standing.subscribe().wait_for(lost).await;
        !self.has_ended()
    }

    /// It is not alone from now on.
    pub(crate) fn leave_place(&self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).alone = false;
    }

    /// Asks for a place, with what is still held, until there is one. It is taken by [`take_place`](Self::take_place).
    pub(crate) async fn attach(&self, holds: Vec<Hold>) -> Result<Place, FsError> {
        let mut pause = PAUSE_MIN;
        let call = Attach { filesystem: self.filesystem, session: self.id, holds };
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.backend.attach(call.clone(), ATTEMPT) => answer,
                () = self.ended() => return Err(FsError::SessionEnded),
            };
            match answer {
                Ok(place) => return Ok(place),
                Err(Failure::Refused(_)) => {
                    self.end();
                    return Err(FsError::SessionEnded);
                }
                Err(error) => tracing::debug!(?error, "the session was not attached"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Operations name this term from now on, and what is cached counts.
    pub(crate) fn take_place(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.standing.send_if_modified(|standing| match standing {
            Standing::Leased { detached, .. } => {
                *detached = false;
                true
            }
            Standing::Ended => false,
        });
    }

    /// Whether memory may answer: the lease holds.
    pub(crate) fn is_serving(&self) -> bool {
        match *self.standing.borrow() {
            Standing::Leased { until, detached } => !detached && until > Instant::now(),
            Standing::Ended => false,
        }
    }

    /// The session is no more, or will not be asked any more.
    pub(crate) fn end(&self) {
        self.standing.send_replace(Standing::Ended);
    }

    /// Completes when the session has ended.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.standing.subscribe().wait_for(|standing| *standing == Standing::Ended).await;
    }

    /// Waits until the lease holds: its renewal may be on its way.
    pub(crate) async fn serving(&self) -> Result<(), FsError> {
        let mut standing = self.standing.subscribe();
        let holds = |standing: &Standing| match standing {
            Standing::Leased { until, detached } => !detached && *until > Instant::now(),
            Standing::Ended => true,
        };
        let waited = timeout_at(Instant::now() + OPERATION_MAX, standing.wait_for(holds)).await;
        match waited {
            Ok(Ok(standing)) if *standing != Standing::Ended => Ok(()),
            Ok(_) => Err(FsError::SessionEnded),
            Err(_) => Err(FsError::TimedOut),
        }
    }

    /// Carries out one operation, exactly once: the same call is made again, in the same slot, until it is answered
    /// or the session ends. Whoever waits for it may give up; a mutation must not be given up.
    pub(crate) async fn meta(&self, caller: Caller, op: MetaOp) -> Result<MetaDone, FsError> {
        self.serving().await?;
        let slot = match op {
            MetaOp::Commit(_) | MetaOp::CommitFiles(_) => self.slots.take_for_commit().await,
            _ => self.slots.take().await,
        };
        let (filesystem, session, term) = (self.filesystem, self.id, self.place().term);
        let mut call = Meta { filesystem, session, slot: slot.id(), seq: slot.seq(), caller, op, term };
        let mut pause = PAUSE_MIN;
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.backend.meta(call.clone(), ATTEMPT) => answer,
                () = self.ended() => return Err(FsError::SessionEnded),
            };
            match answer {
                Ok(done) => {
                    self.serving().await?;
                    return Ok(done);
                }
                Err(Failure::Refused(MetaError::SessionEnded)) => {
                    self.end();
                    return Err(FsError::SessionEnded);
                }
                Err(Failure::Refused(MetaError::NotAttached)) => {
                    self.detach(call.term);
                    self.serving().await?;
                    call.term = self.place().term;
                }
                Err(Failure::Refused(refusal)) => return Err(refusal.into()),
                Err(Failure::Broken) => return Err(FsError::Protocol),
                Err(Failure::Busy | Failure::Unreachable | Failure::TimedOut) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Renews the lease once; answers what the owner says. The lease counts from before the renewal was sent.
    pub(crate) async fn renew(&self) -> Option<SessionRenewed> {
        let sent = Instant::now();
        let call = RenewSession { filesystem: self.filesystem, session: self.id };
        match self.backend.renew(call, self.quarter()).await {
            Ok(renewed) => {
                let lease = Duration::from_millis(renewed.lease_ms.into());
                *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
                self.standing.send_if_modified(|standing| match standing {
                    Standing::Leased { until, .. } => {
                        *until = (*until).max(sent + lease);
                        true
                    }
                    Standing::Ended => false,
                });
                return Some(renewed);
            }
            Err(Failure::Refused(_)) => self.end(),
            Err(error) => tracing::debug!(?error, "the session was not renewed"),
        }
        None
    }

    /// How often to renew. Whether another owner has begun is heard by this too.
    pub(crate) fn renewal_interval(&self) -> Duration {
        self.quarter().min(RENEWAL_MAX)
    }

    /// A quarter of the lease: how long the answer to a renewal is worth waiting for.
    fn quarter(&self) -> Duration {
        let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        (lease / 4).max(Duration::from_millis(50))
    }

    /// Sessions of the same identity that were open when this one was opened.
    pub(crate) fn others(&self) -> &[OtherSession] {
        &self.others
    }

    /// Ends another session of the same identity.
    pub(crate) async fn close_other(&self, session: SessionId) {
        let call = CloseSession { filesystem: self.filesystem, session };
        if let Err(error) = self.backend.close(call, CLOSE).await {
            tracing::debug!(?error, %session, "a dead session expires by itself");
        }
    }

    /// Ends the session, at the owner too when it can be reached.
    pub(crate) async fn close(&self) {
        if !self.has_ended() {
            let call = CloseSession { filesystem: self.filesystem, session: self.id };
            if let Err(error) = self.backend.close(call, CLOSE).await {
                tracing::warn!(?error, "the session was not closed, and expires by itself");
            }
            self.end();
        }
    }
}
