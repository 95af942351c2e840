//! What is written, so that what is read can be told right from wrong without having been kept.

/// Bytes that carry one pattern of their own.
pub(crate) const BLOCK: usize = 4096;

/// A step that visits every 64-bit value: odd, and far from small in any of its bytes.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const WORD: usize = size_of::<u64>();

/// The contents of all files of one bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern {
    seed: u64,
}

/// Which block: another file, block or generation has other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: u64,
    /// The block within it.
    pub(crate) block: u64,
    /// How often it was written before.
    pub(crate) generation: u32,
}

impl Pattern {
    /// The contents that a seed gives.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills one block.
    pub(crate) fn fill(self, place: Place, block: &mut [u8]) {
        let mut word = self.first(place);
        for bytes in block.chunks_exact_mut(WORD) {
            bytes.copy_from_slice(&scatter(word).to_le_bytes());
            word = word.wrapping_add(STEP);
        }
    }

    /// Whether a block holds what [`fill`](Self::fill) put there.
    pub(crate) fn matches(self, place: Place, block: &[u8]) -> bool {
        let mut word = self.first(place);
        let mut difference = 0;
        for bytes in block.chunks_exact(WORD) {
            let found = u64::from_le_bytes(bytes.try_into().expect("a chunk is a word"));
            difference |= found ^ scatter(word);
            word = word.wrapping_add(STEP);
        }
        difference == 0
    }

    const fn first(self, place: Place) -> u64 {
        let file = mixed(self.seed ^ mixed(place.file));
        mixed(file ^ place.block.wrapping_mul(STEP) ^ mixed(place.generation as u64 + 1))
    }
}

/// Makes neighbours differ in their low bits too, by nothing but shifts: this runs over every byte.
const fn scatter(word: u64) -> u64 {
    word ^ (word >> 29)
}

/// The finaliser of splitmix64: every bit of the input changes half of the output's.
pub(crate) const fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(STEP);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(seed: u64, place: Place) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        Pattern::new(seed).fill(place, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_was_filled_matches_and_nothing_else_does(
            seed: u64, file in 0..100_u64, number: u32, generation in 0..1000_u32, at in 0..BLOCK, flip in 1..=255_u8,
        ) {
            let place = Place { file, block: number.into(), generation };
            let mut bytes = block(seed, place);
            let pattern = Pattern::new(seed);
            prop_assert!(pattern.matches(place, &bytes));
            let others = [
                Place { file: file + 1, ..place },
                Place { block: place.block + 1, ..place },
                Place { generation: generation + 1, ..place },
            ];
            for other in others {
                prop_assert!(!pattern.matches(other, &bytes));
            }
            prop_assert!(!Pattern::new(seed ^ 1).matches(place, &bytes));
            bytes[at] ^= flip;
            prop_assert!(!pattern.matches(place, &bytes));
        }
    }

    #[test]
    fn the_bytes_are_no_easy_prey_for_compression() {
        let bytes = block(7, Place { file: 1, block: 2, generation: 0 });
        let mut counts = [0_usize; 256];
        bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| *count < BLOCK / 64), "{counts:?}");
    }
}
