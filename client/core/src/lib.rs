//! The filesystem as a library: lookups, reads, writes and caches.
//!
//! [`Core::mount`] opens a session with the owner of a filesystem's metadata; the operations of a [`Core`] are what
//! frontends translate their own requests to. The contract:
//!
//! - A write may answer from memory. `fsync`, writes of a `sync` handle and operations on names and attributes
//!   answer after the durable commit. What is in memory is committed within 5 s, and before the file gets another name;
//!   the bytes of many small files by one operation.
//! - While a session's lease holds, what is cached here is the truth: what another session is about to change is recalled
//!   first. Without a lease nothing is served.
//! - When a session is over, another one is opened. What was not committed is kept if nobody has changed the file, and else
//!   lost, which each handle is told once.
//! - A write is refused when the filesystem has no room for it. What was taken is kept until it is committed; while
//!   drives are down it goes to others, and `fsync` says what could not be written, once per handle.
//! - In the background, small extents and what is left of dead ones become long extents, without any other effect.
//! - Locks are granted by the owner of the metadata, across mounts; they are told again to the next owner, and are lost
//!   with the session.
//! - Every byte read was verified. What cannot be verified is read from the rest of its stripe, or is an error.

mod accesses;
mod attach;
mod backend;
mod background;
mod budget;
mod buffers;
mod cluster;
mod coherence;
mod compaction;
mod config;
mod counters;
mod dirty;
mod error;
mod extents;
mod fetch;
mod file;
mod foresight;
mod grants;
mod handle;
mod held;
mod latency;
mod listing;
mod locks;
mod map;
mod mount;
mod mounted;
mod names;
mod operations;
mod plan;
mod put;
mod ranges;
mod readahead;
mod recall;
mod recent;
mod reclaim;
mod references;
mod remote;
mod room;
mod seal;
mod session;
mod write_back;

pub use attach::Attachment;
pub use backend::{Answer, Backend, Failure};
pub use coherence::KernelCache;
pub use config::{CoreConfig, MEMORY_DEFAULT, MEMORY_MIN, READ_AHEAD_DEFAULT};
pub use counters::Counts;
pub use error::{FsError, MountError, Unwritten};
pub use handle::{HandleId, OpenMode};
pub use listing::{COOKIE_PARENT, COOKIE_SELF, Listing, ListingEntry, ListingName};
pub use locks::LockRequest;
pub use mounted::Core;
pub use operations::SeekWhat;
pub use weft_types::{LockKind, LockMode, LockOwner, LockRange};
pub use weft_wire::locks::LockConflict;
pub use weft_wire::meta::{
    AllocateMode, AttributeChanges, Attributes, Caller, FileKind, MetaError, NAME_BYTES_MAX, Name, NameError,
    NewNode, RenameMode, Space, TimeChange, XattrMode,
};

#[cfg(test)]
mod tests;
