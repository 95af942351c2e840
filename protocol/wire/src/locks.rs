//! Locks: byte ranges and whole files, and how their owner learns of them again.
//!
//! The owner of a metadata shard keeps locks in memory only. When another ownership has begun, every session tells it what
//! it holds ([`Reclaim`]) before it asks for anything, and nobody is granted a lock before all sessions that were open
//! have told, or have ended.

use minicbor::{Decode, Encode};
use weft_types::{
    Epoch, FilesystemId, Inode, LockKind, LockMode, LockOwner, LockRange, SessionId, SlotId, SlotSeq,
};

use crate::{Call, CallTag};

/// Lock slots of a session, apart from those of operations: requests that it can have under way, those that wait included.
pub const LOCK_SLOTS: u16 = 8192;
/// Locks of one [`Reclaim`] at most.
pub const RECLAIM_MAX: usize = 1024;

/// A request for a lock, or about one.
///
/// It is carried out once: a retry carries the slot and sequence of the first attempt and gets its answer, and an attempt
/// that was delayed until the slot was used again does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Lock {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
    /// The ownership under which the session has reclaimed its locks; any other owner refuses.
    #[n(2)]
    pub epoch: Epoch,
    /// One of the session's lock slots: below [`LOCK_SLOTS`].
    #[n(3)]
    pub slot: SlotId,
    /// The request's number in its slot.
    #[n(4)]
    pub seq: SlotSeq,
    /// Which file.
    #[n(5)]
    pub inode: Inode,
    /// Which locks.
    #[n(6)]
    pub kind: LockKind,
    /// On whose behalf.
    #[n(7)]
    pub owner: LockOwner,
    /// What.
    #[n(8)]
    pub op: LockOp,
}

/// What to do with locks of an owner on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum LockOp {
    /// What stands in the way of such a lock (`F_GETLK`).
    #[n(0)]
    Test {
        /// Which bytes.
        #[n(0)]
        range: LockRange,
        /// In which mode.
        #[n(1)]
        mode: LockMode,
    },
    /// Set a range to a mode (`F_SETLK`, `F_SETLKW`, `flock`). Of a `flock` the range is the whole file.
    #[n(1)]
    Set {
        /// Which bytes.
        #[n(0)]
        range: LockRange,
        /// In which mode.
        #[n(1)]
        mode: LockMode,
        /// Which process asks, as its host numbers them.
        #[n(2)]
        pid: u32,
        /// Wait until nothing is in the way. The request is answered [`Waiting`](LockOutcome::Waiting) after some seconds
        /// at most, and keeps its place when it is made again within ten.
        #[n(3)]
        wait: bool,
    },
    /// Let go of a range.
    #[n(2)]
    Unlock {
        /// Which bytes.
        #[n(0)]
        range: LockRange,
    },
    /// Let go of everything that the owner has there, as `close` does. What waits goes on waiting.
    #[n(3)]
    Release {},
    /// Take back a request that waits, or that may not have arrived yet: it is answered
    /// [`Cancelled`](LockOutcome::Cancelled) from now on. The answer is what the request came to.
    #[n(4)]
    Cancel {
        /// Its slot.
        #[n(0)]
        slot: SlotId,
        /// Its number there.
        #[n(1)]
        seq: SlotSeq,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Locked {
    /// When it was carried out, as the owner counts within its ownership: who has several requests under way learns in
    /// which order they took effect. Of one that waits: it had not been granted then.
    #[n(0)]
    pub at: u64,
    /// What it came to.
    #[n(1)]
    pub outcome: LockOutcome,
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum LockOutcome {
    /// It is done: the lock is held, or is no more, or nothing stands in the way of the tested one.
    #[n(0)]
    Done {},
    /// This stands in the way of the tested one.
    #[n(1)]
    Conflict {
        /// The first of them.
        #[n(0)]
        with: LockConflict,
    },
    /// Another lock is in the way (EAGAIN). A `flock` that was to be converted is lost, as on Linux.
    #[n(2)]
    WouldBlock {},
    /// It waits; ask again. A `flock` that was to be converted is lost meanwhile.
    #[n(3)]
    Waiting {},
    /// Its owner would wait for itself (EDEADLK).
    #[n(4)]
    Deadlock {},
    /// There are too many locks or requests (ENOLCK).
    #[n(5)]
    TooMany {},
    /// It was taken back, or not asked for again in time. Nothing is held by it.
    #[n(6)]
    Cancelled {},
}

/// A lock that stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LockConflict {
    /// Which bytes.
    #[n(0)]
    pub range: LockRange,
    /// In which mode.
    #[n(1)]
    pub mode: LockMode,
    /// Which process has it, as its own host numbers them.
    #[n(2)]
    pub pid: u32,
    /// Through which mount that process has it: a process id says nothing elsewhere.
    #[n(3)]
    pub session: SessionId,
}

/// Why nothing was done about a request for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum LockRefusal {
    /// The session has ended, or is not the caller's; its locks are no more.
    #[n(0)]
    #[error("the session has ended")]
    SessionEnded,
    /// Another ownership has begun than the one that was meant, or the session has not reclaimed there yet.
    #[n(1)]
    #[error("the owner is at epoch {epoch}, and must be told first what the session holds")]
    ReclaimFirst {
        /// The ownership to reclaim under.
        #[n(0)]
        epoch: Epoch,
    },
    /// The slot was used again since.
    #[n(2)]
    #[error("the request was overtaken by a later one in its slot")]
    Overtaken,
}

impl Call for Lock {
    const TAG: CallTag = CallTag::LOCK;
    type Reply = Locked;
    type Refusal = LockRefusal;
}

/// Tells a new owner what a session holds, in parts. Parts may be repeated; after the last one the session has reclaimed,
/// and what comes later does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reclaim {
    /// Which filesystem.
    #[n(0)]
    pub filesystem: FilesystemId,
    /// Which session.
    #[n(1)]
    pub session: SessionId,
    /// The ownership that is told.
    #[n(2)]
    pub epoch: Epoch,
    /// There is nothing more to tell.
    #[n(3)]
    pub last: bool,
    /// Locks, at most [`RECLAIM_MAX`].
    #[n(4)]
    pub locks: Vec<HeldLock>,
}

/// A lock that a session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HeldLock {
    /// Of which file.
    #[n(0)]
    pub inode: Inode,
    /// Which locks.
    #[n(1)]
    pub kind: LockKind,
    /// On whose behalf.
    #[n(2)]
    pub owner: LockOwner,
    /// Which bytes.
    #[n(3)]
    pub range: LockRange,
    /// In which mode.
    #[n(4)]
    pub mode: LockMode,
    /// Which process asked for it.
    #[n(5)]
    pub pid: u32,
}

/// The new owner knows what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reclaimed {
    /// These are lost: another session says that it holds what excludes them, or there are too many.
    #[n(0)]
    pub refused: Vec<HeldLock>,
}

impl Call for Reclaim {
    const TAG: CallTag = CallTag::RECLAIM;
    type Reply = Reclaimed;
    type Refusal = LockRefusal;
}
