//! What is known of requests under way. Pure.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Patience;
use crate::protocol::Unique;
use crate::signals::Fate;

/// A request that is not answered for so long takes long.
const LONG: Duration = Duration::from_millis(300);

/// Interrupts of requests that are not known (not begun yet, or answered already) that are remembered: far more than
/// can be read between a request and its beginning.
const EARLY_MAX: usize = 1024;

/// A request under way.
#[derive(Debug)]
struct Wait {
    thread: u32,
    patience: Patience,
    since: Instant,
    tell: oneshot::Sender<()>,
}

/// A request whose caller is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) unique: Unique,
    pub(super) thread: u32,
    /// The caller was sent a signal, and so waits for the answer.
    signalled: bool,
}

impl Watched {
    /// Whether its caller is not to be waited for any more. One that was sent a signal and cannot be seen may have been
    /// killed, and nobody would ever learn it. Of one that was not told of nothing follows: what it began in the
    /// background may be waited for by others.
    pub(super) fn gives_up(&self, fate: Fate) -> bool {
        match fate {
            Fate::Lives => false,
            Fate::IsKilled => true,
            Fate::Unknown => self.signalled,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    waits: HashMap<Unique, Wait>,
    /// Of those the ones whose callers were sent a signal that may not have been the last.
    signalled: BTreeSet<Unique>,
    /// Interrupts that came before their requests had begun. Numbers are never used twice.
    early: VecDeque<Unique>,
    /// Nothing was under way when somebody looked last: who begins wakes him.
    resting: bool,
    pub(super) stopped: bool,
}

impl Table {
    /// A request begins; true when callers are to be looked at from now on.
    pub(super) fn begin(
        &mut self,
        unique: Unique,
        thread: u32,
        patience: Patience,
        since: Instant,
        tell: oneshot::Sender<()>,
    ) -> bool {
        self.waits.insert(unique, Wait { thread, patience, since, tell });
        let wakes = core::mem::take(&mut self.resting);
        match self.early.iter().position(|early| *early == unique) {
            Some(place) => {
                self.early.remove(place);
                self.interrupt(unique) || wakes
            }
            None => wakes,
        }
    }

    /// Its caller was sent a signal; true when it is to be looked at now.
    pub(super) fn interrupt(&mut self, unique: Unique) -> bool {
        match self.waits.get(&unique).map(|wait| wait.patience) {
            Some(Patience::UntilKilled) => self.signalled.insert(unique),
            Some(Patience::UntilSignal) => {
                self.give_up(unique);
                false
            }
            None => {
                if self.early.len() == EARLY_MAX {
                    self.early.pop_front();
                }
                self.early.push_back(unique);
                false
            }
        }
    }

    /// Its caller waits no longer.
    pub(super) fn give_up(&mut self, unique: Unique) {
        self.signalled.remove(&unique);
        if let Some(wait) = self.waits.remove(&unique) {
            // Who heard of it last has answered: then it does not matter.
            let _ = wait.tell.send(());
        }
    }

    /// It was answered.
    pub(super) fn end(&mut self, unique: Unique) {
        self.signalled.remove(&unique);
        self.waits.remove(&unique);
    }

    /// Whether nothing is under way; who begins something tells then.
    pub(super) fn rests(&mut self) -> bool {
        self.resting = self.waits.is_empty();
        self.resting
    }

    /// The requests whose callers are to be looked at.
    pub(super) fn watched(&self, now: Instant) -> Vec<Watched> {
        let watched = |(unique, wait): (&Unique, &Wait)| {
            let signalled = self.signalled.contains(unique);
            let long = now.duration_since(wait.since) >= LONG && wait.thread != 0;
            (signalled || long).then_some(Watched { unique: *unique, thread: wait.thread, signalled })
        };
        self.waits.iter().filter_map(watched).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn begin(table: &mut Table, number: u64, patience: Patience, since: Instant) -> (bool, Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (table.begin(Unique::new(number), 7, patience, since, tell), told)
    }

    #[test]
    fn a_wait_for_a_lock_ends_with_any_signal() {
        let mut table = Table::default();
        let (_, mut told) = begin(&mut table, 2, Patience::UntilSignal, Instant::now());
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        assert!(!table.interrupt(Unique::new(2)));
        assert_eq!(told.try_recv(), Ok(()));
        assert!(table.signalled.is_empty() && table.waits.is_empty());
    }

    #[test]
    fn others_are_watched_from_their_first_signal_until_they_end() {
        let (mut table, now) = (Table::default(), Instant::now());
        let (_, mut told) = begin(&mut table, 2, Patience::UntilKilled, now);
        assert_eq!(table.watched(now), []);
        assert!(table.interrupt(Unique::new(2)));
        let watched = Watched { unique: Unique::new(2), thread: 7, signalled: true };
        assert_eq!(table.watched(now), [watched]);
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty), "an ordinary signal ends nothing");
        table.give_up(Unique::new(2));
        assert_eq!(told.try_recv(), Ok(()));
        let (_, _told) = begin(&mut table, 4, Patience::UntilKilled, now);
        table.interrupt(Unique::new(4));
        table.end(Unique::new(4));
        assert!(table.watched(now).is_empty() && table.waits.is_empty());
    }

    #[test]
    fn what_takes_long_is_watched_without_a_signal() {
        let (mut table, now) = (Table::default(), Instant::now());
        let (_, _told) = begin(&mut table, 2, Patience::UntilKilled, now);
        assert_eq!(table.watched(now + LONG / 2), []);
        let watched = Watched { unique: Unique::new(2), thread: 7, signalled: false };
        assert_eq!(table.watched(now + LONG), [watched]);
    }

    #[test]
    fn who_cannot_be_seen_gives_up_only_after_a_signal() {
        let watched = |signalled| Watched { unique: Unique::new(2), thread: 7, signalled };
        for signalled in [false, true] {
            assert!(!watched(signalled).gives_up(Fate::Lives));
            assert!(watched(signalled).gives_up(Fate::IsKilled));
            assert_eq!(watched(signalled).gives_up(Fate::Unknown), signalled);
        }
    }

    #[test]
    fn a_signal_may_come_before_its_request() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.interrupt(Unique::new(2));
        table.interrupt(Unique::new(4));
        let (watched, _told) = begin(&mut table, 2, Patience::UntilKilled, now);
        assert!(watched);
        let (_, mut told) = begin(&mut table, 4, Patience::UntilSignal, now);
        assert_eq!(told.try_recv(), Ok(()));
        assert!(table.early.is_empty());
    }

    #[test]
    fn signals_that_came_too_late_are_forgotten_in_the_end() {
        let mut table = Table::default();
        for number in 0..3 * EARLY_MAX as u64 {
            table.interrupt(Unique::new(number));
        }
        assert_eq!(table.early.len(), EARLY_MAX);
        let last = 3 * EARLY_MAX as u64 - 1;
        assert!(begin(&mut table, last, Patience::UntilKilled, Instant::now()).0);
    }

    #[test]
    fn who_looks_rests_while_nothing_is_under_way() {
        let (mut table, now) = (Table::default(), Instant::now());
        assert!(table.rests());
        let (wakes, _first) = begin(&mut table, 2, Patience::UntilKilled, now);
        let (wakes_again, _second) = begin(&mut table, 4, Patience::UntilKilled, now);
        assert_eq!((wakes, wakes_again, table.rests()), (true, false, false));
        table.end(Unique::new(2));
        table.end(Unique::new(4));
        assert!(table.rests());
    }
}
