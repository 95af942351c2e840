//! How sessions hold inodes.

use std::collections::{BTreeMap, HashMap};

use weft_types::{Inode, SessionId};
use weft_wire::coherence::HoldMode;

/// By inode, and how many each session has.
#[derive(Debug, Default)]
pub(crate) struct Held {
    inodes: HashMap<Inode, BTreeMap<SessionId, HoldMode>>,
    counts: BTreeMap<SessionId, usize>,
}

impl Held {
    pub(crate) fn mode(&self, inode: Inode, session: SessionId) -> Option<HoldMode> {
        self.inodes.get(&inode)?.get(&session).copied()
    }

    /// The other sessions that hold an inode.
    pub(crate) fn others(
        &self,
        inode: Inode,
        session: SessionId,
    ) -> impl Iterator<Item = (SessionId, HoldMode)> + '_ {
        let holders = self.inodes.get(&inode).into_iter().flatten();
        holders.map(|(holder, mode)| (*holder, *mode)).filter(move |(holder, _)| *holder != session)
    }

    /// How many inodes a session holds.
    pub(crate) fn count(&self, session: SessionId) -> usize {
        self.counts.get(&session).copied().unwrap_or(0)
    }

    /// A session holds an inode at least like this.
    pub(crate) fn raise(&mut self, inode: Inode, session: SessionId, mode: HoldMode) {
        let held = self.inodes.entry(inode).or_default();
        let count = &mut self.counts;
        held.entry(session).and_modify(|held| *held = mode.max(*held)).or_insert_with(|| {
            *count.entry(session).or_default() += 1;
            mode
        });
    }

    /// A session holds an inode like this and not more, or not at all.
    pub(crate) fn lower(&mut self, inode: Inode, session: SessionId, mode: Option<HoldMode>) {
        let Some(holders) = self.inodes.get_mut(&inode) else { return };
        let Some(held) = holders.get_mut(&session) else { return };
        match mode {
            Some(mode) => *held = mode.min(*held),
            None => {
                holders.remove(&session);
                if let Some(count) = self.counts.get_mut(&session) {
                    *count -= 1;
                }
            }
        }
        if holders.is_empty() {
            self.inodes.remove(&inode);
        }
    }

    /// A session holds nothing any more.
    pub(crate) fn drop_session(&mut self, session: SessionId) {
        if self.counts.remove(&session).unwrap_or(0) > 0 {
            self.inodes.retain(|_, holders| {
                holders.remove(&session);
                !holders.is_empty()
            });
        }
    }
}
