//! When inodes were read last, until the owner is told: by the rules of `relatime`, and not at once.
//!
//! A time of access is worth an update only when somebody could tell from it that the inode was read since it was changed,
//! or today. Nobody waits for it; what is lost with a mount that dies is the time alone.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_types::{Inode, Timestamp};
use weft_wire::meta::{Access, Attributes, Caller, MetaOp, MetaReply};

use crate::handle::OpenFile;
use crate::{Core, FsError};

/// Between two reports.
pub(crate) const TICK: Duration = Duration::from_secs(10);
/// Inodes that wait to be told of; of more the time is not kept.
const WAITING_MAX: usize = 1 << 14;
/// Inodes of one call.
const TOLD_MAX: usize = 1024;
/// After so long a time of access is old, whatever was changed since (Linux `relatime`).
const OLD_SECONDS: i64 = 24 * 60 * 60;
/// How often a handle looks anew whether its file's time is old by now.
const LOOK_SECONDS: i64 = 60 * 60;

/// Inodes that were read.
#[derive(Debug)]
pub(crate) struct Accesses {
    /// Whether reads count.
    kept: AtomicBool,
    waiting: Mutex<BTreeMap<Inode, Timestamp>>,
}

impl Accesses {
    pub(crate) fn new(kept: bool) -> Self {
        Self { kept: AtomicBool::new(kept), waiting: Mutex::default() }
    }

    fn are_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Inode, Timestamp>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, inode: Inode, at: Timestamp) {
        let mut waiting = self.lock();
        if waiting.len() < WAITING_MAX || waiting.contains_key(&inode) {
            waiting.insert(inode, at);
        }
    }

    /// An access time was set: what was read before does not count.
    pub(crate) fn forget(&self, inode: Inode) {
        self.lock().remove(&inode);
    }

    /// Shows what is not told yet.
    pub(crate) fn overlay(&self, attributes: &mut Attributes) {
        if let Some(at) = self.lock().get(&attributes.inode) {
            attributes.accessed = attributes.accessed.max(*at);
        }
    }

    fn first(&self) -> Vec<Access> {
        let access = |(inode, at): (&Inode, &Timestamp)| Access { inode: *inode, at: *at };
        self.lock().iter().take(TOLD_MAX).map(access).collect()
    }

    /// The owner knows of these; what was read since waits.
    fn told(&self, accesses: &[Access]) {
        let mut waiting = self.lock();
        for access in accesses {
            if waiting.get(&access.inode) == Some(&access.at) {
                waiting.remove(&access.inode);
            }
        }
    }
}

/// Whether a read at `now` is worth another time of access (Linux `relatime`).
fn is_due(attributes: &Attributes, now: Timestamp) -> bool {
    let accessed = attributes.accessed;
    let old = now.seconds.saturating_sub(accessed.seconds) >= OLD_SECONDS;
    accessed <= attributes.modified || accessed <= attributes.changed || old
}

impl Core {
    /// Reads count from now on, or do no more; those before are told all the same. A session that only reads sets no times.
    pub fn keep_access_times(&self, keep: bool) {
        self.accesses.kept.store(keep && !self.session.is_read_only(), Ordering::Relaxed);
    }

    /// An open file is read.
    pub(crate) fn note_read(&self, open: &OpenFile) {
        if !self.accesses.are_kept() {
            return;
        }
        let hours = self.backend.now().seconds.div_euclid(LOOK_SECONDS);
        let change = open.file.lock().change;
        // Once for each state of the file, now and then.
        if open.is_first_read(change.wrapping_add(hours.cast_unsigned() << 32)) {
            self.note_access(open.file.inode);
        }
    }

    /// An inode is read. Without its attributes in memory nobody knows whether that matters. What is shown decides, with what
    /// was read and written lately. Not to be called under the lock of a file.
    pub(crate) fn note_access(&self, inode: Inode) {
        if !self.accesses.are_kept() {
            return;
        }
        let now = self.backend.now();
        if self.remembered(inode).is_some_and(|shown| is_due(&shown, now)) {
            self.accesses.note(inode, now);
        }
    }

    /// Tells the owner what was read. What cannot be told now waits.
    pub(crate) async fn tell_accesses(&self) {
        loop {
            let accesses = self.accesses.first();
            if accesses.is_empty() {
                return;
            }
            let answer = self.session.meta(Caller::default(), MetaOp::Accessed(accesses.clone())).await;
            match answer {
                Ok(done) if done.reply == MetaReply::Done => {}
                // It will say the same again.
                Err(FsError::Refused(_)) => {}
                Ok(_) | Err(_) => return,
            }
            for access in &accesses {
                self.names.set_accessed(access.inode, access.at);
            }
            self.accesses.told(&accesses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_read_counts_after_a_change_and_once_a_day() {
        // Accessed, modified, changed, now.
        let rows = [
            (10, 5, 5, 20, false),
            (10, 10, 5, 20, true),
            (10, 11, 11, 20, true),
            (10, 5, 12, 20, true),
            (10, 5, 5, 10 + OLD_SECONDS - 1, false),
            (10, 5, 5, 10 + OLD_SECONDS, true),
        ];
        for (accessed, modified, changed, now, due) in rows {
            let attributes = Attributes {
                accessed: at(accessed),
                modified: at(modified),
                changed: at(changed),
                ..crate::tests::directory()
            };
            assert_eq!(is_due(&attributes, at(now)), due, "{accessed} {modified} {changed} {now}");
        }
    }

    #[test]
    fn what_was_read_while_it_was_told_waits_for_the_next_time() {
        let accesses = Accesses::new(true);
        accesses.note(Inode::new(5), at(1));
        accesses.note(Inode::new(6), at(1));
        let told = accesses.first();
        accesses.note(Inode::new(6), at(2));
        accesses.told(&told);
        assert_eq!(accesses.first(), [Access { inode: Inode::new(6), at: at(2) }]);
    }
}
