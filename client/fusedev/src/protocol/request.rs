//! Requests, as the kernel sends them.

use super::attributes::SetAttributes;
use super::bodies::{Allocate, CopyRange, Create, MakeNode, Open, Read, Release, Seek, SetXattr, Write};
use super::forgets::Forgets;
use super::ids::{Handle, LockOwner, NodeId, Unique};
use super::locks::LockRequest;
use super::negotiation::Init;
use super::opcodes as op;
use super::reader::{Malformed, Reader};

/// Who asks, and about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The request.
    pub unique: Unique,
    /// The inode, or the directory of a name.
    pub node: NodeId,
    /// The caller's user.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
    /// The caller's thread; 0 for one that this process cannot see, or none.
    pub thread: u32,
}

/// Why bytes are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// They do not even tell what to answer to.
    Headless,
    /// The header is whole, and what follows is not.
    Malformed(Header),
}

/// What is asked for. Names are without the NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the operations of the protocol, by the names of POSIX; their fields have types"
)]
pub enum Request<'a> {
    Init(Init),
    Destroy,
    /// Stop waiting for this request: its caller was sent a signal.
    Interrupt(Unique),
    Lookup {
        name: &'a [u8],
    },
    /// No answer.
    Forget {
        references: u64,
    },
    /// No answer.
    BatchForget(Forgets<'a>),
    GetAttributes {
        handle: Option<Handle>,
    },
    /// `statx`: as GETATTR, and when it was made.
    ExtendedAttributes {
        handle: Option<Handle>,
    },
    SetAttributes(SetAttributes),
    ReadLink,
    MakeNode(MakeNode<'a>),
    MakeDirectory {
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    Link {
        node: NodeId,
        name: &'a [u8],
    },
    Unlink {
        name: &'a [u8],
    },
    RemoveDirectory {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        new_parent: NodeId,
        new_name: &'a [u8],
        flags: u32,
    },
    Create(Create<'a>),
    /// A file without a name, in this directory's filesystem.
    CreateUnnamed(Create<'a>),
    Open(Open),
    Read(Read),
    Write(Write<'a>),
    /// A descriptor is closed.
    Flush {
        handle: Handle,
        owner: LockOwner,
    },
    Release(Release),
    Sync {
        handle: Handle,
        data_only: bool,
    },
    OpenDirectory(Open),
    ReadDirectory(Read),
    /// With attributes: names that are told count as looked up.
    ReadDirectoryPlus(Read),
    ReleaseDirectory(Release),
    SyncDirectory {
        handle: Handle,
        data_only: bool,
    },
    SetXattr(SetXattr<'a>),
    GetXattr {
        name: &'a [u8],
        room: u32,
    },
    ListXattrs {
        room: u32,
    },
    RemoveXattr {
        name: &'a [u8],
    },
    Access {
        mask: u32,
    },
    Space,
    SyncFilesystem,
    GetLock(LockRequest),
    SetLock {
        request: LockRequest,
        wait: bool,
    },
    Allocate(Allocate),
    Seek(Seek),
    CopyRange(CopyRange),
    Ioctl,
    Poll,
    BlockMap,
    /// An operation of another version.
    Unknown {
        opcode: u32,
    },
}

/// Reads one request. `xattr_ext`: the longer form of SETXATTR was agreed upon.
///
/// # Errors
/// [`Refused`]
pub fn parse(bytes: &[u8], xattr_ext: bool) -> Result<(Header, Request<'_>), Refused> {
    let (header, opcode, body) = header(bytes).map_err(|Malformed| Refused::Headless)?;
    let body = body.ok_or(Refused::Malformed(header))?;
    match request(opcode, Reader::new(body), xattr_ext) {
        Ok(request) => Ok((header, request)),
        Err(Malformed) => Err(Refused::Malformed(header)),
    }
}

/// `struct fuse_in_header`, and what lies between it and extensions: none when there is less than it says.
fn header(bytes: &[u8]) -> Result<(Header, u32, Option<&[u8]>), Malformed> {
    let mut reader = Reader::new(bytes);
    let (len, opcode) = (reader.u32()?, reader.u32()?);
    let header = Header {
        unique: Unique::new(reader.u64()?),
        node: NodeId::new(reader.u64()?),
        uid: reader.u32()?,
        gid: reader.u32()?,
        thread: reader.u32()?,
    };
    let extensions = usize::from(reader.u16()?) * 8;
    reader.skip(2)?;
    let rest = reader.rest();
    let before = bytes.len() - rest.len();
    let len = (len as usize).checked_sub(before).and_then(|len| len.checked_sub(extensions));
    Ok((header, opcode, len.and_then(|len| rest.get(..len))))
}

fn request(opcode: u32, mut body: Reader<'_>, xattr_ext: bool) -> Result<Request<'_>, Malformed> {
    Ok(match opcode {
        op::INIT => Request::Init(Init::parse(body)?),
        op::DESTROY => Request::Destroy,
        op::INTERRUPT => Request::Interrupt(Unique::new(body.u64()?)),
        op::FORGET => Request::Forget { references: body.u64()? },
        op::BATCH_FORGET => Request::BatchForget(Forgets::parse(body)?),
        op::GETATTR => Request::GetAttributes { handle: optional_handle(&mut body)? },
        op::STATX => Request::ExtendedAttributes { handle: optional_handle(&mut body)? },
        op::SETATTR => Request::SetAttributes(SetAttributes::parse(body)?),
        op::READLINK => Request::ReadLink,
        op::OPEN => Request::Open(Open::parse(body)?),
        op::READ => Request::Read(Read::parse(body)?),
        op::WRITE => Request::Write(Write::parse(body)?),
        op::FLUSH => flush(body)?,
        op::RELEASE => Request::Release(Release::parse(body)?),
        op::FSYNC => synced(body, |handle, data_only| Request::Sync { handle, data_only })?,
        op::OPENDIR => Request::OpenDirectory(Open::parse(body)?),
        op::READDIR => Request::ReadDirectory(Read::parse(body)?),
        op::READDIRPLUS => Request::ReadDirectoryPlus(Read::parse(body)?),
        op::RELEASEDIR => Request::ReleaseDirectory(Release::parse(body)?),
        op::FSYNCDIR => synced(body, |handle, data_only| Request::SyncDirectory { handle, data_only })?,
        op::SETXATTR => Request::SetXattr(SetXattr::parse(body, xattr_ext)?),
        op::GETXATTR => {
            let room = body.u32()?;
            body.skip(4)?;
            Request::GetXattr { name: body.name()?, room }
        }
        op::LISTXATTR => Request::ListXattrs { room: body.u32()? },
        op::REMOVEXATTR => Request::RemoveXattr { name: body.name()? },
        op::ACCESS => Request::Access { mask: body.u32()? },
        op::STATFS => Request::Space,
        op::SYNCFS => Request::SyncFilesystem,
        op::GETLK => Request::GetLock(LockRequest::parse(body)?),
        op::SETLK => Request::SetLock { request: LockRequest::parse(body)?, wait: false },
        op::SETLKW => Request::SetLock { request: LockRequest::parse(body)?, wait: true },
        op::FALLOCATE => Request::Allocate(Allocate::parse(body)?),
        op::LSEEK => Request::Seek(Seek::parse(body)?),
        op::COPY_FILE_RANGE => Request::CopyRange(CopyRange::parse(body, false)?),
        op::COPY_FILE_RANGE_64 => Request::CopyRange(CopyRange::parse(body, true)?),
        op::IOCTL => Request::Ioctl,
        op::POLL => Request::Poll,
        op::BMAP => Request::BlockMap,
        _ => return names(opcode, body),
    })
}

/// Requests about names.
fn names(opcode: u32, mut body: Reader<'_>) -> Result<Request<'_>, Malformed> {
    Ok(match opcode {
        op::LOOKUP => Request::Lookup { name: body.name()? },
        op::MKNOD => Request::MakeNode(MakeNode::parse(body)?),
        op::MKDIR => {
            let (mode, umask) = (body.u32()?, body.u32()?);
            Request::MakeDirectory { name: body.name()?, mode, umask }
        }
        op::SYMLINK => Request::Symlink { name: body.name()?, target: body.name()? },
        op::LINK => Request::Link { node: NodeId::new(body.u64()?), name: body.name()? },
        op::UNLINK => Request::Unlink { name: body.name()? },
        op::RMDIR => Request::RemoveDirectory { name: body.name()? },
        op::RENAME => {
            let new_parent = NodeId::new(body.u64()?);
            Request::Rename { name: body.name()?, new_parent, new_name: body.name()?, flags: 0 }
        }
        op::RENAME2 => {
            let (new_parent, flags) = (NodeId::new(body.u64()?), body.u32()?);
            body.skip(4)?;
            Request::Rename { name: body.name()?, new_parent, new_name: body.name()?, flags }
        }
        op::CREATE => Request::Create(Create::parse(body)?),
        op::TMPFILE => Request::CreateUnnamed(Create::parse(body)?),
        opcode => Request::Unknown { opcode },
    })
}

/// GETATTR and STATX tell by a flag whether it is about a descriptor.
fn optional_handle(body: &mut Reader<'_>) -> Result<Option<Handle>, Malformed> {
    const FUSE_GETATTR_FH: u32 = 1;
    let flags = body.u32()?;
    body.skip(4)?;
    let handle = Handle::new(body.u64()?);
    Ok((flags & FUSE_GETATTR_FH != 0).then_some(handle))
}

fn flush(mut body: Reader<'_>) -> Result<Request<'_>, Malformed> {
    let handle = Handle::new(body.u64()?);
    body.skip(8)?;
    Ok(Request::Flush { handle, owner: LockOwner::new(body.u64()?) })
}

fn synced<'a>(
    mut body: Reader<'a>,
    request: impl FnOnce(Handle, bool) -> Request<'a>,
) -> Result<Request<'a>, Malformed> {
    const FUSE_FSYNC_FDATASYNC: u32 = 1;
    let (handle, flags) = (Handle::new(body.u64()?), body.u32()?);
    Ok(request(handle, flags & FUSE_FSYNC_FDATASYNC != 0))
}
