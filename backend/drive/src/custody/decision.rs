//! What is to be written before anything may be answered.

use bytes::Bytes;
use weft_types::{Epoch, SessionId, StoreVersion};
use weft_wire::log::{LogKey, ObjectKey};

use super::document::LogNote;
use super::log::Held;
use super::register::Copy;
use crate::key::ItemKey;

/// One change of the items on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Put or replace an item.
    Put(ItemKey, Bytes),
    /// Delete items; those that are not there do not matter.
    Delete(Vec<ItemKey>),
}

/// Writes that may go together, in any order. All are durable before the next step begins.
pub type Step = Vec<Write>;

/// What a call needs: steps to be made durable in order, and then the change of what is seen.
///
/// Give it back to [`Custody::apply`](super::Custody::apply) once every step is durable, or to
/// [`Custody::abandon`](super::Custody::abandon) when one was not. Nothing else of the same
/// [`Scope`](super::Scope) is decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    pub(super) steps: Vec<Step>,
    pub(super) change: Change,
}

impl Decision {
    /// Nothing to write: the answer follows from what is seen.
    pub(super) const fn none() -> Self {
        Self { steps: Vec::new(), change: Change::None }
    }

    /// The writes, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// How what is seen changes. It changes at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Closed { page: u32, last: Vec<SessionId>, added: Vec<SessionId> },
    Sealed { log: LogKey, note: LogNote },
    Record { log: LogKey, seq: u64, held: Held },
    Trimmed { log: LogKey, note: LogNote, gone: Vec<u64> },
    Object { key: ObjectKey, held: Held },
    ObjectsGone { keys: Vec<ObjectKey> },
    Promised { term: Epoch },
    Copy(Copy),
    Heard { version: StoreVersion },
}
