//! Calls to compute by which several sessions share one filesystem: what each may remember, and what it must forget.
//!
//! A session *attaches* under a term; every operation names it. A session that is alone may remember whatever it is told. Among
//! several the owner knows who remembers what of which inode, and before it executes what contradicts that, it *recalls*
//! it: the answer to a [`WatchRecalls`] tells, and an [`AckRecalls`] says that it is forgotten.

use minicbor::{Decode, Encode};
use weft_types::{Epoch, FilesystemId, Inode, SessionId};

use crate::compute::SessionGone;
use crate::meta::Name;
use crate::{Call, CallTag};

/// Most inodes of one [`Attach`]: with more, what is written to some is committed before.
pub const ATTACH_MAX: usize = 60_000;
/// Most recalls of one answer, and acknowledgements of one call.
pub const RECALLS_MAX: usize = 4096;

/// Under which ownership of the metadata, and since which change of who is there, a session may remember something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Term {
    /// The ownership.
    #[n(0)]
    pub epoch: Epoch,
    /// The change, counted within the ownership from 1 on; 0 is before any.
    #[n(1)]
    pub number: u64,
}

/// A session's place among the sessions of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Place {
    /// Operations name it from now on.
    #[n(0)]
    pub term: Term,
    /// There is no other session: whatever is told may be remembered, and nothing is recalled.
    #[n(1)]
    pub alone: bool,
}

/// Takes a place: after a change of ownership, when another session has come, or when all others have gone. Whatever
/// the session remembered is forgotten before it asks, but for what it says here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Attach {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
    /// What it still holds, at most [`ATTACH_MAX`].
    #[n(2)]
    pub holds: Vec<Hold>,
}

/// What a session holds of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Hold {
    /// Which inode.
    #[n(0)]
    pub inode: Inode,
    /// How.
    #[n(1)]
    pub mode: HoldMode,
}

/// How a session holds an inode; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum HoldMode {
    /// It has it open, and remembers nothing of it.
    #[n(0)]
    Open,
    /// It remembers names, attributes or data.
    #[n(1)]
    Shared,
    /// It has bytes, a length or times that nobody else knows.
    #[n(2)]
    Exclusive,
}

impl Call for Attach {
    const TAG: CallTag = CallTag::ATTACH;
    type Reply = Place;
    type Refusal = SessionGone;
}

/// Waits for recalls, for as long as the call's deadline allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct WatchRecalls {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
    /// The term that it is attached under.
    #[n(2)]
    pub term: Term,
    /// Recalls up to this number have been heard of.
    #[n(3)]
    pub after: u64,
}

/// What is recalled.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recalls {
    /// In the order of their numbers, at most [`RECALLS_MAX`]; none when nothing came in time.
    #[n(0)]
    pub recalls: Vec<Recall>,
    /// The session is to attach anew: it is no longer alone, another owner has come, or it is alone now.
    #[n(1)]
    pub attach: bool,
}

/// Something to forget before another session's operation is executed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recall {
    /// Its number, rising within a term.
    #[n(0)]
    pub number: u64,
    /// Of which inode.
    #[n(1)]
    pub inode: Inode,
    /// What of it.
    #[n(2)]
    pub what: What,
}

/// What of an inode is recalled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum What {
    /// What a directory has under a name, and the directory's attributes.
    #[n(0)]
    Name(#[n(0)] Name),
    /// Attributes, and extended ones.
    #[n(1)]
    Attributes,
    /// The right to hold back what is written: it is committed. What is remembered stays.
    #[n(2)]
    Writing,
    /// Everything; what was written is committed before.
    #[n(3)]
    All,
    /// Everything: its last name goes. Whether it is open decides how long it stays.
    #[n(4)]
    Gone,
    /// Nothing: it is to say whether it has the file open for writing.
    #[n(5)]
    Writers,
}

impl Call for WatchRecalls {
    const TAG: CallTag = CallTag::WATCH_RECALLS;
    type Reply = Recalls;
    type Refusal = SessionGone;
}

/// Recalls are done.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AckRecalls {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
    /// The term that they were numbered in.
    #[n(2)]
    pub term: Term,
    /// Which, at most [`RECALLS_MAX`].
    #[n(3)]
    pub acks: Vec<Ack>,
}

/// One recall is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Ack {
    /// Which.
    #[n(0)]
    pub number: u64,
    /// The session has the inode open; when asked for [`What::Writers`], for writing.
    #[n(1)]
    pub open: bool,
}

/// That was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Acked {}

impl Call for AckRecalls {
    const TAG: CallTag = CallTag::ACK_RECALLS;
    type Reply = Acked;
    type Refusal = SessionGone;
}

/// How an answer stands to recalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Stamp {
    /// The term under which it was executed.
    #[n(0)]
    pub term: Term,
    /// It was executed after the recall of this number, and before any other, was sent to the session.
    #[n(1)]
    pub recalled: u64,
    /// What it tells may be remembered until it is recalled.
    #[n(2)]
    pub leased: bool,
}
