//! Translates the kernel's requests to core. Nothing below this crate knows FUSE.
//!
//! - [`Mounted`]: a core that the kernel shows at a path.
//! - [`MountOptions`]: what the mount allows, and how it works.

mod adapter;
mod attributes;
mod cache;
mod errno;
mod kernel;
mod listing;
mod mount;
mod opening;
mod options;

pub use mount::{FuseError, Mounted};
pub use options::{CacheMode, MOUNT_OPTIONS_HELP, MountOptions, OptionError};
pub use weft_fusedev::{Notifier, Unmounter};
