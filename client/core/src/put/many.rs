//! Many short extents, sealed together and stored with the members of one group by one call for each drive.
//!
//! That is a shortcut: what a drive has not taken by it, for whatever reason, is placed extent by extent.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use weft_layout::PlacementGroup;
use weft_types::{DriveId, ShardIndex};
use weft_wire::drive::{PUT_MAX, PutShard};

use super::placing::{Placing, is_the_drives_fault};
use super::{Stored, WritingKey};
use crate::dirty::Piece;
use crate::{Core, FsError};

/// Pieces up to this length go together with others.
pub(crate) const SHORT_BYTES: u64 = 64 << 10;
/// So many of them.
pub(crate) const MANY: usize = PUT_MAX;
/// Of so many bytes; a drive gets no more than these with their tags.
pub(crate) const MANY_BYTES: u64 = 2 << 20;
/// How long the drives are waited for together.
const TOGETHER: Duration = Duration::from_secs(4);
/// Drives that take longer may be ones that another map has replaced.
const LATE: Duration = Duration::from_secs(1);

impl Core {
    /// As [`put_extent`](Self::put_extent) of each piece. `memory` is what all of them take; there are at most [`MANY`],
    /// of [`MANY_BYTES`].
    pub(crate) async fn put_extents(
        self: &Arc<Self>,
        pieces: Vec<(Piece, WritingKey)>,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Vec<Result<Stored, FsError>> {
        let count = pieces.len();
        let all = |error: FsError| (0..count).map(|_| Err(error)).collect();
        let Some(group) = self.cluster.choose_group(&[]) else { return all(FsError::NoSpace) };
        let mut stored = match self.seal(pieces, &group, memory).await {
            Ok(stored) => stored,
            Err(error) => return all(error),
        };
        if self.cluster.is_whole_now(&group) {
            self.put_together(&mut stored, &group).await;
        }
        // All at once: a drive that takes nothing is waited for once, and not where another group has none such.
        let other = stored.iter().any(|stored| !stored.is_with(&group));
        let other = other.then(|| self.cluster.choose_instead(group.id)).flatten();
        let other = other.filter(|_| !self.cluster.is_whole_now(&group)).unwrap_or_else(|| group.clone());
        let place = |mut stored: Stored| async {
            if !stored.is_with(&group) {
                Placing::new(self, &mut stored, other.clone()).run().await?;
            }
            Ok(stored)
        };
        join_all(stored.into_iter().map(place)).await
    }

    /// Puts what each member is to hold by one call, and notes which have answered.
    async fn put_together(self: &Arc<Self>, stored: &mut [Stored], group: &PlacementGroup) {
        let mut calls = BTreeMap::<DriveId, Vec<(PutShard, Bytes)>>::new();
        for stored in &*stored {
            for (index, drive) in stored.holders(group) {
                let call = PutShard { header: stored.header(self, index) };
                calls.entry(drive).or_default().push((call, stored.sealed.shards[index.get()].clone()));
            }
        }
        let mut puts: FuturesUnordered<_> = calls
            .into_iter()
            .map(
                |(drive, shards)| async move { (drive, self.grants.put_many(drive, shards, TOGETHER).await) },
            )
            .collect();
        let Some(session) = stored.first().map(|stored| stored.extent.session) else { return };
        let mut map = self.cluster.subscribe();
        map.mark_unchanged();
        let (late, mut asking) = (Instant::now() + LATE, None);
        loop {
            tokio::select! {
                biased;
                put = puts.next() => match put {
                    None => return,
                    Some((drive, Ok(()))) => {
                        self.cluster.trust(drive);
                        for stored in &mut *stored {
                            stored.acknowledge(group, drive);
                        }
                    }
                    Some((drive, Err(failure))) => {
                        tracing::debug!(%drive, ?failure, "shards were not stored together");
                        if is_the_drives_fault(&failure) {
                            self.cluster.suspect(drive);
                        }
                    }
                },
                // Others hold the group by now, or a member is known to be down.
                _ = map.changed() => if !self.cluster.is_whole_now(group) { return },
                () = sleep_until(late), if asking.is_none() => asking = Some(self.cluster.ask()),
                () = self.session.over(session) => return,
            }
        }
    }
}

impl Stored {
    /// Which shard each member is to hold.
    fn holders<'a>(
        &self,
        group: &'a PlacementGroup,
    ) -> impl Iterator<Item = (ShardIndex, DriveId)> + use<'a> {
        let holders = self.sealed.geometry.holders(self.extent.seq);
        // A map is checked to name as many members as the code has shards.
        holders.filter_map(|(index, slot)| Some((index, *group.members.get(slot.get())?)))
    }

    fn acknowledge(&mut self, group: &PlacementGroup, drive: DriveId) {
        let held: Vec<_> = self.holders(group).filter(|(_, holder)| *holder == drive).collect();
        self.acks.extend(held);
    }

    fn is_with(&self, group: &PlacementGroup) -> bool {
        self.holders(group).all(|holder| self.acks.contains(&holder))
    }
}
