//! What a mount is told.

use weft_pki::Credentials;
use weft_transport::Peer;
use weft_types::ByteCount;
use weft_wire::compute::SessionHolder;

/// How a filesystem is mounted.
#[derive(Debug)]
pub struct CoreConfig {
    /// The management process.
    pub management: Peer,
    /// As whom: a frontend's identity.
    pub credentials: Credentials,
    /// The filesystem's name.
    pub filesystem: String,
    /// Only read.
    pub read_only: bool,
    /// Who mounts; its mount point is what `status` shows.
    pub holder: SessionHolder,
    /// The container this process runs as, as heartbeats name it; empty for a mount of its own.
    pub container: String,
    /// Memory for unwritten bytes, bytes on their way, and cached bytes; at least [`MEMORY_MIN`].
    pub memory: ByteCount,
    /// Reads set access times, by the rules of `relatime` and seconds later; false for `noatime`. A mount that only reads sets
    /// none.
    pub access_times: bool,
}

/// The default of [`CoreConfig::memory`]: 512 MiB.
pub const MEMORY_DEFAULT: ByteCount = ByteCount::new(512 << 20);
/// The default of [`Core::bound_read_ahead`](crate::Core::bound_read_ahead): 16 MiB.
pub const READ_AHEAD_DEFAULT: ByteCount = ByteCount::new(16 << 20);
/// The least memory that a mount works with: 128 MiB. Less is raised to it.
pub const MEMORY_MIN: ByteCount = ByteCount::new(128 << 20);
