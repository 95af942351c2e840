//! Sessions: who is attached, and until when.

use std::time::{Duration, Instant};

use weft_meta::{SessionRow, session};
use weft_types::{NodeId, SessionId};
use weft_wire::Fault;
use weft_wire::compute::{OpenRefusal, OpenSession, SessionHolder};
use weft_wire::meta::MetaError;

use super::open::SESSIONS_MAX;
use super::{Owner, now};
use crate::random;
use crate::rows::Tx;

/// Longest text in a holder's description of itself.
const HOLDER_TEXT_MAX: usize = 4096;

/// A session that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is open once this batch is durable.
    Opened {
        /// Its id.
        session: SessionId,
        /// The batch.
        durable_with: u64,
    },
    /// It is not.
    Refused(OpenRefusal),
}

impl Owner {
    /// Opens a session for a node.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for a holder that describes itself at too great a length, [`Fault::Overloaded`] for too
    /// many sessions, [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub(crate) fn open_session(
        &self,
        node: NodeId,
        call: &OpenSession,
        at: Instant,
    ) -> Result<Opening, Fault> {
        let texts = [&call.holder.host, &call.holder.boot, &call.holder.mount];
        if texts.iter().any(|text| text.len() > HOLDER_TEXT_MAX) {
            return Err(Fault::Malformed);
        }
        let id = SessionId::from_bytes(random::array());
        let row = SessionRow { node, holder: call.holder.clone(), read_only: call.read_only, opened: now() };
        let mut ended = Vec::new();
        let mut verdict = Ok(());
        let ((), durable_with) = self
            .change(|tx| {
                verdict = self.make_way(tx, node, call, at, &mut ended);
                if verdict.is_ok() {
                    session::open(tx, id, &row);
                    self.leases().insert(id, at + self.settings.lease);
                }
                Ok(())
            })
            .map_err(|_| self.fault())?;
        self.leases().retain(|session, _| !ended.contains(session));
        match verdict {
            Err(Refusal::Open(refusal)) => Ok(Opening::Refused(refusal)),
            Err(Refusal::Overloaded) => Err(Fault::Overloaded),
            Err(Refusal::Damaged) => Err(self.fault()),
            Ok(()) => Ok(Opening::Opened { session: id, durable_with }),
        }
    }

    /// Ends what the new session replaces and what has expired, and says who is in its way.
    fn make_way(
        &self,
        tx: &mut Tx<'_>,
        node: NodeId,
        call: &OpenSession,
        at: Instant,
        ended: &mut Vec<SessionId>,
    ) -> Result<(), Refusal> {
        if self.is_dropping() {
            return Err(Refusal::Open(OpenRefusal::Deleting));
        }
        if let Some(replaced) = call.replaces
            && let Some(row) = session::find(tx, replaced)?
        {
            if row.node != node {
                return Err(Refusal::Open(OpenRefusal::NotYours));
            }
            session::end(tx, replaced)?;
            ended.push(replaced);
        }
        let open = session::list(tx, None, SESSIONS_MAX)?;
        if open.len() >= SESSIONS_MAX {
            return Err(Refusal::Overloaded);
        }
        for (session, row) in open.into_iter().filter(|(_, row)| !row.read_only && !call.read_only) {
            let left = self
                .leases()
                .get(&session)
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(at));
            if left.is_zero() {
                session::end(tx, session)?;
                ended.push(session);
                continue;
            }
            let expires_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            return Err(Refusal::Open(OpenRefusal::Busy { session, holder: row.holder, expires_ms }));
        }
        Ok(())
    }

    /// Keeps a node's session alive; false: it has ended, or is not that node's.
    ///
    /// # Errors
    /// [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub(crate) fn renew_session(&self, node: NodeId, session: SessionId, at: Instant) -> Result<bool, Fault> {
        if !self.is_serving() || self.is_dropping() {
            return Err(Fault::NotServing);
        }
        let row = self.read(|tx| session::find(tx, session)).map_err(|_| self.fault())?;
        if row.is_none_or(|row| row.node != node) {
            return Ok(false);
        }
        let mut leases = self.leases();
        let Some(until) = leases.get_mut(&session).filter(|until| **until > at) else {
            // Its end is due, whether or not it is recorded yet.
            return Ok(false);
        };
        *until = at + self.settings.lease;
        Ok(true)
    }

    /// Ends a node's session. Answers the batch to wait for; `None`: it had ended, or is not that node's.
    ///
    /// # Errors
    /// [`Fault::NotServing`], [`Fault::Internal`] for damaged metadata.
    pub(crate) fn close_session(&self, node: NodeId, session: SessionId) -> Result<Option<u64>, Fault> {
        if !self.is_serving() || self.is_dropping() {
            return Err(Fault::NotServing);
        }
        let close = |tx: &mut Tx<'_>| match session::find(tx, session)? {
            Some(row) if row.node == node => session::end(tx, session),
            _ => Ok(false),
        };
        let (ended, durable_with) = self.change(close).map_err(|_| self.fault())?;
        if ended {
            self.leases().remove(&session);
        }
        Ok(ended.then_some(durable_with))
    }

    /// Ends the sessions whose lease is over: irreversible once durable.
    ///
    /// # Errors
    /// [`MetaError::Damaged`]; the sessions of this call stay, and are tried again.
    pub(crate) fn expire(&self, at: Instant) -> Result<(), MetaError> {
        let due: Vec<_> =
            self.leases().iter().filter(|(_, until)| **until <= at).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return Ok(());
        }
        self.change(|tx| due.iter().try_for_each(|session| session::end(tx, *session).map(drop)))?;
        let mut leases = self.leases();
        for session in due {
            tracing::warn!(%session, filesystem = %self.filesystem, "a session was not renewed and has ended");
            leases.remove(&session);
        }
        Ok(())
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
