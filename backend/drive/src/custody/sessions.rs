//! Who may put shards: grants that were shown, sessions that are closed, puts under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_types::{FilesystemId, NodeId, Role, SessionId};
use weft_wire::drive::{PutRefusal, ShardHeader};
use weft_wire::grant::{CLOSE_MAX, CloseRefusal, GrantRefusal, SessionGrant};

use super::decision::{Change, Decision, Write};
use super::document::{self, ClosedPage};
use super::grant::ShownSession;
use super::item::Document;

/// Grants that are remembered at once. Who is forgotten shows its grant again.
const SHOWN_MAX: usize = 1 << 16;

/// Sessions on one page: closing one session writes a page.
pub(super) const PAGE_SESSIONS: usize = 1024;

/// What a drive knows of sessions.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    shown: BTreeMap<(SessionId, NodeId), FilesystemId>,
    /// The keys of `shown`, by age.
    ages: VecDeque<(SessionId, NodeId)>,
    /// Closed sessions, and whether that is durable: a session is closed to puts before it is on the device.
    closed: BTreeMap<SessionId, bool>,
    /// The page that is written next, and what it has.
    page: u32,
    last: Vec<SessionId>,
    /// Puts of frontends that were allowed and are not finished.
    under_way: BTreeMap<SessionId, u32>,
}

impl Sessions {
    /// A page as it was found on the device; pages come in their order. `None` when one before it is missing.
    pub(super) fn load(&mut self, page: u32, found: ClosedPage) -> Option<()> {
        let next = if self.closed.is_empty() { 0 } else { self.page.checked_add(1)? };
        self.closed.extend(found.sessions.iter().map(|session| (*session, true)));
        (self.page, self.last) = (page, found.sessions);
        (page == next).then_some(())
    }

    pub(super) fn remembers(&self, grant: &SessionGrant) -> bool {
        self.shown.get(&(grant.session, grant.node)) == Some(&grant.filesystem)
    }

    pub(super) fn is_closed(&self, session: SessionId) -> bool {
        self.closed.contains_key(&session)
    }

    pub(super) fn show(&mut self, ShownSession(grant): ShownSession) -> Result<(), GrantRefusal> {
        if self.is_closed(grant.session) {
            return Err(GrantRefusal::Closed);
        }
        let key = (grant.session, grant.node);
        if self.shown.insert(key, grant.filesystem).is_none() {
            self.ages.push_back(key);
        }
        while self.shown.len() > SHOWN_MAX {
            let Some(oldest) = self.ages.pop_front() else { break };
            self.shown.remove(&oldest);
        }
        Ok(())
    }

    pub(super) fn begin_put(
        &mut self,
        role: Role,
        node: NodeId,
        header: &ShardHeader,
    ) -> Result<(), PutRefusal> {
        // Compute puts what it re-spreads, of sessions that ended long ago too.
        if role == Role::Compute {
            return Ok(());
        }
        let session = header.key.extent.session;
        if self.is_closed(session) {
            return Err(PutRefusal::SessionClosed);
        }
        if role != Role::Frontend || self.shown.get(&(session, node)) != Some(&header.filesystem) {
            return Err(PutRefusal::NotGranted);
        }
        *self.under_way.entry(session).or_default() += 1;
        Ok(())
    }

    pub(super) fn end_put(&mut self, role: Role, session: SessionId) {
        if role == Role::Compute {
            return;
        }
        if let Some(count) = self.under_way.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&session);
            }
        }
    }

    pub(super) fn puts_under_way(&self, sessions: &[SessionId]) -> bool {
        sessions.iter().any(|session| self.under_way.contains_key(session))
    }

    /// Refuses the sessions' puts from now on, and says what makes that last.
    pub(super) fn close(
        &mut self,
        sessions: &[SessionId],
        attempt: &mut u64,
    ) -> Result<Decision, CloseRefusal> {
        if sessions.len() > CLOSE_MAX {
            return Err(CloseRefusal::TooMany);
        }
        let mut added = Vec::new();
        let mut forgotten = false;
        for session in sessions.iter().copied().collect::<BTreeSet<_>>() {
            if self.closed.get(&session) != Some(&true) {
                self.closed.insert(session, false);
                added.push(session);
            }
            let of_it = (session, NodeId::from_bytes([0; 16]))..=(session, NodeId::from_bytes([0xff; 16]));
            let shown: Vec<_> = self.shown.range(of_it).map(|(key, _)| *key).collect();
            forgotten |= shown.iter().filter(|key| self.shown.remove(key).is_some()).count() > 0;
        }
        if forgotten {
            self.ages.retain(|key| self.shown.contains_key(key));
        }
        if added.is_empty() {
            return Ok(Decision::none());
        }
        Ok(self.write_pages(added, attempt))
    }

    fn write_pages(&self, added: Vec<SessionId>, attempt: &mut u64) -> Decision {
        let (mut page, mut last, mut step) = (self.page, self.last.clone(), Vec::<Write>::new());
        let mut keep = |page, sessions: &Vec<SessionId>| {
            *attempt += 1;
            let body = document::body(&ClosedPage { sessions: sessions.clone() });
            step.extend(document::keep(Document::Closed { page }, *attempt, &body));
        };
        for session in &added {
            if last.len() >= PAGE_SESSIONS {
                keep(page, &last);
                (page, last) = (page + 1, Vec::new());
            }
            last.push(*session);
        }
        keep(page, &last);
        Decision { steps: vec![step], change: Change::Closed { page, last, added } }
    }

    pub(super) fn closed(&mut self, page: u32, last: Vec<SessionId>, added: Vec<SessionId>) {
        (self.page, self.last) = (page, last);
        self.closed.extend(added.into_iter().map(|session| (session, true)));
    }
}
