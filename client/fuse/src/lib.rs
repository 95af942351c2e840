//! Translates the kernel's requests to core. Nothing below this crate knows FUSE.
//!
//! - [`Mounted`]: a core that the kernel shows at a path.
//! - [`kernel`]: what is agreed with the kernel.
//! - [`MountOptions`]: what the mount allows.

mod adapter;
mod attributes;
mod errno;
pub mod kernel;
mod listing;
mod mount;
mod options;

pub use mount::{FuseError, Mounted, Unmounter};
pub use options::{MountOptions, OptionError};
