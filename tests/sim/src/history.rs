//! What a register may answer: never anything older than what was acknowledged, or seen, before it was asked.

use core::fmt;
use core::time::Duration;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nobody knows: it may have been done, or be done yet.
    Open,
    /// It was acknowledged then.
    Acknowledged(Duration),
    /// It was not done, and never will be.
    Void,
}

#[derive(Debug, Clone)]
struct Write<V> {
    value: V,
    began: Duration,
    outcome: Outcome,
}

/// A value that one writer at a time changes, and anybody reads. Every value is written once, but for the first.
#[derive(Debug, Clone)]
pub(crate) struct Register<V> {
    writes: Vec<Write<V>>,
    /// Reads that were answered: when, and with which write.
    seen: Vec<(Duration, usize)>,
}

impl<V: Clone + PartialEq + fmt::Debug> Register<V> {
    /// One that has this value from the beginning.
    pub(crate) fn new(value: V) -> Self {
        let outcome = Outcome::Acknowledged(Duration::ZERO);
        Self { writes: vec![Write { value, began: Duration::ZERO, outcome }], seen: Vec::new() }
    }

    /// A write is begun; all before it have ended. Answers its number.
    pub(crate) fn begin(&mut self, value: V, now: Duration) -> usize {
        self.writes.push(Write { value, began: now, outcome: Outcome::Open });
        self.writes.len() - 1
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledge(&mut self, number: usize, now: Duration) {
        self.writes[number].outcome = Outcome::Acknowledged(now);
    }

    /// A write was not done, and never will be.
    pub(crate) fn void(&mut self, number: usize) {
        self.writes[number].outcome = Outcome::Void;
    }

    /// A value was read, between these moments.
    ///
    /// # Errors
    /// Why it must not have been.
    pub(crate) fn read(&mut self, value: &V, began: Duration, ended: Duration) -> Result<usize, String> {
        let acknowledged = self
            .writes
            .iter()
            .rposition(|write| matches!(write.outcome, Outcome::Acknowledged(at) if at <= began));
        let seen = self.seen.iter().filter(|(at, _)| *at <= began).map(|(_, number)| *number).max();
        let floor = acknowledged.max(seen).unwrap_or(0);
        let found = self.writes.iter().enumerate().skip(floor).find(|(_, write)| {
            write.value == *value && write.began <= ended && write.outcome != Outcome::Void
        });
        match found {
            Some((number, _)) => {
                self.seen.push((ended, number));
                Ok(number)
            }
            None => {
                let expected = &self.writes[floor..];
                Err(format!("{value:?} was read, asked at {began:?}; no such value of {expected:?}"))
            }
        }
    }

    /// All earlier writers have ended for good, and this is what they have left: what is open was done or will never be.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn settle(&mut self, value: &V, began: Duration, ended: Duration) -> Result<(), String> {
        let number = self.read(value, began, ended)?;
        for write in self.writes.iter_mut().skip(number + 1) {
            write.outcome = Outcome::Void;
        }
        Ok(())
    }

    /// The value after all that is known.
    pub(crate) fn last(&self) -> &V {
        let known = self.writes.iter().rev().find(|write| write.outcome != Outcome::Void);
        &known.expect("there is a first value").value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_older_than_what_was_acknowledged_before() {
        let mut register = Register::new(0);
        let one = register.begin(1, s(1));
        assert!(register.read(&0, s(1), s(2)).is_ok() && register.clone().read(&1, s(1), s(2)).is_ok());
        register.acknowledge(one, s(3));
        assert!(register.clone().read(&0, s(2), s(4)).is_ok(), "asked before");
        assert!(register.read(&0, s(3), s(4)).is_err());
    }

    #[test]
    fn what_was_seen_stays_and_what_was_settled_never_comes() {
        let mut register = Register::new(0);
        register.begin(1, s(1));
        let mut other = register.clone();
        register.read(&1, s(2), s(3)).expect("it may");
        assert!(register.read(&0, s(3), s(4)).is_err());
        other.settle(&0, s(2), s(3)).expect("it may");
        assert!(other.read(&1, s(4), s(5)).is_err());
        assert_eq!(*other.last(), 0);
    }
}
