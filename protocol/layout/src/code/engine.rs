//! The code's arithmetic, with the expensive start of a decode remembered.
//!
//! Before every decode the crate evaluates the error locator by two Walsh-Hadamard transforms over all 65,536
//! field elements: about 130 us, whatever the length of the shards, thirty times the rest of a 4 KiB repair. The
//! result depends on nothing but which shards are lost, and that seldom changes from one decode to the next.

use std::cell::RefCell;
use std::collections::HashMap;

use reed_solomon_simd::engine::{DefaultEngine, Engine, GF_ORDER, GfElement, ShardsRefMut};

/// Positions that the widest stripe takes up in the code: parity first, padded to a power of two, then data.
const MAX_POSITIONS: usize = 32;

/// Evaluations a thread keeps; all are dropped when one more is needed. 72 bytes each.
const MAX_REMEMBERED: usize = 1024;

/// The erased positions, one bit each, and how many positions count.
type Erasures = (u32, usize);

thread_local! {
    // The evaluation is a function of the engine's type, not of an engine: it has no other place to remember.
    static REMEMBERED: RefCell<HashMap<Erasures, [GfElement; MAX_POSITIONS]>> = RefCell::new(HashMap::new());
}

/// The best engine of this processor (AVX2, SSSE3, NEON or plain), with evaluations remembered per thread.
///
/// For the high-rate code only: it reads no more of an evaluation than the positions that count.
pub(super) struct RememberingEngine(DefaultEngine);

impl RememberingEngine {
    pub(super) fn new() -> Self {
        Self(DefaultEngine::new())
    }
}

impl Engine for RememberingEngine {
    fn fft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.fft(data, pos, size, truncated_size, skew_delta);
    }

    fn ifft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.ifft(data, pos, size, truncated_size, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) {
        if truncated_size > MAX_POSITIONS {
            return DefaultEngine::eval_poly(erasures, truncated_size);
        }
        let bits = erasures[..truncated_size].iter().rev().fold(0, |bits, e| bits << 1 | u32::from(*e != 0));
        REMEMBERED.with_borrow_mut(|remembered| {
            if let Some(values) = remembered.get(&(bits, truncated_size)) {
                erasures[..MAX_POSITIONS].copy_from_slice(values);
                return;
            }
            DefaultEngine::eval_poly(erasures, truncated_size);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            let values = erasures.first_chunk().expect("65,536 elements are more than 32");
            remembered.insert((bits, truncated_size), *values);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evaluate<E: Engine>(bits: u64, positions: usize) -> Vec<GfElement> {
        let mut erasures = Box::new([0; GF_ORDER]);
        (0..positions).for_each(|i| erasures[i] = GfElement::from(bits >> i & 1 == 1));
        E::eval_poly(&mut erasures, positions);
        erasures[..positions].to_vec()
    }

    fn remembered() -> usize {
        REMEMBERED.with_borrow(HashMap::len)
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_the_stock_engine_finds(bits: u64, positions in 1..=40_usize) {
            let stock = evaluate::<DefaultEngine>(bits, positions);
            prop_assert_eq!(&evaluate::<RememberingEngine>(bits, positions), &stock);
            prop_assert_eq!(&evaluate::<RememberingEngine>(bits, positions), &stock);
        }
    }

    #[test]
    fn evaluations_are_remembered_and_bounded() {
        evaluate::<RememberingEngine>(1, 8);
        evaluate::<RememberingEngine>(1, 8);
        assert_eq!(remembered(), 1);
        (0..=1500).for_each(|bits| drop(evaluate::<RememberingEngine>(bits, 16)));
        assert!(remembered() <= MAX_REMEMBERED);
    }
}
