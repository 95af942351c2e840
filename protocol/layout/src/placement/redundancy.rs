//! Who holds a shard, and how many losses its group survives.

use std::collections::{BTreeMap, BTreeSet};

use weft_types::{DriveId, ExtentSeq, ShardIndex};

use crate::{ClusterMap, DriveState, PlacementGroup, Protection};

impl PlacementGroup {
    /// The present holder of a shard of extent `seq`; `None` for an index that the protection does not have.
    pub fn holder(&self, protection: Protection, shard: ShardIndex, seq: ExtentSeq) -> Option<DriveId> {
        if shard.to_byte() >= protection.width() {
            return None;
        }
        self.members.get(protection.group_slot(shard, seq).get()).copied()
    }

    /// Earlier holders of a shard of extent `seq`, latest first, for a reader that misses it at the present one. A
    /// drive may stand there twice, be the present one again, or have left the map.
    pub fn earlier_holders(
        &self,
        protection: Protection,
        shard: ShardIndex,
        seq: ExtentSeq,
    ) -> impl Iterator<Item = DriveId> + '_ {
        let slot = protection.group_slot(shard, seq).get();
        self.history.iter().filter_map(move |earlier| earlier.members.get(slot).copied())
    }
}

impl ClusterMap {
    /// Failure domains with a drive that is up.
    pub fn healthy_domains(&self) -> usize {
        let up = self.drives.iter().filter(|drive| drive.state == DriveState::Up);
        up.map(|drive| drive.failure_domain.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// How many more failure domains may be lost, whichever they are, before data is lost: of every group, wherever its
    /// shards may be, now and by every earlier list that is not proven empty. `None` when some data is unreachable.
    pub fn losses_survived_by_all(&self) -> Option<u8> {
        let earlier = |group: &PlacementGroup| {
            group
                .history
                .iter()
                .map(|earlier| self.losses_of(&earlier.members))
                .min()
                .unwrap_or(Some(u8::MAX))
        };
        self.groups.iter().map(|group| self.losses_survived(group).min(earlier(group))).min().flatten()
    }

    /// How many more failure domains a group may lose, whichever they are, before data is lost, provided that
    /// every shard is at its present home. A member that is down, returning, without some of its shards, or gone from
    /// the map counts as lost already; `None` when more than M are.
    pub fn losses_survived(&self, group: &PlacementGroup) -> Option<u8> {
        self.losses_of(&group.members)
    }

    fn losses_of(&self, members: &[DriveId]) -> Option<u8> {
        let mut shards: BTreeMap<&str, u8> = BTreeMap::new();
        for member in members {
            let drive = self.drive(*member).filter(|drive| drive.counts());
            if let Some(drive) = drive {
                let count = shards.entry(&drive.failure_domain).or_default();
                *count = count.saturating_add(1);
            }
        }
        let living = shards.values().map(|count| usize::from(*count)).sum::<usize>();
        let mut spare = living.checked_sub(self.protection.data().into())?;
        let mut counts: Vec<usize> = shards.into_values().map(usize::from).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let survived = counts.into_iter().take_while(|count| {
            let enough = *count <= spare;
            spare = spare.saturating_sub(*count);
            enough
        });
        u8::try_from(survived.count()).ok()
    }
}
