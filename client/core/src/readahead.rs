//! Whether a file is read from front to back, and how far to read ahead then.

/// Reads this near the expected place count as following it: kernels send neighbouring reads out of order.
const NEAR: u64 = 2 << 20;
/// Reads in a row before anything is fetched ahead.
const STREAK_MIN: u32 = 2;
/// Extents fetched ahead at most.
const AHEAD_MAX: u32 = 4;

/// One handle's reading.
#[derive(Debug, Default)]
pub(crate) struct Readahead {
    next: u64,
    streak: u32,
}

/// How to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Only what was asked for.
    Exact,
    /// Whole extents, and so many of those that follow.
    Whole {
        /// Extents behind the one asked for.
        ahead: u32,
    },
}

impl Readahead {
    /// A read happens; how to go about it. The first read of a handle at offset 0 counts as the beginning of a
    /// pass: that is how files are read.
    pub(crate) fn advise(&mut self, offset: u64, len: u64) -> Advice {
        let follows = offset.abs_diff(self.next) <= NEAR && (self.streak > 0 || offset == 0);
        let end = offset.saturating_add(len);
        if follows {
            self.streak = self.streak.saturating_add(1);
            self.next = self.next.max(end);
        } else {
            // The second read behind a jump makes a new pass.
            let pass = offset == self.next;
            self.streak = u32::from(pass);
            self.next = end;
        }
        match self.streak {
            0 => Advice::Exact,
            streak if streak < STREAK_MIN => Advice::Whole { ahead: 0 },
            streak => Advice::Whole { ahead: (streak - STREAK_MIN + 1).min(AHEAD_MAX) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn a_pass_from_the_front_reads_further_and_further_ahead() {
        let mut readahead = Readahead::default();
        let advice: Vec<_> = (0..6).map(|i| readahead.advise(i * 128 * KIB, 128 * KIB)).collect();
        assert_eq!(advice[0], Advice::Whole { ahead: 0 });
        assert_eq!(advice[1], Advice::Whole { ahead: 1 });
        assert_eq!(advice[5], Advice::Whole { ahead: 4 });
    }

    #[test]
    fn random_reads_are_exact() {
        let mut readahead = Readahead::default();
        for offset in [900 << 20, 10 << 20, 500 << 20, 50 << 20] {
            assert_eq!(readahead.advise(offset, 4 * KIB), Advice::Exact);
        }
    }

    #[test]
    fn neighbouring_reads_out_of_order_are_one_pass() {
        let mut readahead = Readahead::default();
        for offset in [0, 256, 128, 384, 640, 512] {
            assert_ne!(readahead.advise(offset * KIB, 128 * KIB), Advice::Exact);
        }
    }

    #[test]
    fn a_pass_from_the_middle_is_noticed_at_its_second_read() {
        let mut readahead = Readahead::default();
        assert_eq!(readahead.advise(100 << 20, 128 * KIB), Advice::Exact);
        assert_ne!(readahead.advise((100 << 20) + 128 * KIB, 128 * KIB), Advice::Exact);
    }
}
