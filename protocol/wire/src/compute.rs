//! Calls to compute: sessions, and operations on metadata.

use minicbor::{Decode, Encode};
use weft_types::{Epoch, FilesystemId, SessionId, SlotId, SlotSeq};

use crate::coherence::{Place, Stamp, Term};
use crate::grant::SignedGrant;
use crate::meta::is_false;
use crate::meta::{Attributes, Caller, MetaError, MetaOp, MetaReply};
use crate::{Call, CallTag};

/// Attaches a frontend to a filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpenSession {
    /// The filesystem's name.
    #[n(0)]
    pub filesystem: String,
    /// The session only reads.
    #[n(1)]
    pub read_only: bool,
    /// Who mounts, told to others who are refused.
    #[n(2)]
    pub holder: SessionHolder,
    /// Ends this session first. Allowed only to the identity that opened it, and meant for a process that knows
    /// the earlier one to be dead.
    #[n(3)]
    pub replaces: Option<SessionId>,
}

/// The process behind a session, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionHolder {
    /// The host's name.
    #[n(0)]
    pub host: String,
    /// The kernel's boot id, which tells this boot of the host from others with equal process ids.
    #[n(1)]
    pub boot: String,
    /// The process id.
    #[n(2)]
    pub pid: u32,
    /// Where it mounts, empty for a frontend without a mount.
    #[n(3)]
    pub mount: String,
}

/// A session is open.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionOpened {
    /// Its id, never used before.
    #[n(0)]
    pub session: SessionId,
    /// The filesystem's id.
    #[n(1)]
    pub filesystem: FilesystemId,
    /// The session ends this many milliseconds after its last renewal was received.
    #[n(2)]
    pub lease_ms: u32,
    /// How many slots it has: at most that many operations may be under way.
    #[n(3)]
    pub slots: u16,
    /// What drives want to see before they take the session's shards.
    #[n(4)]
    pub grant: SignedGrant,
    /// Its place among the sessions that are open.
    #[n(5)]
    pub place: Place,
    /// Other sessions of the same identity. Who knows that the process behind one is dead closes it: else others wait for it
    /// until it expires.
    #[n(6)]
    pub others: Vec<OtherSession>,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OtherSession {
    /// Its id.
    #[n(0)]
    pub session: SessionId,
    /// The process behind it.
    #[n(1)]
    pub holder: SessionHolder,
}

/// Why a session was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum OpenRefusal {
    /// There is no filesystem of that name.
    #[n(0)]
    #[error("there is no such filesystem")]
    NoSuchFilesystem,
    /// The session to replace belongs to another identity.
    #[n(2)]
    #[error("the session to replace belongs to another identity")]
    NotYours,
    /// The filesystem is being deleted.
    #[n(3)]
    #[error("the filesystem is being deleted")]
    Deleting,
    /// The filesystem's keys cannot be unwrapped now.
    #[n(4)]
    #[error("the filesystem's keys cannot be unwrapped: {reason}")]
    KeysUnavailable {
        /// What the KMS said.
        #[n(0)]
        reason: String,
    },
    /// The filesystem's metadata cannot be opened; the compute process's log says more.
    #[n(5)]
    #[error("the filesystem's metadata cannot be opened: {reason}")]
    MetadataUnavailable {
        /// What failed.
        #[n(0)]
        reason: String,
    },
}

impl Call for OpenSession {
    const TAG: CallTag = CallTag::OPEN_SESSION;
    type Reply = SessionOpened;
    type Refusal = OpenRefusal;
}

/// Keeps a session alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RenewSession {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
}

/// The session lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionRenewed {
    /// For this many milliseconds from receipt.
    #[n(0)]
    pub lease_ms: u32,
    /// Which ownership answers.
    #[n(1)]
    pub epoch: Epoch,
    /// It waits to be told what the session holds ([`Reclaim`](crate::locks::Reclaim)).
    #[n(2)]
    pub reclaim: bool,
}

/// The session is gone, or was never this identity's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum SessionGone {
    /// Expired, closed or replaced. It never comes back.
    #[n(0)]
    #[error("the session has ended")]
    Ended,
}

impl Call for RenewSession {
    const TAG: CallTag = CallTag::RENEW_SESSION;
    type Reply = SessionRenewed;
    type Refusal = SessionGone;
}

/// Detaches. What was deleted while open is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CloseSession {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
}

/// The session is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionClosed {}

impl Call for CloseSession {
    const TAG: CallTag = CallTag::CLOSE_SESSION;
    type Reply = SessionClosed;
    type Refusal = SessionGone;
}

/// One operation on a filesystem's metadata. When a mutation is answered it is durable and visible; when a read
/// is answered, so is everything it saw.
///
/// A retry carries the slot and sequence of the first attempt and gets the first answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Meta {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
    /// One of the session's slots.
    #[n(2)]
    pub slot: SlotId,
    /// The operation's number in its slot.
    #[n(3)]
    pub seq: SlotSeq,
    /// On whose behalf.
    #[n(4)]
    pub caller: Caller,
    /// What to do.
    #[n(5)]
    pub op: MetaOp,
    /// The term that the session is attached under.
    #[n(6)]
    pub term: Term,
}

/// An operation was done.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MetaDone {
    /// The answer; a retry gets the first.
    #[n(0)]
    pub reply: MetaReply,
    /// Attributes of what else an operation on names changed, as they are now: of the directories, and of what was moved. Who
    /// goes on in a directory need not ask for them.
    #[n(1)]
    pub touched: Vec<Attributes>,
    /// What the operation made has extended attributes from the beginning: its directory's default access list gave it one.
    #[n(2)]
    #[cbor(default, skip_if = "is_false")]
    pub inherited: bool,
    /// Whether, and until when, all of this may be remembered.
    #[n(3)]
    pub stamp: Stamp,
}

impl Call for Meta {
    const TAG: CallTag = CallTag::META;
    type Reply = MetaDone;
    type Refusal = MetaError;
}

/// Deletes all data and metadata of a filesystem, in the background. Repeating it asks for the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DropFilesystem {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
}

/// How far a drop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DropProgress {
    /// Nothing of it is left.
    #[n(0)]
    pub done: bool,
    /// Extents that still have shards on drives.
    #[n(1)]
    pub extents_left: u64,
}

/// Why a filesystem is not dropped.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum DropRefusal {
    /// It is mounted.
    #[n(0)]
    #[error("{}:{} (process {}) has it mounted", holder.host, holder.mount, holder.pid)]
    Mounted {
        /// One of the processes that have it.
        #[n(0)]
        holder: SessionHolder,
    },
    /// Its metadata cannot be opened.
    #[n(1)]
    #[error("its metadata cannot be opened: {reason}")]
    MetadataUnavailable {
        /// What failed.
        #[n(0)]
        reason: String,
    },
}

impl Call for DropFilesystem {
    const TAG: CallTag = CallTag::DROP_FILESYSTEM;
    type Reply = DropProgress;
    type Refusal = DropRefusal;
}
