//! What is remembered of names, attributes and extended attributes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_types::{Inode, Timestamp};
use weft_wire::coherence::{Stamp, Term};
use weft_wire::meta::{Attributes, FileKind, Name};

use crate::recent::Recent;

/// Directories that are known as a whole.
const WHOLE_MAX: usize = 1 << 14;
const GATES: usize = 1 << 10;
/// The gate of every change.
const ANY: usize = GATES;

/// A reply that was under way while something changed must not be remembered: it may be from before the change.
///
/// Inodes share gates; a gate says whether a change of one of its inodes is under way, and how many there were.
#[derive(Debug)]
struct Gates(Vec<(AtomicU32, AtomicU64)>);

/// Which answers are from before something was recalled, by the gates of the inodes.
#[derive(Debug)]
struct Recalled {
    /// Answers under another term are not believed.
    term: Term,
    /// The last recall of any inode of a gate.
    last: Vec<u64>,
}

/// A gate as it stood before a question was sent, and how the answer stands to recalls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    gate: usize,
    passed: Option<u64>,
    stamp: Stamp,
}

impl Ticket {
    /// With the stamp of the answer.
    pub(crate) const fn answered(self, stamp: Stamp) -> Self {
        Self { stamp, ..self }
    }
}

/// While it lives, nothing that others were told about these inodes is remembered.
#[derive(Debug)]
pub(crate) struct Change {
    names: Arc<Names>,
    gates: Vec<usize>,
}

impl Drop for Change {
    fn drop(&mut self) {
        for gate in &self.gates {
            let (open, count) = &self.names.gates.0[*gate];
            count.fetch_add(1, Ordering::SeqCst);
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// By directory and name. A directory's names are forgotten by their gate: what was remembered by an earlier count of it does not
/// hold any more.
#[derive(Debug)]
struct Entries {
    known: Recent<(Inode, Name), (Behind, u32)>,
    wiped: Vec<u32>,
}

impl Entries {
    fn new(remembered: usize) -> Self {
        Self { known: Recent::new(remembered), wiped: vec![0; GATES] }
    }

    fn get(&mut self, parent: Inode, name: &Name) -> Option<Behind> {
        let wiped = self.wiped[gate(parent)];
        let (behind, seen) = self.known.get(&(parent, name.clone()))?;
        Some(if *seen == wiped { *behind } else { Behind::Unsure })
    }

    fn insert(&mut self, parent: Inode, name: Name, behind: Behind) {
        self.known.insert((parent, name), (behind, self.wiped[gate(parent)]));
    }

    /// Of all names in a directory only the owner knows. Directories that share its gate are asked for as well.
    fn wipe(&mut self, parent: Inode) {
        let wiped = &mut self.wiped[gate(parent)];
        *wiped = wiped.wrapping_add(1);
    }
}

/// What is known to be behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Inode(Inode),
    /// There is no such name.
    Nothing,
    /// It is being changed, or may have been: only the owner knows.
    Unsure,
}

impl Behind {
    const fn of(inode: Option<Inode>) -> Self {
        match inode {
            Some(inode) => Self::Inode(inode),
            None => Self::Nothing,
        }
    }
}
type XattrNames = Arc<HashSet<Vec<u8>>>;

/// The caches. Everything in them holds while the lease does, until it is recalled.
#[derive(Debug)]
pub(crate) struct Names {
    gates: Gates,
    recalled: Mutex<Recalled>,
    entries: Mutex<Entries>,
    /// Directories of which every name is among the entries. Locked after these.
    whole: Mutex<HashSet<Inode>>,
    parents: Mutex<Recent<Inode, Inode>>,
    attributes: Mutex<Recent<Inode, Attributes>>,
    xattrs: Mutex<Recent<Inode, XattrNames>>,
    /// Of all inodes that have none.
    no_xattrs: XattrNames,
}

/// Neighbouring numbers, which are used together, get different gates.
fn gate(inode: Inode) -> usize {
    (inode.get() % GATES as u64) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// `remembered`: names, and inodes with attributes, that are remembered: the last ones used, and at most twice as many.
    pub(crate) fn new(term: Term, remembered: usize) -> Self {
        Self {
            gates: Gates((0..=ANY).map(|_| (AtomicU32::new(0), AtomicU64::new(0))).collect()),
            recalled: Mutex::new(Recalled { term, last: vec![0; GATES] }),
            entries: Mutex::new(Entries::new(remembered)),
            whole: Mutex::default(),
            parents: Mutex::new(Recent::new(remembered)),
            attributes: Mutex::new(Recent::new(remembered)),
            xattrs: Mutex::new(Recent::new(remembered)),
            no_xattrs: XattrNames::default(),
        }
    }

    /// Whether an answer may be remembered of an inode: nothing of it was recalled since. To be asked while the cache that
    /// remembers it is locked: what is recalled is taken out afterwards.
    pub(crate) fn believes(&self, stamp: Stamp, inode: Inode) -> bool {
        let recalled = lock(&self.recalled);
        stamp.leased && stamp.term == recalled.term && recalled.last[gate(inode)] <= stamp.recalled
    }

    /// Answers about an inode from before this recall are not remembered any more. What is remembered is to be forgotten
    /// after this.
    pub(crate) fn recall(&self, inode: Inode, number: u64) {
        let last = &mut lock(&self.recalled).last[gate(inode)];
        *last = number.max(*last);
    }

    /// From now on only answers under this term are remembered; nothing was recalled under it.
    pub(crate) fn begin_term(&self, term: Term) {
        *lock(&self.recalled) = Recalled { term, last: vec![0; GATES] };
    }

    /// Before asking about an inode, or about a name in it.
    pub(crate) fn ticket(&self, inode: Inode) -> Ticket {
        self.ticket_of(gate(inode))
    }

    /// Before asking for inodes that are not known yet.
    pub(crate) fn ticket_of_any(&self) -> Ticket {
        self.ticket_of(ANY)
    }

    fn ticket_of(&self, gate: usize) -> Ticket {
        let (open, count) = &self.gates.0[gate];
        let passed = count.load(Ordering::SeqCst);
        let passed = (open.load(Ordering::SeqCst) == 0).then_some(passed);
        Ticket { gate, passed, stamp: Stamp::default() }
    }

    fn is_valid(&self, ticket: Ticket, inode: Inode) -> bool {
        let (open, count) = &self.gates.0[ticket.gate];
        let closed = open.load(Ordering::SeqCst) == 0;
        closed && ticket.passed == Some(count.load(Ordering::SeqCst)) && self.believes(ticket.stamp, inode)
    }

    /// Before a change of these inodes, or of names in them, is sent.
    pub(crate) fn change(self: &Arc<Self>, inodes: impl IntoIterator<Item = Inode>) -> Change {
        let gates: Vec<_> = inodes.into_iter().map(gate).chain([ANY]).collect();
        for gate in &gates {
            let (open, count) = &self.gates.0[*gate];
            open.fetch_add(1, Ordering::SeqCst);
            count.fetch_add(1, Ordering::SeqCst);
        }
        Change { names: Arc::clone(self), gates }
    }

    /// The inode behind a name: `Some(None)` when there is known to be none.
    pub(crate) fn entry(&self, parent: Inode, name: &Name) -> Option<Option<Inode>> {
        let mut entries = lock(&self.entries);
        let known = match entries.get(parent, name) {
            Some(Behind::Unsure) => None,
            Some(Behind::Inode(inode)) => Some(Some(inode)),
            Some(Behind::Nothing) => Some(None),
            None => lock(&self.whole).contains(&parent).then_some(None),
        };
        self.follow_loss(&mut entries);
        known
    }

    /// When entries had to go, no directory is whole any more.
    fn follow_loss(&self, entries: &mut Entries) {
        if entries.known.has_lost() {
            lock(&self.whole).clear();
        }
    }

    /// A directory was made here: it has no names but those that are made here.
    pub(crate) fn set_whole(&self, stamp: Stamp, directory: &Attributes) {
        let mut whole = lock(&self.whole);
        if directory.kind == FileKind::Directory && self.believes(stamp, directory.inode) {
            if whole.len() >= WHOLE_MAX {
                whole.clear();
            }
            whole.insert(directory.inode);
        }
    }

    fn put_entry(&self, entries: &mut Entries, parent: Inode, name: Name, behind: Behind) {
        entries.insert(parent, name, behind);
        self.follow_loss(entries);
    }

    /// What a lookup answered.
    pub(crate) fn remember_entry(&self, ticket: Ticket, parent: Inode, name: Name, inode: Option<Inode>) {
        let mut entries = lock(&self.entries);
        if self.is_valid(ticket, parent) {
            self.put_entry(&mut entries, parent, name, Behind::of(inode));
        }
    }

    /// What the session's own change of a name came to.
    pub(crate) fn set_entry(&self, stamp: Stamp, parent: Inode, name: Name, inode: Option<Inode>) {
        let mut entries = lock(&self.entries);
        let behind = if self.believes(stamp, parent) { Behind::of(inode) } else { Behind::Unsure };
        self.put_entry(&mut entries, parent, name, behind);
    }

    /// Before a name is changed: what it will be is not known.
    pub(crate) fn forget_entry(&self, parent: Inode, name: Name) {
        self.put_entry(&mut lock(&self.entries), parent, name, Behind::Unsure);
    }

    /// The directory that holds a directory.
    pub(crate) fn parent(&self, directory: Inode) -> Option<Inode> {
        lock(&self.parents).get(&directory).copied()
    }

    /// A directory was made in `parent`.
    pub(crate) fn set_parent(&self, stamp: Stamp, attributes: &Attributes, parent: Inode) {
        let mut parents = lock(&self.parents);
        if attributes.kind == FileKind::Directory && self.believes(stamp, attributes.inode) {
            parents.insert(attributes.inode, parent);
        }
    }

    /// What a lookup in `parent` answered.
    pub(crate) fn remember_parent(&self, ticket: Ticket, attributes: &Attributes, parent: Inode) {
        let mut parents = lock(&self.parents);
        if attributes.kind == FileKind::Directory && self.is_valid(ticket, attributes.inode) {
            parents.insert(attributes.inode, parent);
        }
    }

    pub(crate) fn forget_parent(&self, directory: Inode) {
        lock(&self.parents).remove(&directory);
    }

    pub(crate) fn attributes(&self, inode: Inode) -> Option<Attributes> {
        lock(&self.attributes).get(&inode).cloned()
    }

    /// What a question answered.
    pub(crate) fn remember_attributes(&self, ticket: Ticket, attributes: &Attributes) {
        let mut remembered = lock(&self.attributes);
        if self.is_valid(ticket, attributes.inode) {
            insert_newer(&mut remembered, attributes);
        }
    }

    /// Whether these attributes are still what a question that was asked with this ticket is to be believed for, and
    /// nothing newer is remembered.
    pub(crate) fn is_current(&self, ticket: Ticket, attributes: &Attributes) -> bool {
        let remembered = self.attributes(attributes.inode);
        let valid = self.is_valid(ticket, attributes.inode);
        valid && remembered.is_some_and(|newest| newest.change == attributes.change)
    }

    /// What the session's own change answered; the newest of several counts.
    pub(crate) fn set_attributes(&self, stamp: Stamp, attributes: &Attributes) {
        let mut remembered = lock(&self.attributes);
        if self.believes(stamp, attributes.inode) {
            insert_newer(&mut remembered, attributes);
        } else {
            remembered.remove(&attributes.inode);
        }
    }

    /// The owner was told that an inode was read; the latest time counts. When the inode was changed since, that may have set
    /// another time, which counts more: only the owner knows.
    pub(crate) fn set_accessed(&self, inode: Inode, at: Timestamp) {
        let mut remembered = lock(&self.attributes);
        match remembered.get(&inode) {
            Some(known) if known.changed <= at => known.accessed = known.accessed.max(at),
            _ => remembered.remove(&inode),
        }
    }

    pub(crate) fn forget_attributes(&self, inode: Inode) {
        lock(&self.attributes).remove(&inode);
    }

    /// The names of an inode's extended attributes. That there are none, its attributes tell too.
    pub(crate) fn xattrs(&self, inode: Inode) -> Option<XattrNames> {
        let known = lock(&self.xattrs).get(&inode).cloned();
        known.or_else(|| self.attributes(inode)?.no_xattrs.then(|| Arc::clone(&self.no_xattrs)))
    }

    pub(crate) fn remember_xattrs(&self, ticket: Ticket, inode: Inode, names: XattrNames) {
        let names = if names.is_empty() { Arc::clone(&self.no_xattrs) } else { names };
        let mut xattrs = lock(&self.xattrs);
        if self.is_valid(ticket, inode) {
            xattrs.insert(inode, names);
        }
    }

    /// An inode was made here: it has no extended attributes.
    pub(crate) fn set_no_xattrs(&self, stamp: Stamp, inode: Inode) {
        let mut xattrs = lock(&self.xattrs);
        if self.believes(stamp, inode) {
            xattrs.insert(inode, Arc::clone(&self.no_xattrs));
        }
    }

    /// Nothing is known of an inode, nor of names in it; but it may have names elsewhere.
    pub(crate) fn forget(&self, inode: Inode) {
        let mut entries = lock(&self.entries);
        lock(&self.whole).remove(&inode);
        entries.wipe(inode);
        drop(entries);
        self.forget_parent(inode);
        self.forget_attributes(inode);
        self.forget_xattrs(inode);
    }

    pub(crate) fn forget_xattrs(&self, inode: Inode) {
        lock(&self.xattrs).remove(&inode);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut entries = lock(&self.entries);
        lock(&self.whole).clear();
        entries.known.clear();
        drop(entries);
        lock(&self.parents).clear();
        lock(&self.attributes).clear();
        lock(&self.xattrs).clear();
    }
}

fn insert_newer(remembered: &mut Recent<Inode, Attributes>, attributes: &Attributes) {
    let known = remembered.get(&attributes.inode);
    if known.is_none_or(|known| known.change <= attributes.change) {
        remembered.insert(attributes.inode, attributes.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEMBERED: usize = 1000;

    const TERM: Term = Term { epoch: weft_types::Epoch::new(1), number: 1 };
    const STAMP: Stamp = Stamp { term: TERM, recalled: 0, leased: true };

    fn names() -> Arc<Names> {
        Arc::new(Names::new(TERM, REMEMBERED))
    }

    fn name() -> Name {
        Name::new(b"a").expect("a name")
    }

    #[tokio::test]
    async fn an_answer_from_before_a_change_is_not_remembered() {
        let names = names();
        let parent = Inode::new(5);
        let ticket = names.ticket(parent);
        drop(names.change([parent]));
        names.remember_entry(ticket.answered(STAMP), parent, name(), Some(Inode::new(9)));
        assert_eq!(names.entry(parent, &name()), None);
        let during = names.change([parent]);
        let ticket = names.ticket(parent);
        drop(during);
        names.remember_entry(ticket.answered(STAMP), parent, name(), Some(Inode::new(9)));
        assert_eq!(names.entry(parent, &name()), None);
        names.remember_entry(names.ticket(parent).answered(STAMP), parent, name(), None);
        assert_eq!(names.entry(parent, &name()), Some(None));
    }

    #[tokio::test]
    async fn a_read_from_before_a_change_is_asked_for() {
        let names = names();
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let known = Attributes { accessed: at(3), changed: at(10), ..crate::tests::directory() };
        names.set_attributes(STAMP, &known);
        names.set_accessed(known.inode, at(10));
        assert_eq!(names.attributes(known.inode).map(|known| known.accessed), Some(at(10)));
        names.set_accessed(known.inode, at(9));
        assert_eq!(names.attributes(known.inode), None, "the change may have set a time");
    }

    #[tokio::test]
    async fn a_directory_that_was_made_here_needs_no_question_until_something_is_forgotten() {
        let names = names();
        let parent = Inode::new(5);
        let directory = Attributes { inode: parent, ..crate::tests::directory() };
        assert_eq!(names.entry(parent, &name()), None);
        names.set_whole(STAMP, &directory);
        assert_eq!(names.entry(parent, &name()), Some(None));
        names.forget_entry(parent, name());
        assert_eq!(names.entry(parent, &name()), None, "it may have been made");
        names.set_entry(STAMP, parent, name(), Some(Inode::new(9)));
        assert_eq!(names.entry(parent, &name()), Some(Some(Inode::new(9))));
        for number in 0..=2 * REMEMBERED as u64 {
            names.set_entry(STAMP, Inode::new(1000 + number), name(), None);
        }
        assert_eq!(names.entry(parent, &name()), None, "it is no longer among the entries");
    }

    #[tokio::test]
    async fn a_name_that_was_forgotten_while_others_were_looked_at_is_asked_for() {
        let names = names();
        let parent = Inode::new(5);
        let directory = Attributes { inode: parent, ..crate::tests::directory() };
        let name = |number: usize| Name::new(number.to_string().as_bytes()).expect("a name");
        names.set_whole(STAMP, &directory);
        let made = REMEMBERED * 3 / 2;
        for number in 0..made {
            names.set_entry(STAMP, parent, name(number), Some(Inode::new(100 + number as u64)));
        }
        for number in 0..made {
            let inode = Inode::new(100 + number as u64);
            let known = names.entry(parent, &name(number));
            assert!(known.is_none() || known == Some(Some(inode)), "{number} is there: {known:?}");
        }
    }

    #[tokio::test]
    async fn what_was_answered_before_a_recall_is_not_remembered_and_other_inodes_are() {
        let names = names();
        let (parent, other) = (Inode::new(5), Inode::new(6));
        let answered = |recalled| Stamp { term: TERM, recalled, leased: true };
        names.recall(parent, 4);
        names.set_entry(answered(3), parent, name(), None);
        names.set_entry(answered(3), other, name(), None);
        assert_eq!((names.entry(parent, &name()), names.entry(other, &name())), (None, Some(None)));
        names.set_entry(answered(4), parent, name(), None);
        assert_eq!(names.entry(parent, &name()), Some(None));
        names.begin_term(Term { number: 2, ..TERM });
        names.set_entry(answered(9), other, name(), None);
        assert_eq!(names.entry(other, &name()), None, "it was answered under another term");
    }

    #[tokio::test]
    async fn with_a_directory_its_names_are_forgotten() {
        let names = names();
        let parent = Inode::new(5);
        let directory = Attributes { inode: parent, ..crate::tests::directory() };
        names.set_whole(STAMP, &directory);
        names.set_entry(STAMP, parent, name(), Some(Inode::new(9)));
        names.set_entry(STAMP, Inode::new(6), name(), Some(Inode::new(9)));
        names.forget(parent);
        assert_eq!(names.entry(parent, &name()), None);
        assert_eq!(names.entry(Inode::new(6), &name()), Some(Some(Inode::new(9))), "of another directory");
        names.set_entry(STAMP, parent, name(), None);
        assert_eq!(names.entry(parent, &name()), Some(None));
    }
}
