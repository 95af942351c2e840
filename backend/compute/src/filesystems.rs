//! The filesystems that this process owns.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use weft_kms::KeyManagement;
use weft_transport::{CallError, Failure};
use weft_types::{ClusterId, FilesystemId};
use weft_wire::Fault;
use weft_wire::compute::{DropProgress, DropRefusal, OpenRefusal};
use weft_wire::management::{FilesystemInfo, FilesystemRefusal, ListFilesystems, OwnFilesystem, Ownership};
use weft_wire::ownership::{Held, ListSessions};

use crate::closing::{SessionEnds, close_ended};
use crate::cluster::Cluster;
use crate::drives::{Drives, reason};
use crate::dropping::Dropping;
use crate::keys::Keys;
use crate::leases::Leases;
use crate::local_thread::LocalThread;
use crate::owner::{Lease, Opening, Owner, SHARD};
use crate::reclaimer::look_after;
use crate::settings::ComputeSettings;
use crate::shards::ShardDeleter;
use crate::sources::Sources;

/// How long a filesystem that could not be taken over is left alone, at first and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);
/// How long while somebody asks for it, from the third failure on.
const PAUSE_ASKED: Duration = Duration::from_secs(2);

/// Owned and dropped filesystems of this process.
pub(crate) struct Filesystems {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: ComputeSettings,
    pub(crate) leases: Leases,
    pub(crate) drives: Drives,
    id: ClusterId,
    pub(crate) state: PathBuf,
    kms: Arc<dyn KeyManagement>,
    sources: Sources,
    deleter: Arc<ShardDeleter>,
    /// Where indexes are read and written.
    pub(crate) indexes: Arc<LocalThread>,
    /// Where owners are looked after.
    background: Arc<LocalThread>,
    owned: Mutex<Owned>,
    /// What takes filesystems over, and what drops them.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Owned {
    owners: HashMap<FilesystemId, Arc<Owner>>,
    names: HashMap<String, FilesystemId>,
    dropping: HashMap<FilesystemId, Arc<Dropping>>,
    /// A filesystem is taken over or dropped by one task at a time.
    turns: HashMap<FilesystemId, Arc<tokio::sync::Mutex<()>>>,
    /// Others own these: they are taken over only when somebody asks for them here.
    elsewhere: HashSet<FilesystemId>,
    /// Those that could not be taken over are left alone for a while.
    pauses: HashMap<FilesystemId, Pause>,
}

/// The time after an attempt that failed; the next one is twice as long.
struct Pause {
    since: Instant,
    lasts: Duration,
    refusal: OpenRefusal,
}

/// What a process is made of beside its filesystems.
pub(crate) struct Parts {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) id: ClusterId,
    pub(crate) state: PathBuf,
    pub(crate) kms: Arc<dyn KeyManagement>,
    pub(crate) settings: ComputeSettings,
    pub(crate) indexes: Arc<LocalThread>,
    pub(crate) background: Arc<LocalThread>,
}

impl Filesystems {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { cluster, id, state, kms, settings, indexes, background } = parts;
        let deleter = Arc::new(ShardDeleter::new(Arc::clone(&cluster)));
        let drives = Drives::new(Arc::clone(&cluster), &cluster.pool);
        let (leases, owned, tasks) = (Leases::default(), Mutex::default(), Mutex::default());
        let sources = Sources::of_the_host();
        Self {
            cluster,
            settings,
            leases,
            drives,
            id,
            state,
            kms,
            sources,
            deleter,
            indexes,
            background,
            owned,
            tasks,
        }
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks
    }

    /// The owners that are at work.
    pub(crate) fn owners(&self) -> Vec<Arc<Owner>> {
        self.owned().owners.values().cloned().collect()
    }

    /// The owner of a filesystem by its name, taken over if need be.
    ///
    /// # Errors
    /// [`OpenRefusal`]
    pub(crate) async fn by_name(self: &Arc<Self>, name: &str) -> Result<Arc<Owner>, OpenRefusal> {
        if let Some(owner) = self.serving_by_name(name) {
            return Ok(owner);
        }
        let listed = self.listed().await.map_err(|error| unavailable(&error))?;
        let info = listed.into_iter().find(|info| info.name == name).ok_or(OpenRefusal::NoSuchFilesystem)?;
        self.owner_of(info).await
    }

    /// The owner of a filesystem by its id: after a takeover, its sessions come back without opening anew. `None`: there
    /// is none, or it is being dropped.
    ///
    /// # Errors
    /// [`Fault::NotServing`] when it cannot be taken over now.
    pub(crate) async fn by_id(self: &Arc<Self>, id: FilesystemId) -> Result<Option<Arc<Owner>>, Fault> {
        if let Some(owner) = self.serving(id) {
            return Ok(Some(owner));
        }
        let listed = self.listed().await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "filesystems cannot be listed");
            Fault::NotServing
        })?;
        let Some(info) = listed.into_iter().find(|info| info.id == id) else { return Ok(None) };
        match self.owner_of(info).await {
            Ok(owner) => Ok(Some(owner)),
            Err(OpenRefusal::Deleting) => Ok(None),
            Err(refusal) => {
                tracing::warn!(%refusal, filesystem = %id, "a filesystem cannot be taken over");
                Err(Fault::NotServing)
            }
        }
    }

    /// Takes over what nobody has asked for yet: garbage is collected and sessions expire also while nobody calls. Goes
    /// on for ever.
    pub(crate) async fn keep_all(self: Arc<Self>) {
        loop {
            match self.listed().await {
                Ok(listed) => self.forget_but(&listed),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "filesystems cannot be listed");
                }
            }
            tokio::time::sleep(self.settings.look_for_filesystems).await;
        }
    }

    async fn listed(&self) -> Result<Vec<FilesystemInfo>, CallError<weft_wire::NoRefusal>> {
        Ok(self.cluster.ask(&ListFilesystems {}).await?.filesystems)
    }

    /// Begins to take over those that nobody serves, and lets go of what is known of those that are no more.
    fn forget_but(self: &Arc<Self>, listed: &[FilesystemInfo]) {
        let exists = |id: &FilesystemId| listed.iter().any(|info| info.id == *id);
        let now = Instant::now();
        let mut owned = self.owned();
        owned.turns.retain(|id, _| exists(id));
        owned.pauses.retain(|id, _| exists(id));
        owned.elsewhere.retain(&exists);
        owned.dropping.retain(|id, dropping| exists(id) || !dropping.is_done());
        let idle = |info: &&FilesystemInfo| {
            let served = owned.owners.get(&info.id).is_some_and(|owner| owner.is_serving());
            let paused = owned.pauses.get(&info.id).is_some_and(|pause| pause.since + pause.lasts > now);
            !served
                && !paused
                && !owned.dropping.contains_key(&info.id)
                && !owned.elsewhere.contains(&info.id)
        };
        let idle: Vec<_> = listed.iter().filter(idle).cloned().collect();
        drop(owned);
        for info in idle {
            let this = Arc::clone(self);
            self.tasks().spawn(async move {
                let id = info.id;
                if this.is_elsewhere(id).await {
                    return;
                }
                if let Err(refusal) = this.owner_of(info).await {
                    tracing::warn!(%refusal, filesystem = %id, "a filesystem cannot be taken over yet");
                }
            });
        }
    }

    /// Whether another process has taken a filesystem over; what was its owner here lets go.
    async fn is_elsewhere(&self, id: FilesystemId) -> bool {
        let deposed = {
            let mut owned = self.owned();
            if !owned.owners.get(&id).is_some_and(|owner| owner.is_deposed()) {
                return false;
            }
            owned.elsewhere.insert(id);
            owned.owners.remove(&id)
        };
        if let Some(owner) = deposed {
            owner.close().await;
            self.leases.release(owner.lease());
        }
        true
    }

    fn serving(&self, id: FilesystemId) -> Option<Arc<Owner>> {
        self.owned().owners.get(&id).filter(|owner| owner.is_serving()).cloned()
    }

    fn serving_by_name(&self, name: &str) -> Option<Arc<Owner>> {
        let id = self.owned().names.get(name).copied()?;
        self.serving(id)
    }

    /// Waits for one's turn at a filesystem.
    async fn turn(&self, id: FilesystemId) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.owned().turns.entry(id).or_default());
        turn.lock_owned().await
    }

    async fn owner_of(self: &Arc<Self>, info: FilesystemInfo) -> Result<Arc<Owner>, OpenRefusal> {
        let turn = self.turn(info.id).await;
        if let Some(owner) = self.serving(info.id) {
            return Ok(owner);
        }
        if self.owned().dropping.contains_key(&info.id) {
            return Err(OpenRefusal::Deleting);
        }
        if let Some(refusal) = self.failed_just_now(info.id) {
            return Err(refusal);
        }
        let this = Arc::clone(self);
        let taken = to_its_end(turn, async move {
            let taken = this.take_over(&info, false).await;
            this.pause(info.id, taken.as_ref().err().cloned());
            match taken? {
                Taken::Owner(owner) => Ok(this.begin(owner, &info)),
                Taken::Empty(_) => Err(OpenRefusal::Deleting),
            }
        });
        taken.await.unwrap_or_else(|error| Err(unavailable(&error)))
    }

    /// Why the last attempts failed, if they were three at least and the last less than two seconds ago. Each is an ownership
    /// that the cluster store records, and whoever was refused asks again at once.
    fn failed_just_now(&self, id: FilesystemId) -> Option<OpenRefusal> {
        let owned = self.owned();
        let pause = owned.pauses.get(&id)?;
        let again = pause.lasts > PAUSE_MIN * 2 && pause.since.elapsed() < PAUSE_ASKED;
        again.then(|| pause.refusal.clone())
    }

    fn pause(&self, id: FilesystemId, refusal: Option<OpenRefusal>) {
        let mut owned = self.owned();
        match refusal {
            Some(refusal) => {
                let lasts =
                    owned.pauses.get(&id).map_or(PAUSE_MIN, |before| (before.lasts * 2).min(PAUSE_MAX));
                owned.pauses.insert(id, Pause { since: Instant::now(), lasts, refusal });
            }
            None => {
                owned.pauses.remove(&id);
                owned.elsewhere.remove(&id);
            }
        }
    }

    /// Takes a filesystem over under a new epoch. The caller has the turn.
    async fn take_over(&self, info: &FilesystemInfo, to_drop: bool) -> Result<Taken, OpenRefusal> {
        // An owner that has failed lets go of its files before the next one opens them.
        let failed = self.owned().owners.remove(&info.id);
        if let Some(failed) = failed {
            failed.close().await;
            self.leases.release(failed.lease());
        }
        let asked = Instant::now();
        let call = OwnFilesystem { name: info.name.clone(), shard: SHARD };
        let ownership = self.cluster.ask(&call).await.map_err(own_refusal)?;
        if ownership.filesystem.id != info.id {
            return Err(OpenRefusal::NoSuchFilesystem);
        }
        let held = Held { filesystem: info.id, shard: SHARD, epoch: ownership.epoch };
        let (lasts, after) = (ownership.lease_ms, ownership.serve_after_ms);
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let lease = Arc::new(Lease::new(held, asked, millis(lasts), Instant::now(), millis(after)));
        self.leases.keep(&lease);
        let taken = self.open(&ownership, &lease, to_drop).await;
        if taken.is_err() {
            self.leases.release(&lease);
        }
        tokio::time::sleep_until(lease.serves_after()).await;
        taken
    }

    async fn open(
        &self,
        ownership: &Ownership,
        lease: &Arc<Lease>,
        to_drop: bool,
    ) -> Result<Taken, OpenRefusal> {
        let deleting = ownership.filesystem.deleting;
        if deleting && ownership.row.segments.is_empty() && ownership.row.checkpoint.is_none() {
            return Ok(Taken::Empty(Arc::clone(lease)));
        }
        let keys = Keys::unwrap(ownership, self.id, &*self.kms, self.sources.clone()).await;
        let keys = match keys {
            Ok(keys) => Some(keys),
            // What is dropped need not be read.
            Err(error) if to_drop => {
                tracing::warn!(error = &error as &dyn std::error::Error, "dropped without keys");
                None
            }
            Err(error) => return Err(OpenRefusal::KeysUnavailable { reason: reason(&error) }),
        };
        let opening = Opening {
            lease: Arc::clone(lease),
            keys,
            sources: self.sources.clone(),
            settings: self.settings,
            deleting,
        };
        let opened = self.open_shard(ownership, opening).await;
        let opened = opened.map_err(|error| unavailable(&error))?;
        if let Err(refusal) = self.reconcile_sessions(&opened).await {
            opened.close().await;
            return Err(refusal);
        }
        Ok(Taken::Owner(Arc::new(opened)))
    }

    /// Ends what sessions only one side knows: they were left over by a crash, or by a store that was recovered.
    async fn reconcile_sessions(&self, owner: &Owner) -> Result<(), OpenRefusal> {
        let call = ListSessions { owner: owner.held() };
        let registered = self.cluster.ask(&call).await.map_err(|error| unavailable(&error))?.sessions;
        for session in owner.reconcile_sessions(&registered).map_err(|error| unavailable(&error))? {
            if !self.drives.end(owner.held(), session).await {
                tracing::warn!(%session, "a session that nobody has stays registered");
            }
        }
        Ok(())
    }

    fn look_after(&self, owner: &Arc<Owner>) {
        let (deleter, settings) = (Arc::clone(&self.deleter), self.settings);
        let (weak, drives) = (Arc::downgrade(owner), self.drives.clone());
        self.background.spawn(move || async move {
            tokio::join!(
                look_after(weak.clone(), deleter, settings),
                close_ended(weak, drives, settings.tick)
            );
        });
    }

    fn begin(&self, owner: Arc<Owner>, info: &FilesystemInfo) -> Arc<Owner> {
        self.look_after(&owner);
        let mut owned = self.owned();
        owned.names.insert(info.name.clone(), info.id);
        owned.owners.insert(info.id, Arc::clone(&owner));
        owner
    }

    /// Begins to drop a filesystem, or says how far that is.
    ///
    /// # Errors
    /// [`DropRefusal`], or [`Fault::NotServing`] while it cannot be opened.
    pub(crate) async fn drop_filesystem(
        self: &Arc<Self>,
        id: FilesystemId,
    ) -> Result<DropProgress, Failure<DropRefusal>> {
        if let Some(dropping) = self.dropping(id) {
            return dropping.progress().map_err(|error| Failure::Refused(metadata_unavailable(&error)));
        }
        let listed = self.listed().await.map_err(|_| Fault::NotServing)?;
        let Some(info) = listed.into_iter().find(|info| info.id == id) else {
            return Ok(DropProgress { done: true, extents_left: 0 });
        };
        if !info.deleting {
            let reason = "management does not say that it is being deleted".to_owned();
            return Err(Failure::Refused(DropRefusal::MetadataUnavailable { reason }));
        }
        let turn = self.turn(id).await;
        let this = Arc::clone(self);
        let begun = to_its_end(turn, async move { this.begin_drop(&info).await });
        let dropping = begun.await.unwrap_or(Err(Failure::Fault(Fault::NotServing)))?;
        dropping.progress().map_err(|error| Failure::Refused(metadata_unavailable(&error)))
    }

    /// A drop that is under way, or done.
    fn dropping(&self, id: FilesystemId) -> Option<Arc<Dropping>> {
        self.owned().dropping.get(&id).cloned().filter(|dropping| !dropping.has_failed())
    }

    /// Begins to drop a filesystem that nobody has mounted, and never will again. The caller has the turn.
    async fn begin_drop(
        self: &Arc<Self>,
        info: &FilesystemInfo,
    ) -> Result<Arc<Dropping>, Failure<DropRefusal>> {
        if let Some(dropping) = self.dropping(info.id) {
            return Ok(dropping);
        }
        let failed = self.owned().dropping.remove(&info.id);
        if let Some(owner) = failed.and_then(|failed| failed.owner()) {
            owner.close().await;
            self.leases.release(owner.lease());
        }
        let serving = self.serving(info.id);
        let is_looked_after = serving.is_some();
        let taken = match serving {
            Some(owner) => Taken::Owner(owner),
            None => match self.take_over(info, true).await {
                Ok(taken) => taken,
                Err(OpenRefusal::NoSuchFilesystem) => return Err(Failure::Fault(Fault::NotServing)),
                Err(refusal) => return Err(Failure::Refused(metadata_unavailable(&refusal))),
            },
        };
        if let Taken::Owner(owner) = &taken {
            match owner.try_begin_dropping() {
                Ok(None) if is_looked_after => {}
                // Other drives and groups wait for what it has to tell.
                Ok(None) => self.look_after(owner),
                Ok(Some(holder)) => {
                    // Its sessions go on.
                    if self.serving(info.id).is_none() {
                        self.begin(Arc::clone(owner), info);
                    }
                    return Err(Failure::Refused(DropRefusal::Mounted { holder }));
                }
                Err(error) => return Err(Failure::Refused(metadata_unavailable(&error))),
            }
        }
        let dir = self.state.join(info.id.to_string());
        let dropping = Arc::new(match taken {
            Taken::Owner(owner) => Dropping::new(owner, dir),
            Taken::Empty(lease) => Dropping::of_the_rest(lease, dir),
        });
        let mut owned = self.owned();
        owned.owners.remove(&info.id);
        owned.names.retain(|_, named| *named != info.id);
        owned.dropping.insert(info.id, Arc::clone(&dropping));
        drop(owned);
        let (drives, deleter) = (self.drives.clone(), Arc::clone(&self.deleter));
        let this = Arc::clone(self);
        let running = Arc::clone(&dropping);
        self.tasks().spawn(async move {
            running.run(&drives, &this.cluster, &deleter).await;
            this.leases.release(running.lease());
        });
        Ok(dropping)
    }

    /// Ends all tasks and closes all owners, and lets go of their ownerships: whoever takes them over next need not wait.
    /// Drops go on when they are asked for again.
    pub(crate) async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
        let mut owners = self.owners();
        owners.extend(self.owned().dropping.values().filter_map(|dropping| dropping.owner()));
        for owner in &owners {
            owner.close().await;
            self.leases.release(owner.lease());
        }
        self.leases.renew(&self.cluster).await;
        let threads = [Arc::clone(&self.background), Arc::clone(&self.indexes)];
        let stopped = tokio::task::spawn_blocking(move || threads.iter().for_each(|thread| thread.stop()));
        if let Err(error) = stopped.await {
            tracing::error!(%error, "threads were not stopped");
        }
    }
}

/// What was taken over.
enum Taken {
    /// A shard that serves.
    Owner(Arc<Owner>),
    /// The ownership of one that has no log: it never had one, or was dropped up to the last.
    Empty(Arc<Lease>),
}

/// Takes a filesystem over to the end, also when nobody waits for it any more. Callers have deadlines: were it broken
/// off with them, one that takes longer would be begun anew each time, and never done.
fn to_its_end<T: Send + 'static>(
    turn: OwnedMutexGuard<()>,
    taking: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(async move {
        let _turn = turn;
        taking.await
    })
}

fn own_refusal(error: CallError<FilesystemRefusal>) -> OpenRefusal {
    match error {
        CallError::Refused(FilesystemRefusal::NotFound | FilesystemRefusal::BadName) => {
            OpenRefusal::NoSuchFilesystem
        }
        CallError::Refused(refusal) => unavailable(&refusal),
        error => unavailable(&error),
    }
}

fn unavailable(error: &dyn std::error::Error) -> OpenRefusal {
    OpenRefusal::MetadataUnavailable { reason: reason(error) }
}

fn metadata_unavailable(error: &dyn std::error::Error) -> DropRefusal {
    DropRefusal::MetadataUnavailable { reason: reason(error) }
}
