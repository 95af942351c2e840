//! How a file stands to the recall of what is remembered of it.

use weft_wire::coherence::Stamp;

/// Whether the session may hold back what is written to a file, beside other sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Writing {
    /// It asks the owner first.
    #[default]
    Not,
    /// It may, since an answer with this stamp: an earlier recall speaks of an earlier time.
    Held(Stamp),
    /// It may, since it attached with it.
    Kept,
}

/// How far a recall of all of a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Recall {
    /// None is under way.
    #[default]
    None,
    /// The kernel is told to drop its pages. It waits for those that it has asked us to read or to write: these requests go on,
    /// and one that came meanwhile may have filled a page again.
    Dropping {
        /// There was such a one.
        refilled: bool,
    },
    /// Nothing is read or written until the other session's operation may be executed.
    Blocked,
}

impl Recall {
    pub(crate) const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) const fn is_dropping(self) -> bool {
        matches!(self, Self::Dropping { .. })
    }

    pub(crate) const fn is_blocked(self) -> bool {
        matches!(self, Self::Blocked)
    }
}
