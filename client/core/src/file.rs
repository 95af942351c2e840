//! What is in memory of each file.

use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use weft_keys::DataKey;
use weft_types::{ByteCount, DataKeyId, Inode, SessionId, Timestamp};
use weft_wire::coherence::Stamp;
use weft_wire::meta::{Attributes, KeyGrant};

use crate::FsError;
use crate::dirty::{DirtyRuns, Take};
use crate::held::Held;
use crate::map::ExtentMap;
use crate::put::WritingKey;
use crate::recall::{Recall, Writing};
use crate::recent::Recent;

/// Files without a user that are remembered, with their maps and keys.
const REMEMBERED: usize = 1 << 12;

/// Files with bytes that are not committed: they stay in memory, whether or not anybody has them open.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(Mutex<HashMap<Inode, Pinned>>);

impl Unwritten {
    fn lock(&self) -> MutexGuard<'_, HashMap<Inode, Pinned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, file: &Pinned) {
        self.lock().entry(file.inode).or_insert_with(|| file.clone());
    }

    /// All of them, in the order of their inodes. Those that are clean by now are let go.
    pub(crate) fn files(&self) -> Vec<Pinned> {
        let mut clean = Vec::new();
        let mut files: Vec<Pinned> = {
            let mut unwritten = self.lock();
            clean.extend(unwritten.extract_if(|_, file| file.lock().dirty.is_clean()));
            unwritten.values().cloned().collect()
        };
        files.sort_unstable_by_key(|file| file.inode);
        files
    }
}

/// A regular file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) inode: Inode,
    /// Held while a commit or a change of the length is under way: neither overtakes the other.
    pub(crate) order: tokio::sync::Mutex<()>,
    state: Mutex<FileState>,
    /// Counts flights that landed or failed, and changes of the length that ended.
    pub(crate) progress: weft_watch::Sender<u64>,
    /// It was collected with a session of this mount.
    gone: AtomicBool,
}

/// Guarded by [`File::lock`], never held over a wait.
#[derive(Debug, Default)]
pub(crate) struct FileState {
    /// The length as committed.
    pub(crate) size: u64,
    /// The change counter that goes with what is known here.
    pub(crate) change: u64,
    pub(crate) dirty: DirtyRuns,
    /// How many extents of it the room is kept for.
    pub(crate) counted_extents: u64,
    pub(crate) map: ExtentMap,
    /// The map came with the file's name, and nothing was read by it yet.
    pub(crate) foreseen: bool,
    keys: HashMap<DataKeyId, Arc<DataKey>>,
    /// The key for new extents.
    pub(crate) key: Option<DataKeyId>,
    /// When the newest dirty byte was written; none when the modification time was set since.
    pub(crate) modified: Option<Timestamp>,
    /// As [`modified`](Self::modified), of the bytes on their way.
    pub(crate) flight_modified: Option<Timestamp>,
    /// What was set while there are dirty bytes; departs with the last of them.
    pub(crate) held: Held,
    /// As [`held`](Self::held), on its way.
    pub(crate) flight_held: Held,
    /// When the oldest dirty byte was written.
    pub(crate) since: Option<Instant>,
    /// Under which session the last flight departed.
    pub(crate) flight_session: Option<SessionId>,
    /// The session was over before all was committed: what is dirty counts if the file's change counter still is this.
    pub(crate) unjudged: Option<u64>,
    /// What the next flight takes.
    pub(crate) wanted: Option<Take>,
    /// A task writes this file back.
    pub(crate) flushing: bool,
    /// It is to be written back together with others.
    pub(crate) queued: bool,
    /// Flights that left nothing behind.
    pub(crate) departed: u64,
    /// The last of them that landed.
    pub(crate) landed: u64,
    /// Failures of flights so far, and the last one's reason.
    pub(crate) failures: u64,
    pub(crate) failure: Option<FsError>,
    /// How many there were when bytes were given up last.
    pub(crate) failures_at_loss: u64,
    /// Bytes that were given up, and nobody was told.
    pub(crate) untold_loss: u64,
    /// The last flight failed: the next one has one extent, so that those which fail again leave little on drives.
    pub(crate) careful: bool,
    /// Changes of the length that have not come to their end.
    resizes: u32,
    /// The length is what it is: it was told since the last recall.
    known: bool,
    /// Whether what is written may be held back, beside other sessions.
    pub(crate) writing: Writing,
    pub(crate) recall: Recall,
    /// Reads and writes that ask the owner, and recalls that wait for their end.
    pub(crate) uses: u32,
    pub(crate) uses_awaited: u32,
    /// How often the kernel was told to drop its pages.
    pub(crate) drops: u64,
    /// How long a request that comes while it does waits before it is let go on.
    pub(crate) patience: Duration,
    /// Open handles.
    pub(crate) handles: u32,
    /// Those of them that may write.
    pub(crate) writers: u32,
    pins: u32,
}

impl FileState {
    /// The kernel is told to drop its pages, from now on; requests that come meanwhile wait for so long.
    pub(crate) const fn drops(&mut self, patience: Duration) {
        self.drops += 1;
        self.patience = patience;
        self.recall = Recall::Dropping { refilled: false };
    }

    /// A request for pages is let go on that came when they had been dropped so often. The kernel waits for those that came
    /// before it began to drop them, and drops their pages.
    pub(crate) fn refills(&mut self, arrived: u64) {
        if let Recall::Dropping { refilled } = &mut self.recall {
            *refilled |= arrived == self.drops;
        }
    }

    /// Whether the length is being changed. What is written meanwhile would be cut off with what was there before,
    /// although its writer may have been told that the change failed.
    pub(crate) const fn is_resizing(&self) -> bool {
        self.resizes > 0
    }

    /// The length, with what is not committed.
    pub(crate) fn length(&self) -> u64 {
        self.size.max(self.dirty.end())
    }

    pub(crate) fn key_of(&self, id: DataKeyId) -> Option<Arc<DataKey>> {
        self.keys.get(&id).cloned()
    }

    /// The key for new extents, when it is known.
    pub(crate) fn writing_key(&self) -> Option<WritingKey> {
        self.key.and_then(|id| Some((id, self.key_of(id)?)))
    }

    pub(crate) fn learn_key(&mut self, grant: &KeyGrant) {
        self.keys.entry(grant.id).or_insert_with(|| Arc::new(DataKey::from_bytes(grant.key.expose())));
    }

    /// Attributes with what is not committed.
    pub(crate) fn overlay(&self, attributes: &mut Attributes) {
        if self.dirty.is_clean() {
            return;
        }
        attributes.size = attributes.size.max(self.dirty.end());
        attributes.allocated = ByteCount::new(attributes.allocated.get().saturating_add(self.dirty.held()));
        for (modified, held) in [(self.flight_modified, &self.flight_held), (self.modified, &self.held)] {
            if let Some(modified) = modified {
                attributes.modified = modified;
                attributes.changed = attributes.changed.max(modified);
            }
            held.overlay(attributes);
        }
    }

    /// What is held back departs, alone or with bytes. It is shown until it has arrived.
    pub(crate) fn held_departs(&mut self) -> &Held {
        self.flight_held = core::mem::take(&mut self.held);
        &self.flight_held
    }

    pub(crate) fn held_arrived(&mut self) {
        self.flight_held = Held::default();
    }

    /// What departed came back. What was set and written since counts.
    pub(crate) fn held_came_back(&mut self) {
        let mut earlier = core::mem::take(&mut self.flight_held);
        if self.modified.is_some() {
            earlier.written();
        }
        self.held.restore(earlier);
    }

    /// Attributes came: what is known here follows.
    pub(crate) fn follow(&mut self, attributes: &Attributes) {
        if attributes.change >= self.change {
            self.change = attributes.change;
            self.size = attributes.size;
        }
    }

    /// As [`follow`](Self::follow), with attributes that hold until they are recalled.
    pub(crate) fn know(&mut self, attributes: &Attributes) {
        self.follow(attributes);
        self.known = true;
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.known
    }

    /// What the owner says of it may not hold any more.
    pub(crate) fn forget(&mut self) {
        self.known = false;
        self.map.forget(0..u64::MAX);
    }

    /// As [`forget`](Self::forget), but for the map, which goes on to be held.
    pub(crate) const fn forget_length(&mut self) {
        self.known = false;
    }

    /// The session is over: nothing that is known holds any more, and nothing is written or shown of what is dirty before it
    /// is known whether it still counts.
    pub(crate) fn lose_session(&mut self) {
        self.forget();
        self.writing = Writing::Not;
        self.recall = Recall::None;
        if !self.dirty.is_clean() {
            self.unjudged.get_or_insert(self.change);
            self.recall = Recall::Blocked;
        }
    }

    /// From the answer with this stamp on, what is written may be held back.
    pub(crate) const fn hold_writing(&mut self, stamp: Stamp) {
        self.writing = Writing::Held(stamp);
    }
}

impl File {
    fn new(attributes: &Attributes) -> Self {
        let state = FileState { size: attributes.size, change: attributes.change, ..FileState::default() };
        Self {
            inode: attributes.inode,
            order: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            progress: weft_watch::Sender::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// There is no such file any more: its handles are told so.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change of a file's length, until it has come to its end.
#[derive(Debug)]
pub(crate) struct Resize(Pinned);

impl Resize {
    /// It begins now.
    pub(crate) fn begin(file: &Pinned) -> Self {
        file.lock().resizes += 1;
        Self(file.clone())
    }
}

impl Drop for Resize {
    fn drop(&mut self) {
        self.0.lock().resizes -= 1;
        self.0.progress.send_modify(|count| *count += 1);
    }
}

/// A read or a write that asks the owner for what it needs: before that is recalled, it has a moment to come to its end. Else two
/// mounts could take it from each other for ever.
#[derive(Debug)]
pub(crate) struct Use<'a>(&'a File);

impl<'a> Use<'a> {
    pub(crate) fn begin(file: &'a File) -> Self {
        file.lock().uses += 1;
        Self(file)
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let awaited = {
            let mut state = self.0.lock();
            state.uses -= 1;
            state.uses == 0 && state.uses_awaited > 0
        };
        if awaited {
            self.0.progress.send_modify(|count| *count += 1);
        }
    }
}

/// All files in memory: those in use, and those used last.
#[derive(Debug)]
pub(crate) struct Files(Mutex<Table>);

#[derive(Debug)]
struct Table {
    pinned: HashMap<Inode, Arc<File>>,
    recent: Recent<Inode, Arc<File>>,
}

/// A file in use: while it lives, there is no other value for the same file.
#[derive(Debug)]
pub(crate) struct Pinned {
    file: Arc<File>,
    files: Arc<Files>,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Table { pinned: HashMap::new(), recent: Recent::new(REMEMBERED) }))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, made from its attributes when it is not in memory.
    pub(crate) fn pin(self: &Arc<Self>, attributes: &Attributes) -> Pinned {
        let mut table = self.lock();
        let inode = attributes.inode;
        let known = table.pinned.get(&inode).cloned().or_else(|| table.recent.get(&inode).cloned());
        let file = known.unwrap_or_else(|| Arc::new(File::new(attributes)));
        file.lock().pins += 1;
        table.pinned.insert(inode, Arc::clone(&file));
        Pinned { file, files: Arc::clone(self) }
    }

    /// The file, when it is in memory.
    pub(crate) fn find(self: &Arc<Self>, inode: Inode) -> Option<Pinned> {
        let mut table = self.lock();
        let known = table.pinned.get(&inode).cloned().or_else(|| table.recent.get(&inode).cloned());
        let file = known?;
        file.lock().pins += 1;
        table.pinned.insert(inode, Arc::clone(&file));
        Some(Pinned { file, files: Arc::clone(self) })
    }

    /// The file without using it, to look at.
    pub(crate) fn peek(&self, inode: Inode) -> Option<Arc<File>> {
        let mut table = self.lock();
        table.pinned.get(&inode).cloned().or_else(|| table.recent.get(&inode).cloned())
    }

    pub(crate) fn is_pinned(&self, inode: Inode) -> bool {
        self.lock().pinned.contains_key(&inode)
    }

    /// Lets go of all that nobody uses.
    pub(crate) fn clear_idle(&self) {
        self.lock().recent.clear();
    }

    /// All files in use, in the order of their inodes.
    pub(crate) fn pinned(self: &Arc<Self>) -> Vec<Pinned> {
        let mut inodes: Vec<_> = self.lock().pinned.keys().copied().collect();
        inodes.sort_unstable();
        inodes.into_iter().filter_map(|inode| self.find(inode)).collect()
    }
}

impl Clone for Pinned {
    fn clone(&self) -> Self {
        self.file.lock().pins += 1;
        Self { file: Arc::clone(&self.file), files: Arc::clone(&self.files) }
    }
}

impl Deref for Pinned {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut table = self.files.lock();
        let idle = {
            let mut state = self.file.lock();
            state.pins -= 1;
            let idle = state.pins == 0;
            if idle {
                state.map.shrink();
            }
            idle
        };
        if idle {
            table.pinned.remove(&self.file.inode);
            table.recent.insert(self.file.inode, Arc::clone(&self.file));
        }
    }
}
