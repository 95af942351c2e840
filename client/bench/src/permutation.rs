//! Every number below a bound once, in an order that nobody guesses ahead.

use crate::pattern::mixed;

/// Rounds of the network: four of them make an order without visible structure.
const ROUNDS: u64 = 4;

/// A permutation of `0..bound` that is computed, not stored: a random workload must not touch a block twice, or the
/// second time would be served from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permutation {
    bound: u64,
    key: u64,
    half_bits: u32,
}

impl Permutation {
    /// The permutation of `0..bound` by this key.
    pub(crate) const fn new(bound: u64, key: u64) -> Self {
        let bits = 64 - bound.saturating_sub(1).leading_zeros();
        Self { bound, key, half_bits: if bits < 2 { 1 } else { bits.div_ceil(2) } }
    }

    /// The number at this place; `None` past the last.
    pub(crate) const fn at(&self, index: u64) -> Option<u64> {
        if index >= self.bound {
            return None;
        }
        // The network permutes a power of four that is at most a few times the bound: walk until within it.
        let mut number = self.network(index);
        while number >= self.bound {
            number = self.network(number);
        }
        Some(number)
    }

    const fn network(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        let mut round = 0;
        while round < ROUNDS {
            (left, right) = (right, left ^ (mixed(self.key ^ mixed(right ^ (round << 56))) & mask));
            round += 1;
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn every_number_comes_once(bound in 1..3000_u64, key: u64) {
            let order = Permutation::new(bound, key);
            let numbers: BTreeSet<_> = (0..bound).filter_map(|index| order.at(index)).collect();
            prop_assert_eq!(numbers.len() as u64, bound);
            prop_assert!(numbers.iter().all(|number| *number < bound));
            prop_assert_eq!(order.at(bound), None);
        }
    }

    #[test]
    fn neighbours_and_strides_are_rare() {
        let order = Permutation::new(1 << 18, 3);
        let numbers: Vec<_> = (0..10_000).filter_map(|index| order.at(index)).collect();
        let steps: Vec<_> = numbers.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
        assert!(steps.iter().filter(|step| **step < 16).count() < 10);
        assert!(steps.windows(2).filter(|pair| pair[0] == pair[1]).count() < 10);
        assert_ne!(order.at(0), Permutation::new(1 << 18, 4).at(0));
    }

    #[test]
    fn a_terabyte_of_blocks_takes_no_memory() {
        let order = Permutation::new(1 << 28, 1);
        assert!(order.at((1 << 28) - 1).is_some_and(|number| number < 1 << 28));
    }
}
