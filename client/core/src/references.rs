//! Who still knows an inode: a kernel's references, and unlinked files that wait for the last of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_types::Inode;

/// Counts of references, and unlinked inodes.
#[derive(Debug, Default)]
pub(crate) struct References(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    counts: HashMap<Inode, u64>,
    /// Whether it is certain that its last name went: one that was only about to go may be there still.
    orphans: BTreeMap<Inode, bool>,
}

/// A reference that goes to whoever waits for an answer: given back when nobody does any more.
#[derive(Debug)]
pub(crate) struct Reference {
    references: Option<Arc<References>>,
    inode: Inode,
}

impl Reference {
    /// One more of an inode.
    pub(crate) fn new(references: &Arc<References>, inode: Inode) -> Self {
        references.remember(inode);
        Self { references: Some(Arc::clone(references)), inode }
    }

    /// It is counted until somebody [forgets](References::forget) it.
    pub(crate) fn hand_over(mut self) {
        self.references = None;
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if let Some(references) = &self.references {
            references.forget(self.inode, 1);
        }
    }
}

impl References {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, inode: Inode) {
        *self.lock().counts.entry(inode).or_default() += 1;
    }

    pub(crate) fn forget(&self, inode: Inode, references: u64) {
        let mut table = self.lock();
        if let Some(count) = table.counts.get_mut(&inode) {
            *count = count.saturating_sub(references);
            if *count == 0 {
                table.counts.remove(&inode);
            }
        }
    }

    /// All inodes that are known.
    pub(crate) fn all(&self) -> Vec<Inode> {
        self.lock().counts.keys().copied().collect()
    }

    /// An inode lost its last name.
    pub(crate) fn orphaned(&self, inode: Inode) {
        self.lock().orphans.insert(inode, true);
    }

    /// Another mount is about to take an inode's last name.
    pub(crate) fn may_be_orphaned(&self, inode: Inode) {
        self.lock().orphans.entry(inode).or_insert(false);
    }

    /// Whether an inode lost its last name, and this session keeps it.
    pub(crate) fn is_orphan(&self, inode: Inode) -> bool {
        self.lock().orphans.contains_key(&inode)
    }

    /// The session is over, and what it kept is collected: inodes that had lost their last name.
    pub(crate) fn take_orphans(&self) -> BTreeSet<Inode> {
        let orphans = core::mem::take(&mut self.lock().orphans);
        orphans.into_iter().filter_map(|(inode, certain)| certain.then_some(inode)).collect()
    }

    /// An inode that never had a name has got its first.
    pub(crate) fn named(&self, inode: Inode) {
        self.lock().orphans.remove(&inode);
    }

    /// Unlinked for certain, and without references.
    pub(crate) fn is_abandoned(&self, inode: Inode) -> bool {
        let table = self.lock();
        table.orphans.get(&inode) == Some(&true) && !table.counts.contains_key(&inode)
    }

    /// Takes at most `most` inodes that are unlinked, without references, and not `in_use`.
    pub(crate) fn take_abandoned(&self, most: usize, in_use: impl Fn(Inode) -> bool) -> Vec<Inode> {
        let mut table = self.lock();
        let free = |inode: &&Inode| !table.counts.contains_key(*inode) && !in_use(**inode);
        let taken: Vec<_> = table.orphans.keys().filter(free).take(most).copied().collect();
        for inode in &taken {
            table.orphans.remove(inode);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlinked_inode_is_taken_once_when_nobody_knows_it_any_more() {
        let references = References::default();
        let inode = Inode::new(7);
        references.remember(inode);
        references.remember(inode);
        references.orphaned(inode);
        references.forget(inode, 1);
        assert!(references.take_abandoned(9, |_| false).is_empty());
        references.forget(inode, 1);
        assert!(references.is_abandoned(inode));
        assert!(references.take_abandoned(9, |_| true).is_empty());
        assert_eq!(references.take_abandoned(9, |_| false), [inode]);
        assert!(references.take_abandoned(9, |_| false).is_empty());
    }

    #[test]
    fn what_may_have_its_name_still_is_not_given_up_but_asked_for() {
        let references = References::default();
        let (inode, gone) = (Inode::new(7), Inode::new(8));
        references.may_be_orphaned(inode);
        references.orphaned(gone);
        references.may_be_orphaned(gone);
        assert!(!references.is_abandoned(inode) && references.is_abandoned(gone));
        assert_eq!(references.take_abandoned(1, |_| false), [inode], "its owner knows");
        assert_eq!(references.take_orphans(), BTreeSet::from([gone]));
    }
}
