//! How operations and mounting fail.

use weft_layout::MapError;
use weft_transport::BindError;
use weft_wire::compute::OpenRefusal;
use weft_wire::meta::MetaError;

/// Why a filesystem operation failed: the closed set that every frontend maps to its own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FsError {
    /// The owner of the metadata said no.
    #[error(transparent)]
    Refused(#[from] MetaError),
    /// EIO: bytes are damaged or missing beyond what the stripe can give back.
    #[error("the data is damaged or missing beyond repair")]
    Unreadable,
    /// ENOSPC: drives have no room for what is to be written, or for what was written before.
    #[error("no space left")]
    NoSpace,
    /// EFBIG: beyond the largest file.
    #[error("the file would be too large")]
    FileTooLarge,
    /// EIO: the service that is needed cannot be reached.
    #[error("the cluster cannot be reached")]
    Unreachable,
    /// EIO: no answer in time. What was to be done may be done later.
    #[error("no answer in time")]
    TimedOut,
    /// EIO: the session was over before it was answered, and nobody knows whether it was done; or there will be no
    /// session any more, and unwritten data is lost.
    #[error("the session has ended")]
    SessionEnded,
    /// EIO: bytes that were written before are lost. While this mount was cut off the file was changed by another one.
    #[error("written bytes are lost: the file was changed while this mount was cut off")]
    Lost,
    /// ESTALE: the file of this handle is no more. It lost its last name before or while this mount was cut off.
    #[error("the file is no more: it was removed, and this mount was cut off")]
    Stale,
    /// EIO: a peer does not keep to the protocol, or refuses this identity.
    #[error("a peer broke the protocol or refuses this identity")]
    Protocol,
    /// EBADF: no such handle, or one that was not opened for this.
    #[error("no such handle, or not opened for this")]
    BadHandle,
    /// ENXIO: the file has nothing of what was asked for at or behind the offset.
    #[error("nothing at or behind this offset")]
    BeyondEnd,
    /// ENFILE: the bound on open handles is reached.
    #[error("too many open files")]
    TooManyHandles,
    /// EAGAIN: another lock is in the way.
    #[error("another lock is in the way")]
    WouldBlock,
    /// EDEADLK: its owner would wait for itself.
    #[error("waiting for the lock would be a deadlock")]
    Deadlock,
    /// ENOLCK: the bound on locks is reached.
    #[error("too many locks")]
    TooManyLocks,
}

/// Why a filesystem was not mounted. One line each, fit to be shown to the person who typed the command.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The IO thread or its runtime could not be made.
    #[error("no thread for IO can be made")]
    Thread(#[source] std::io::Error),
    /// The transport could not be set up with these credentials.
    #[error("the transport cannot be set up")]
    Transport(#[source] BindError),
    /// Management does not answer.
    #[error("management at {address} does not answer: {reason}")]
    Management {
        /// Where it should be.
        address: std::net::SocketAddr,
        /// What happened instead.
        reason: String,
    },
    /// Management's map cannot be believed.
    #[error("the cluster map cannot be believed")]
    Map(#[source] MapError),
    /// The map names no compute process.
    #[error("the cluster has no compute process")]
    NoCompute,
    /// No compute process answers.
    #[error("no compute process answers: {reason}")]
    Compute {
        /// What happened instead.
        reason: String,
    },
    /// The owner of the filesystem's metadata refuses.
    #[error("the filesystem is not opened")]
    Refused(#[source] OpenRefusal),
}

/// What was not written when a filesystem was unmounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes of {files} files were not written")]
pub struct Unwritten {
    /// Files with bytes that are lost.
    pub files: usize,
    /// Bytes that are lost.
    pub bytes: u64,
    /// Why the last attempt to write one of them failed.
    #[source]
    pub cause: Option<FsError>,
}
