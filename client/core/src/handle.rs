//! Open files.

use core::fmt;

/// One open of a file. Never given twice within a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(u64);

impl HandleId {
    /// The handle with this number, as the kernel gives it back.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number, for the kernel.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// Every write goes to the end of the file, whatever offset it names (`O_APPEND`).
    pub append: bool,
    /// Every write answers after its durable commit (`O_SYNC`, `O_DSYNC`).
    pub sync: bool,
}
