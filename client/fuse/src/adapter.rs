//! The kernel's requests, one method each: translated, handed to core, answered.
//!
//! A request that core answers from memory is answered on the thread that read it; any other becomes a task on
//! core's runtime, which takes the reply along, so no thread waits.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use weft_core::{Core, FsError, HandleId, OpenMode};
use weft_types::Inode;
use weft_wire::meta::{AttributeChanges, Attributes, Caller, Name, NewNode, RenameMode, XattrMode};

use crate::attributes::{file_attr, time_change};
use crate::errno::{errno, name_errno};
use crate::{kernel, listing};

/// Core behind the kernel's interface.
pub(crate) struct Adapter {
    core: Arc<Core>,
}

impl Adapter {
    pub(crate) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

const fn inode(number: INodeNo) -> Inode {
    Inode::new(number.0)
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid() }
}

fn name(text: &OsStr) -> Result<Name, Errno> {
    Name::new(text.as_bytes()).map_err(name_errno)
}

fn permission_bits(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("twelve bits")
}

/// The name of an extended attribute in a namespace that is kept here. ACLs (`system.`) are not: who copies a file
/// with its ACL is told so, and copies the mode instead.
fn xattr_name(text: &OsStr) -> Result<&[u8], Errno> {
    const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let name = text.as_bytes();
    let kept = NAMESPACES.iter().any(|namespace| name.starts_with(namespace));
    if kept { Ok(name) } else { Err(Errno::EOPNOTSUPP) }
}

/// Answers with the value, or refuses with the errno; leaves the function.
macro_rules! or_refuse {
    ($value:expr, $reply:ident) => {
        match $value {
            Ok(value) => value,
            Err(error) => return $reply.error(error),
        }
    };
}

fn answer_entry(core: &Core, reply: ReplyEntry, result: Result<Attributes, FsError>) {
    match result {
        Ok(found) => reply.entry(&core.cache_ttl(), &file_attr(&found), Generation(found.generation.get())),
        Err(error) => reply.error(errno(&error)),
    }
}

fn answer_attributes(core: &Core, reply: ReplyAttr, result: Result<Attributes, FsError>) {
    match result {
        Ok(found) => reply.attr(&core.cache_ttl(), &file_attr(&found)),
        Err(error) => reply.error(errno(&error)),
    }
}

fn answer_empty(reply: ReplyEmpty, result: Result<(), FsError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Answers an extended attribute request: the length alone when the caller offers no room.
fn answer_xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>, FsError>) {
    let value = or_refuse!(result.map_err(|error| errno(&error)), reply);
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    match size {
        0 => reply.size(len),
        room if room < len => reply.error(Errno::ERANGE),
        _ => reply.data(&value),
    }
}

/// What the descriptor is for. Appending is left to the kernel, which holds the file's length: a page of a mapping
/// that is written through an appending descriptor must go to its own place.
fn open_mode(flags: OpenFlags) -> OpenMode {
    // `O_SYNC` has the bit of `O_DSYNC`.
    const O_DSYNC: i32 = 0o10000;
    let write = flags.acc_mode() != fuser::OpenAccMode::O_RDONLY;
    // The kernel reads a page before it writes a part of it, through any descriptor that it has.
    OpenMode { read: true, write, append: false, sync: flags.0 & O_DSYNC != 0 }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        kernel::agree(config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, text: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (inode(parent), or_refuse!(name(text), reply));
        if let Some(result) = self.core.try_lookup(parent, &name) {
            return answer_entry(&self.core, reply, result);
        }
        let core = self.core.clone();
        self.core.spawn(async move { answer_entry(&core, reply, core.lookup(parent, &name).await) });
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.core.forget(inode(number), lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let inode = inode(number);
        if let Some(result) = self.core.try_attributes(inode) {
            return answer_attributes(&self.core, reply, result);
        }
        let core = self.core.clone();
        self.core.spawn(async move { answer_attributes(&core, reply, core.attributes(inode).await) });
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = AttributeChanges {
            mode: mode.map(permission_bits),
            uid,
            gid,
            size,
            accessed: atime.map(time_change),
            modified: mtime.map(time_change),
            kill_privileges: false,
        };
        let (core, inode, caller) = (self.core.clone(), inode(number), caller(request));
        if let Some(result) = core.try_set_attributes(inode, &changes) {
            return answer_attributes(&core, reply, result);
        }
        self.core.spawn(async move {
            let result = core.set_attributes(caller, inode, changes).await;
            answer_attributes(&core, reply, result);
        });
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let (core, inode) = (self.core.clone(), inode(number));
        self.core.spawn(async move {
            let target = or_refuse!(core.read_link(inode).await.map_err(|error| errno(&error)), reply);
            reply.data(&target);
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        text: &OsStr,
        mode: u32,
        _umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        const S_IFMT: u32 = 0o170_000;
        let node = match mode & S_IFMT {
            0 | 0o100_000 => NewNode::File,
            0o010_000 => NewNode::Fifo,
            0o140_000 => NewNode::Socket,
            0o020_000 => NewNode::CharDevice(device),
            0o060_000 => NewNode::BlockDevice(device),
            _ => return reply.error(Errno::EINVAL),
        };
        self.make(request, parent, text, node, permission_bits(mode), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        text: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.make(request, parent, text, NewNode::Directory, permission_bits(mode), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, text: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = target.as_os_str().as_bytes().to_vec().into();
        self.make(request, parent, text, NewNode::Symlink { target }, 0o777, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, text: &OsStr, reply: ReplyEmpty) {
        let (core, parent, caller) = (self.core.clone(), inode(parent), caller(request));
        let name = or_refuse!(name(text), reply);
        self.core.spawn(async move { answer_empty(reply, core.unlink(caller, parent, name).await) });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, text: &OsStr, reply: ReplyEmpty) {
        let (core, parent, caller) = (self.core.clone(), inode(parent), caller(request));
        let name = or_refuse!(name(text), reply);
        self.core
            .spawn(async move { answer_empty(reply, core.remove_directory(caller, parent, name).await) });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        text: &OsStr,
        new_parent: INodeNo,
        new_text: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            flags if flags.is_empty() => RenameMode::Replace,
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return reply.error(Errno::EINVAL),
        };
        let (core, caller) = (self.core.clone(), caller(request));
        let (parent, new_parent) = (inode(parent), inode(new_parent));
        let (name, new_name) = (or_refuse!(name(text), reply), or_refuse!(self::name(new_text), reply));
        self.core.spawn(async move {
            answer_empty(reply, core.rename(caller, (parent, name), (new_parent, new_name), mode).await);
        });
    }

    fn link(&self, request: &Request, number: INodeNo, parent: INodeNo, text: &OsStr, reply: ReplyEntry) {
        let (core, caller) = (self.core.clone(), caller(request));
        let (inode, parent, name) = (inode(number), self::inode(parent), or_refuse!(name(text), reply));
        self.core.spawn(async move {
            let result = core.link(caller, inode, parent, name).await;
            answer_entry(&core, reply, result);
        });
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let inode = inode(number);
        if let Some(result) = self.core.try_open(inode, open_mode(flags)) {
            let handle = or_refuse!(result.map_err(|error| errno(&error)), reply);
            return reply.opened(FileHandle(handle.get()), kernel::open_flags(flags));
        }
        let core = self.core.clone();
        self.core.spawn(async move {
            let handle =
                or_refuse!(core.open(inode, open_mode(flags)).await.map_err(|error| errno(&error)), reply);
            reply.opened(FileHandle(handle.get()), kernel::open_flags(flags));
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        text: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (core, parent, caller) = (self.core.clone(), inode(parent), caller(request));
        let (name, mode) = (or_refuse!(name(text), reply), permission_bits(mode));
        self.core.spawn(async move {
            let created = core.create(caller, parent, name, mode, 0, open_mode(OpenFlags(flags))).await;
            let (found, handle) = or_refuse!(created.map_err(|error| errno(&error)), reply);
            let generation = Generation(found.generation.get());
            let handle = FileHandle(handle.get());
            reply.created(
                &core.cache_ttl(),
                &file_attr(&found),
                generation,
                handle,
                kernel::open_flags(OpenFlags(flags)),
            );
        });
    }

    fn read(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let handle = HandleId::new(handle.0);
        if let Some(result) = self.core.try_read(handle, offset, size) {
            return match result {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(errno(&error)),
            };
        }
        let core = self.core.clone();
        self.core.spawn(async move {
            let bytes =
                or_refuse!(core.read(handle, offset, size).await.map_err(|error| errno(&error)), reply);
            reply.data(&bytes);
        });
    }

    fn write(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let handle = HandleId::new(handle.0);
        match self.core.try_write(handle, offset, data) {
            Some(Ok(written)) => reply.written(written),
            Some(Err(error)) => reply.error(errno(&error)),
            // No room among the dirty bytes, or a synchronous descriptor: a task waits, with a copy, since the buffer
            // is this thread's.
            None => {
                let (core, data) = (self.core.clone(), data.to_vec());
                self.core.spawn(async move {
                    let written = core.write(handle, offset, &data).await;
                    let len = or_refuse!(written.map_err(|error| errno(&error)), reply);
                    reply.written(len);
                });
            }
        }
    }

    fn flush(&self, _: &Request, _inode: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        answer_empty(reply, self.core.flush(HandleId::new(handle.0)));
    }

    fn release(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.core.release(HandleId::new(handle.0));
        reply.ok();
    }

    fn fsync(&self, _: &Request, _inode: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let (core, handle) = (self.core.clone(), HandleId::new(handle.0));
        self.core.spawn(async move { answer_empty(reply, core.fsync(handle).await) });
    }

    fn opendir(&self, _: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Listings go on from cookies that the owner gives, so an open directory has no state here.
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, after: u64, reply: ReplyDirectory) {
        self.core.spawn(listing::plain(self.core.clone(), inode(number), after, reply));
    }

    fn readdirplus(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        after: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.core.spawn(listing::plus(self.core.clone(), inode(number), after, reply));
    }

    fn fsyncdir(
        &self,
        _: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Changes of names are durable when they are answered.
        reply.ok();
    }

    fn statfs(&self, _: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        const UNIT: u32 = 4096;
        const NAME_BYTES_MAX: u32 = 255;
        let core = self.core.clone();
        self.core.spawn(async move {
            let space = or_refuse!(core.space().await.map_err(|error| errno(&error)), reply);
            let units = |bytes: u64| bytes / u64::from(UNIT);
            let (blocks, free) = (units(space.capacity.get()), units(space.free.get()));
            let files = space.inodes_used.saturating_add(space.inodes_free);
            reply.statfs(blocks, free, free, files, space.inodes_free, UNIT, NAME_BYTES_MAX, UNIT);
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        text: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            0 => XattrMode::Any,
            1 => XattrMode::Create,
            2 => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let name = or_refuse!(xattr_name(text), reply).to_vec();
        let (core, inode, caller) = (self.core.clone(), inode(number), caller(request));
        let value = value.to_vec();
        self.core.spawn(async move {
            answer_empty(reply, core.set_xattr(caller, inode, &name, &value, mode, false).await);
        });
    }

    fn getxattr(&self, _: &Request, number: INodeNo, text: &OsStr, size: u32, reply: ReplyXattr) {
        let (inode, name) = (inode(number), or_refuse!(xattr_name(text), reply));
        if let Some(result) = self.core.try_get_xattr(inode, name) {
            return answer_xattr(reply, size, result);
        }
        let (core, name) = (self.core.clone(), name.to_vec());
        self.core.spawn(async move { answer_xattr(reply, size, core.get_xattr(inode, &name).await) });
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let (core, inode) = (self.core.clone(), inode(number));
        self.core.spawn(async move {
            let names = core.list_xattrs(inode).await;
            // The list ends every name with a NUL.
            let list =
                names.map(|names| names.iter().flat_map(|name| name.iter().copied().chain([0])).collect());
            answer_xattr(reply, size, list);
        });
    }

    fn removexattr(&self, request: &Request, number: INodeNo, text: &OsStr, reply: ReplyEmpty) {
        let name = or_refuse!(xattr_name(text), reply).to_vec();
        let (core, inode, caller) = (self.core.clone(), inode(number), caller(request));
        self.core.spawn(async move { answer_empty(reply, core.remove_xattr(caller, inode, &name).await) });
    }

    fn access(&self, _: &Request, _inode: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The mount has `default_permissions`: the kernel has checked mode, owner and groups.
        reply.ok();
    }
}

impl Adapter {
    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        text: &OsStr,
        node: NewNode,
        mode: u16,
        reply: ReplyEntry,
    ) {
        let (core, parent, caller) = (self.core.clone(), inode(parent), caller(request));
        let name = or_refuse!(name(text), reply);
        self.core.spawn(async move {
            let result = core.make_node(caller, parent, name, node, mode, 0).await;
            answer_entry(&core, reply, result);
        });
    }
}
