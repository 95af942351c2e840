//! A session's place, and what it was asked to forget.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use weft_types::Inode;
use weft_wire::coherence::{Recall, Term, What};

/// A recall that was not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) inode: Inode,
    pub(crate) what: What,
    pub(crate) issued: Instant,
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What its operations must name; none until it has attached.
    pub(crate) term: Option<Term>,
    /// The number of its last recall.
    pub(crate) last: u64,
    pending: BTreeMap<u64, Pending>,
    /// The same by inode.
    inodes: HashMap<Inode, BTreeSet<u64>>,
    /// When it was last seen to get on with what it has to commit.
    pub(crate) active: Instant,
}

impl Attached {
    pub(crate) fn new(now: Instant) -> Self {
        Self { term: None, last: 0, pending: BTreeMap::new(), inodes: HashMap::new(), active: now }
    }

    /// Whether it was asked to forget anything of an inode.
    pub(crate) fn is_recalled(&self, inode: Inode) -> bool {
        self.inodes.contains_key(&inode)
    }

    /// Whether it was asked to forget all of an inode.
    pub(crate) fn gives_up(&self, inode: Inode) -> bool {
        let numbers = self.inodes.get(&inode).into_iter().flatten();
        let mut pending = numbers.filter_map(|number| self.pending.get(number));
        pending.any(|pending| matches!(pending.what, What::All | What::Gone))
    }

    /// The recall that waits the longest to be acknowledged.
    pub(crate) fn oldest(&self) -> Option<&Pending> {
        self.pending.values().next()
    }

    /// A recall is acknowledged.
    pub(crate) fn take(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        if let Some(numbers) = self.inodes.get_mut(&pending.inode) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.inodes.remove(&pending.inode);
            }
        }
        Some(pending)
    }

    /// It need not forget anything of an inode any more.
    pub(crate) fn cancel(&mut self, inode: Inode) {
        for number in self.inodes.remove(&inode).into_iter().flatten() {
            self.pending.remove(&number);
        }
    }

    pub(crate) fn recall(&mut self, inode: Inode, what: What, now: Instant) -> u64 {
        self.last += 1;
        self.inodes.entry(inode).or_default().insert(self.last);
        self.pending.insert(self.last, Pending { inode, what, issued: now });
        self.last
    }

    /// What it was not told yet.
    pub(crate) fn after(&self, number: u64, limit: usize) -> Vec<Recall> {
        let pending = self.pending.range(number.saturating_add(1)..).take(limit);
        let recall = |(number, pending): (&u64, &Pending)| Recall {
            number: *number,
            inode: pending.inode,
            what: pending.what.clone(),
        };
        pending.map(recall).collect()
    }
}
