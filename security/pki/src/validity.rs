//! When a certificate holds.

use core::time::Duration;

use weft_types::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Clocks of hosts that have just started may be behind by this much.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// 9999-12-31: an X.509 time has no later year.
const LAST_SECOND: u64 = 253_402_214_400;

/// The time in which a certificate is accepted, in whole seconds since 1970-01-01 UTC, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub(crate) not_before: u64,
    /// The last second.
    pub(crate) not_after: u64,
}

/// A time that a certificate cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValidityError {
    /// Before 1970: the host's clock is not set.
    #[error("the time {0} s is before 1970: set this host's clock")]
    BeforeUnixTime(i64),
    /// After the year 9999.
    #[error(
        "a certificate from {now} s on for {length:?} would end after the year 9999: check this host's clock"
    )]
    TooLate {
        /// Seconds since 1970 at which it should begin.
        now: u64,
        /// How long it should last.
        length: Duration,
    },
}

impl Validity {
    /// From an hour before `now` (clocks differ) until `length` after it.
    pub fn starting(now: Timestamp, length: Duration) -> Result<Self, ValidityError> {
        let start = u64::try_from(now.seconds).map_err(|_| ValidityError::BeforeUnixTime(now.seconds))?;
        let not_after = start
            .checked_add(length.as_secs())
            .filter(|end| *end <= LAST_SECOND)
            .ok_or(ValidityError::TooLate { now: start, length })?;
        Ok(Self { not_before: start.saturating_sub(BACKDATED.as_secs()), not_after })
    }

    /// A node's certificate: one year.
    pub fn of_a_node(now: Timestamp) -> Result<Self, ValidityError> {
        Self::starting(now, DAY * 365)
    }

    /// A cluster's authority: ten years.
    pub fn of_an_authority(now: Timestamp) -> Result<Self, ValidityError> {
        Self::starting(now, DAY * 3653)
    }

    /// The last second in which the certificate is accepted.
    pub fn not_after(&self) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs(self.not_after))
    }

    /// The part that lies within `outer`; `None` when there is none.
    pub(crate) fn within(self, outer: Self) -> Option<Self> {
        let not_before = self.not_before.max(outer.not_before);
        let not_after = self.not_after.min(outer.not_after);
        (not_before <= not_after).then_some(Self { not_before, not_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_node_holds_a_year_from_an_hour_ago() {
        let validity = Validity::of_a_node(at(1_000_000)).expect("holds");
        assert_eq!((validity.not_before, validity.not_after), (996_400, 1_000_000 + 365 * 86_400));
        assert_eq!(validity.not_after(), at(1_000_000 + 365 * 86_400));
    }

    #[test]
    fn a_clock_that_is_not_set_is_named() {
        assert_eq!(Validity::of_a_node(at(-1)), Err(ValidityError::BeforeUnixTime(-1)));
        for seconds in [253_402_300_799, i64::MAX] {
            assert!(matches!(Validity::of_a_node(at(seconds)), Err(ValidityError::TooLate { .. })));
        }
    }

    #[test]
    fn a_part_within_is_no_longer_than_either() {
        let long = Validity { not_before: 10, not_after: 100 };
        let late = Validity { not_before: 50, not_after: 150 };
        assert_eq!(late.within(long), Some(Validity { not_before: 50, not_after: 100 }));
        assert_eq!(Validity { not_before: 101, not_after: 102 }.within(long), None);
    }
}
