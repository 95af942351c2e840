//! What sessions remember, and recalls.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use weft_leases::{Leases, NotAttached, Verdict, WaitId};
use weft_meta::{Context, needs};
use weft_types::{NodeId, SessionId};
use weft_wire::Fault;
use weft_wire::coherence::{AckRecalls, Attach, Place, Recalls, Stamp, WatchRecalls};
use weft_wire::compute::{Meta, SessionGone};
use weft_wire::meta::MetaError;

use super::Owner;
use crate::rows::Tx;

/// How long a call for recalls is held when there are none.
const WATCH: Duration = Duration::from_secs(5);

/// Whether an operation may be executed now.
pub(super) enum Admission {
    /// It may; its answer stands so to recalls, and these sessions have open what loses its last name.
    Go(Stamp, Vec<SessionId>),
    Wait(WaitId),
}

/// An operation's place among those that wait; given up with this value.
pub(super) struct Waits<'a> {
    owner: &'a Owner,
    pub(super) id: Option<WaitId>,
}

impl<'a> Waits<'a> {
    pub(super) const fn new(owner: &'a Owner) -> Self {
        Self { owner, id: None }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.owner.leases_table().leave(id);
            self.owner.coherence_changed();
        }
    }
}

impl Owner {
    pub(super) fn leases_table(&self) -> MutexGuard<'_, Leases> {
        self.coherence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits looks again.
    pub(super) fn coherence_changed(&self) {
        self.coherence_changes.send_modify(|count| *count += 1);
    }

    /// Whether nothing stands in the way of an operation. Called while the rows are locked, right before it is executed.
    pub(super) fn admit_needs(
        &self,
        tx: &Tx<'_>,
        cx: &Context<'_>,
        call: &Meta,
        waited: Option<WaitId>,
    ) -> Result<Admission, MetaError> {
        let now = Instant::now().into_std();
        let needs =
            if self.leases_table().is_alone(call.session) { Vec::new() } else { needs(tx, cx, &call.op)? };
        let (verdict, issued) = {
            let mut leases = self.leases_table();
            (leases.admit(call.session, call.term, &needs, waited, now), leases.has_issued())
        };
        if issued {
            // A call that waits for what is recalled tells it.
            self.coherence_changed();
        }
        match verdict.map_err(|NotAttached| MetaError::NotAttached)? {
            Verdict::Go { stamp, users } => Ok(Admission::Go(stamp, users)),
            Verdict::Wait(id) => Ok(Admission::Wait(id)),
        }
    }

    /// Gives a session a place, with what it still holds.
    ///
    /// # Errors
    /// [`Fault`] when this owner serves nobody.
    pub fn attach(
        &self,
        node: NodeId,
        call: &Attach,
        at: Instant,
    ) -> Result<Result<Place, SessionGone>, Fault> {
        if !self.has_session(node, call.session, at)? {
            return Ok(Err(SessionGone::Ended));
        }
        let place = self.leases_table().attach(call.session, &call.holds, at.into_std());
        self.coherence_changed();
        Ok(place.map_err(|NotAttached| SessionGone::Ended))
    }

    /// Waits until there is something to recall from a session, for some seconds.
    ///
    /// # Errors
    /// [`Fault`] when this owner serves nobody.
    pub async fn recalls(
        &self,
        node: NodeId,
        call: &WatchRecalls,
        at: Instant,
    ) -> Result<Result<Recalls, SessionGone>, Fault> {
        let mut changes = self.coherence_changes.subscribe();
        loop {
            changes.mark_unchanged();
            if !self.has_session(node, call.session, Instant::now())? {
                return Ok(Err(SessionGone::Ended));
            }
            let recalls = self.leases_table().recalls(call.session, call.term, call.after);
            match recalls {
                Err(NotAttached) => return Ok(Err(SessionGone::Ended)),
                Ok(recalls) if recalls.attach || !recalls.recalls.is_empty() => return Ok(Ok(recalls)),
                Ok(none) => {
                    if timeout_at(at + WATCH, changes.changed()).await.is_err() {
                        return Ok(Ok(none));
                    }
                }
            }
        }
    }

    /// A session has forgotten what was recalled.
    ///
    /// # Errors
    /// [`Fault`] when this owner serves nobody.
    pub fn acknowledge(&self, node: NodeId, call: &AckRecalls, at: Instant) -> Result<bool, Fault> {
        if !self.has_session(node, call.session, at)? {
            return Ok(false);
        }
        self.leases_table().acknowledge(call.session, call.term, &call.acks);
        self.coherence_changed();
        Ok(true)
    }

    /// Ends sessions that did not forget in time what others wait for.
    pub(super) fn overdue(&self, at: Instant) -> Vec<SessionId> {
        self.leases_table().overdue(at.into_std())
    }
}
