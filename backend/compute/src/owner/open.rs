//! Taking a shard over: its log, its index, its sessions.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use weft_engine::{FileLog, IndexError, Log, OpenLogError, RecoverError, Recovered, SealError, recover};
use weft_keys::{EpochSalt, OwnershipSealer};
use weft_meta::{Context, RowKey, Transaction, format, session};
use weft_types::{Epoch, FilesystemId, MetadataShard, Position, SessionId};
use weft_wire::meta::{Caller, MetaError};

use super::operations::NO_SPACE;
use super::{Owner, now};
use crate::cluster::View;
use crate::committer::Committer;
use crate::keys::Keys;
use crate::random;
use crate::rows::{Openers, Rows, Sealer};
use crate::settings::ComputeSettings;

/// The first version runs one shard per filesystem.
pub(crate) const SHARD: MetadataShard = MetadataShard::new(0);
/// Sessions that one filesystem can have open.
pub(super) const SESSIONS_MAX: usize = 4096;

/// Why a shard cannot be owned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenOwnerError {
    #[error(transparent)]
    Log(#[from] OpenLogError),
    #[error("the ownership did not begin: {0}")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("stored metadata is damaged")]
    Damaged,
    #[error("the host gives no thread, or no room")]
    Host(#[from] std::io::Error),
}

impl From<MetaError> for OpenOwnerError {
    fn from(_: MetaError) -> Self {
        Self::Damaged
    }
}

impl Owner {
    /// Takes over the shard in a directory, or begins it, under an epoch that nobody had before. Every session that
    /// is open gets a new lease. Blocks for as long as replaying takes.
    ///
    /// # Errors
    /// [`OpenOwnerError`]
    pub(crate) fn open(
        dir: &Path,
        epoch: Epoch,
        keys: Keys,
        settings: ComputeSettings,
    ) -> Result<Self, OpenOwnerError> {
        let mut log = FileLog::open(&dir.join("log"), SHARD, settings.log)?;
        log.seal(epoch)?;
        let index = recovered(&log, dir)?;
        let salt = EpochSalt::from_random(random::array());
        let (metadata, filesystem) = (keys.metadata(), keys.filesystem());
        let salts = index.salts()?.into_iter().map(|(epoch, salt, _)| (epoch, salt));
        let openers = Openers::new(metadata, filesystem, SHARD, salts.chain([(epoch, salt)]));
        let sealer = Sealer::new(OwnershipSealer::new(metadata, filesystem, SHARD, epoch, salt), salt);
        let owner = Self::start(filesystem, Some(keys), settings, index, openers, log, sealer)?;
        owner.format_if_new()?;
        owner.renew_all()?;
        // What a crash has left.
        owner.work.notify_one();
        Ok(owner)
    }

    /// Opens the shard in a directory in order to drop it: without keys and without a new epoch. It writes no row
    /// that is sealed. Blocks for as long as replaying takes.
    ///
    /// # Errors
    /// [`OpenOwnerError`]
    pub(crate) fn open_to_drop(
        dir: &Path,
        filesystem: FilesystemId,
        settings: ComputeSettings,
    ) -> Result<Self, OpenOwnerError> {
        let log = FileLog::open(&dir.join("log"), SHARD, settings.log)?;
        let index = recovered(&log, dir)?;
        // The salt that the epoch has: its rows must open as long as they are there.
        let epoch = log.epoch();
        let known = index.salts()?.into_iter().find(|(known, ..)| *known == epoch);
        let salt = known.map_or_else(|| EpochSalt::from_random(random::array()), |(_, salt, _)| salt);
        let sealer = Sealer::without_keys(epoch, salt);
        let owner = Self::start(filesystem, None, settings, index, Openers::default(), log, sealer)?;
        owner.begin_dropping();
        Ok(owner)
    }

    /// Begins to own a shard whose log is sealed and whose index is at its end.
    pub(super) fn start(
        filesystem: FilesystemId,
        keys: Option<Keys>,
        settings: ComputeSettings,
        index: Arc<weft_engine::Index>,
        openers: Openers,
        log: impl Log + 'static,
        sealer: Sealer,
    ) -> Result<Self, OpenOwnerError> {
        let Position { seq, .. } = log.end();
        let rows = Rows::new(Arc::clone(&index), openers, seq + 1);
        Ok(Self {
            filesystem,
            keys,
            settings,
            committer: Committer::start(rows, index, log, sealer)?,
            leases: Default::default(),
            work: Default::default(),
            dropping: Default::default(),
            operations: Default::default(),
            garbage: Default::default(),
        })
    }

    pub(super) fn format_if_new(&self) -> Result<(), OpenOwnerError> {
        let keys = self.keys.as_ref().ok_or(MetaError::Damaged)?;
        if self.read(|tx| tx.get(&RowKey::Counters))?.is_some() {
            return Ok(());
        }
        // Nothing that is made here has to do with a session, or with where data lies.
        let groups = View { map: None, space: None };
        let mut context = Context {
            now: now(),
            caller: Caller::default(),
            session: SessionId::from_bytes([0; 16]),
            filesystem: self.filesystem,
            names: keys,
            keys,
            groups: &groups,
            space: NO_SPACE,
        };
        self.change(|tx| format(tx, &mut context))?;
        Ok(())
    }

    pub(super) fn renew_all(&self) -> Result<(), OpenOwnerError> {
        let sessions = self.read(|tx| session::list(tx, None, SESSIONS_MAX))?;
        let until = Instant::now() + self.settings.lease;
        self.leases().extend(sessions.into_iter().map(|(id, _)| (id, until)));
        Ok(())
    }
}

fn recovered(log: &FileLog, dir: &Path) -> Result<Arc<weft_engine::Index>, OpenOwnerError> {
    let Recovered { index, replayed, .. } = recover(log, &dir.join("index"))?;
    tracing::info!(dir = %dir.display(), end = %log.end(), replayed, "metadata opened");
    Ok(Arc::new(index))
}
