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
    pub(crate) asked: HashMap<(SessionId, Need), Asked>,
    /// Sessions that said to have it open.
    pub(crate) users: BTreeSet<SessionId>,
}

/// Who waits, and for which inodes.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    last: u64,
    waiters: BTreeMap<WaitId, Waiter>,
    wanted: HashMap<Inode, BTreeSet<WaitId>>,
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
        for inode in waiter.inodes {
            if let Some(wanted) = self.wanted.get_mut(&inode) {
                wanted.remove(&id);
                if wanted.is_empty() {
                    self.wanted.remove(&inode);
                }
            }
        }
    }

    pub(crate) fn get(&mut self, id: WaitId) -> Option<&mut Waiter> {
        self.waiters.get_mut(&id)
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

    /// A recall of a session was done.
    pub(crate) fn done(&mut self, session: SessionId, number: u64, open: bool) {
        for waiter in self.waiters.values_mut() {
            for ((asked, need), state) in &mut waiter.asked {
                if *asked == session && *state == Asked::Recalled(number) {
                    *state = Asked::Done;
                    if open && matches!(need, Need::Gone(_) | Need::Writers(_)) {
                        waiter.users.insert(session);
                    }
                }
            }
        }
    }

    /// What a session was asked for does not count any more: of one inode, or of all.
    pub(crate) fn forget(&mut self, session: SessionId, inode: Option<Inode>) {
        for waiter in self.waiters.values_mut() {
            let spared = |need: &Need| inode.is_some_and(|inode| inode != need.inode());
            waiter.asked.retain(|(asked, need), _| *asked != session || spared(need));
            if inode.is_none() {
                waiter.users.remove(&session);
            }
        }
    }
}
