//! Locks on files: ranges, modes, kinds, and on whose behalf.

use core::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder};

/// The last byte that a lock can cover: the largest offset of a file, 2^63 - 1 (`OFFSET_MAX` of Linux).
pub const LOCK_END_MAX: u64 = i64::MAX as u64;

/// On whose behalf a lock is held within a session, as the kernel tells them apart: a process for `fcntl`, an open file
/// description for `F_OFD_SETLK` and `flock`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct LockOwner(#[n(0)] u64);

impl LockOwner {
    /// The owner with the kernel's number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The kernel's number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which locks see each other: those of one kind, on one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum LockKind {
    /// Of ranges: `fcntl(F_SETLK)` and `fcntl(F_OFD_SETLK)`, which differ by who the owner is.
    #[n(0)]
    Posix,
    /// Of whole files: `flock`.
    #[n(1)]
    Flock,
}

/// Whom a lock keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum LockMode {
    /// Those who want it alone: `F_RDLCK`, `LOCK_SH`.
    #[n(0)]
    Shared,
    /// Everybody else: `F_WRLCK`, `LOCK_EX`.
    #[n(1)]
    Exclusive,
}

impl LockMode {
    /// Whether two owners cannot have these on one byte.
    pub const fn excludes(self, other: Self) -> bool {
        matches!(self, Self::Exclusive) || matches!(other, Self::Exclusive)
    }
}

/// Bytes of a file, both ends included; the last is at most [`LOCK_END_MAX`]. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRange {
    start: u64,
    end: u64,
}

impl LockRange {
    /// The whole file, however long it becomes.
    pub const WHOLE: Self = Self { start: 0, end: LOCK_END_MAX };

    /// From `start` to `end`, both included; `None` when there is no such range.
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start <= end && end <= LOCK_END_MAX { Some(Self { start, end }) } else { None }
    }

    /// The first byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The last byte.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Whether they have a byte in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether all of the other is in it.
    pub const fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The least range with all of both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// What they have in common.
    pub fn common(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for LockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.end)
    }
}

impl<C> Encode<C> for LockRange {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?.u64(self.start)?.u64(self.end)?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for LockRange {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a range is two numbers"));
        }
        let (start, end) = (d.u64()?, d.u64()?);
        Self::new(start, end).ok_or_else(|| minicbor::decode::Error::message("no such range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_never_empty_and_ends_where_files_do() {
        assert_eq!(LockRange::new(5, 4), None);
        assert_eq!(LockRange::new(0, LOCK_END_MAX + 1), None);
        assert_eq!(LockRange::new(0, LOCK_END_MAX), Some(LockRange::WHOLE));
        let range = |start, end| LockRange::new(start, end).expect("a range");
        assert!(range(0, 4).overlaps(range(4, 9)) && !range(0, 3).overlaps(range(4, 9)));
        assert_eq!(range(0, 5).common(range(3, 9)), Some(range(3, 5)));
    }

    #[test]
    fn bytes_that_are_no_range_do_not_decode() {
        let whole = minicbor::to_vec(LockRange::WHOLE).expect("encodes");
        assert_eq!(minicbor::decode::<LockRange>(&whole).expect("decodes"), LockRange::WHOLE);
        for bad in
            [&[0x82, 5, 4][..], &[0x81, 5], &[0x83, 1, 2, 3], &[0x82, 0, 0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(minicbor::decode::<LockRange>(bad).is_err(), "{bad:x?}");
        }
    }
}
