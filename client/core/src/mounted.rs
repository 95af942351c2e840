//! The value that a mount is.

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use weft_layout::ClusterMap;
use weft_types::{ByteCount, FilesystemId, SessionId};

use crate::accesses::Accesses;
use weft_wire::compute::{OpenRefusal, SessionHolder};

use crate::backend::Backend;
use crate::budget::Memory;
use crate::cluster::Cluster;
use crate::coherence::Kernel;
use crate::compaction::Windows;
use crate::counters::Counters;
use crate::extents::ExtentCache;
use crate::fetch::{Codecs, Fetcher};
use crate::file::{Files, Pinned, Unwritten as UnwrittenFiles};
use crate::foresight::Foresight;
use crate::grants::Grants;
use crate::handle::Handles;
use crate::locks::Locks;
use crate::names::Names;
use crate::readahead::ReadAheadBound;
use crate::references::References;
use crate::room::Room;
use crate::session::Session;
use crate::{Counts, FsError, Unwritten, background};

/// The longest that a kernel may keep what it is told.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(5);

/// Groups of small files that are written back at once: one is sealed while another one is on its way.
const GROUPS_AT_ONCE: usize = 2;

/// What this mount is called, by heartbeats and to the owner of the metadata.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) filesystem: String,
    pub(crate) holder: SessionHolder,
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) session: Session,
    pub(crate) map: ClusterMap,
    pub(crate) memory: ByteCount,
    pub(crate) labels: Labels,
    pub(crate) sealing_threads: bool,
    pub(crate) access_times: bool,
}

/// A mounted filesystem. Share it by `Arc`; every operation may be called from any thread, and its future polled on
/// any: within [`runtime`](Self::runtime), by [`spawn`](Self::spawn) or the runtime's `block_on`.
///
/// Operations that change something run to their end even when their future is dropped: what is dropped is the
/// wait. So a frontend gives up a wait (a signal came) by dropping the future.
///
/// `try_` variants answer from memory or not at all (`None`): they never wait for a network, and are meant for the
/// thread that read the request.
pub struct Core {
    pub(crate) runtime: Handle,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) session: Arc<Session>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) extents: ExtentCache,
    pub(crate) names: Arc<Names>,
    pub(crate) foresight: Foresight,
    pub(crate) files: Arc<Files>,
    pub(crate) unwritten: UnwrittenFiles,
    /// Groups of small files that are written back at once.
    pub(crate) groups: Semaphore,
    pub(crate) handles: Handles,
    pub(crate) references: Arc<References>,
    pub(crate) locks: Arc<Locks>,
    pub(crate) kernel: Kernel,
    /// Files that are being made, to be written: the owner may ask who writes to one before its answer is heard.
    pub(crate) creating: AtomicU32,
    pub(crate) memory: Memory,
    pub(crate) counters: Arc<Counters>,
    pub(crate) labels: Labels,
    /// Long extents are sealed on threads of the runtime.
    pub(crate) sealing_threads: bool,
    pub(crate) accesses: Accesses,
    pub(crate) read_ahead: ReadAheadBound,
    /// The number of the next extent.
    pub(crate) next_extent: AtomicU64,
    pub(crate) room: Room,
    pub(crate) windows: Mutex<Windows>,
    /// Drives had no room for what is dirty.
    pub(crate) full: AtomicBool,
    /// Very many extents are dirty: all files were told to be written back, a moment ago.
    pub(crate) crowded: AtomicBool,
    lost: Mutex<Option<Unwritten>>,
    /// Dropped with the core: the IO thread ends then.
    _thread: Option<oneshot::Sender<()>>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({} of {})", self.session.id(), self.labels.filesystem)
    }
}

impl Core {
    /// Puts a core together and starts its background tasks on `runtime`.
    pub(crate) fn start(parts: Parts, runtime: Handle, thread: Option<oneshot::Sender<()>>) -> Arc<Self> {
        let Parts { backend, session, map, memory, labels, sealing_threads, access_times } = parts;
        backend.install(&map);
        let protection = map.protection;
        let (cluster, counters) = (Arc::new(Cluster::new(map)), Arc::<Counters>::default());
        let fetcher = Fetcher {
            backend: Arc::clone(&backend),
            cluster: Arc::clone(&cluster),
            counters: Arc::clone(&counters),
            codecs: Arc::<Codecs>::default(),
            filesystem: session.filesystem(),
        };
        let memory = Memory::new(memory);
        let grants = Grants::new(Arc::clone(&backend), session.grant());
        let core = Arc::new(Self {
            runtime,
            backend,
            cluster,
            grants: Arc::new(grants),
            fetcher: Arc::new(fetcher),
            extents: ExtentCache::new(memory.cache),
            accesses: Accesses::new(access_times && !session.is_read_only()),
            read_ahead: ReadAheadBound::default(),
            names: Arc::new(Names::new(session.place().term, memory.names)),
            foresight: Foresight::default(),
            session: Arc::new(session),
            files: Arc::new(Files::new()),
            unwritten: UnwrittenFiles::default(),
            groups: Semaphore::new(GROUPS_AT_ONCE),
            handles: Handles::default(),
            references: Arc::default(),
            locks: Arc::default(),
            kernel: Kernel::default(),
            creating: AtomicU32::new(0),
            memory,
            counters,
            labels,
            sealing_threads,
            next_extent: AtomicU64::new(1),
            room: Room::new(protection),
            windows: Mutex::new(Windows::new()),
            full: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            lost: Mutex::default(),
            _thread: thread,
        });
        background::start(&core);
        core
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

    /// The present session, or the last one.
    pub fn session(&self) -> SessionId {
        self.session.id()
    }

    /// The filesystem.
    pub fn filesystem(&self) -> FilesystemId {
        self.session.filesystem()
    }

    /// Whether the session only reads.
    pub fn is_read_only(&self) -> bool {
        self.session.is_read_only()
    }

    /// Whether there is no session any more, and will be none; every operation answers [`FsError::SessionEnded`] then.
    pub fn has_ended(&self) -> bool {
        self.session.has_ended()
    }

    /// Ends the sessions of processes that are dead, of those that had the same identity when this one began: what they held is
    /// free then, and not only when they expire.
    pub async fn bury(&self, is_dead: impl Fn(&SessionHolder) -> bool) {
        for other in self.session.others().iter().filter(|other| is_dead(&other.holder)) {
            tracing::info!(
                process = other.holder.pid,
                "the process that mounted before is dead: its session ends"
            );
            self.session.close_other(other.session).await;
        }
    }

    /// Completes when there is no session any more, and will be none: it was unmounted, or refused for good.
    pub async fn ended(&self) {
        self.session.ended().await;
    }

    /// Why no other session was opened after the last one; `None`: this mount goes on, or was unmounted.
    pub fn refused(&self) -> Option<OpenRefusal> {
        self.session.refused()
    }

    /// How long a kernel may keep names and attributes that it is told now: at most 5 s, never longer than the lease; nothing
    /// beside other sessions, whose changes would have to be told to it first.
    pub fn cache_ttl(&self) -> Duration {
        if self.session.is_alone() { self.session.remaining().min(TTL_MAX) } else { Duration::ZERO }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counters.counts(self.memory.dirty.held())
    }

    /// Bytes of a file are lost.
    pub(crate) fn lose(&self, bytes: u64, error: FsError) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = lost.get_or_insert(Unwritten { files: 0, bytes: 0, cause: None });
        lost.files += 1;
        lost.bytes += bytes;
        lost.cause = Some(error);
    }

    /// Writes everything, for at most `patience`, closes the session, and ends the background work. Operations
    /// answer [`FsError::SessionEnded`] afterwards.
    ///
    /// # Errors
    /// What could not be written; the session is closed all the same.
    pub async fn unmount(self: &Arc<Self>, patience: Duration) -> Result<(), Unwritten> {
        let deadline = Instant::now() + patience;
        let files = self.files.pinned();
        self.handles.close_all();
        self.kick_all();
        for file in &files {
            // A file that fails is tried again until the time is up.
            loop {
                let committed = tokio::select! {
                    biased;
                    committed = self.commit_all(file) => committed,
                    () = sleep_until(deadline) => break,
                };
                if committed.is_ok() || self.session.has_ended() {
                    break;
                }
            }
        }
        let left = self.unwritten(&files);
        if !self.session.has_ended() {
            self.tell_accesses().await;
            self.reap().await;
        }
        self.session.close().await;
        self.names.clear();
        self.backend.shut_down().await;
        left.map_or(Ok(()), Err)
    }

    /// What was lost, and what is still dirty.
    fn unwritten(&self, files: &[Pinned]) -> Option<Unwritten> {
        let mut left = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for file in files {
            let state = file.lock();
            if !state.dirty.is_clean() || state.untold_loss > 0 {
                let left = left.get_or_insert(Unwritten { files: 0, bytes: 0, cause: None });
                left.files += 1;
                left.bytes += state.dirty.held() + state.untold_loss;
                left.cause = state.failure.or(left.cause);
            }
        }
        left
    }
}
