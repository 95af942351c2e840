//! The public face: one value per mount.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weft_types::{FilesystemId, Inode, SessionId};
use weft_wire::meta::{AttributeChanges, Attributes, Caller, Name, NewNode, RenameMode, Space, XattrMode};

use crate::{CoreConfig, Counts, FsError, HandleId, Listing, MountError, OpenMode, Unwritten};

/// A mounted filesystem. Share it by `Arc`; every operation may be called from any thread.
///
/// Operations that change something run to their end even when their future is dropped: what is dropped is the
/// wait. So a frontend gives up a wait (a signal came) by dropping the future.
///
/// `try_` variants answer from memory or not at all (`None`): they never wait for a network, and are meant for the
/// thread that read the request.
#[derive(Debug)]
pub struct Core {
    runtime: Handle,
}

impl Core {
    /// Opens a session and starts the IO thread. Blocks: do not call it on a runtime's thread.
    ///
    /// # Errors
    /// [`MountError`]; nothing is left running then.
    pub fn mount(config: CoreConfig) -> Result<Arc<Self>, MountError> {
        let _ = config;
        Err(MountError::NoCompute)
    }

    /// Runs a future on the IO thread.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// The IO thread's runtime. `block_on` of it runs a future on the calling thread.
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        SessionId::from_bytes([0; 16])
    }

    /// The filesystem.
    pub fn filesystem(&self) -> FilesystemId {
        FilesystemId::from_bytes([0; 16])
    }

    /// Whether the session only reads.
    pub fn is_read_only(&self) -> bool {
        false
    }

    /// Whether the session has ended for good; every operation answers [`FsError::SessionEnded`] then.
    pub fn has_ended(&self) -> bool {
        false
    }

    /// Completes when the session has ended for good.
    pub async fn ended(&self) {}

    /// How long a kernel may keep what it is told now: at most 5 s, never longer than the lease; 1 s of a
    /// read-only session.
    pub fn cache_ttl(&self) -> Duration {
        Duration::ZERO
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// A name, from memory. As [`lookup`](Self::lookup).
    pub fn try_lookup(&self, parent: Inode, name: &Name) -> Option<Result<Attributes, FsError>> {
        let _ = (parent, name);
        None
    }

    /// The inode behind a name. A success counts as one reference: give it back by [`forget`](Self::forget).
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is no such name.
    pub async fn lookup(self: &Arc<Self>, parent: Inode, name: &Name) -> Result<Attributes, FsError> {
        let _ = (parent, name);
        Err(FsError::Unreachable)
    }

    /// The directory that holds a directory (`..`). Counts a reference, as [`lookup`](Self::lookup).
    pub async fn lookup_parent(self: &Arc<Self>, directory: Inode) -> Result<Attributes, FsError> {
        let _ = directory;
        Err(FsError::Unreachable)
    }

    /// Counts one reference to an inode: of every entry with attributes that a frontend passes on from a listing.
    pub fn remember(&self, inode: Inode) {
        let _ = inode;
    }

    /// Gives references back. An unlinked file goes when it has neither references nor handles.
    pub fn forget(&self, inode: Inode, references: u64) {
        let _ = (inode, references);
    }

    /// Attributes, from memory. As [`attributes`](Self::attributes).
    pub fn try_attributes(&self, inode: Inode) -> Option<Result<Attributes, FsError>> {
        let _ = inode;
        None
    }

    /// The attributes of an inode, with what was written and is not committed yet.
    pub async fn attributes(self: &Arc<Self>, inode: Inode) -> Result<Attributes, FsError> {
        let _ = inode;
        Err(FsError::Unreachable)
    }

    /// Changes attributes, the length among them; durable when answered.
    pub async fn set_attributes(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        changes: AttributeChanges,
    ) -> Result<Attributes, FsError> {
        let _ = (caller, inode, changes);
        Err(FsError::Unreachable)
    }

    /// Makes a file, directory, symbolic link or special file; durable when answered. `mode` has the umask applied.
    /// Counts a reference, as [`lookup`](Self::lookup).
    pub async fn make_node(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
        node: NewNode,
        mode: u16,
    ) -> Result<Attributes, FsError> {
        let _ = (caller, parent, name, node, mode);
        Err(FsError::Unreachable)
    }

    /// Makes a regular file and opens it; durable when answered. Counts a reference, as [`lookup`](Self::lookup).
    pub async fn create(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
        mode: u16,
        open: OpenMode,
    ) -> Result<(Attributes, HandleId), FsError> {
        let _ = (caller, parent, name, mode, open);
        Err(FsError::Unreachable)
    }

    /// Opens a regular file. Nobody is asked when its attributes are in memory.
    pub async fn open(self: &Arc<Self>, inode: Inode, open: OpenMode) -> Result<HandleId, FsError> {
        let _ = (inode, open);
        Err(FsError::Unreachable)
    }

    /// Bytes of a file, from memory. As [`read`](Self::read).
    pub fn try_read(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        len: u32,
    ) -> Option<Result<Bytes, FsError>> {
        let _ = (handle, offset, len);
        None
    }

    /// Bytes of a file: `len` of them, fewer only at its end. Every byte was verified.
    pub async fn read(self: &Arc<Self>, handle: HandleId, offset: u64, len: u32) -> Result<Bytes, FsError> {
        let _ = (handle, offset, len);
        Err(FsError::Unreachable)
    }

    /// Writes into memory when there is room in it, and the handle is not `sync`. As [`write`](Self::write).
    pub fn try_write(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        data: &[u8],
    ) -> Option<Result<u32, FsError>> {
        let _ = (handle, offset, data);
        None
    }

    /// Writes all of `data`, into memory; waits only while too much is unwritten. Committed after 5 s at the latest.
    /// Of a `sync` handle, committed when answered.
    pub async fn write(self: &Arc<Self>, handle: HandleId, offset: u64, data: &[u8]) -> Result<u32, FsError> {
        let _ = (handle, offset, data);
        Err(FsError::Unreachable)
    }

    /// A descriptor of the handle is closed: starts to write what is dirty, without waiting for it. Says what could
    /// not be written since this handle was last told.
    pub fn flush(self: &Arc<Self>, handle: HandleId) -> Result<(), FsError> {
        let _ = handle;
        Err(FsError::Unreachable)
    }

    /// Waits until everything written to the file so far is committed, and durable so; at most a minute. Says what
    /// could not be written since this handle was last told; it stays in memory and is tried again.
    pub async fn fsync(self: &Arc<Self>, handle: HandleId) -> Result<(), FsError> {
        let _ = handle;
        Err(FsError::Unreachable)
    }

    /// Closes a handle, and starts to write what is dirty.
    pub fn release(self: &Arc<Self>, handle: HandleId) {
        let _ = handle;
    }

    /// Removes a name that is not a directory's; durable when answered. Open files work on.
    pub async fn unlink(self: &Arc<Self>, caller: Caller, parent: Inode, name: Name) -> Result<(), FsError> {
        let _ = (caller, parent, name);
        Err(FsError::Unreachable)
    }

    /// Removes an empty directory; durable when answered.
    pub async fn remove_directory(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
    ) -> Result<(), FsError> {
        let _ = (caller, parent, name);
        Err(FsError::Unreachable)
    }

    /// Gives an inode another name; durable when answered, after all that was written to the file before. Counts a
    /// reference, as [`lookup`](Self::lookup).
    pub async fn link(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        parent: Inode,
        name: Name,
    ) -> Result<Attributes, FsError> {
        let _ = (caller, inode, parent, name);
        Err(FsError::Unreachable)
    }

    /// Moves a name; durable when answered, after all that was written to the file before.
    pub async fn rename(
        self: &Arc<Self>,
        caller: Caller,
        from: (Inode, Name),
        to: (Inode, Name),
        mode: RenameMode,
    ) -> Result<(), FsError> {
        let _ = (caller, from, to, mode);
        Err(FsError::Unreachable)
    }

    /// The target of a symbolic link.
    pub async fn read_link(self: &Arc<Self>, inode: Inode) -> Result<Vec<u8>, FsError> {
        let _ = inode;
        Err(FsError::Unreachable)
    }

    /// A page of a directory after a cookie (0 starts), `.` and `..` first. At most `limit` entries. Entries count
    /// no references: see [`remember`](Self::remember).
    pub async fn list_directory(
        self: &Arc<Self>,
        directory: Inode,
        after: u64,
        limit: u32,
        with_attributes: bool,
    ) -> Result<Listing, FsError> {
        let _ = (directory, after, limit, with_attributes);
        Err(FsError::Unreachable)
    }

    /// The value of an extended attribute; `name` has its namespace.
    ///
    /// # Errors
    /// `Refused(NoAttribute)` when there is none of that name.
    pub async fn get_xattr(self: &Arc<Self>, inode: Inode, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let _ = (inode, name);
        Err(FsError::Unreachable)
    }

    /// The names of an inode's extended attributes.
    pub async fn list_xattrs(self: &Arc<Self>, inode: Inode) -> Result<Vec<Vec<u8>>, FsError> {
        let _ = inode;
        Err(FsError::Unreachable)
    }

    /// Sets an extended attribute; durable when answered.
    pub async fn set_xattr(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), FsError> {
        let _ = (caller, inode, name, value, mode);
        Err(FsError::Unreachable)
    }

    /// Removes an extended attribute; durable when answered.
    pub async fn remove_xattr(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        name: &[u8],
    ) -> Result<(), FsError> {
        let _ = (caller, inode, name);
        Err(FsError::Unreachable)
    }

    /// Room of the filesystem, net of parity, of spare, and of what is not committed yet.
    pub async fn space(self: &Arc<Self>) -> Result<Space, FsError> {
        Err(FsError::Unreachable)
    }

    /// Writes everything, for at most `patience`, closes the session, and ends the background work. Operations
    /// answer [`FsError::SessionEnded`] afterwards.
    ///
    /// # Errors
    /// What could not be written; the session is closed all the same.
    pub async fn unmount(self: &Arc<Self>, patience: Duration) -> Result<(), Unwritten> {
        let _ = patience;
        Ok(())
    }
}
