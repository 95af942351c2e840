//! What operations need of the inodes that they are about.

use weft_types::Inode;
use weft_wire::coherence::{HoldMode, What};
use weft_wire::meta::Name;

/// What an operation needs of an inode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// To tell what it is: nobody holds back anything of it.
    Read(Inode),
    /// To change what a directory has under a name, and with it the directory's attributes.
    Name(Inode, Name),
    /// To change its attributes.
    Attributes(Inode),
    /// To change its data or its length.
    Data(Inode),
    /// To take its last name.
    Gone(Inode),
    /// To hold back what will be written to it.
    Write(Inode),
    /// To know who has it open for writing.
    Writers(Inode),
}

impl Need {
    /// Of which inode.
    pub const fn inode(&self) -> Inode {
        match self {
            Self::Read(inode)
            | Self::Name(inode, _)
            | Self::Attributes(inode)
            | Self::Data(inode)
            | Self::Gone(inode)
            | Self::Write(inode)
            | Self::Writers(inode) => *inode,
        }
    }

    /// What another session that holds the inode like this must give up first.
    pub(crate) fn conflict(&self, mode: HoldMode) -> Option<What> {
        match (self, mode) {
            (Self::Gone(_), _) => Some(What::Gone),
            (Self::Writers(_), _) => Some(What::Writers),
            (_, HoldMode::Open) | (Self::Read(_), HoldMode::Shared) => None,
            (Self::Read(_), HoldMode::Exclusive) => Some(What::Writing),
            (Self::Name(_, name), HoldMode::Shared) => Some(What::Name(name.clone())),
            (Self::Attributes(_), HoldMode::Shared) => Some(What::Attributes),
            (Self::Name(..) | Self::Attributes(_), HoldMode::Exclusive) => Some(What::All),
            (Self::Data(_) | Self::Write(_), HoldMode::Shared | HoldMode::Exclusive) => Some(What::All),
        }
    }

    /// How a session must hold the inode to go ahead of those that wait for it: what it needs in order to forget must not
    /// wait for them.
    pub(crate) const fn ahead(&self) -> HoldMode {
        match self {
            Self::Read(_) | Self::Data(_) | Self::Write(_) => HoldMode::Shared,
            Self::Name(..) | Self::Attributes(_) | Self::Gone(_) | Self::Writers(_) => HoldMode::Exclusive,
        }
    }

    /// Whether a session that was asked to give something up for it, and did, may go on holding the inode like this.
    pub(crate) fn spares(&self, mode: HoldMode) -> bool {
        match self {
            Self::Writers(_) => true,
            Self::Name(..) | Self::Attributes(_) | Self::Gone(_) => mode < HoldMode::Exclusive,
            Self::Read(_) | Self::Data(_) | Self::Write(_) => false,
        }
    }

    /// Whether it waits behind others that wait for the same inode: what it takes would be taken from it at once, and
    /// taken back, for ever. What changes a name or an attribute takes nothing for longer than it lasts.
    pub(crate) const fn queues(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Data(_) | Self::Write(_))
    }

    /// How the session holds the inode when the operation was answered, and may remember what it was told.
    pub(crate) const fn grants(&self) -> HoldMode {
        match self {
            Self::Write(_) => HoldMode::Exclusive,
            Self::Writers(_) => HoldMode::Open,
            Self::Read(_) | Self::Name(..) | Self::Attributes(_) | Self::Data(_) | Self::Gone(_) => {
                HoldMode::Shared
            }
        }
    }
}
