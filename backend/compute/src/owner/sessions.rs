//! Sessions: who is attached, and until when.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use weft_leases::Leases;
use weft_meta::session::SessionState;
use weft_meta::{SessionRow, session};
use weft_types::{NodeId, SessionId};
use weft_wire::Fault;
use weft_wire::coherence::Place;
use weft_wire::compute::{OpenRefusal, OpenSession, OtherSession, SessionHolder};
use weft_wire::meta::MetaError;

use super::Owner;
use super::open::SESSIONS_MAX;
use crate::rows::Tx;

/// Longest text in a holder's description of itself.
const HOLDER_TEXT_MAX: usize = 4096;
/// When the owner was not seen to serve for so long, sessions could not be renewed.
const UNATTENDED: Duration = Duration::from_secs(2);

/// What became of a session that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionOpening {
    /// It is open once this batch is durable.
    Opened {
        /// The batch.
        durable_with: u64,
        /// Its place among the sessions.
        place: Place,
        /// Others of the same node.
        others: Vec<OtherSession>,
    },
    /// It is not.
    Refused(OpenRefusal),
}

impl Owner {
    /// Whether a session would be opened now; else why not. Nothing changes.
    ///
    /// # Errors
    /// As [`open_session`](Self::open_session).
    pub fn may_open(
        &self,
        node: NodeId,
        call: &OpenSession,
        at: Instant,
    ) -> Result<Result<(), OpenRefusal>, Fault> {
        self.lease().check(at)?;
        self.excuse(at);
        let texts = [&call.holder.host, &call.holder.boot, &call.holder.mount];
        if texts.iter().any(|text| text.len() > HOLDER_TEXT_MAX) {
            return Err(Fault::Malformed);
        }
        let mut verdict = Ok(());
        self.change(|tx| {
            verdict = self.make_way(tx, node, call, &mut Vec::new());
            tx.discard_writes();
            Ok(())
        })
        .map_err(|_| self.fault())?;
        match verdict {
            Ok(()) => Ok(Ok(())),
            Err(Refusal::Open(refusal)) => Ok(Err(refusal)),
            Err(Refusal::Overloaded) => Err(Fault::Overloaded),
            Err(Refusal::Damaged) => Err(self.fault()),
        }
    }

    /// Opens a session for a node, under an id that management has registered for it.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for a holder that describes itself at too great a length, [`Fault::Overloaded`] for too
    /// many sessions, [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub fn open_session(
        &self,
        node: NodeId,
        call: &OpenSession,
        id: SessionId,
        at: Instant,
    ) -> Result<SessionOpening, Fault> {
        if let Err(refusal) = self.may_open(node, call, at)? {
            return Ok(SessionOpening::Refused(refusal));
        }
        let opened = self.now();
        let row = SessionRow { node, holder: call.holder.clone(), read_only: call.read_only, opened };
        let mut ended = Vec::new();
        let mut verdict = Ok(());
        let ((), durable_with) = self
            .change(|tx| {
                verdict = self.make_way(tx, node, call, &mut ended);
                if verdict.is_ok() {
                    session::open(tx, id, &row);
                    self.leases().insert(id, at + self.settings.lease);
                }
                Ok(())
            })
            .map_err(|_| self.fault())?;
        self.have_ended(&ended, durable_with);
        match verdict {
            Err(Refusal::Open(refusal)) => Ok(SessionOpening::Refused(refusal)),
            Err(Refusal::Overloaded) => Err(Fault::Overloaded),
            Err(Refusal::Damaged) => Err(self.fault()),
            Ok(()) => {
                let place = self.leases_table().open(id, at.into_std());
                self.coherence_changed();
                let others = self.others(node, id).map_err(|_| self.fault())?;
                Ok(SessionOpening::Opened { durable_with, place, others })
            }
        }
    }

    /// The other sessions of a node.
    fn others(&self, node: NodeId, id: SessionId) -> Result<Vec<OtherSession>, MetaError> {
        let open = self.read(|tx| session::list(tx, None, SESSIONS_MAX))?;
        let others = open.into_iter().filter(|(other, row)| *other != id && row.node == node);
        Ok(others.map(|(session, row)| OtherSession { session, holder: row.holder }).collect())
    }

    /// Ends what the new session replaces; says why it is not opened.
    fn make_way(
        &self,
        tx: &mut Tx<'_>,
        node: NodeId,
        call: &OpenSession,
        ended: &mut Vec<SessionId>,
    ) -> Result<(), Refusal> {
        if self.is_dropping() || self.is_deleting() {
            return Err(Refusal::Open(OpenRefusal::Deleting));
        }
        if let Some(replaced) = call.replaces
            && let Some(row) = session::find(tx, replaced)?
        {
            if row.node != node {
                return Err(Refusal::Open(OpenRefusal::NotYours));
            }
            session::end(tx, replaced, self.now())?;
            ended.push(replaced);
        }
        let open = session::list(tx, None, SESSIONS_MAX)?;
        if open.len() >= SESSIONS_MAX {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// Whether a session is open, this node's, and not due to end.
    ///
    /// # Errors
    /// As [`renew_session`](Self::renew_session).
    pub(super) fn has_session(&self, node: NodeId, session: SessionId, at: Instant) -> Result<bool, Fault> {
        self.serves(at)?;
        self.excuse(at);
        let row = self.read(|tx| session::find(tx, session)).map_err(|_| self.fault())?;
        let is_open = self.leases().get(&session).is_some_and(|until| *until > at);
        Ok(is_open && row.is_some_and(|row| row.node == node))
    }

    /// Keeps a node's session alive; false: it has ended, or is not that node's.
    ///
    /// # Errors
    /// [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub fn renew_session(&self, node: NodeId, session: SessionId, at: Instant) -> Result<bool, Fault> {
        // Who does not forget what others wait for is kept alive no longer: it ends when it serves nothing any more itself.
        if !self.has_session(node, session, at)? || self.overdue(at).contains(&session) {
            return Ok(false);
        }
        if let Some(until) = self.leases().get_mut(&session) {
            *until = at + self.settings.lease;
        }
        Ok(true)
    }

    /// Nothing of these sessions is waited for any more; their end is durable with this batch.
    fn have_ended(&self, ended: &[SessionId], durable_with: u64) {
        self.locks.end_sessions(ended, durable_with);
        if ended.is_empty() {
            return;
        }
        self.leases().retain(|session, _| !ended.contains(session));
        let mut table = self.leases_table();
        ended.iter().for_each(|session| table.end(*session));
        drop(table);
        self.coherence_changed();
    }

    /// Ends a node's session. Answers the batch to wait for; `None`: it had ended, or is not that node's.
    ///
    /// # Errors
    /// [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub fn close_session(&self, node: NodeId, session: SessionId, at: Instant) -> Result<Option<u64>, Fault> {
        self.serves(at)?;
        let close = |tx: &mut Tx<'_>| match session::find(tx, session)? {
            Some(row) if row.node == node => session::end(tx, session, self.now()),
            _ => Ok(false),
        };
        let (ended, durable_with) = self.change(close).map_err(|_| self.fault())?;
        if ended {
            self.have_ended(&[session], durable_with);
        }
        Ok(ended.then_some(durable_with))
    }

    /// The owner serves at this moment; false: it does not. To be called more often than every two seconds: the time in
    /// which it was not, because the process stood still or the owner was without a lease, does not count against
    /// sessions, which could not be renewed meanwhile.
    pub fn attend(&self, at: Instant) -> bool {
        let serves = self.serves(at).is_ok();
        if serves {
            self.excuse(at);
            *self.attended.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        }
        serves
    }

    /// Gives all sessions a new lease when they could not be renewed until now. To be called while the owner serves, and
    /// before anything is made of a lease.
    fn excuse(&self, at: Instant) {
        let mut attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = *attended else { return };
        if at.saturating_duration_since(last) > UNATTENDED {
            *attended = Some(at);
            let until = at + self.settings.lease;
            self.leases().values_mut().for_each(|lease| *lease = until.max(*lease));
        }
    }

    /// Ends the sessions whose lease is over: irreversible once durable.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]; the sessions of this call stay, and are tried again.
    pub fn expire(&self, at: Instant) -> Result<(), MetaError> {
        self.locks.sweep(at);
        let mut due: Vec<_> =
            self.leases().iter().filter(|(_, until)| **until <= at).map(|(id, _)| *id).collect();
        due.sort_unstable();
        if due.is_empty() {
            return Ok(());
        }
        let ((), durable_with) = self.change(|tx| {
            due.iter().try_for_each(|session| session::end(tx, *session, self.now()).map(drop))
        })?;
        for session in &due {
            tracing::warn!(%session, filesystem = %self.filesystem(), "a session was not renewed and has ended");
        }
        self.have_ended(&due, durable_with);
        Ok(())
    }

    /// Gives every session that is open a new lease: they could not be renewed while nobody served. Each has to tell what it
    /// holds.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]
    pub(super) fn renew_all(&self) -> Result<(), MetaError> {
        let sessions = self.read(|tx| session::list(tx, None, SESSIONS_MAX))?;
        let begin = Instant::now().max(self.lease().serves_after());
        let open = sessions.iter().map(|(id, _)| *id);
        *self.leases_table() = Leases::new(self.held().epoch, open, begin.into_std());
        let until = begin + self.settings.lease;
        self.locks.await_reclaims(sessions.iter().map(|(id, _)| *id));
        self.leases().extend(sessions.into_iter().map(|(id, _)| (id, until)));
        Ok(())
    }

    /// Makes the sessions of the shard those that management has registered: one that management does not know is ended.
    /// Answers the registered ones that the shard neither has open nor is closing: nobody was told of them, and they are
    /// to be ended there. To be done before anybody is served.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]
    pub fn reconcile_sessions(&self, registered: &[SessionId]) -> Result<Vec<SessionId>, MetaError> {
        let registered: BTreeSet<_> = registered.iter().copied().collect();
        let mut left_over = Vec::new();
        let mut ended = Vec::new();
        let ((), durable_with) = self.change(|tx| {
            for (id, _) in session::list(tx, None, SESSIONS_MAX)? {
                if !registered.contains(&id) {
                    session::end(tx, id, self.now())?;
                    ended.push(id);
                }
            }
            for id in registered {
                if matches!(session::state(tx, id)?, SessionState::Unknown) {
                    left_over.push(id);
                }
            }
            Ok(())
        })?;
        for session in &ended {
            tracing::warn!(%session, filesystem = %self.filesystem(), "a session that management does not know has ended");
        }
        self.have_ended(&ended, durable_with);
        Ok(left_over)
    }

    fn serves(&self, at: Instant) -> Result<(), Fault> {
        let serves = self.is_serving() && !self.is_dropping();
        if serves { self.lease().check(at) } else { Err(Fault::NotServing) }
    }

    /// Sessions that are open.
    pub(crate) fn session_count(&self) -> usize {
        self.leases().len()
    }

    /// Serves nobody from now on, if there is no session; else answers the process behind one.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]
    pub(crate) fn try_begin_dropping(&self) -> Result<Option<SessionHolder>, MetaError> {
        // While the rows are read, no session is opened.
        self.read(|tx| {
            let holder = session::list(tx, None, 1)?.into_iter().next().map(|(_, row)| row.holder);
            if holder.is_none() {
                self.begin_dropping();
            }
            Ok(holder)
        })
    }

    /// What callers are told when rows could not be read or changed.
    fn fault(&self) -> Fault {
        if self.is_serving() { Fault::Internal } else { Fault::NotServing }
    }
}

/// Why a session is not opened.
enum Refusal {
    Open(OpenRefusal),
    Overloaded,
    Damaged,
}

impl From<MetaError> for Refusal {
    fn from(_: MetaError) -> Self {
        Self::Damaged
    }
}
