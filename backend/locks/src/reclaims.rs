//! Whom a new owner has not heard yet.

use std::collections::BTreeSet;

use weft_types::{Epoch, SessionId};
use weft_wire::locks::LockRefusal;

/// The sessions that were open when an ownership began, and have not told yet what they hold. While there are any, nobody
/// is granted what one of them may hold.
#[derive(Debug, Clone)]
pub struct Reclaims {
    epoch: Epoch,
    awaited: BTreeSet<SessionId>,
}

impl Reclaims {
    /// An ownership that begins with these sessions open.
    pub fn new(epoch: Epoch, open: impl IntoIterator<Item = SessionId>) -> Self {
        Self { epoch, awaited: open.into_iter().collect() }
    }

    /// The ownership.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether this session has to tell first.
    pub fn awaits(&self, session: SessionId) -> bool {
        self.awaited.contains(&session)
    }

    /// How many have to tell first.
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Whether everybody has told.
    pub fn is_over(&self) -> bool {
        self.awaited.is_empty()
    }

    /// A session has told all, or has ended; true: it was the last one that was waited for.
    pub fn settle(&mut self, session: SessionId) -> bool {
        self.awaited.remove(&session) && self.awaited.is_empty()
    }

    /// Whether a request of a session is meant for this ownership, and may be made by now.
    ///
    /// # Errors
    /// [`LockRefusal::ReclaimFirst`]
    pub fn check(&self, session: SessionId, meant: Epoch) -> Result<(), LockRefusal> {
        if meant == self.epoch && !self.awaits(session) {
            Ok(())
        } else {
            Err(LockRefusal::ReclaimFirst { epoch: self.epoch })
        }
    }
}
