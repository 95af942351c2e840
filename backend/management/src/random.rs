//! Bytes that nobody can guess.

use weft_keys::Nonce;

/// Fills from the system's cryptographically strong source.
///
/// # Panics
/// When the system has no such source: nothing can be kept secret then.
pub(crate) fn fill(bytes: &mut [u8]) {
    #[cfg(feature = "simulation")]
    if seeded::fill(bytes) {
        return;
    }
    aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
}

/// Bytes for an id or a salt.
pub(crate) fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A nonce for one sealing.
pub(crate) fn nonce() -> Nonce {
    Nonce::from_random(array())
}

#[cfg(feature = "simulation")]
pub(crate) use seeded::draw_from_seed;

/// Chance of a simulation, on the threads that ask for it. Nothing else ever does.
#[cfg(feature = "simulation")]
mod seeded {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    pub(crate) fn draw_from_seed(seed: u64) {
        STATE.set(Some(seed));
    }

    /// Fills from the seed (SplitMix64); false where there is none.
    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        let Some(mut state) = STATE.get() else { return false };
        for chunk in bytes.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
        STATE.set(Some(state));
        true
    }
}
