//! Directory listings with `.` and `..`.

use weft_types::Inode;
use weft_wire::meta::{Attributes, FileKind, Name};

/// The cookie of `.`.
pub const COOKIE_SELF: u64 = 1;
/// The cookie of `..`.
pub const COOKIE_PARENT: u64 = 2;

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their cookies.
    pub entries: Vec<ListingEntry>,
    /// There is nothing after them.
    pub end: bool,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingEntry {
    /// Where to go on after it: 1 for `.`, 2 for `..`, greater for others; at most 2^63 - 1.
    pub cookie: u64,
    /// The name.
    pub name: ListingName,
    /// The inode behind it.
    pub inode: Inode,
    /// That inode's type.
    pub kind: FileKind,
    /// That inode's attributes, when they were asked for; never of `.` and `..`.
    pub attributes: Option<Attributes>,
}

/// A name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingName {
    /// `.`
    Itself,
    /// `..`
    Parent,
    /// Any other.
    Child(Name),
}

impl ListingName {
    /// The bytes, as readdir shows them.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Itself => b".",
            Self::Parent => b"..",
            Self::Child(name) => name.as_bytes(),
        }
    }
}
