//! The kernel's requests: translated, handed to core, answered.
//!
//! A request that core answers from memory is answered on the thread that read it; any other becomes a task on
//! core's runtime, which takes the reply along, so no thread waits. Nobody who is killed waits for such a task: what it
//! began goes on in core, without a caller.

mod directories;
mod files;
mod inodes;
mod locks;
mod names;
mod xattrs;

use core::future::Future;
use core::pin::pin;
use std::sync::Arc;

use weft_core::{Attributes, Caller, Core, FsError, Name};
use weft_fusedev::protocol::Answer;
use weft_fusedev::{Errno, Handler, Header, NodeId, Patience, Reply, Request};

use crate::attributes::{entry, inode, node_attributes};
use crate::errno::{errno, name_errno};
use crate::opening::Opening;
use locks::Lockers;

/// Core behind the kernel's interface.
#[derive(Debug)]
pub(crate) struct Adapter {
    core: Arc<Core>,
    opening: Opening,
    lockers: Lockers,
}

impl Handler for Adapter {
    fn handle(&self, header: &Header, request: Request<'_>, reply: Reply) {
        match request {
            Request::Lookup { name } => self.lookup(header, name, reply),
            Request::GetAttributes { .. } => self.get_attributes(header, reply, answer_attributes),
            Request::ExtendedAttributes { .. } => self.get_attributes(header, reply, answer_extended),
            Request::SetAttributes(changes) => self.set_attributes(header, &changes, reply),
            Request::ReadLink => self.read_link(header, reply),
            Request::MakeNode(node) => self.make_node(header, &node, reply),
            Request::MakeDirectory { name, mode, umask } => {
                self.make_directory(header, name, (mode, umask), reply);
            }
            Request::Symlink { name, target } => self.make_symlink(header, name, target, reply),
            Request::Link { node, name } => self.link(header, node, name, reply),
            Request::Unlink { name } => self.unlink(header, name, reply),
            Request::RemoveDirectory { name } => self.remove_directory(header, name, reply),
            Request::Rename { name, new_parent, new_name, flags } => {
                self.rename(header, name, (new_parent, new_name), flags, reply);
            }
            Request::Create(create) => self.create(header, &create, reply),
            Request::CreateUnnamed(create) => self.create_unnamed(header, &create, reply),
            Request::Open(open) => self.open(header, open, reply),
            Request::Read(read) => self.read(header, &read, reply),
            Request::Write(write) => self.write(header, &write, reply),
            Request::Flush { handle, owner } => self.flush(header, handle, owner, reply),
            Request::Release(release) => self.release(header, &release, reply),
            Request::Sync { handle, .. } => self.sync(handle, reply),
            Request::SyncFilesystem => self.sync_filesystem(reply),
            Request::OpenDirectory(_) => Self::open_directory(reply),
            Request::ReadDirectory(read) => self.read_directory(header, &read, reply),
            Request::ReadDirectoryPlus(read) => self.read_directory_plus(header, &read, reply),
            // Changes of names are durable when they are answered, and an open directory has no state here.
            Request::ReleaseDirectory(_) | Request::SyncDirectory { .. } => reply.ok(),
            Request::SetXattr(xattr) => self.set_xattr(header, &xattr, reply),
            Request::GetXattr { name, room } => self.get_xattr(header, name, room, reply),
            Request::ListXattrs { room } => self.list_xattrs(header, room, reply),
            Request::RemoveXattr { name } => self.remove_xattr(header, name, reply),
            // The mount has `default_permissions`: the kernel has checked mode, owner and groups.
            Request::Access { .. } => reply.ok(),
            Request::Space => self.space(reply),
            Request::GetLock(lock) => self.get_lock(header, &lock, reply),
            Request::SetLock { request, wait } => self.set_lock(header, &request, wait, reply),
            Request::Allocate(allocate) => self.allocate(header, &allocate, reply),
            Request::Seek(seek) => self.seek(&seek, reply),
            Request::CopyRange(copy) => self.copy_range(header, &copy, reply),
            Request::Ioctl => reply.error(Errno::NOTTY),
            Request::Poll | Request::BlockMap => reply.error(Errno::NOSYS),
            // The session's own, which it keeps for itself.
            Request::Init(_)
            | Request::Destroy
            | Request::Interrupt(_)
            | Request::Forget { .. }
            | Request::BatchForget(_)
            | Request::Unknown { .. } => reply.error(Errno::NOSYS),
        }
    }

    fn forget(&self, node: NodeId, references: u64) {
        self.core.forget(inode(node), references);
    }
}

impl Adapter {
    pub(crate) fn new(core: Arc<Core>, opening: Opening) -> Self {
        Self { core, opening, lockers: Lockers::default() }
    }

    /// Answers by what core says later, unless the caller is killed before; then nobody waits for core any more.
    fn later<T, W, A>(&self, mut reply: Reply, work: W, answer: A)
    where
        W: Future<Output = Result<T, FsError>> + Send + 'static,
        A: FnOnce(Reply, T) + Send + 'static,
    {
        let interrupted = reply.interrupted(Patience::UntilKilled);
        self.core.spawn(async move {
            tokio::select! {
                biased;
                result = work => finish(reply, result, answer),
                () = interrupted => reply.error(Errno::INTR),
            }
        });
    }

    /// Answers by what core says later, whatever becomes of the caller.
    fn later_in_any_case<T, W, A>(&self, reply: Reply, work: W, answer: A)
    where
        W: Future<Output = Result<T, FsError>> + Send + 'static,
        A: FnOnce(Reply, T) + Send + 'static,
    {
        self.core.spawn(async move { finish(reply, work.await, answer) });
    }

    /// [`later`](Self::later) of what gives the kernel something to hold, which it did not get when its caller is killed: that is given
    /// back once it is there.
    fn later_held<T, W, A, B>(&self, mut reply: Reply, work: W, answer: A, give_back: B)
    where
        T: Send,
        W: Future<Output = Result<T, Errno>> + Send + 'static,
        A: FnOnce(Reply, T) + Send + 'static,
        B: FnOnce(T) + Send + 'static,
    {
        let interrupted = reply.interrupted(Patience::UntilKilled);
        self.core.spawn(async move {
            let mut work = pin!(work);
            tokio::select! {
                biased;
                result = &mut work => match result {
                    Ok(held) => answer(reply, held),
                    Err(error) => reply.error(error),
                },
                () = interrupted => {
                    reply.error(Errno::INTR);
                    if let Ok(held) = work.await {
                        give_back(held);
                    }
                }
            }
        });
    }

    /// [`later_held`](Self::later_held) of one reference to an inode.
    fn later_entry<W>(&self, reply: Reply, work: W)
    where
        W: Future<Output = Result<Attributes, FsError>> + Send + 'static,
    {
        let (core, holder) = (Arc::clone(&self.core), Arc::clone(&self.core));
        let answer = move |reply: Reply, found| answer_entry(&core, reply, &found);
        let work = async move { work.await.map_err(|error| errno(&error)) };
        self.later_held(reply, work, answer, move |found| holder.forget(found.inode, 1));
    }
}

fn finish<T>(reply: Reply, result: Result<T, FsError>, answer: impl FnOnce(Reply, T)) {
    match result {
        Ok(value) => answer(reply, value),
        Err(error) => reply.error(errno(&error)),
    }
}

fn answer_entry(core: &Core, reply: Reply, found: &Attributes) {
    let _telling = core.telling();
    reply.answer(&Answer::entry(&entry(core, found)));
}

fn answer_attributes(core: &Core, reply: Reply, found: &Attributes) {
    let _telling = core.telling();
    reply.answer(&Answer::attributes(core.cache_ttl(), &node_attributes(found)));
}

/// Those that `statx` tells beside: when it was made.
fn answer_extended(core: &Core, reply: Reply, found: &Attributes) {
    let _telling = core.telling();
    reply.answer(&Answer::extended_attributes(core.cache_ttl(), &node_attributes(found)));
}

const fn caller(header: &Header) -> Caller {
    Caller { uid: header.uid, gid: header.gid }
}

fn name(text: &[u8]) -> Result<Name, Errno> {
    Name::new(text).map_err(name_errno)
}

/// The twelve bits of a mode that are permissions.
const fn permission_bits(mode: u32) -> u16 {
    (mode & 0o7777) as u16
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
use or_refuse;
