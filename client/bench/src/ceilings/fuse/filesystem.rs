//! The memory behind the kernel's interface, by the same agreement with the kernel as a Weft mount's.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::agreement;
use super::memory::{Pool, Tree};

/// How long the kernel may believe what it was told.
const TTL: Duration = Duration::from_secs(3600);

/// A filesystem that costs as little as one can.
pub(super) struct MemoryFs {
    tree: RwLock<Tree>,
    pool: Arc<Pool>,
}

impl MemoryFs {
    /// An empty one, with memory for so many bytes at hand.
    pub(super) fn new(bytes: usize) -> Self {
        let pool = Arc::new(Pool::filled(bytes));
        Self { tree: RwLock::new(Tree::new(Arc::clone(&pool))), pool }
    }

    fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, kind: FileType) -> Result<fuser::FileAttr, Errno> {
        let mut tree = self.tree_mut();
        let inode = tree.make(parent.0, name, kind)?;
        tree.attributes(inode)
    }
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

fn answer(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for MemoryFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        agreement::agree(config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree();
        let found = tree.lookup(parent.0, name).and_then(|inode| tree.attributes(inode));
        let found = or_refuse!(found, reply);
        reply.entry(&TTL, &found, Generation(0));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = or_refuse!(self.tree().attributes(inode.0), reply);
        reply.attr(&TTL, &found);
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let tree = self.tree();
        if let Some(size) = size {
            let contents = or_refuse!(tree.contents(inode.0), reply);
            contents.write().unwrap_or_else(PoisonError::into_inner).truncate(size, &self.pool);
        }
        let found = or_refuse!(tree.attributes(inode.0), reply);
        reply.attr(&TTL, &found);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.make(parent, name, FileType::Directory);
        let found = or_refuse!(made, reply);
        reply.entry(&TTL, &found, Generation(0));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.tree_mut().remove(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.tree_mut().remove(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(reply, self.tree_mut().rename((parent.0, name), (new_parent.0, new_name)));
    }

    fn open(&self, _: &Request, _inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), agreement::open_flags(flags));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = or_refuse!(self.make(parent, name, FileType::RegularFile), reply);
        reply.created(&TTL, &made, Generation(0), FileHandle(0), agreement::open_flags(OpenFlags(flags)));
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let contents = or_refuse!(self.tree().contents(inode.0), reply);
        let contents = contents.read().unwrap_or_else(PoisonError::into_inner);
        contents.read(offset, size as usize, |bytes| reply.data(bytes));
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let contents = or_refuse!(self.tree().contents(inode.0), reply);
        contents.write().unwrap_or_else(PoisonError::into_inner).write(offset, data, &self.pool);
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, after: u64, mut reply: ReplyDirectory) {
        let tree = self.tree();
        for (number, name) in or_refuse!(tree.list(inode.0, after), reply) {
            let found = or_refuse!(tree.attributes(number), reply);
            if reply.add(INodeNo(number), number, found.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        after: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let tree = self.tree();
        for (number, name) in or_refuse!(tree.list(inode.0, after), reply) {
            let found = or_refuse!(tree.attributes(number), reply);
            if reply.add(INodeNo(number), number, name, &TTL, &found, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        const PLENTY: u64 = 1 << 30;
        reply.statfs(PLENTY, PLENTY, PLENTY, PLENTY, PLENTY, 4096, 255, 4096);
    }
}
