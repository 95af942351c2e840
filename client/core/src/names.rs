//! What is remembered of names, attributes and extended attributes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};
use weft_types::Inode;
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

/// A gate as it stood before a question was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    gate: usize,
    passed: Option<u64>,
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

#[derive(Debug)]
struct Remembered {
    attributes: Attributes,
    at: Instant,
}

/// By directory and name: what is behind it, and since when that is known.
type Entries = Recent<(Inode, Name), (Behind, Instant)>;

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

/// The caches. Everything in them holds while the lease does; of a read-only session only for a moment.
#[derive(Debug)]
pub(crate) struct Names {
    gates: Gates,
    lifetime: Option<Duration>,
    entries: Mutex<Entries>,
    /// Directories of which every name is among the entries. Locked after these.
    whole: Mutex<HashSet<Inode>>,
    parents: Mutex<Recent<Inode, Inode>>,
    attributes: Mutex<Recent<Inode, Remembered>>,
    xattrs: Mutex<Recent<Inode, (XattrNames, Instant)>>,
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
    /// `lifetime`: how long an entry is believed; for ever without. `remembered`: names, and inodes with attributes, that
    /// are remembered: the last ones used, and at most twice as many.
    pub(crate) fn new(lifetime: Option<Duration>, remembered: usize) -> Self {
        Self {
            gates: Gates((0..=ANY).map(|_| (AtomicU32::new(0), AtomicU64::new(0))).collect()),
            lifetime,
            entries: Mutex::new(Recent::new(remembered)),
            whole: Mutex::default(),
            parents: Mutex::new(Recent::new(remembered)),
            attributes: Mutex::new(Recent::new(remembered)),
            xattrs: Mutex::new(Recent::new(remembered)),
            no_xattrs: XattrNames::default(),
        }
    }

    fn believes(&self, at: Instant) -> bool {
        self.lifetime.is_none_or(|lifetime| at.elapsed() < lifetime)
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
        Ticket { gate, passed: (open.load(Ordering::SeqCst) == 0).then_some(passed) }
    }

    fn is_valid(&self, ticket: Ticket) -> bool {
        let (open, count) = &self.gates.0[ticket.gate];
        let closed = open.load(Ordering::SeqCst) == 0;
        closed && ticket.passed == Some(count.load(Ordering::SeqCst))
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
        let known = match entries.get(&(parent, name.clone())) {
            Some((Behind::Unsure, _)) => None,
            Some((_, at)) if !self.believes(*at) => None,
            Some((Behind::Inode(inode), _)) => Some(Some(*inode)),
            Some((Behind::Nothing, _)) => Some(None),
            None => lock(&self.whole).contains(&parent).then_some(None),
        };
        self.follow_loss(&mut entries);
        known
    }

    /// When entries had to go, no directory is whole any more.
    fn follow_loss(&self, entries: &mut Entries) {
        if entries.has_lost() {
            lock(&self.whole).clear();
        }
    }

    /// A directory was made here: it has no names but those that are made here.
    pub(crate) fn set_whole(&self, directory: &Attributes) {
        if directory.kind == FileKind::Directory && self.lifetime.is_none() {
            let mut whole = lock(&self.whole);
            if whole.len() >= WHOLE_MAX {
                whole.clear();
            }
            whole.insert(directory.inode);
        }
    }

    fn put_entry(&self, entries: &mut Entries, parent: Inode, name: Name, behind: Behind) {
        entries.insert((parent, name), (behind, Instant::now()));
        self.follow_loss(entries);
    }

    /// What a lookup answered.
    pub(crate) fn remember_entry(&self, ticket: Ticket, parent: Inode, name: Name, inode: Option<Inode>) {
        let mut entries = lock(&self.entries);
        if self.is_valid(ticket) {
            self.put_entry(&mut entries, parent, name, Behind::of(inode));
        }
    }

    /// What the session's own change of a name came to.
    pub(crate) fn set_entry(&self, parent: Inode, name: Name, inode: Option<Inode>) {
        self.put_entry(&mut lock(&self.entries), parent, name, Behind::of(inode));
    }

    /// Before a name is changed: what it will be is not known.
    pub(crate) fn forget_entry(&self, parent: Inode, name: Name) {
        self.put_entry(&mut lock(&self.entries), parent, name, Behind::Unsure);
    }

    /// The directory that holds a directory.
    pub(crate) fn parent(&self, directory: Inode) -> Option<Inode> {
        if self.lifetime.is_some() {
            return None;
        }
        lock(&self.parents).get(&directory).copied()
    }

    pub(crate) fn set_parent(&self, attributes: &Attributes, parent: Inode) {
        if attributes.kind == FileKind::Directory {
            lock(&self.parents).insert(attributes.inode, parent);
        }
    }

    /// What a lookup in `parent` answered.
    pub(crate) fn remember_parent(&self, ticket: Ticket, attributes: &Attributes, parent: Inode) {
        if self.is_valid(ticket) {
            self.set_parent(attributes, parent);
        }
    }

    pub(crate) fn forget_parent(&self, directory: Inode) {
        lock(&self.parents).remove(&directory);
    }

    pub(crate) fn attributes(&self, inode: Inode) -> Option<Attributes> {
        let mut remembered = lock(&self.attributes);
        let found = remembered.get(&inode)?;
        self.believes(found.at).then(|| found.attributes.clone())
    }

    /// What a question answered.
    pub(crate) fn remember_attributes(&self, ticket: Ticket, attributes: &Attributes) {
        let mut remembered = lock(&self.attributes);
        if self.is_valid(ticket) {
            insert_newer(&mut remembered, attributes);
        }
    }

    /// Whether these attributes are still what a question that was asked with this ticket is to be believed for, and
    /// nothing newer is remembered.
    pub(crate) fn is_current(&self, ticket: Ticket, attributes: &Attributes) -> bool {
        let remembered = self.attributes(attributes.inode);
        self.is_valid(ticket) && remembered.is_some_and(|newest| newest.change == attributes.change)
    }

    /// What the session's own change answered; the newest of several counts.
    pub(crate) fn set_attributes(&self, attributes: &Attributes) {
        insert_newer(&mut lock(&self.attributes), attributes);
    }

    pub(crate) fn forget_attributes(&self, inode: Inode) {
        lock(&self.attributes).remove(&inode);
    }

    /// The names of an inode's extended attributes.
    pub(crate) fn xattrs(&self, inode: Inode) -> Option<XattrNames> {
        let mut xattrs = lock(&self.xattrs);
        let (names, at) = xattrs.get(&inode)?;
        self.believes(*at).then(|| Arc::clone(names))
    }

    pub(crate) fn remember_xattrs(&self, ticket: Ticket, inode: Inode, names: XattrNames) {
        let names = if names.is_empty() { Arc::clone(&self.no_xattrs) } else { names };
        let mut xattrs = lock(&self.xattrs);
        if self.is_valid(ticket) {
            xattrs.insert(inode, (names, Instant::now()));
        }
    }

    /// An inode was made here: it has no extended attributes.
    pub(crate) fn set_no_xattrs(&self, inode: Inode) {
        lock(&self.xattrs).insert(inode, (Arc::clone(&self.no_xattrs), Instant::now()));
    }

    pub(crate) fn forget_xattrs(&self, inode: Inode) {
        lock(&self.xattrs).remove(&inode);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut entries = lock(&self.entries);
        lock(&self.whole).clear();
        entries.clear();
        drop(entries);
        lock(&self.parents).clear();
        lock(&self.attributes).clear();
        lock(&self.xattrs).clear();
    }
}

fn insert_newer(remembered: &mut Recent<Inode, Remembered>, attributes: &Attributes) {
    let known = remembered.get(&attributes.inode);
    if known.is_none_or(|known| known.attributes.change <= attributes.change) {
        let fresh = Remembered { attributes: attributes.clone(), at: Instant::now() };
        remembered.insert(attributes.inode, fresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEMBERED: usize = 1000;

    fn name() -> Name {
        Name::new(b"a").expect("a name")
    }

    #[tokio::test]
    async fn an_answer_from_before_a_change_is_not_remembered() {
        let names = Arc::new(Names::new(None, REMEMBERED));
        let parent = Inode::new(5);
        let ticket = names.ticket(parent);
        drop(names.change([parent]));
        names.remember_entry(ticket, parent, name(), Some(Inode::new(9)));
        assert_eq!(names.entry(parent, &name()), None);
        let during = names.change([parent]);
        let ticket = names.ticket(parent);
        drop(during);
        names.remember_entry(ticket, parent, name(), Some(Inode::new(9)));
        assert_eq!(names.entry(parent, &name()), None);
        names.remember_entry(names.ticket(parent), parent, name(), None);
        assert_eq!(names.entry(parent, &name()), Some(None));
    }

    #[tokio::test]
    async fn a_directory_that_was_made_here_needs_no_question_until_something_is_forgotten() {
        let names = Arc::new(Names::new(None, REMEMBERED));
        let parent = Inode::new(5);
        let directory = Attributes { inode: parent, ..crate::tests::directory() };
        assert_eq!(names.entry(parent, &name()), None);
        names.set_whole(&directory);
        assert_eq!(names.entry(parent, &name()), Some(None));
        names.forget_entry(parent, name());
        assert_eq!(names.entry(parent, &name()), None, "it may have been made");
        names.set_entry(parent, name(), Some(Inode::new(9)));
        assert_eq!(names.entry(parent, &name()), Some(Some(Inode::new(9))));
        for number in 0..=2 * REMEMBERED as u64 {
            names.set_entry(Inode::new(1000 + number), name(), None);
        }
        assert_eq!(names.entry(parent, &name()), None, "it is no longer among the entries");
        let reader = Arc::new(Names::new(Some(Duration::from_secs(1)), REMEMBERED));
        reader.set_whole(&directory);
        assert_eq!(reader.entry(parent, &name()), None, "another session may make names");
    }

    #[tokio::test]
    async fn a_name_that_was_forgotten_while_others_were_looked_at_is_asked_for() {
        let names = Arc::new(Names::new(None, REMEMBERED));
        let parent = Inode::new(5);
        let directory = Attributes { inode: parent, ..crate::tests::directory() };
        let name = |number: usize| Name::new(number.to_string().as_bytes()).expect("a name");
        names.set_whole(&directory);
        let made = REMEMBERED * 3 / 2;
        for number in 0..made {
            names.set_entry(parent, name(number), Some(Inode::new(100 + number as u64)));
        }
        for number in 0..made {
            let inode = Inode::new(100 + number as u64);
            let known = names.entry(parent, &name(number));
            assert!(known.is_none() || known == Some(Some(inode)), "{number} is there: {known:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_beside_a_writer_believes_nothing_for_long() {
        let names = Arc::new(Names::new(Some(Duration::from_secs(1)), REMEMBERED));
        names.set_entry(Inode::ROOT, name(), None);
        assert_eq!(names.entry(Inode::ROOT, &name()), Some(None));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(names.entry(Inode::ROOT, &name()), None);
    }
}
