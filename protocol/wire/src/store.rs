//! Calls to a drive that holds a copy of the cluster store. Management, and an administrator who recovers.
//!
//! Management opens the store under a term that is above every term that it finds: a majority of the voting drives
//! promises to take nothing of a lower one. It then puts the newest copy that it found under its own term, and every
//! change after that; a change counts once a majority has it. (A register as in L. Lamport, "The part-time
//! parliament", ACM TOCS 16(2), 1998.)
//!
//! A term is one management process's alone: a drive promises a term once, and nobody else the same one. A version
//! has the term in its upper 32 bits, so that whatever is put under a higher term has a higher version.

use minicbor::{Decode, Encode};
use weft_types::{Epoch, Incarnation, StoreVersion};

use crate::log::LogKey;
use crate::{Call, CallTag};

/// Asks for a drive's copy, the bulk; with a term also for the promise to take nothing of lower terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct OpenStore {
    /// The term to promise; absent to read only. Durable when answered. Refused as `Fenced` unless it is above every
    /// term that the drive promised or took a copy of, also when it is equal: two who open must not share a term, and
    /// who lost the answer asks with a higher one.
    #[n(0)]
    pub term: Option<Epoch>,
}

/// What a drive knows of the cluster store.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StoreHeld {
    /// The highest term that it promised.
    #[n(0)]
    pub promised: Epoch,
    /// Its copy: the term under which it was put, and its version. Absent when it has none, or a damaged one.
    #[n(1)]
    pub copy: Option<(Epoch, StoreVersion)>,
    /// The highest version that it saw, in copies and in answers to its heartbeats.
    #[n(2)]
    pub seen: StoreVersion,
    /// The highest ownership epoch that it saw of each log.
    #[n(3)]
    pub epochs: Vec<(LogKey, Epoch)>,
    /// Its incarnation: one that was blank since it became a voter has forgotten what it promised, and does not count.
    #[n(4)]
    pub incarnation: Incarnation,
}

/// Why a drive does not take part.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum StoreRefusal {
    /// It promised a higher term, or to be promised this one: another management process has opened the store.
    #[n(0)]
    #[error("the cluster store was opened under term {by}")]
    Fenced {
        /// The promised term.
        #[n(0)]
        by: Epoch,
    },
    /// It has a newer version, or other bytes of the same version and term.
    #[n(1)]
    #[error("the drive has version {version} of the cluster store")]
    Behind {
        /// Its version.
        #[n(0)]
        version: StoreVersion,
    },
    /// The drive has no room.
    #[n(2)]
    #[error("the drive is full")]
    NoSpace,
    /// The device failed.
    #[n(3)]
    #[error("the device failed")]
    Device,
    /// The bytes are no copy of this cluster's store, or too many.
    #[n(4)]
    #[error("the copy is malformed")]
    Malformed,
    /// What the drive remembers of the cluster store is damaged: it takes no part for as long as that stays so.
    #[n(5)]
    #[error("what the drive remembers of the cluster store is damaged")]
    Damaged,
}

impl Call for OpenStore {
    const TAG: CallTag = CallTag::OPEN_STORE;
    type Reply = StoreHeld;
    type Refusal = StoreRefusal;
}

/// Replaces a drive's copy by the bulk. Durable when answered. Repeating it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PutStore {
    /// The term under which it is put, not below the promised one. Taking a copy promises its term.
    #[n(0)]
    pub term: Epoch,
    /// Its version: within a term it only grows.
    #[n(1)]
    pub version: StoreVersion,
}

/// The copy was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct StoreTaken {
    /// The drive's incarnation.
    #[n(0)]
    pub incarnation: Incarnation,
}

impl Call for PutStore {
    const TAG: CallTag = CallTag::PUT_STORE;
    type Reply = StoreTaken;
    type Refusal = StoreRefusal;
}
