//! The kernel's FUSE protocol over its device: requests in, replies and notifications out. It knows nothing of what is
//! mounted.
//!
//! - [`protocol`]: bytes to [`Request`]s, and answers to bytes; no device in it.
//! - [`Session`]: a mount; reads requests and hands each to a [`Handler`], with the [`Reply`] that answers it.
//! - [`Reply`]: answers one request exactly once, from any thread; also tells when its caller should wait no longer.
//! - [`Notifier`]: takes from the kernel's caches what is no longer so.
//!
//! Layouts and numbers are those of `<linux/fuse.h>`, version 7.45; what the kernel does by them is said in
//! Documentation/filesystems/fuse of its source.

mod channel;
mod clone;
mod interrupts;
mod mount;
mod mountinfo;
mod notifier;
pub mod protocol;
mod reply;
mod session;
mod signals;

pub use interrupts::Patience;
pub use mount::{MountOptions, Unmounter};
pub use mountinfo::device_at;
pub use notifier::{Known, Notifier};
pub use protocol::{Agreement, Handle, Header, LockOwner, NodeId, Request, Terms, Unique};
pub use reply::{Interrupted, Reply};
pub use rustix::io::Errno;
pub use session::{Handler, Session, SessionError};
