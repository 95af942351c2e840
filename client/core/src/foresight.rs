//! Whether lookups ask for the maps of what they find: learnt from what follows them.

use core::sync::atomic::{AtomicU32, Ordering};

/// Entries of a map that comes with a lookup.
pub(crate) const FORESEEN_ENTRIES: usize = 4;
/// What one read pays for: its own file's map, and another one that nobody reads.
const PAID: u32 = 2;
/// Maps in advance at most: so many may come in vain when files that were read are only looked at all of a sudden.
const CREDIT_MAX: u32 = 16;

/// Maps that lookups may still bring. Each that comes costs one; each whose file is read, or that had to be asked for
/// alone, pays for two. So of the maps that come, no more are in vain than reads have paid for: a walk that only looks
/// at attributes asks for none soon, and files that are opened one after the other have theirs with their names.
#[derive(Debug, Default)]
pub(crate) struct Foresight(AtomicU32);

impl Foresight {
    /// Before a lookup: whether to ask for a map. It is paid for then.
    pub(crate) fn asks(&self) -> bool {
        let less = |credit: u32| credit.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// It was asked for, and none came: it was no file, or no small one.
    pub(crate) fn spared(&self) {
        self.add(1);
    }

    /// A small file is read whose map came with its name, or had to be asked for.
    pub(crate) fn pays(&self) {
        self.add(PAID);
    }

    fn add(&self, credit: u32) {
        let more = |held: u32| Some(held.saturating_add(credit).min(CREDIT_MAX));
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_read_go_on_bringing_their_maps_and_others_soon_do_not() {
        let foresight = Foresight::default();
        assert!(!foresight.asks(), "nothing was read yet");
        foresight.pays();
        for _ in 0..100 {
            assert!(foresight.asks(), "each one that is read pays for the next");
            foresight.pays();
        }
        let in_vain = (0..100).filter(|_| foresight.asks()).count();
        assert_eq!(in_vain, CREDIT_MAX as usize);
        foresight.pays();
        for _ in 0..100 {
            assert!(foresight.asks(), "directories on the way cost nothing");
            foresight.spared();
        }
    }
}
