//! One call to one drive: sealing it, putting a record, ridding it of void records.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use weft_types::{Epoch, Position};
use weft_wire::grant::SignedGrant;
use weft_wire::log::{LogHeld, LogRefusal, PutLog, SealLog, TrimLog};
use weft_wire::ownership::{DriveGrant, DriveHome};

use super::ReplicatedLog;
use crate::{DriveCallError, LogDrives, ShardRegistry, SwapError};

/// Why a drive did not do its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was sealed by a later ownership.
    Deposed(Epoch),
    /// It has no room.
    NoSpace,
    /// It does not answer in time.
    Silent(String),
    /// It holds what must not be there, or cannot write, or has no grant: another drive is better.
    Unfit(String),
}

impl From<DriveCallError<LogRefusal>> for Failure {
    fn from(error: DriveCallError<LogRefusal>) -> Self {
        match error {
            DriveCallError::Unreachable(reason) => Self::Silent(reason),
            DriveCallError::Refused(LogRefusal::Deposed { by }) => Self::Deposed(by),
            DriveCallError::Refused(LogRefusal::NoSpace) => Self::NoSpace,
            DriveCallError::Refused(refusal) => Self::Unfit(refusal.to_string()),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deposed(by) => write!(f, "sealed by ownership epoch {by}"),
            Self::NoSpace => f.write_str("the drive is full"),
            Self::Silent(reason) | Self::Unfit(reason) => f.write_str(reason),
        }
    }
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    pub(super) fn take_grants(&self, grants: Vec<DriveGrant>) {
        self.state().grants.extend(grants.into_iter().map(|grant| (grant.home, grant.grant)));
    }

    /// A call within its time.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, DriveCallError<LogRefusal>>> + Send,
    ) -> Result<T, Failure> {
        match timeout(self.settings.call, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let failure = Failure::from(error);
                if let Failure::Deposed(by) = failure {
                    self.depose(by);
                }
                Err(failure)
            }
            Err(_) => Err(Failure::Silent("no answer in time".to_owned())),
        }
    }

    async fn grant(&self, home: DriveHome) -> Result<SignedGrant, Failure> {
        if let Some(grant) = self.state().grants.get(&home) {
            return Ok(grant.clone());
        }
        match timeout(self.settings.call, self.registry.row()).await {
            Ok(Ok(reply)) => self.take_grants(reply.grants),
            Ok(Err(SwapError::Deposed { by })) => {
                self.depose(by);
                return Err(Failure::Deposed(by));
            }
            Ok(Err(error)) => return Err(Failure::Silent(error.to_string())),
            Err(_) => return Err(Failure::Silent("management gives no grant in time".to_owned())),
        }
        let grant = self.state().grants.get(&home).cloned();
        grant.ok_or_else(|| Failure::Unfit("management gives no grant for it".to_owned()))
    }

    /// Seals a drive now, and learns what it holds now.
    pub(super) async fn seal_again(&self, home: DriveHome) -> Result<LogHeld, Failure> {
        let grant = self.grant(home).await?;
        let held = self.within(self.drives.seal(home, SealLog { grant })).await?;
        self.state().sealed.entry(home).or_insert(held);
        Ok(held)
    }

    /// Sees to it that this ownership has sealed a drive. Answers what the drive held when it was first sealed.
    pub(super) async fn seal(&self, home: DriveHome) -> Result<LogHeld, Failure> {
        let known = self.state().sealed.get(&home).copied();
        match known {
            Some(held) => Ok(held),
            None => self.seal_again(home).await,
        }
    }

    /// Deletes records of earlier ownerships after a sequence.
    pub(super) async fn void(&self, home: DriveHome, after: u64) -> Result<(), Failure> {
        let call = TrimLog { log: self.key, epoch: self.epoch, up_to: 0, void_after: Some(after) };
        self.within(self.drives.trim(home, call)).await
    }

    /// Makes a drive ready to hold records from `first` on that does not hold any that are needed there.
    pub(super) async fn prepare(&self, home: DriveHome, first: u64) -> Result<(), Failure> {
        let held = self.seal(home).await?;
        if held.last.is_some_and(|last| last.seq >= first) {
            self.void(home, first - 1).await?;
        }
        Ok(())
    }

    /// Puts one record on one drive. Answers whether room is short there.
    pub(super) async fn put(
        &self,
        home: DriveHome,
        position: Position,
        record: Bytes,
    ) -> Result<bool, Failure> {
        self.seal(home).await?;
        let call = PutLog { log: self.key, epoch: self.epoch, position };
        let first = timeout(self.settings.call, self.drives.put(home, call, record.clone())).await;
        if !matches!(first, Ok(Err(DriveCallError::Refused(LogRefusal::NotGranted)))) {
            let answer =
                first.unwrap_or_else(|_| Err(DriveCallError::Unreachable("no answer in time".to_owned())));
            return self.within(std::future::ready(answer)).await.map(|stored| stored.tight);
        }
        // The drive came back without the grant.
        self.seal_again(home).await?;
        self.within(self.drives.put(home, call, record)).await.map(|stored| stored.tight)
    }

    /// Notes that a drive failed.
    pub(super) fn shun(&self, home: DriveHome, failure: &Failure) {
        let until = Instant::now() + self.settings.shun;
        self.state().shunned.insert(home, (until, *failure == Failure::NoSpace));
        tracing::warn!(shard = %self.key.shard, drive = %home.drive, reason = %failure, "a drive of the log is left");
    }

    /// Drives that are not to be chosen now; with `only_full` those alone that have no room.
    pub(super) fn shunned(&self, only_full: bool) -> BTreeSet<DriveHome> {
        let now = Instant::now();
        let mut state = self.state();
        state.shunned.retain(|_, (until, _)| *until > now);
        state.shunned.iter().filter(|(_, (_, full))| *full || !only_full).map(|(home, _)| *home).collect()
    }
}
