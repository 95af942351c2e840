//! Versions of the cluster store: the term above, a count within it below.
//!
//! Whatever is put under a higher term has a higher version, also than what a lower one left behind on a few drives
//! and nobody ever counted. So the highest version that a drive saw says whether a copy is behind.

use core::fmt;

use weft_types::{Epoch, StoreVersion};

/// The first version of a term.
pub const fn first_version(term: Epoch) -> StoreVersion {
    StoreVersion::new(term.get() << 32)
}

/// The term under which a version was put.
pub const fn term_of(version: StoreVersion) -> Epoch {
    Epoch::new(version.get() >> 32)
}

/// A version for people: `term.count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(pub StoreVersion);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", term_of(self.0), self.0.get() & 0xffff_ffff)
    }
}
