//! What is known of requests under way. Pure.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::sync::oneshot;

use super::Patience;
use crate::protocol::Unique;

/// Interrupts of requests that are not known (not begun yet, or answered already) that are remembered: far more than
/// can be read between a request and its beginning.
const EARLY_MAX: usize = 1024;

/// A request under way.
#[derive(Debug)]
struct Wait {
    thread: u32,
    patience: Patience,
    tell: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    waits: HashMap<Unique, Wait>,
    /// Of those the ones whose callers were sent a signal that may not have been the last.
    watched: BTreeSet<Unique>,
    /// Interrupts that came before their requests had begun. Numbers are never used twice.
    early: VecDeque<Unique>,
    pub(super) stopped: bool,
}

impl Table {
    /// A request begins; true when its caller is to be looked at from now on.
    pub(super) fn begin(
        &mut self,
        unique: Unique,
        thread: u32,
        patience: Patience,
        tell: oneshot::Sender<()>,
    ) -> bool {
        self.waits.insert(unique, Wait { thread, patience, tell });
        match self.early.iter().position(|early| *early == unique) {
            Some(place) => {
                self.early.remove(place);
                self.interrupt(unique)
            }
            None => false,
        }
    }

    /// Its caller was sent a signal; true when it is to be looked at from now on.
    pub(super) fn interrupt(&mut self, unique: Unique) -> bool {
        match self.waits.get(&unique).map(|wait| wait.patience) {
            Some(Patience::UntilKilled) => self.watched.insert(unique),
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
        self.watched.remove(&unique);
        if let Some(wait) = self.waits.remove(&unique) {
            // Who heard of it last has answered: then it does not matter.
            let _ = wait.tell.send(());
        }
    }

    /// It was answered.
    pub(super) fn end(&mut self, unique: Unique) {
        self.watched.remove(&unique);
        self.waits.remove(&unique);
    }

    /// The requests whose callers are to be looked at, and these.
    pub(super) fn watched(&self) -> Vec<(Unique, u32)> {
        let thread = |unique: &Unique| Some((*unique, self.waits.get(unique)?.thread));
        self.watched.iter().filter_map(thread).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn begin(table: &mut Table, number: u64, patience: Patience) -> (bool, Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (table.begin(Unique::new(number), 7, patience, tell), told)
    }

    #[test]
    fn a_wait_for_a_lock_ends_with_any_signal() {
        let mut table = Table::default();
        let (_, mut told) = begin(&mut table, 2, Patience::UntilSignal);
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        assert!(!table.interrupt(Unique::new(2)));
        assert_eq!(told.try_recv(), Ok(()));
        assert!(table.watched().is_empty() && table.waits.is_empty());
    }

    #[test]
    fn others_are_watched_from_their_first_signal_until_they_end() {
        let mut table = Table::default();
        let (watched, mut told) = begin(&mut table, 2, Patience::UntilKilled);
        assert!(!watched);
        assert!(table.interrupt(Unique::new(2)));
        assert_eq!(table.watched(), [(Unique::new(2), 7)]);
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty), "an ordinary signal ends nothing");
        table.give_up(Unique::new(2));
        assert_eq!(told.try_recv(), Ok(()));
        let (_, _told) = begin(&mut table, 4, Patience::UntilKilled);
        table.interrupt(Unique::new(4));
        table.end(Unique::new(4));
        assert!(table.watched().is_empty() && table.waits.is_empty());
    }

    #[test]
    fn a_signal_may_come_before_its_request() {
        let mut table = Table::default();
        table.interrupt(Unique::new(2));
        table.interrupt(Unique::new(4));
        let (watched, _told) = begin(&mut table, 2, Patience::UntilKilled);
        assert!(watched);
        let (_, mut told) = begin(&mut table, 4, Patience::UntilSignal);
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
        assert!(begin(&mut table, last, Patience::UntilKilled).0);
    }
}
