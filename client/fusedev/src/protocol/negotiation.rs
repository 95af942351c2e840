//! What the two sides agree upon when a mount begins.

use super::flags::{INIT_EXT, MAX_PAGES};
use super::reader::{Malformed, Reader};
use super::writer::Fields;

/// The version of the protocol that is spoken here.
const MAJOR: u32 = 7;
const MINOR: u32 = 45;
/// The oldest that is understood, of Linux 5.4: all that is read and written here has its present length from then on.
const MINOR_MIN: u32 = 31;
/// From this version on the kernel can be told that all names are to be looked up again.
const MINOR_OF_EPOCHS: u32 = 44;
const PAGE: u32 = 4096;

/// What the kernel offers (`struct fuse_init_in`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// Its version: 7 for all there ever were.
    pub major: u32,
    /// Its minor version.
    pub minor: u32,
    /// What it reads ahead at most, in bytes.
    pub max_readahead: u32,
    /// What it can do: bits of [`flags`](super::flags).
    pub flags: u64,
}

impl Init {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (major, minor) = (body.u32()?, body.u32()?);
        let (max_readahead, low) = (body.u32()?, u64::from(body.u32()?));
        // Kernels that do not have the second word send a shorter request.
        let high = if low & INIT_EXT == 0 { 0 } else { u64::from(body.u32()?) };
        Ok(Self { major, minor, max_readahead, flags: low | high << 32 })
    }
}

/// What a filesystem wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Bits of [`flags`](super::flags); a kernel that lacks one serves without it.
    pub flags: u64,
    /// The longest WRITE and READ, in bytes.
    pub max_write: u32,
    /// What is read ahead at most, in bytes; the kernel takes the lesser of its own and this.
    pub max_readahead: u32,
    /// Requests that may be under way without anybody waiting for them.
    pub max_background: u16,
}

/// The kernel is older than what is understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel speaks FUSE {major}.{minor}; 7.31 (Linux 5.4) or later is needed")]
pub struct TooOld {
    /// Its version.
    pub major: u32,
    /// Its minor version.
    pub minor: u32,
}

/// What both sides do from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The minor version.
    pub minor: u32,
    /// Bits of [`flags`](super::flags) that both have.
    pub flags: u64,
    /// The longest WRITE, in bytes.
    pub max_write: u32,
    /// What is read ahead at most, in bytes.
    pub max_readahead: u32,
    /// Requests that may be under way without anybody waiting for them.
    pub max_background: u16,
}

impl Agreement {
    /// What the kernel offers and the filesystem wants.
    ///
    /// # Errors
    /// [`TooOld`]
    pub fn between(init: &Init, terms: &Terms) -> Result<Self, TooOld> {
        if init.major != MAJOR || init.minor < MINOR_MIN {
            return Err(TooOld { major: init.major, minor: init.minor });
        }
        Ok(Self {
            minor: init.minor.min(MINOR),
            flags: init.flags & (terms.flags | INIT_EXT),
            max_write: terms.max_write.max(PAGE),
            max_readahead: init.max_readahead.min(terms.max_readahead),
            max_background: terms.max_background,
        })
    }

    /// Whether this was agreed upon.
    pub const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// Whether the kernel can be told that all names are to be looked up again.
    pub const fn has_epochs(&self) -> bool {
        self.minor >= MINOR_OF_EPOCHS
    }

    /// `struct fuse_init_out`.
    pub(crate) fn put(&self, fields: &mut Fields) {
        /// Times are kept to the nanosecond.
        const TIME_GRANULARITY: u32 = 1;
        // Beyond three quarters the kernel calls itself congested.
        let congested = self.max_background - self.max_background / 4;
        let pages = if self.has(MAX_PAGES) { self.max_write.div_ceil(PAGE) } else { 0 };
        fields.u32(MAJOR).u32(self.minor).u32(self.max_readahead);
        // The low and the high word.
        fields.u32(self.flags as u32).u16(self.max_background).u16(congested);
        fields.u32(self.max_write).u32(TIME_GRANULARITY);
        fields.u16(u16::try_from(pages).unwrap_or(u16::MAX)).u16(0).u32((self.flags >> 32) as u32);
        // Stacking, timeouts, and what is not used yet.
        fields.zeroes(28);
    }
}
