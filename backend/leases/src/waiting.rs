//! Operations that wait for others to forget something.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weft_types::{Inode, SessionId};

use crate::Need;

/// An operation that waits. Those that came earlier have lower numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(pub(crate) u64);

/// What became of a recall that an operation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// This recall was sent.
    Recalled(u64),
    /// It was acknowledged.
    Done,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    session: SessionId,
    inodes: BTreeSet<Inode>,
    asked: HashMap<(SessionId, Need), Asked>,
    /// Sessions that said to have it open.
    users: BTreeSet<SessionId>,
}

impl Waiter {
    /// What became of the recall from a session of what stands in the way of a need.
    pub(crate) fn asked(&self, key: &(SessionId, Need)) -> Option<Asked> {
        self.asked.get(key).copied()
    }

    /// Sessions that said to have it open.
    pub(crate) fn users(&self) -> Vec<SessionId> {
        self.users.iter().copied().collect()
    }
}

/// Who waits, and for which inodes.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    last: u64,
    waiters: BTreeMap<WaitId, Waiter>,
    wanted: HashMap<Inode, BTreeSet<WaitId>>,
    /// Which operation waits for a recall of a session, and what it needs: of each that was sent and is not acknowledged.
    recalls: HashMap<(SessionId, u64), (WaitId, Need)>,
}

impl Waiting {
    pub(crate) fn join(&mut self, session: SessionId) -> WaitId {
        self.last += 1;
        let id = WaitId(self.last);
        let waiter =
            Waiter { session, inodes: BTreeSet::new(), asked: HashMap::new(), users: BTreeSet::new() };
        self.waiters.insert(id, waiter);
        id
    }

    pub(crate) fn leave(&mut self, id: WaitId) {
        let Some(waiter) = self.waiters.remove(&id) else { return };
        for ((session, _), asked) in waiter.asked {
            if let Asked::Recalled(number) = asked {
                self.recalls.remove(&(session, number));
            }
        }
        for inode in waiter.inodes {
            if let Some(wanted) = self.wanted.get_mut(&inode) {
                wanted.remove(&id);
                if wanted.is_empty() {
                    self.wanted.remove(&inode);
                }
            }
        }
    }

    pub(crate) fn get(&self, id: WaitId) -> Option<&Waiter> {
        self.waiters.get(&id)
    }

    /// A session was sent a recall of what stands in the way of a need.
    pub(crate) fn recalled(&mut self, id: WaitId, key: (SessionId, Need), number: u64) {
        if let Some(waiter) = self.waiters.get_mut(&id) {
            self.recalls.insert((key.0, number), (id, key.1.clone()));
            waiter.asked.insert(key, Asked::Recalled(number));
        }
    }

    pub(crate) fn want(&mut self, id: WaitId, inode: Inode) {
        if let Some(waiter) = self.waiters.get_mut(&id) {
            waiter.inodes.insert(inode);
            self.wanted.entry(inode).or_default().insert(id);
        }
    }

    /// Whether an operation of another session waits for an inode, that came before this one.
    pub(crate) fn is_wanted(&self, inode: Inode, session: SessionId, before: Option<WaitId>) -> bool {
        let Some(wanted) = self.wanted.get(&inode) else { return false };
        let earlier = wanted.iter().filter(|id| before.is_none_or(|before| **id < before));
        earlier.filter_map(|id| self.waiters.get(id)).any(|waiter| waiter.session != session)
    }

    /// Whether a change of an inode's data by a session waits for others to forget it.
    pub(crate) fn changes_data(&self, session: SessionId, inode: Inode) -> bool {
        let waiters = self.wanted.get(&inode).into_iter().flatten().filter_map(|id| self.waiters.get(id));
        let asks = |waiter: &Waiter| waiter.asked.keys().any(|(_, need)| *need == Need::Data(inode));
        waiters.filter(|waiter| waiter.session == session).any(asks)
    }

    /// A recall of a session was done.
    pub(crate) fn done(&mut self, session: SessionId, number: u64, open: bool) {
        let Some((id, need)) = self.recalls.remove(&(session, number)) else { return };
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        if open && matches!(need, Need::Gone(_) | Need::Writers(_)) {
            waiter.users.insert(session);
        }
        waiter.asked.insert((session, need), Asked::Done);
    }

    /// What a session was asked to forget of an inode does not count any more.
    pub(crate) fn forget_of(&mut self, session: SessionId, inode: Inode) {
        for id in self.wanted.get(&inode).into_iter().flatten() {
            let Some(waiter) = self.waiters.get_mut(id) else { continue };
            waiter.asked.retain(|(asked, need), state| {
                let forgotten = *asked == session && need.inode() == inode;
                if forgotten && let Asked::Recalled(number) = state {
                    self.recalls.remove(&(session, *number));
                }
                if forgotten && matches!(need, Need::Gone(_) | Need::Writers(_)) {
                    waiter.users.remove(&session);
                }
                !forgotten
            });
        }
    }

    /// Nothing that a session was asked for counts any more.
    pub(crate) fn forget_all_of(&mut self, session: SessionId) {
        for waiter in self.waiters.values_mut() {
            waiter.asked.retain(|(asked, _), _| *asked != session);
            waiter.users.remove(&session);
        }
        self.recalls.retain(|(asked, _), _| *asked != session);
    }
}
