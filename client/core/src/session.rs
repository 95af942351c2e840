//! The session: its lease, and what comes after it when it is over.
//!
//! A session that was cut off for too long never comes back. The mount opens another one and goes on: so a [`Session`] is
//! one after the other, and what was begun under one of them asks by its id whether that is over.

mod asking;
mod slots;

use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep, timeout_at};
use weft_types::{FilesystemId, SessionId};
use weft_wire::coherence::{Attach, Hold, Place, Term};
use weft_wire::compute::{
    CloseSession, OpenRefusal, OtherSession, RenewSession, SessionOpened, SessionRenewed,
};
use weft_wire::grant::SignedGrant;

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

/// How the present session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Until then nobody else changes what this session has cached without recalling it.
    Leased {
        until: Instant,
        /// It has no place among the sessions: nothing that is cached counts, and nothing is asked.
        detached: bool,
    },
    /// It never comes back; another one is to be opened.
    Over,
    /// There will be no other.
    Ended,
}

/// What stays the same as long as one session lasts.
#[derive(Debug)]
struct Opened {
    id: SessionId,
    slots: Slots,
    grant: SignedGrant,
}

impl Opened {
    fn new(opened: &SessionOpened) -> Arc<Self> {
        let (id, slots, grant) = (opened.session, Slots::new(opened.slots), opened.grant.clone());
        Arc::new(Self { id, slots, grant })
    }
}

/// The present session, or the last one.
#[derive(Debug)]
struct Present {
    opened: Arc<Opened>,
    standing: Standing,
    lease: Duration,
    place: Place,
    /// It follows another one, and has not taken a place of its own yet.
    follows: bool,
}

impl Present {
    fn is(&self, id: SessionId) -> bool {
        self.opened.id == id && matches!(self.standing, Standing::Leased { .. })
    }

    fn is_serving(&self) -> bool {
        matches!(self.standing, Standing::Leased { until, detached: false } if until > Instant::now())
    }
}

/// The sessions of a mount, one at a time.
#[derive(Debug)]
pub(crate) struct Session {
    /// It is closed, or about to be.
    closing: AtomicBool,
    backend: Arc<dyn Backend>,
    filesystem: FilesystemId,
    read_only: bool,
    present: weft_watch::Sender<Present>,
    others: Vec<OtherSession>,
    /// Why there is no session any more.
    refused: Mutex<Option<OpenRefusal>>,
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
        let standing = Standing::Leased { until: asked + lease, detached: false };
        let (place, follows) = (opened.place, false);
        let present = Present { opened: Opened::new(opened), standing, lease, place, follows };
        Self {
            closing: AtomicBool::new(false),
            backend,
            filesystem: opened.filesystem,
            read_only,
            present: weft_watch::Sender::new(present),
            others: opened.others.clone(),
            refused: Mutex::default(),
        }
    }

    /// Another session follows one that is over; it has to attach. False: nobody wants it any more.
    pub(crate) fn follow(&self, opened: &SessionOpened, asked: Instant) -> bool {
        let lease = Duration::from_millis(opened.lease_ms.into());
        self.present.send_if_modified(|present| {
            let wanted = present.standing == Standing::Over;
            if wanted {
                let standing = Standing::Leased { until: asked + lease, detached: true };
                let place = Place { alone: false, ..opened.place };
                *present = Present { opened: Opened::new(opened), standing, lease, place, follows: true };
            }
            wanted
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.present.borrow().opened.id
    }

    pub(crate) const fn filesystem(&self) -> FilesystemId {
        self.filesystem
    }

    /// What drives want to see before they take the session's shards.
    pub(crate) fn grant(&self) -> SignedGrant {
        self.present.borrow().opened.grant.clone()
    }

    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether there is no session any more, and will be none.
    pub(crate) fn has_ended(&self) -> bool {
        self.present.borrow().standing == Standing::Ended
    }

    /// Whether this session is over, whatever came after it.
    pub(crate) fn is_over(&self, id: SessionId) -> bool {
        !self.present.borrow().is(id)
    }

    /// Whether the present session is not over, and its place is of this term.
    pub(crate) fn is_under(&self, term: Term) -> bool {
        let present = self.present.borrow();
        present.place.term == term && matches!(present.standing, Standing::Leased { .. })
    }

    /// Whether the present session follows another one, and has not taken a place since.
    pub(crate) fn follows_another(&self) -> bool {
        self.present.borrow().follows
    }

    /// How long the lease still holds; zero without one.
    pub(crate) fn remaining(&self) -> Duration {
        match self.present.borrow().standing {
            Standing::Leased { until, .. } => until.saturating_duration_since(Instant::now()),
            Standing::Over | Standing::Ended => Duration::ZERO,
        }
    }

    /// The session's place among others.
    pub(crate) fn place(&self) -> Place {
        self.present.borrow().place
    }

    /// Whether there is no other session: whatever is told may be remembered, and written behind.
    pub(crate) fn is_alone(&self) -> bool {
        self.place().alone
    }

    /// The session has no place under this term any more: until it has another one, nothing is served.
    pub(crate) fn detach(&self, term: Term) {
        self.present.send_if_modified(|present| match &mut present.standing {
            Standing::Leased { detached, .. } if present.place.term == term => {
                !core::mem::replace(detached, true)
            }
            _ => false,
        });
    }

    /// Waits until a session is to attach; false: there will be none.
    pub(crate) async fn detached(&self) -> bool {
        let lost = |present: &Present| {
            matches!(present.standing, Standing::Leased { detached: true, .. } | Standing::Ended)
        };
        // The sender lives as long as `self`.
        let _ = self.present.subscribe().wait_for(lost).await;
        !self.has_ended()
    }

    /// It is not alone from now on.
    pub(crate) fn leave_place(&self) {
        self.present.send_modify(|present| present.place.alone = false);
    }

    /// Asks for a place, with what is still held, until there is one. It is taken by [`take_place`](Self::take_place).
    pub(crate) async fn attach(&self, id: SessionId, holds: Vec<Hold>) -> Result<Place, FsError> {
        let mut pause = PAUSE_MIN;
        let call = Attach { filesystem: self.filesystem, session: id, holds };
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.backend.attach(call.clone(), ATTEMPT) => answer,
                () = self.over(id) => return Err(FsError::SessionEnded),
            };
            match answer {
                Ok(place) => return Ok(place),
                Err(Failure::Refused(_)) => {
                    self.end(id);
                    return Err(FsError::SessionEnded);
                }
                Err(error) => tracing::debug!(?error, "the session was not attached"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Operations of this session name this term from now on, and what is cached counts. False: it is over.
    pub(crate) fn take_place(&self, id: SessionId, place: Place) -> bool {
        self.present.send_if_modified(|present| match &mut present.standing {
            Standing::Leased { detached, .. } if present.opened.id == id => {
                *detached = false;
                (present.place, present.follows) = (place, false);
                true
            }
            _ => false,
        })
    }

    /// Whether memory may answer: the lease holds.
    pub(crate) fn is_serving(&self) -> bool {
        self.present.borrow().is_serving()
    }

    /// This session is no more. Another one may be opened.
    pub(crate) fn end(&self, id: SessionId) {
        self.present.send_if_modified(|present| {
            let ends = present.is(id);
            if ends {
                (present.standing, present.place.alone) = (Standing::Over, false);
            }
            ends
        });
    }

    /// There will be no session any more.
    pub(crate) fn end_for_good(&self, refused: Option<OpenRefusal>) {
        if refused.is_some() {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        }
        self.present.send_modify(|present| {
            (present.standing, present.place.alone) = (Standing::Ended, false);
        });
    }

    /// Why no other session was opened; `None`: there is one, or the mount has closed it.
    pub(crate) fn refused(&self) -> Option<OpenRefusal> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Completes when there is no session any more, and will be none.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.present.subscribe().wait_for(|present| present.standing == Standing::Ended).await;
    }

    /// Completes when this session is over.
    pub(crate) async fn over(&self, id: SessionId) {
        let _ = self.present.subscribe().wait_for(|present| !present.is(id)).await;
    }

    /// Waits until a session is over; whether another one is to be opened.
    pub(crate) async fn lost(&self) -> bool {
        let lost = |present: &Present| !matches!(present.standing, Standing::Leased { .. });
        let _ = self.present.subscribe().wait_for(lost).await;
        self.goes_on()
    }

    /// Whether another session is opened when this one is over.
    pub(crate) fn goes_on(&self) -> bool {
        !self.has_ended() && !self.closing.load(Ordering::Relaxed)
    }

    /// Waits until a lease holds: its renewal may be on its way, or another session.
    pub(crate) async fn serving(&self) -> Result<(), FsError> {
        let holds = |present: &Present| present.is_serving() || present.standing == Standing::Ended;
        let mut present = self.present.subscribe();
        let waited = timeout_at(Instant::now() + OPERATION_MAX, present.wait_for(holds)).await;
        match waited {
            Ok(Ok(present)) if present.standing != Standing::Ended => Ok(()),
            Ok(_) => Err(FsError::SessionEnded),
            Err(_) => Err(FsError::TimedOut),
        }
    }

    /// Waits until the lease of this session holds; false: it is over.
    async fn serves(&self, id: SessionId) -> Result<bool, FsError> {
        let known = |present: &Present| !present.is(id) || present.is_serving();
        let mut present = self.present.subscribe();
        let waited = timeout_at(Instant::now() + OPERATION_MAX, present.wait_for(known)).await;
        waited.map(drop).map_err(|_| FsError::TimedOut)?;
        Ok(!self.is_over(id))
    }

    /// Renews the lease once; answers what the owner says. The lease counts from before the renewal was sent.
    pub(crate) async fn renew(&self) -> Option<SessionRenewed> {
        let (sent, session) = (Instant::now(), self.id());
        if self.is_over(session) {
            return None;
        }
        let call = RenewSession { filesystem: self.filesystem, session };
        match self.backend.renew(call, self.quarter()).await {
            Ok(renewed) => {
                let now = Duration::from_millis(renewed.lease_ms.into());
                self.present.send_if_modified(|present| match &mut present.standing {
                    Standing::Leased { until, .. } if present.opened.id == session => {
                        (*until, present.lease) = ((*until).max(sent + now), now);
                        true
                    }
                    _ => false,
                });
                return Some(renewed);
            }
            Err(Failure::Refused(_)) => self.end(session),
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
        (self.present.borrow().lease / 4).max(Duration::from_millis(50))
    }

    /// Sessions of the same identity that were open when the first one was opened.
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

    /// Ends the session for good, at the owner too when it can be reached.
    pub(crate) async fn close(&self) {
        // Whoever waits for recalls may hear first that it is closed: that is no reason to open another one.
        self.closing.store(true, Ordering::Relaxed);
        let session = self.id();
        if !self.is_over(session) {
            let call = CloseSession { filesystem: self.filesystem, session };
            if let Err(error) = self.backend.close(call, CLOSE).await {
                tracing::warn!(?error, "the session was not closed, and expires by itself");
            }
        }
        self.end_for_good(None);
    }
}
