//! The fields of requests that have many.

use super::attributes::{SetAttributes, Time, TimeChange};
use super::ids::{Handle, LockOwner, NodeId};
use super::reader::{Malformed, Reader};

/// Whether a request sets this bit.
const fn has(flags: u32, bit: u32) -> bool {
    flags & bit != 0
}

/// MKNOD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MakeNode<'a> {
    /// The new name.
    pub name: &'a [u8],
    /// Type and permissions; the umask is applied unless agreed otherwise.
    pub mode: u32,
    /// Of a device node its number.
    pub device: u32,
    /// The caller's.
    pub umask: u32,
}

impl<'a> MakeNode<'a> {
    pub(crate) fn parse(mut body: Reader<'a>) -> Result<Self, Malformed> {
        let (mode, device, umask) = (body.u32()?, body.u32()?, body.u32()?);
        body.skip(4)?;
        Ok(Self { name: body.name()?, mode, device, umask })
    }
}

impl SetAttributes {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let valid = body.u32()?;
        body.skip(4)?;
        let (handle, size, owner) = (body.u64()?, body.u64()?, body.u64()?);
        let mut seconds = [0; 3];
        for field in &mut seconds {
            *field = body.u64()?.cast_signed();
        }
        let mut times = [Time::default(); 3];
        for (time, seconds) in times.iter_mut().zip(seconds) {
            *time = Time { seconds, nanos: body.u32()? };
        }
        let mode = body.u32()?;
        body.skip(4)?;
        let (uid, gid) = (body.u32()?, body.u32()?);
        body.skip(4)?;
        let bit = |number: u32| has(valid, 1 << number);
        let time = |set: bool, now: bool, time| match (set, now) {
            (false, _) => None,
            (true, true) => Some(TimeChange::Now),
            (true, false) => Some(TimeChange::At(time)),
        };
        Ok(Self {
            mode: bit(0).then_some(mode),
            uid: bit(1).then_some(uid),
            gid: bit(2).then_some(gid),
            size: bit(3).then_some(size),
            accessed: time(bit(4), bit(7), times[0]),
            modified: time(bit(5), bit(8), times[1]),
            handle: bit(6).then_some(Handle::new(handle)),
            lock_owner: bit(9).then_some(LockOwner::new(owner)),
            changed: bit(10).then_some(times[2]),
            kill_suidgid: bit(11),
        })
    }
}

/// OPEN and OPENDIR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// As `open` has them, without those that make a file.
    pub flags: u32,
}

impl Open {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        // The kernel truncates by itself, and asks for set-id bits to go then.
        let (flags, _) = (body.u32()?, body.u32()?);
        Ok(Self { flags })
    }
}

/// CREATE and TMPFILE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// The new name; of TMPFILE it means nothing.
    pub name: &'a [u8],
    /// As `open` has them.
    pub flags: u32,
    /// Type and permissions; the umask is applied unless agreed otherwise.
    pub mode: u32,
    /// The caller's.
    pub umask: u32,
}

impl<'a> Create<'a> {
    pub(crate) fn parse(mut body: Reader<'a>) -> Result<Self, Malformed> {
        // What is made is new: it has no set-id bits that would have to go.
        let (flags, mode, umask, _) = (body.u32()?, body.u32()?, body.u32()?, body.u32()?);
        Ok(Self { name: body.name()?, flags, mode, umask })
    }
}

/// READ, READDIR and READDIRPLUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The open file or directory.
    pub handle: Handle,
    /// From which byte on; of a directory after which cookie.
    pub offset: u64,
    /// At most so many bytes.
    pub size: u32,
    /// Who reads, where locks are mandatory.
    pub lock_owner: Option<LockOwner>,
    /// As `open` had them, and as `fcntl` changed them.
    pub flags: u32,
}

const FUSE_READ_LOCKOWNER: u32 = 1 << 1;

impl Read {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (handle, offset) = (Handle::new(body.u64()?), body.u64()?);
        let (size, more, owner, flags) = (body.u32()?, body.u32()?, body.u64()?, body.u32()?);
        let lock_owner = has(more, FUSE_READ_LOCKOWNER).then_some(LockOwner::new(owner));
        Ok(Self { handle, offset, size, lock_owner, flags })
    }
}

/// WRITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// The open file.
    pub handle: Handle,
    /// From which byte on.
    pub offset: u64,
    /// The bytes; they lie in the buffer that the request was read to.
    pub data: &'a [u8],
    /// Who writes, where locks are mandatory.
    pub lock_owner: Option<LockOwner>,
    /// As `open` had them, and as `fcntl` changed them.
    pub flags: u32,
    /// Pages that the kernel had kept: the descriptor is any that may write.
    pub from_cache: bool,
    /// Set-user-id and set-group-id bits go; only as agreed.
    pub kill_suidgid: bool,
}

const FUSE_WRITE_CACHE: u32 = 1;
const FUSE_WRITE_LOCKOWNER: u32 = 1 << 1;
const FUSE_WRITE_KILL_SUIDGID: u32 = 1 << 2;

impl<'a> Write<'a> {
    pub(crate) fn parse(mut body: Reader<'a>) -> Result<Self, Malformed> {
        let (handle, offset) = (Handle::new(body.u64()?), body.u64()?);
        let (size, more, owner, flags) = (body.u32()?, body.u32()?, body.u64()?, body.u32()?);
        body.skip(4)?;
        Ok(Self {
            handle,
            offset,
            data: body.bytes(size as usize)?,
            lock_owner: has(more, FUSE_WRITE_LOCKOWNER).then_some(LockOwner::new(owner)),
            flags,
            from_cache: has(more, FUSE_WRITE_CACHE),
            kill_suidgid: has(more, FUSE_WRITE_KILL_SUIDGID),
        })
    }
}

/// RELEASE and RELEASEDIR: the last descriptor is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The open file or directory.
    pub handle: Handle,
    /// As `open` had them.
    pub flags: u32,
    /// Whose `flock` goes with it.
    pub flock_owner: Option<LockOwner>,
}

const FUSE_RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;

impl Release {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (handle, flags, more, owner) = (body.u64()?, body.u32()?, body.u32()?, body.u64()?);
        let flock_owner = has(more, FUSE_RELEASE_FLOCK_UNLOCK).then_some(LockOwner::new(owner));
        Ok(Self { handle: Handle::new(handle), flags, flock_owner })
    }
}

/// SETXATTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetXattr<'a> {
    /// The name, with its namespace.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// As `setxattr` has them: 1 to make it, 2 to replace it.
    pub flags: u32,
    /// The set-group-id bit goes with the new ACL; only as agreed.
    pub kill_sgid: bool,
}

const FUSE_SETXATTR_ACL_KILL_SGID: u32 = 1;

impl<'a> SetXattr<'a> {
    /// `extended`: the longer form was agreed upon.
    pub(crate) fn parse(mut body: Reader<'a>, extended: bool) -> Result<Self, Malformed> {
        let (size, flags) = (body.u32()?, body.u32()?);
        let more = if extended { body.u32()? } else { 0 };
        if extended {
            body.skip(4)?;
        }
        let name = body.name()?;
        let value = body.bytes(size as usize)?;
        Ok(Self { name, value, flags, kill_sgid: has(more, FUSE_SETXATTR_ACL_KILL_SGID) })
    }
}

/// FALLOCATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocate {
    /// The open file.
    pub handle: Handle,
    /// The first byte.
    pub offset: u64,
    /// So many bytes.
    pub len: u64,
    /// As `fallocate` has it.
    pub mode: u32,
}

impl Allocate {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (handle, offset, len, mode) = (body.u64()?, body.u64()?, body.u64()?, body.u32()?);
        Ok(Self { handle: Handle::new(handle), offset, len, mode })
    }
}

/// LSEEK: data or holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seek {
    /// The open file.
    pub handle: Handle,
    /// From which byte on.
    pub offset: u64,
    /// As `lseek` has it: `SEEK_DATA` (3) or `SEEK_HOLE` (4).
    pub whence: u32,
}

impl Seek {
    pub(crate) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (handle, offset, whence) = (body.u64()?, body.u64()?, body.u32()?);
        Ok(Self { handle: Handle::new(handle), offset, whence })
    }
}

/// COPY_FILE_RANGE, from the request's inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    /// The open file that is copied from.
    pub from: Handle,
    /// From which byte on.
    pub from_offset: u64,
    /// The inode that is copied to.
    pub to_node: NodeId,
    /// The open file that is copied to.
    pub to: Handle,
    /// To which byte on.
    pub to_offset: u64,
    /// So many bytes.
    pub len: u64,
    /// As `copy_file_range` has them: none are known.
    pub flags: u64,
    /// The answer tells 64 bits.
    pub wide: bool,
}

impl CopyRange {
    pub(crate) fn parse(mut body: Reader<'_>, wide: bool) -> Result<Self, Malformed> {
        Ok(Self {
            from: Handle::new(body.u64()?),
            from_offset: body.u64()?,
            to_node: NodeId::new(body.u64()?),
            to: Handle::new(body.u64()?),
            to_offset: body.u64()?,
            len: body.u64()?,
            flags: body.u64()?,
            wide,
        })
    }
}
