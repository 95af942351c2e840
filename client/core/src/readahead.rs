//! How a file is read: from one end to the other, or at equal distances; and how much to fetch ahead then.

use std::sync::atomic::{AtomicU64, Ordering};

use weft_layout::MAX_EXTENT_BYTES;
use weft_types::ByteCount;

use crate::Core;
use crate::config::READ_AHEAD_DEFAULT;

/// Reads this near the expected place count as following it: kernels send neighbouring reads out of order.
const NEAR: u64 = 2 << 20;
/// Reads in a row before anything is fetched ahead.
const STREAK_MIN: u32 = 2;
/// Equal distances between reads before the next one is believed to be equal, too.
const EQUAL_MIN: u32 = 3;
/// Reads at equal distances that are fetched ahead at most, and bytes of them: little beside what the smallest mount keeps.
const STRIDES_MAX: u32 = 16;
const STRIDE_BYTES_MAX: u64 = 1 << 20;
/// Of so many bytes at least one is read where whole extents are fetched: each comes by one request for every shard, not by
/// some for every read, and no more than so many times what is read comes in all.
const DENSE: u64 = 4;

/// How much is fetched ahead at most, of everything that is read.
#[derive(Debug)]
pub(crate) struct ReadAheadBound(AtomicU64);

impl Default for ReadAheadBound {
    fn default() -> Self {
        Self(AtomicU64::new(READ_AHEAD_DEFAULT.get()))
    }
}

impl ReadAheadBound {
    pub(crate) fn get(&self) -> ByteCount {
        ByteCount::new(self.0.load(Ordering::Relaxed))
    }
}

impl Core {
    /// Fetches no more than this ahead of any reader: 0, nothing that was not asked for; otherwise whole extents, the one that
    /// is read among them, which counts for nothing.
    pub fn bound_read_ahead(&self, bytes: ByteCount) {
        self.read_ahead.0.store(bytes.get(), Ordering::Relaxed);
    }
}

/// One handle's reading.
#[derive(Debug, Default)]
pub(crate) struct Readahead {
    next: u64,
    streak: u32,
    stride: Stride,
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
    /// Whole extents, and so many of those before.
    Back {
        /// Extents before the one asked for.
        ahead: u32,
    },
    /// Only what was asked for, and as much at the next places.
    Stride {
        /// From one read to the next one.
        distance: i64,
        /// Reads ahead; at least 1.
        count: u32,
    },
}

impl Advice {
    /// Whether the next read is expected before this one.
    pub(crate) const fn is_backwards(self) -> bool {
        matches!(self, Self::Back { .. } | Self::Stride { distance: ..0, .. })
    }
}

/// The distance between the last reads.
#[derive(Debug, Default)]
struct Stride {
    last: u64,
    distance: i64,
    /// How many distances in a row were this one.
    equal: u32,
}

impl Stride {
    /// A read happens. How far it is from the one before, when that was so for some time and leaves bytes out, or goes
    /// backwards.
    fn advance(&mut self, offset: u64, len: u64) -> Option<i64> {
        // Longer distances than files can have wrap, and are not equal to others.
        let distance = offset.wrapping_sub(self.last) as i64;
        self.equal = if distance == self.distance { self.equal.saturating_add(1) } else { 1 };
        (self.last, self.distance) = (offset, distance);
        let apart = if distance < 0 { distance.unsigned_abs() >= len } else { distance as u64 > len };
        (apart && len > 0 && self.equal >= EQUAL_MIN).then_some(distance)
    }

    /// Grows from 1 with each further read.
    const fn confidence(&self) -> u32 {
        self.equal - EQUAL_MIN + 1
    }
}

impl Readahead {
    /// A read happens; how to go about it when no more than `bound` is to be fetched ahead.
    pub(crate) fn advise(&mut self, offset: u64, len: u64, bound: ByteCount) -> Advice {
        let extents = u32::try_from(bound.get() / u64::from(MAX_EXTENT_BYTES)).unwrap_or(u32::MAX);
        let advice = self.follow(offset, len, extents, bound.get().min(STRIDE_BYTES_MAX));
        if bound.get() == 0 { Advice::Exact } else { advice }
    }

    fn follow(&mut self, offset: u64, len: u64, extents_max: u32, stride_bytes_max: u64) -> Advice {
        let pass = self.pass(offset, len, extents_max);
        let Some(distance) = self.stride.advance(offset, len) else { return pass };
        let (apart, confidence) = (distance.unsigned_abs(), self.stride.confidence());
        // Where reads are further apart than extents are long, the rest of an extent is of no use to the next read.
        if apart <= len.saturating_mul(DENSE) && apart < MAX_EXTENT_BYTES.into() {
            let ahead = confidence.min(extents_max);
            return match pass {
                Advice::Whole { ahead: 1.. } if distance > 0 => pass,
                _ if distance > 0 => Advice::Whole { ahead },
                _ => Advice::Back { ahead },
            };
        }
        let most = u32::try_from(stride_bytes_max / len).unwrap_or(STRIDES_MAX).min(STRIDES_MAX);
        // 1, 2, 4..
        match 1_u32.checked_shl(confidence - 1).unwrap_or(most).min(most) {
            0 => Advice::Exact,
            count => Advice::Stride { distance, count },
        }
    }

    /// From the front to the back? The first read of a handle at offset 0 counts as the beginning of a pass: that is how
    /// files are read.
    fn pass(&mut self, offset: u64, len: u64, extents_max: u32) -> Advice {
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
            streak => Advice::Whole { ahead: (streak - STREAK_MIN + 1).min(extents_max) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUND: ByteCount = READ_AHEAD_DEFAULT;
    /// Extents in it.
    const AHEAD_MAX: u32 = 4;

    const KIB: u64 = 1 << 10;

    #[test]
    fn a_pass_from_the_front_reads_further_and_further_ahead() {
        let mut readahead = Readahead::default();
        let advice: Vec<_> = (0..6).map(|i| readahead.advise(i * 128 * KIB, 128 * KIB, BOUND)).collect();
        assert_eq!(advice[0], Advice::Whole { ahead: 0 });
        assert_eq!(advice[1], Advice::Whole { ahead: 1 });
        assert_eq!(advice[5], Advice::Whole { ahead: 4 });
    }

    #[test]
    fn no_more_is_read_ahead_than_may_be() {
        let pass = |bound| {
            let mut readahead = Readahead::default();
            let advice = (0..20).map(|i| readahead.advise(i << 20, 1 << 20, ByteCount::new(bound)));
            advice.last().expect("a read")
        };
        assert_eq!(pass(0), Advice::Exact);
        assert_eq!(pass(1), Advice::Whole { ahead: 0 });
        assert_eq!(pass(8 << 20), Advice::Whole { ahead: 2 });
        assert_eq!(pass(40 << 20), Advice::Whole { ahead: 10 });
    }

    #[test]
    fn random_reads_are_exact() {
        let mut readahead = Readahead::default();
        for offset in [900 << 20, 10 << 20, 500 << 20, 50 << 20] {
            assert_eq!(readahead.advise(offset, 4 * KIB, BOUND), Advice::Exact);
        }
    }

    #[test]
    fn neighbouring_reads_out_of_order_are_one_pass() {
        let mut readahead = Readahead::default();
        for offset in [0, 256, 128, 384, 640, 512] {
            assert_ne!(readahead.advise(offset * KIB, 128 * KIB, BOUND), Advice::Exact);
        }
    }

    #[test]
    fn a_pass_from_the_middle_is_noticed_at_its_second_read() {
        let mut readahead = Readahead::default();
        assert_eq!(readahead.advise(100 << 20, 128 * KIB, BOUND), Advice::Exact);
        assert_ne!(readahead.advise((100 << 20) + 128 * KIB, 128 * KIB, BOUND), Advice::Exact);
    }

    /// The advice for the last of some reads of `len`, one `distance` behind the other.
    fn strided(start: u64, distance: i64, len: u64, reads: u64) -> Advice {
        let mut readahead = Readahead::default();
        let at = |read| start.checked_add_signed(distance * read as i64).expect("within a file");
        (0..reads).map(|read| readahead.advise(at(read), len, BOUND)).last().expect("a read")
    }

    #[test]
    fn equal_distances_are_noticed_at_the_third_and_further_and_further_ahead() {
        let mib = 1024 * KIB as i64;
        for (start, distance) in [(0, mib), (0, 8 * mib), (900 << 20, mib), (900 << 20, -mib)] {
            let at = |reads| strided(start, distance, 64 * KIB, reads);
            assert!(!matches!(at(3), Advice::Stride { .. }), "two distances may be chance");
            for (reads, count) in [(4, 1), (5, 2), (6, 4), (7, 8), (8, 16), (9, 16), (99, 16)] {
                assert_eq!(at(reads), Advice::Stride { distance, count }, "{start} {distance}");
            }
        }
    }

    #[test]
    fn what_is_fetched_ahead_at_distances_is_bounded_by_its_bytes() {
        for (len, advice) in [(256 * KIB, Some(4)), (1024 * KIB, Some(1)), (1025 * KIB, None)] {
            let distance = 64 << 20;
            let expected = advice.map_or(Advice::Exact, |count| Advice::Stride { distance, count });
            assert_eq!(strided(1 << 30, distance, len, 50), expected);
        }
    }

    #[test]
    fn distances_of_little_more_than_is_read_take_whole_extents() {
        let (len, mib) = (1024 * KIB, 1 << 20);
        assert_eq!(strided(1 << 30, 3 * mib, len, 50), Advice::Whole { ahead: AHEAD_MAX });
        assert_eq!(strided(1 << 30, -3 * mib, len, 50), Advice::Back { ahead: AHEAD_MAX });
        // Further apart than an extent is long, the others of its bytes are nobody's.
        assert!(matches!(strided(1 << 30, 4 * mib, len, 50), Advice::Stride { .. }));
        assert_eq!(strided(0, 128 << 10, 64 * KIB, 50), Advice::Whole { ahead: AHEAD_MAX });
    }

    #[test]
    fn a_pass_from_the_back_reads_further_and_further_ahead() {
        for len in [64 * KIB, 1024 * KIB] {
            let at = |reads| strided(900 << 20, -(len as i64), len, reads);
            assert_eq!(at(3), Advice::Exact);
            for (reads, ahead) in [(4, 1), (5, 2), (6, 3), (7, 4), (50, 4)] {
                assert_eq!(at(reads), Advice::Back { ahead });
            }
        }
    }

    proptest! {
        #[test]
        fn what_follows_no_rule_is_never_read_ahead_far(
            offsets in proptest::collection::vec(0_u64..1 << 40, 1..60), len in 0_u64..1 << 24,
        ) {
            let mut readahead = Readahead::default();
            for offset in offsets {
                let advice = readahead.advise(offset, len, BOUND);
                prop_assert!(matches!(advice, Advice::Exact | Advice::Whole { ahead: 0 }), "{advice:?}");
            }
        }

        #[test]
        fn no_reading_breaks_it(reads in proptest::collection::vec((any::<u64>(), any::<u64>()), 1..60)) {
            let mut readahead = Readahead::default();
            for (offset, len) in reads {
                if let Advice::Stride { count, .. } = readahead.advise(offset, len, BOUND) {
                    prop_assert!(count > 0 && u64::from(count) * len <= STRIDE_BYTES_MAX);
                }
            }
        }

        #[test]
        fn one_read_elsewhere_ends_what_was_believed(start in 0_u64..1 << 30, at in 1_u64 << 31..1 << 40) {
            let mut readahead = Readahead::default();
            let mut read = |offset| readahead.advise(offset, 4 * KIB, BOUND);
            let before = (0..10).map(|step| read(start + (step << 20))).last();
            prop_assert_eq!(before, Some(Advice::Stride { distance: 1 << 20, count: STRIDES_MAX }));
            prop_assert_eq!(read(at), Advice::Exact);
        }
    }
}
