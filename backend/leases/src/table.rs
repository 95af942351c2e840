//! The table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weft_types::{Epoch, Inode, SessionId};
use weft_wire::coherence::{Ack, Hold, HoldMode, Place, RECALLS_MAX, Recalls, Stamp, Term, What};

use crate::Need;
use crate::held::Held;
use crate::session::Attached;
use crate::waiting::{Asked, WaitId, Waiting};

/// The longest that a session may take to forget something, counted from when it was last seen to commit what it must.
const RECALL_MAX: Duration = Duration::from_secs(10);
/// The longest in any case.
const RECALL_MAX_EVER: Duration = Duration::from_secs(60);
/// The longest that a session may go on without attaching, while others wait for it.
const ATTACH_MAX: Duration = Duration::from_secs(30);
/// Inodes that a session holds before it is to forget them all.
const HELD_MAX: usize = 1 << 18;
/// The most that it holds in any case.
const HELD_MAX_EVER: usize = 1 << 20;

/// A session is not attached under the term that it names, or is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAttached;

/// Whether an operation may be executed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Execute it before anything else is asked.
    Go {
        /// How its answer stands to recalls.
        stamp: Stamp,
        /// Sessions that have open what it takes the last name of, or for writing what it asks that of.
        users: Vec<SessionId>,
    },
    /// Ask again under the same number once something has changed.
    Wait(WaitId),
}

/// Which session remembers what of which inode.
#[derive(Debug)]
pub struct Leases {
    epoch: Epoch,
    terms: u64,
    /// It is not counted what this session holds.
    alone: Option<SessionId>,
    sessions: BTreeMap<SessionId, Attached>,
    held: Held,
    waiting: Waiting,
    /// Something was recalled since it was last asked.
    issued: bool,
}

impl Leases {
    /// Of an ownership, with the sessions that were open when it began: they have to attach.
    pub fn new(epoch: Epoch, open: impl IntoIterator<Item = SessionId>, now: Instant) -> Self {
        let sessions = open.into_iter().map(|session| (session, Attached::new(now))).collect();
        Self {
            epoch,
            terms: 0,
            alone: None,
            sessions,
            held: Held::default(),
            waiting: Waiting::default(),
            issued: false,
        }
    }

    /// A session was opened: it holds nothing. One that was alone must attach.
    pub fn open(&mut self, session: SessionId, now: Instant) -> Place {
        if let Some(before) = self.alone.take()
            && let Some(attached) = self.sessions.get_mut(&before)
        {
            *attached = Attached::new(now);
        }
        self.sessions.insert(session, Attached::new(now));
        self.place(session, now)
    }

    /// A session takes a place; it holds this and nothing else.
    ///
    /// # Errors
    /// [`NotAttached`] for one that is not open.
    pub fn attach(&mut self, session: SessionId, holds: &[Hold], now: Instant) -> Result<Place, NotAttached> {
        if !self.sessions.contains_key(&session) {
            return Err(NotAttached);
        }
        self.waiting.forget_all_of(session);
        self.sessions.insert(session, Attached::new(now));
        self.held.drop_session(session);
        let place = self.place(session, now);
        if !place.alone {
            holds.iter().for_each(|hold| self.held.raise(hold.inode, session, hold.mode));
        }
        Ok(place)
    }

    fn place(&mut self, session: SessionId, now: Instant) -> Place {
        self.terms += 1;
        let term = Term { epoch: self.epoch, number: self.terms };
        let alone = self.sessions.len() == 1;
        self.alone = alone.then_some(session);
        if let Some(attached) = self.sessions.get_mut(&session) {
            (attached.term, attached.active) = (Some(term), now);
        }
        Place { term, alone }
    }

    /// A session has ended: it holds nothing any more.
    pub fn end(&mut self, session: SessionId) {
        self.waiting.forget_all_of(session);
        self.sessions.remove(&session);
        self.held.drop_session(session);
        if self.alone == Some(session) {
            self.alone = None;
        }
    }

    /// Whether an operation of a session may be executed now, which needs this. `waited`: what was answered when it was
    /// last asked for. An operation that waits must [`leave`](Self::leave) in the end, whether or not it was executed.
    ///
    /// # Errors
    /// [`NotAttached`]
    pub fn admit(
        &mut self,
        session: SessionId,
        term: Term,
        needs: &[Need],
        waited: Option<WaitId>,
        now: Instant,
    ) -> Result<Verdict, NotAttached> {
        let attached = self.sessions.get(&session).ok_or(NotAttached)?;
        if attached.term != Some(term) {
            return Err(NotAttached);
        }
        let recalled = attached.last;
        if self.alone == Some(session) || needs.is_empty() {
            return Ok(Verdict::Go { stamp: Stamp { term, recalled, leased: true }, users: Vec::new() });
        }
        // Until all have attached nothing is executed, so nothing that is recalled could be committed.
        let unattached = self.sessions.values().any(|attached| attached.term.is_none());
        let asked = !unattached && self.ask_others(session, needs, waited, now);
        if !unattached && !asked && !needs.iter().any(|need| self.must_queue(session, need, waited)) {
            let leased = self.grant(session, needs, waited);
            let users = waited.and_then(|id| self.waiting.get(id)).map(|waiter| waiter.users());
            let users = users.unwrap_or_default();
            return Ok(Verdict::Go { stamp: Stamp { term, recalled, leased }, users });
        }
        let id = waited.unwrap_or_else(|| self.waiting.join(session));
        needs.iter().for_each(|need| self.waiting.want(id, need.inode()));
        if waited.is_none() && !unattached {
            // What stands in the way is recalled for it.
            self.ask_others(session, needs, Some(id), now);
        }
        Ok(Verdict::Wait(id))
    }

    /// Recalls what stands in the way of needs, once for each that waits; whether anything does. Without a number nothing is
    /// recalled yet.
    fn ask_others(
        &mut self,
        session: SessionId,
        needs: &[Need],
        waited: Option<WaitId>,
        now: Instant,
    ) -> bool {
        let mut in_the_way = false;
        for need in needs {
            let others: Vec<_> = self.held.others(need.inode(), session).collect();
            for (other, mode) in others {
                let Some(what) = need.conflict(mode) else { continue };
                if self.stand_in_each_others_way(session, other, need) {
                    continue;
                }
                let key = (other, need.clone());
                let asked = waited.and_then(|id| self.waiting.get(id)).map(|waiter| waiter.asked(&key));
                match asked {
                    // It goes on holding other things of the inode.
                    Some(Some(Asked::Done)) if need.spares(mode) => continue,
                    Some(Some(Asked::Recalled(_))) | None => {}
                    Some(Some(Asked::Done) | None) => {
                        if let Some(attached) = self.sessions.get_mut(&other) {
                            let number = attached.recall(need.inode(), what, now);
                            self.issued = true;
                            if let Some(id) = waited {
                                self.waiting.recalled(id, key, number);
                            }
                        }
                    }
                }
                in_the_way = true;
            }
        }
        in_the_way
    }

    /// Two sessions give up all of a file, and each has to commit something of it before: one goes first, or both would wait for
    /// ever. What the other one still answers from memory was asked for at the same time.
    pub(crate) fn stand_in_each_others_way(&self, session: SessionId, other: SessionId, need: &Need) -> bool {
        let inode = need.inode();
        let gives_up = |session| self.sessions.get(&session).is_some_and(|attached| attached.gives_up(inode));
        matches!(need, Need::Data(_))
            && gives_up(session)
            && gives_up(other)
            && self.waiting.changes_data(other, inode)
    }

    /// Whether an operation waits behind others that need the same inode.
    fn must_queue(&self, session: SessionId, need: &Need, waited: Option<WaitId>) -> bool {
        let holds = self.held.mode(need.inode(), session);
        need.queues()
            && holds.is_none_or(|mode| mode < need.ahead())
            && self.waiting.is_wanted(need.inode(), session, waited)
    }

    /// Counts what an answer tells as remembered; false: it is not to be.
    fn grant(&mut self, session: SessionId, needs: &[Need], waited: Option<WaitId>) -> bool {
        let Some(attached) = self.sessions.get(&session) else { return false };
        let free = |need: &Need| {
            let inode = need.inode();
            !attached.is_recalled(inode) && !self.waiting.is_wanted(inode, session, waited)
        };
        let writes = needs.iter().any(|need| matches!(need, Need::Write(_)));
        if !writes && !needs.iter().all(free) {
            return false;
        }
        for need in needs {
            self.held.raise(need.inode(), session, need.grants());
            self.ask_anew(session, need.inode());
        }
        true
    }

    /// A session gets more of an inode, of which it was asked to forget something or has done so, by those that wait behind
    /// this: it is asked anew.
    fn ask_anew(&mut self, session: SessionId, inode: Inode) {
        if let Some(attached) = self.sessions.get_mut(&session) {
            attached.cancel(inode);
        }
        self.waiting.forget_of(session, inode);
    }

    /// Whether a session is the only one, so that nothing of it is counted.
    pub fn is_alone(&self, session: SessionId) -> bool {
        self.alone == Some(session)
    }

    /// An operation does not wait any more.
    pub fn leave(&mut self, id: WaitId) {
        self.waiting.leave(id);
    }

    /// An answer that may be remembered tells of this inode as well, of which no other session holds back anything
    /// ([`is_written`](Self::is_written)).
    pub(crate) fn tells(&mut self, session: SessionId, inode: Inode) {
        self.raise(session, inode, HoldMode::Shared);
    }

    /// A session has made a file: nobody else knows it.
    pub(crate) fn makes(&mut self, session: SessionId, inode: Inode) {
        self.raise(session, inode, HoldMode::Exclusive);
    }

    fn raise(&mut self, session: SessionId, inode: Inode, mode: HoldMode) {
        if self.alone != Some(session) {
            self.held.raise(inode, session, mode);
        }
    }

    /// Whether another session holds back something of an inode, or an operation waits for it.
    pub(crate) fn is_written(&self, session: SessionId, inode: Inode) -> bool {
        self.alone != Some(session)
            && (self.waiting.is_wanted(inode, session, None)
                || self.sessions.get(&session).is_none_or(|attached| attached.is_recalled(inode))
                || self.held.others(inode, session).any(|(_, mode)| mode == HoldMode::Exclusive))
    }

    /// A session has an inode open.
    pub(crate) fn opens(&mut self, session: SessionId, inode: Inode) {
        self.raise(session, inode, HoldMode::Open);
    }

    /// What a session is to forget, and whether it is to attach anew.
    ///
    /// # Errors
    /// [`NotAttached`] for one that is not open.
    pub fn recalls(&self, session: SessionId, term: Term, after: u64) -> Result<Recalls, NotAttached> {
        let attached = self.sessions.get(&session).ok_or(NotAttached)?;
        if attached.term != Some(term) {
            return Ok(Recalls { recalls: Vec::new(), attach: true });
        }
        let could_be_alone = self.sessions.len() == 1 && self.alone.is_none();
        let crowded = self.held.count(session) >= HELD_MAX;
        let recalls = attached.after(after, RECALLS_MAX);
        Ok(Recalls { attach: recalls.is_empty() && (could_be_alone || crowded), recalls })
    }

    /// Whether anything was recalled since this was asked last: those that watch are to be told.
    pub const fn has_issued(&mut self) -> bool {
        core::mem::replace(&mut self.issued, false)
    }

    /// A session has forgotten what it was asked to.
    pub fn acknowledge(&mut self, session: SessionId, term: Term, acks: &[Ack]) {
        let Some(attached) = self.sessions.get_mut(&session).filter(|attached| attached.term == Some(term))
        else {
            return;
        };
        for ack in acks {
            let Some(pending) = attached.take(ack.number) else { continue };
            let open = ack.open.then_some(HoldMode::Open);
            match pending.what {
                What::Name(_) | What::Attributes | What::Writers => {}
                What::Writing => self.held.lower(pending.inode, session, Some(HoldMode::Shared)),
                What::All | What::Gone => self.held.lower(pending.inode, session, open),
            }
            self.waiting.done(session, ack.number, ack.open);
        }
    }

    /// A session was seen to commit something.
    pub(crate) fn progressed(&mut self, session: SessionId, now: Instant) {
        if let Some(attached) = self.sessions.get_mut(&session).filter(|attached| attached.oldest().is_some())
        {
            attached.active = now;
        }
    }

    /// Sessions that did not forget in time what they were asked to, or did not attach.
    pub fn overdue(&self, now: Instant) -> Vec<SessionId> {
        let since = |moment: Instant| now.saturating_duration_since(moment);
        let late = |session: &SessionId, attached: &Attached| match attached.oldest() {
            _ if self.held.count(*session) > HELD_MAX_EVER => true,
            _ if attached.term.is_none() => since(attached.active) > ATTACH_MAX,
            Some(oldest) => {
                since(oldest.issued.max(attached.active)) > RECALL_MAX
                    || since(oldest.issued) > RECALL_MAX_EVER
            }
            None => false,
        };
        let sessions = self.sessions.iter().filter(|(session, attached)| late(session, attached));
        sessions.map(|(session, _)| *session).collect()
    }
}
