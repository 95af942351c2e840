//! Locks.

use super::ids::{Handle, LockOwner};
use super::reader::{Malformed, Reader};
use super::writer::Fields;

/// What a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Shared with others that read.
    Read,
    /// For one alone.
    Write,
    /// None.
    Unlock,
}

/// A range of bytes that is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// The first byte.
    pub start: u64,
    /// The last byte; 2^63 - 1 for all that follow.
    pub end: u64,
    /// What it is.
    pub kind: LockKind,
    /// Who has it, a process as the host of the mount numbers it.
    pub process: u32,
}

/// `F_RDLCK`, `F_WRLCK` and `F_UNLCK` of Linux.
const KINDS: [LockKind; 3] = [LockKind::Read, LockKind::Write, LockKind::Unlock];

impl Lock {
    fn parse(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (start, end, kind, process) = (body.u64()?, body.u64()?, body.u32()?, body.u32()?);
        let kind = *KINDS.get(kind as usize).ok_or(Malformed)?;
        Ok(Self { start, end, kind, process })
    }

    pub(crate) fn put(&self, fields: &mut Fields) {
        // There are three of them.
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or_default() as u32;
        fields.u64(self.start).u64(self.end).u32(kind).u32(self.process);
    }
}

/// GETLK, SETLK and SETLKW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRequest {
    /// The open file.
    pub handle: Handle,
    /// Who asks for it.
    pub owner: LockOwner,
    /// What is asked for.
    pub lock: Lock,
    /// A lock of `flock`, of the whole file, apart from those of `fcntl`.
    pub flock: bool,
}

const FUSE_LK_FLOCK: u32 = 1;

impl LockRequest {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (handle, owner) = (Handle::new(body.u64()?), LockOwner::new(body.u64()?));
        let lock = Lock::parse(&mut body)?;
        Ok(Self { handle, owner, lock, flock: body.u32()? & FUSE_LK_FLOCK != 0 })
    }
}
