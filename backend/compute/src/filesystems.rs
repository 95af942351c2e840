//! The filesystems that this process owns.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio::task::{JoinHandle, JoinSet};
use weft_kms::KeyManagement;
use weft_transport::CallError;
use weft_transport::Failure;
use weft_types::{ClusterId, FilesystemId};
use weft_wire::Fault;
use weft_wire::compute::{DropProgress, DropRefusal, OpenRefusal};
use weft_wire::management::{FilesystemRefusal, ListFilesystems, OwnFilesystem, Ownership};

use crate::cluster::Cluster;
use crate::dropping::{self, Dropping};
use crate::keys::Keys;
use crate::owner::Owner;
use crate::reclaimer::look_after;
use crate::settings::ComputeSettings;
use crate::shards::ShardDeleter;

/// Owned and dropped filesystems of this process.
pub(crate) struct Filesystems {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: ComputeSettings,
    id: ClusterId,
    state: PathBuf,
    kms: Arc<dyn KeyManagement>,
    deleter: Arc<ShardDeleter>,
    owned: Mutex<Owned>,
    /// What looks after owners, and what drops filesystems.
    tasks: Mutex<JoinSet<()>>,
    /// One filesystem is opened or dropped at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Owned {
    owners: HashMap<FilesystemId, Arc<Owner>>,
    names: HashMap<String, FilesystemId>,
    dropping: HashMap<FilesystemId, Arc<Dropping>>,
}

/// For whom a filesystem is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Only if it is not to be deleted.
    NewSessions,
    /// In any case: sessions that are open go on until it is dropped.
    Anyone,
}

impl Filesystems {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        id: ClusterId,
        state: PathBuf,
        kms: Arc<dyn KeyManagement>,
        settings: ComputeSettings,
    ) -> Self {
        let deleter = Arc::new(ShardDeleter::new(Arc::clone(&cluster)));
        let (owned, tasks, turn) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { cluster, settings, id, state, kms, deleter, owned, tasks, turn }
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
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(owner) = self.serving_by_name(name) {
            return Ok(owner);
        }
        let (this, name) = (Arc::clone(self), name.to_owned());
        let taken = to_its_end(turn, async move { this.take_over(&name, Whom::NewSessions).await });
        taken.await.unwrap_or_else(|error| Err(unavailable(&error)))
    }

    /// The owner of a filesystem by its id: after a restart, its sessions come back without opening anew. `None`: this
    /// process never had it.
    ///
    /// # Errors
    /// [`Fault::NotServing`] when it cannot be taken over now.
    pub(crate) async fn by_id(self: &Arc<Self>, id: FilesystemId) -> Result<Option<Arc<Owner>>, Fault> {
        if let Some(owner) = self.serving(id) {
            return Ok(Some(owner));
        }
        let dir = self.dir(id);
        if !dir.exists() || dropping::is_marked(&dir) {
            return Ok(None);
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(owner) = self.serving(id) {
            return Ok(Some(owner));
        }
        let this = Arc::clone(self);
        let taken = to_its_end(turn, async move { this.take_over_by_id(id).await });
        taken.await.unwrap_or(Err(Fault::NotServing))
    }

    fn serving(&self, id: FilesystemId) -> Option<Arc<Owner>> {
        self.owned().owners.get(&id).filter(|owner| owner.is_serving()).cloned()
    }

    fn serving_by_name(&self, name: &str) -> Option<Arc<Owner>> {
        let id = self.owned().names.get(name).copied()?;
        self.serving(id)
    }

    fn dir(&self, id: FilesystemId) -> PathBuf {
        self.state.join(id.to_string())
    }

    async fn take_over_by_id(&self, id: FilesystemId) -> Result<Option<Arc<Owner>>, Fault> {
        let listed = self.cluster.ask(&ListFilesystems {}).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "filesystems cannot be listed");
            Fault::NotServing
        })?;
        let Some(info) = listed.filesystems.into_iter().find(|info| info.id == id) else { return Ok(None) };
        let taken = self.take_over(&info.name, Whom::Anyone).await.map_err(|refusal| {
            tracing::warn!(%refusal, filesystem = %id, "a filesystem cannot be taken over");
            Fault::NotServing
        })?;
        Ok((taken.filesystem() == id).then_some(taken))
    }

    /// Takes a filesystem over under a new epoch. The caller has the turn.
    async fn take_over(&self, name: &str, whom: Whom) -> Result<Arc<Owner>, OpenRefusal> {
        let call = OwnFilesystem { name: name.to_owned(), shard: crate::owner::SHARD };
        let ownership = self.cluster.ask(&call).await.map_err(own_refusal)?;
        let id = ownership.filesystem.id;
        let dir = self.dir(id);
        if dropping::is_marked(&dir) || (whom == Whom::NewSessions && ownership.filesystem.deleting) {
            return Err(OpenRefusal::Deleting);
        }
        let keys = Keys::unwrap(&ownership, self.id, &*self.kms).await;
        let keys = keys.map_err(|error| OpenRefusal::KeysUnavailable { reason: reason(&error) })?;
        // An owner that has failed lets go of its files before the next one opens them.
        let failed = self.owned().owners.remove(&id);
        let (settings, epoch) = (self.settings, ownership.epoch);
        let opened = tokio::task::spawn_blocking(move || {
            if let Some(failed) = failed {
                failed.close();
            }
            std::fs::create_dir_all(&dir).map_err(crate::owner::OpenOwnerError::Host)?;
            Owner::open(&dir, epoch, keys, settings)
        });
        let opened =
            opened.await.map_err(|error| unavailable(&error))?.map_err(|error| unavailable(&error))?;
        Ok(self.begin(opened, &ownership))
    }

    fn begin(&self, owner: Owner, ownership: &Ownership) -> Arc<Owner> {
        let owner = Arc::new(owner);
        self.tasks().spawn(look_after(Arc::downgrade(&owner), Arc::clone(&self.deleter), self.settings));
        let mut owned = self.owned();
        owned.names.insert(ownership.filesystem.name.clone(), owner.filesystem());
        owned.owners.insert(owner.filesystem(), Arc::clone(&owner));
        owner
    }

    /// Begins to drop a filesystem, or says how far that is.
    ///
    /// # Errors
    /// [`DropRefusal`], or [`Fault::NotServing`] while it cannot be opened.
    pub(crate) async fn drop_filesystem(
        &self,
        id: FilesystemId,
    ) -> Result<DropProgress, Failure<DropRefusal>> {
        let _turn = self.turn.lock().await;
        let known = self.owned().dropping.get(&id).cloned().filter(|dropping| !dropping.has_failed());
        if let Some(dropping) = known {
            return dropping.progress().map_err(|error| Failure::Refused(metadata_unavailable(&error)));
        }
        let dir = self.dir(id);
        if !dir.exists() {
            return Ok(DropProgress { done: true, extents_left: 0 });
        }
        let owner = if dropping::is_marked(&dir) {
            self.open_to_drop(id).await.map_err(Failure::Refused)?
        } else {
            self.end_service(id).await?
        };
        let dropping = Arc::new(Dropping::new(owner));
        let mut owned = self.owned();
        owned.owners.remove(&id);
        owned.names.retain(|_, named| *named != id);
        owned.dropping.insert(id, Arc::clone(&dropping));
        drop(owned);
        self.tasks().spawn(Arc::clone(&dropping).run(dir, Arc::clone(&self.deleter)));
        dropping.progress().map_err(|error| Failure::Refused(metadata_unavailable(&error)))
    }

    /// The owner of a filesystem that nobody has mounted, and never will again.
    async fn end_service(&self, id: FilesystemId) -> Result<Arc<Owner>, Failure<DropRefusal>> {
        let owner = match self.serving(id) {
            Some(owner) => owner,
            None => self.take_over_by_id(id).await?.ok_or(Fault::NotServing)?,
        };
        match owner.try_begin_dropping() {
            Ok(None) => {}
            Ok(Some(holder)) => return Err(Failure::Refused(DropRefusal::Mounted { holder })),
            Err(error) => return Err(Failure::Refused(metadata_unavailable(&error))),
        }
        dropping::mark(&self.dir(id)).map_err(|error| {
            // Without the mark it is to be served again, by an owner that is opened anew.
            self.owned().owners.remove(&id);
            Failure::Refused(metadata_unavailable(&error))
        })?;
        Ok(owner)
    }

    async fn open_to_drop(&self, id: FilesystemId) -> Result<Arc<Owner>, DropRefusal> {
        let failed = self.owned().dropping.remove(&id);
        let (dir, settings) = (self.dir(id), self.settings);
        let opened = tokio::task::spawn_blocking(move || {
            drop(failed);
            Owner::open_to_drop(&dir, id, settings)
        });
        let opened = opened.await.map_err(|error| metadata_unavailable(&error))?;
        opened.map(Arc::new).map_err(|error| metadata_unavailable(&error))
    }

    /// Ends all tasks and closes all owners: what they have is durable, and nothing has to be replayed. Drops go on when
    /// they are asked for again.
    pub(crate) async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
        let mut owners = self.owners();
        owners.extend(self.owned().dropping.values().map(|dropping| dropping.owner()));
        let closed = tokio::task::spawn_blocking(move || owners.iter().for_each(|owner| owner.close()));
        if let Err(error) = closed.await {
            tracing::error!(%error, "metadata was not closed in order");
        }
    }
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

/// An error and its causes in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
