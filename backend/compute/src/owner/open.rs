//! Beginning to own a shard whose log and index are at hand.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use weft_engine::{Index, IndexError, ShardLog};
use weft_keys::{EpochSalt, OwnershipSealer};
use weft_leases::Leases;
use weft_meta::{Context, RowKey, Transaction, format};
use weft_types::{MetadataShard, Position, SessionId};
use weft_wire::meta::{Caller, MetaError};

use super::locks::Locks;
use super::operations::NO_SPACE;
use super::{Lease, Owner};
use crate::cluster::View;
use crate::committer::{Committer, Worker};
use crate::keys::Keys;
use crate::rows::{Openers, Rows, Sealer};
use crate::settings::ComputeSettings;
use crate::sources::Sources;

/// The first version runs one shard per filesystem.
pub const SHARD: MetadataShard = MetadataShard::new(0);
/// Sessions that one filesystem can have open.
pub(super) const SESSIONS_MAX: usize = 4096;

/// Why a shard cannot be owned.
#[derive(Debug, thiserror::Error)]
pub enum OpenOwnerError {
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index is not at the log's end.
    #[error("the index is at batch {index}, and the log ends at {log}")]
    NotAtEnd {
        /// Where the index is.
        index: Position,
        /// Where the log ends.
        log: Position,
    },
    /// Rows do not open, or are not what they should be.
    #[error("stored metadata is damaged")]
    Damaged,
}

impl From<MetaError> for OpenOwnerError {
    fn from(_: MetaError) -> Self {
        Self::Damaged
    }
}

/// What an owner begins with.
#[derive(Debug)]
pub struct Opening {
    /// Which ownership it is, and until when it answers.
    pub lease: Arc<Lease>,
    /// The filesystem's keys. Without them only rows in clear can be read: enough to drop the filesystem.
    pub keys: Option<Keys>,
    /// Chance and the time of day.
    pub sources: Sources,
    /// How it behaves.
    pub settings: ComputeSettings,
    /// The filesystem is being deleted: sessions that are open go on, and none is opened.
    pub deleting: bool,
}

/// An owner, and what commits for it.
pub struct Opened<L> {
    /// The owner. It is answered as soon as the worker runs.
    pub owner: Owner,
    /// To be run as a task of its own.
    pub worker: Worker<L>,
}

impl Opening {
    /// Begins to own a shard: the log was taken over under the epoch of the lease, which nobody had before, and the
    /// index is at its end. A shard without a single row is made an empty filesystem. Every session that is open gets a
    /// new lease.
    ///
    /// # Errors
    /// [`OpenOwnerError`]
    pub fn start<L: ShardLog>(self, log: L, index: Index) -> Result<Opened<L>, OpenOwnerError> {
        let Self { lease, keys, sources, settings, deleting } = self;
        let (epoch, end) = (lease.held().epoch, log.end());
        if index.applied() != end {
            return Err(OpenOwnerError::NotAtEnd { index: index.applied(), log: end });
        }
        let index = Arc::new(index);
        let salt = EpochSalt::from_random(sources.array());
        let (openers, sealer) = match &keys {
            Some(keys) => {
                let (metadata, filesystem) = (keys.metadata(), keys.filesystem());
                let salts = index.salts()?.into_iter().map(|(epoch, salt, _)| (epoch, salt));
                let openers = Openers::new(metadata, filesystem, SHARD, salts.chain([(epoch, salt)]));
                let sealer = OwnershipSealer::new(metadata, filesystem, SHARD, epoch, salt);
                (openers, Sealer::new(sealer, salt))
            }
            None => (Openers::default(), Sealer::without_keys(epoch, salt)),
        };
        let rows = Rows::new(Arc::clone(&index), openers, end.seq + 1);
        let (committer, worker) = Committer::new(rows, index, log, sealer);
        let owner = Owner {
            lease,
            keys,
            sources,
            settings,
            committer,
            coherence: Mutex::new(Leases::new(epoch, [], Instant::now().into_std())),
            coherence_changes: weft_watch::Sender::new(0),
            leases: Default::default(),
            attended: Default::default(),
            locks: Locks::new(epoch),
            work: Default::default(),
            dropping: Default::default(),
            deleting,
            operations: Default::default(),
            garbage: Default::default(),
            care: Default::default(),
            acted_on: Default::default(),
        };
        owner.format_if_new()?;
        owner.renew_all()?;
        // What a crash has left.
        owner.work.notify_one();
        Ok(Opened { owner, worker })
    }
}

impl Owner {
    fn format_if_new(&self) -> Result<(), OpenOwnerError> {
        let Some(keys) = self.keys.as_ref() else { return Ok(()) };
        if self.read(|tx| tx.get(&RowKey::Counters))?.is_some() {
            return Ok(());
        }
        // Nothing that is made here has to do with a session, or with where data lies.
        let groups = View { map: None, space: None };
        let mut context = Context {
            now: self.now(),
            caller: Caller::default(),
            session: SessionId::from_bytes([0; 16]),
            users: &[],
            filesystem: self.filesystem(),
            names: keys,
            keys,
            groups: &groups,
            space: NO_SPACE,
        };
        self.change(|tx| format(tx, &mut context))?;
        Ok(())
    }
}
