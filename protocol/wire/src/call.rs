//! What a call is: its number, its reply, and the ways it can be refused.

use core::fmt;

use minicbor::{Decode, Encode};

/// The number of a call on the wire. The registry is [`CallTag::ALL`]; a number is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallTag(pub u16);

impl CallTag {
    /// The first call on every connection.
    pub const HELLO: Self = Self(0x0001);

    /// Drive: store one shard.
    pub const PUT_SHARD: Self = Self(0x0101);
    /// Drive: read a range of one shard.
    pub const GET_SHARD: Self = Self(0x0102);
    /// Drive: delete shards.
    pub const DELETE_SHARDS: Self = Self(0x0103);
    /// Drive: the header of one shard.
    pub const DESCRIBE_SHARD: Self = Self(0x0104);
    /// Drive: the shards it holds, in order.
    pub const LIST_SHARDS: Self = Self(0x0105);
    /// Drive: show a session's grant.
    pub const PRESENT_GRANT: Self = Self(0x0106);
    /// Drive: take nothing of sessions any more.
    pub const CLOSE_SESSIONS: Self = Self(0x0107);
    /// Drive: begin an ownership of a metadata log.
    pub const SEAL_LOG: Self = Self(0x0108);
    /// Drive: store a record of a metadata log.
    pub const PUT_LOG: Self = Self(0x0109);
    /// Drive: read records of a metadata log.
    pub const READ_LOG: Self = Self(0x010a);
    /// Drive: let go of records of a metadata log.
    pub const TRIM_LOG: Self = Self(0x010b);
    /// Drive: store a part of a checkpoint.
    pub const PUT_OBJECT: Self = Self(0x010c);
    /// Drive: read a part of a checkpoint.
    pub const GET_OBJECT: Self = Self(0x010d);
    /// Drive: delete parts of checkpoints.
    pub const DELETE_OBJECTS: Self = Self(0x010e);
    /// Drive: the parts of checkpoints that it holds.
    pub const LIST_OBJECTS: Self = Self(0x010f);
    /// Drive: its copy of the cluster store.
    pub const OPEN_STORE: Self = Self(0x0110);
    /// Drive: replace its copy of the cluster store.
    pub const PUT_STORE: Self = Self(0x0111);
    /// Drive: store shards of several extents.
    pub const PUT_SHARDS: Self = Self(0x0112);

    /// Compute: attach to a filesystem.
    pub const OPEN_SESSION: Self = Self(0x0201);
    /// Compute: keep a session alive.
    pub const RENEW_SESSION: Self = Self(0x0202);
    /// Compute: detach.
    pub const CLOSE_SESSION: Self = Self(0x0203);
    /// Compute: one operation on a filesystem's metadata.
    pub const META: Self = Self(0x0204);
    /// Compute: drop a filesystem's data and metadata.
    pub const DROP_FILESYSTEM: Self = Self(0x0205);
    /// Compute: a lock on a file.
    pub const LOCK: Self = Self(0x0206);
    /// Compute: what a session holds, told to a new owner.
    pub const RECLAIM: Self = Self(0x0207);
    /// Compute: take a place among the sessions of a filesystem.
    pub const ATTACH: Self = Self(0x0208);
    /// Compute: wait for what is to be forgotten.
    pub const WATCH_RECALLS: Self = Self(0x0209);
    /// Compute: it is forgotten.
    pub const ACK_RECALLS: Self = Self(0x020a);

    /// Management: the cluster map.
    pub const GET_MAP: Self = Self(0x0301);
    /// Management: a node is alive, and its counters.
    pub const HEARTBEAT: Self = Self(0x0302);
    /// Management: the state of the whole cluster.
    pub const GET_STATUS: Self = Self(0x0303);
    /// Management: create a filesystem.
    pub const CREATE_FILESYSTEM: Self = Self(0x0304);
    /// Management: list filesystems.
    pub const LIST_FILESYSTEMS: Self = Self(0x0305);
    /// Management: delete a filesystem.
    pub const DELETE_FILESYSTEM: Self = Self(0x0306);
    /// Management: a filesystem's wrapped keys, and a new ownership epoch of its metadata shard.
    pub const OWN_FILESYSTEM: Self = Self(0x0307);
    /// Management: replace a metadata shard's row.
    pub const SWAP_SHARD: Self = Self(0x0308);
    /// Management: a metadata shard's row and the grants of its ownership.
    pub const GET_SHARD_ROW: Self = Self(0x0309);
    /// Management: ownerships live on.
    pub const RENEW_OWNERSHIPS: Self = Self(0x030a);
    /// Management: register a session.
    pub const REGISTER_SESSION: Self = Self(0x030b);
    /// Management: end a session.
    pub const END_SESSION: Self = Self(0x030c);
    /// Management: where an owner's extents lie.
    pub const REPORT_CARE: Self = Self(0x030d);
    /// Management: the sessions of a filesystem.
    pub const LIST_SESSIONS: Self = Self(0x030e);

    /// Every number that was ever given, with its name.
    pub const ALL: [(Self, &'static str); 43] = [
        (Self::HELLO, "hello"),
        (Self::PUT_SHARD, "put-shard"),
        (Self::GET_SHARD, "get-shard"),
        (Self::DELETE_SHARDS, "delete-shards"),
        (Self::DESCRIBE_SHARD, "describe-shard"),
        (Self::LIST_SHARDS, "list-shards"),
        (Self::PRESENT_GRANT, "present-grant"),
        (Self::CLOSE_SESSIONS, "close-sessions"),
        (Self::SEAL_LOG, "seal-log"),
        (Self::PUT_LOG, "put-log"),
        (Self::READ_LOG, "read-log"),
        (Self::TRIM_LOG, "trim-log"),
        (Self::PUT_OBJECT, "put-object"),
        (Self::GET_OBJECT, "get-object"),
        (Self::DELETE_OBJECTS, "delete-objects"),
        (Self::LIST_OBJECTS, "list-objects"),
        (Self::OPEN_STORE, "open-store"),
        (Self::PUT_STORE, "put-store"),
        (Self::PUT_SHARDS, "put-shards"),
        (Self::OPEN_SESSION, "open-session"),
        (Self::RENEW_SESSION, "renew-session"),
        (Self::CLOSE_SESSION, "close-session"),
        (Self::META, "meta"),
        (Self::DROP_FILESYSTEM, "drop-filesystem"),
        (Self::LOCK, "lock"),
        (Self::RECLAIM, "reclaim"),
        (Self::ATTACH, "attach"),
        (Self::WATCH_RECALLS, "watch-recalls"),
        (Self::ACK_RECALLS, "ack-recalls"),
        (Self::GET_MAP, "get-map"),
        (Self::HEARTBEAT, "heartbeat"),
        (Self::GET_STATUS, "get-status"),
        (Self::CREATE_FILESYSTEM, "create-filesystem"),
        (Self::LIST_FILESYSTEMS, "list-filesystems"),
        (Self::DELETE_FILESYSTEM, "delete-filesystem"),
        (Self::OWN_FILESYSTEM, "own-filesystem"),
        (Self::SWAP_SHARD, "swap-shard"),
        (Self::GET_SHARD_ROW, "get-shard-row"),
        (Self::RENEW_OWNERSHIPS, "renew-ownerships"),
        (Self::REGISTER_SESSION, "register-session"),
        (Self::END_SESSION, "end-session"),
        (Self::REPORT_CARE, "report-care"),
        (Self::LIST_SESSIONS, "list-sessions"),
    ];
}

impl fmt::Display for CallTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::ALL.iter().find(|(tag, _)| tag == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "call 0x{:04x}", self.0),
        }
    }
}

/// A request that a peer can make. The type is the request's body.
pub trait Call: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static {
    /// Its number.
    const TAG: CallTag;
    /// The body of the answer when it was done.
    type Reply: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static;
    /// The body of the answer when the operation said no: a closed enum of that operation's own.
    type Refusal: Encode<()> + for<'b> Decode<'b, ()> + Send + fmt::Debug + 'static;
}

/// The refusal of a call whose operation cannot say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum NoRefusal {
    /// Sent by no one; a type needs a value to have a wire form.
    #[n(0)]
    Never,
}

/// Why the peer's RPC layer, not the operation, gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The peer does not know this call's number. Not worth a retry.
    #[error("the peer does not know this call")]
    UnknownCall,
    /// The body does not decode, or a length is beyond its bound. Not worth a retry.
    #[error("the peer could not decode this call")]
    Malformed,
    /// The caller's role may not make this call. Not worth a retry.
    #[error("this identity may not make this call")]
    Unauthorised,
    /// The peer's queue is full; it did nothing. Retry after a pause.
    #[error("the peer is overloaded")]
    Overloaded,
    /// The deadline passed before the work began; it did nothing. Retry with a new deadline.
    #[error("the deadline passed at the peer")]
    DeadlinePassed,
    /// The peer does not serve this now: it is starting, stopping, or lost what it owned. Retry elsewhere or later.
    #[error("the peer is not serving now")]
    NotServing,
    /// The peer failed in a way that its log explains. The outcome is unknown.
    #[error("the peer failed internally")]
    Internal,
}

impl Fault {
    /// The status code on the wire; 0 is success and 1 is the operation's own refusal.
    pub const fn code(self) -> u16 {
        match self {
            Self::UnknownCall => 2,
            Self::Malformed => 3,
            Self::Unauthorised => 4,
            Self::Overloaded => 5,
            Self::DeadlinePassed => 6,
            Self::NotServing => 7,
            Self::Internal => 8,
        }
    }

    /// The fault of a status code. A code from a newer peer is [`Internal`](Self::Internal): its outcome is unknown.
    pub const fn from_code(code: u16) -> Self {
        match code {
            2 => Self::UnknownCall,
            3 => Self::Malformed,
            4 => Self::Unauthorised,
            5 => Self::Overloaded,
            6 => Self::DeadlinePassed,
            7 => Self::NotServing,
            _ => Self::Internal,
        }
    }

    /// Whether the same call may succeed later, and certainly did nothing so far.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::DeadlinePassed | Self::NotServing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_call_number_is_given_twice() {
        let numbers: BTreeSet<_> = CallTag::ALL.iter().map(|(tag, _)| tag).collect();
        let names: BTreeSet<_> = CallTag::ALL.iter().map(|(_, name)| name).collect();
        assert_eq!((numbers.len(), names.len()), (CallTag::ALL.len(), CallTag::ALL.len()));
    }

    #[test]
    fn every_fault_comes_back_from_its_code() {
        let all = [2, 3, 4, 5, 6, 7, 8].map(Fault::from_code);
        for fault in all {
            assert_eq!(Fault::from_code(fault.code()), fault);
        }
        assert_eq!(Fault::from_code(999), Fault::Internal);
    }
}
