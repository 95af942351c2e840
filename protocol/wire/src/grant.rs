//! What management lets others do at the drives: signed, and verified by a drive without asking anybody.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use weft_types::{ClusterId, DriveId, Epoch, FilesystemId, Incarnation, MetadataShard, NodeId, SessionId};

use crate::log::LogKey;
use crate::{Call, CallTag};

/// What the signature of a grant is made for; nothing else that the cluster's authority signs begins with it.
pub const GRANT_PURPOSE: &str = "weft grant";

/// A permission, as management signs it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Grant {
    /// To put shards of a session's extents.
    #[n(0)]
    Session(#[n(0)] SessionGrant),
    /// To write a metadata shard's log on one drive.
    #[n(1)]
    Log(#[n(0)] LogGrant),
}

/// A frontend may put shards of extents that are named by this session, until the session is closed at the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionGrant {
    /// The cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// The filesystem.
    #[n(1)]
    pub filesystem: FilesystemId,
    /// The session.
    #[n(2)]
    pub session: SessionId,
    /// The only node that may.
    #[n(3)]
    pub node: NodeId,
}

/// An owner may write, seal and trim a log on one incarnation of one drive. The highest epoch that a drive saw counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LogGrant {
    /// The cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// The filesystem.
    #[n(1)]
    pub filesystem: FilesystemId,
    /// The metadata shard.
    #[n(2)]
    pub shard: MetadataShard,
    /// The ownership.
    #[n(3)]
    pub epoch: Epoch,
    /// The only node that may.
    #[n(4)]
    pub owner: NodeId,
    /// The drive.
    #[n(5)]
    pub drive: DriveId,
    /// The drive's incarnation: a blank drive takes no grant of an earlier one.
    #[n(6)]
    pub incarnation: Incarnation,
}

impl LogGrant {
    /// Whose log it is.
    pub const fn log(&self) -> LogKey {
        LogKey { filesystem: self.filesystem, shard: self.shard }
    }
}

/// A grant with the authority's signature over [`GRANT_PURPOSE`] and the body.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedGrant {
    /// The encoding of a [`Grant`], as it was signed.
    #[n(0)]
    pub body: ByteVec,
    /// ECDSA P-256 with SHA-256, ASN.1.
    #[n(1)]
    pub signature: ByteVec,
}

impl SignedGrant {
    /// The grant in it; its signature is not looked at.
    ///
    /// # Errors
    /// The body is no grant.
    pub fn grant(&self) -> Result<Grant, minicbor::decode::Error> {
        minicbor::decode(&self.body)
    }
}

/// Shows a session's grant to a drive, which remembers it until its process ends. Frontends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PresentGrant {
    /// A [`Grant::Session`] of the caller's own node.
    #[n(0)]
    pub grant: SignedGrant,
}

/// The grant was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GrantTaken {}

/// Why a grant was not taken. None is worth a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum GrantRefusal {
    /// The signature is not this cluster's authority's, or the body is no grant of the kind that belongs here.
    #[n(0)]
    #[error("the grant is not management's")]
    Forged,
    /// It is another node's, drive's or incarnation's.
    #[n(1)]
    #[error("the grant is not for this caller or this drive")]
    NotYours,
    /// The session was closed at this drive, for ever.
    #[n(2)]
    #[error("the session is closed")]
    Closed,
}

impl Call for PresentGrant {
    const TAG: CallTag = CallTag::PRESENT_GRANT;
    type Reply = GrantTaken;
    type Refusal = GrantRefusal;
}

/// Closes sessions at a drive: from now on it takes none of their shards, whoever shows which grant. Durable when
/// answered, and for ever. Compute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CloseSessions {
    /// At most [`CLOSE_MAX`].
    #[n(0)]
    pub sessions: Vec<SessionId>,
}

/// Most sessions of one [`CloseSessions`].
pub const CLOSE_MAX: usize = 4096;

/// They are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionsClosed {}

/// Why sessions were not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum CloseRefusal {
    /// More than [`CLOSE_MAX`].
    #[n(0)]
    #[error("too many sessions in one call")]
    TooMany,
    /// The device failed; some may be closed.
    #[n(1)]
    #[error("the device failed")]
    Device,
    /// The drive cannot even write that.
    #[n(2)]
    #[error("the drive is full")]
    NoSpace,
}

impl Call for CloseSessions {
    const TAG: CallTag = CallTag::CLOSE_SESSIONS;
    type Reply = SessionsClosed;
    type Refusal = CloseRefusal;
}
