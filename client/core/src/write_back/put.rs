//! One extent to its N+M drives.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use weft_keys::DataKey;
use weft_layout::{Geometry, PlacementGroup};
use weft_types::{ByteCount, DataKeyId, DriveId, ExtentId, ExtentSeq, FileOffset, ShardIndex};
use weft_wire::drive::{PutRefusal, PutShard, ShardHeader, ShardKey};
use weft_wire::meta::NewExtent;

use crate::backend::Failure;
use crate::dirty::Piece;
use crate::seal::{SealedExtent, seal};
use crate::{Core, FsError};

/// One attempt to store a shard.
const ATTEMPT: Duration = Duration::from_secs(10);
/// After this an extent's bytes go back to the dirty ones.
const GIVE_UP: Duration = Duration::from_secs(25);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longer pieces are sealed on a thread of their own.
const SEAL_HERE_MAX: usize = 128 << 10;

impl Core {
    /// Seals a piece under a fresh id and stores its shards; all of them are durable when answered.
    pub(super) async fn put_extent(
        self: &Arc<Self>,
        piece: Piece,
        id: DataKeyId,
        key: &Arc<DataKey>,
    ) -> Result<NewExtent, FsError> {
        let protection = self.cluster.view().protection();
        let geometry = Geometry::new(protection, ByteCount::new(piece.data.len() as u64))
            .map_err(|_| FsError::Protocol)?;
        let stored = u32::try_from(geometry.stored_bytes().get()).unwrap_or(u32::MAX);
        let _held = self.memory.sealed.hold(stored).await;
        let seq = ExtentSeq::new(self.next_extent.fetch_add(1, Ordering::Relaxed));
        let extent = ExtentId { session: self.session.id(), seq };
        let offset = FileOffset::new(piece.offset);
        let sealed = self.seal(piece.data, extent, geometry, key).await?;
        let group = self.put_shards(extent, &sealed).await?;
        let (group, group_epoch) = (group.id, group.epoch);
        Ok(NewExtent { offset, extent, geometry, group, group_epoch, key: id })
    }

    async fn seal(
        &self,
        plaintext: Bytes,
        extent: ExtentId,
        geometry: Geometry,
        key: &Arc<DataKey>,
    ) -> Result<SealedExtent, FsError> {
        let (codecs, key) = (Arc::clone(&self.fetcher.codecs), Arc::clone(key));
        let filesystem = self.session.filesystem();
        let short = plaintext.len() <= SEAL_HERE_MAX;
        let work = move || {
            codecs.with(geometry, |codec| seal(codec, &key, filesystem, extent, geometry, &plaintext))
        };
        if short {
            return work();
        }
        self.runtime.spawn_blocking(work).await.map_err(|_| FsError::SessionEnded)?
    }

    /// Stores the shards with the members of a group. Failed puts are tried again with the same bytes under the
    /// same id; when the group changes or a member is gone, with the new members.
    async fn put_shards(&self, extent: ExtentId, sealed: &SealedExtent) -> Result<PlacementGroup, FsError> {
        let begun = Instant::now();
        let mut pause = PAUSE_MIN;
        let mut acks: Vec<Option<DriveId>> = vec![None; sealed.shards.len()];
        let mut group = self.cluster.choose_group().ok_or(FsError::NoSpace)?;
        loop {
            let error = match self.put_missing(extent, sealed, &group, &mut acks).await {
                Ok(()) => return Ok(group),
                Err(error @ (FsError::NoSpace | FsError::Protocol)) => return Err(error),
                Err(error) => error,
            };
            if self.session.has_ended() {
                return Err(FsError::SessionEnded);
            }
            if begun.elapsed() > GIVE_UP {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            group = self.cluster.choose_again(group.id).ok_or(FsError::NoSpace)?;
        }
    }

    /// One round: all shards that their present holder has not acknowledged.
    async fn put_missing(
        &self,
        extent: ExtentId,
        sealed: &SealedExtent,
        group: &PlacementGroup,
        acks: &mut [Option<DriveId>],
    ) -> Result<(), FsError> {
        let mut puts = JoinSet::new();
        for (shard, slot) in sealed.geometry.holders(extent.seq) {
            let drive = *group.members.get(slot.get()).ok_or(FsError::Protocol)?;
            if acks[shard.get()] != Some(drive) {
                let header = self.header(extent, shard, sealed, group);
                let bytes = sealed.shards[shard.get()].clone();
                let put = self.backend.put(drive, PutShard { header }, bytes, ATTEMPT);
                puts.spawn(async move { (shard, drive, put.await) });
            }
        }
        let mut worst = None;
        while let Some(put) = puts.join_next().await {
            let (shard, drive, outcome) = put.map_err(|_| FsError::SessionEnded)?;
            match outcome {
                Ok(_) => {
                    self.cluster.trust(drive);
                    acks[shard.get()] = Some(drive);
                }
                Err(failure) => {
                    tracing::debug!(%drive, %extent, %shard, ?failure, "a shard was not stored");
                    worst = worst.max(Some(Severity::of(&failure)));
                    if !matches!(failure, Failure::Busy | Failure::Refused(PutRefusal::NoSpace)) {
                        self.cluster.suspect(drive);
                    }
                }
            }
        }
        worst.map_or(Ok(()), |worst| Err(worst.error()))
    }

    fn header(
        &self,
        extent: ExtentId,
        index: ShardIndex,
        sealed: &SealedExtent,
        group: &PlacementGroup,
    ) -> ShardHeader {
        ShardHeader {
            key: ShardKey { extent, index },
            filesystem: self.session.filesystem(),
            geometry: sealed.geometry,
            group: group.id,
            group_epoch: group.epoch,
            digests: sealed.digests.clone(),
        }
    }
}

/// What a failed put means for the extent; the worst of a round counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    TimedOut,
    Unreachable,
    NoSpace,
    Wrong,
}

impl Severity {
    const fn of(failure: &Failure<PutRefusal>) -> Self {
        match failure {
            Failure::TimedOut => Self::TimedOut,
            Failure::Busy | Failure::Unreachable | Failure::Refused(PutRefusal::Device) => Self::Unreachable,
            Failure::Refused(PutRefusal::NoSpace) => Self::NoSpace,
            Failure::Broken
            | Failure::Refused(PutRefusal::Conflict | PutRefusal::DigestMismatch | PutRefusal::Malformed) => {
                Self::Wrong
            }
        }
    }

    const fn error(self) -> FsError {
        match self {
            Self::TimedOut => FsError::TimedOut,
            Self::Unreachable => FsError::Unreachable,
            Self::NoSpace => FsError::NoSpace,
            Self::Wrong => FsError::Protocol,
        }
    }
}
