//! Where the extents of a shard lie, counted. Pure.

use std::collections::BTreeMap;

use weft_layout::{ClusterMap, PlacementGroup};
use weft_meta::ExtentRow;
use weft_types::{Epoch, GroupId};
use weft_wire::ownership::GroupFloor;

/// Extents that lie by an earlier membership of their group, by group and epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Survey {
    behind: BTreeMap<(GroupId, Epoch), u64>,
}

impl Survey {
    /// Counts an extent.
    pub(super) fn see(&mut self, map: &ClusterMap, row: &ExtentRow) {
        if map.group(row.group).is_none_or(|group| row.group_epoch < group.epoch) {
            *self.behind.entry((row.group, row.group_epoch)).or_default() += 1;
        }
    }

    /// One that was counted lies by the present membership now.
    pub(super) fn moved(&mut self, group: GroupId, from: Epoch) {
        if let Some(count) = self.behind.get_mut(&(group, from)) {
            *count -= 1;
            if *count == 0 {
                self.behind.remove(&(group, from));
            }
        }
    }

    /// How many lie by an earlier membership.
    pub(super) fn left(&self) -> u64 {
        self.behind.values().sum()
    }

    /// For every group with a history, the oldest membership that extents lie by.
    pub(super) fn floors(&self, map: &ClusterMap) -> Vec<GroupFloor> {
        let changed = map.groups.iter().filter(|group| !group.history.is_empty());
        changed.map(|group| GroupFloor { group: group.id, epoch: self.floor(group) }).collect()
    }

    fn floor(&self, group: &PlacementGroup) -> Epoch {
        let oldest = self.behind.range((group.id, Epoch::new(0))..=(group.id, group.epoch)).next();
        oldest.map_or(group.epoch, |((_, epoch), _)| *epoch)
    }

    /// The memberships that extents are to be moved from, those first whose extents survive the fewest losses.
    pub(super) fn by_risk(&self, map: &ClusterMap) -> BTreeMap<Option<u8>, Vec<(GroupId, Epoch)>> {
        let mut levels: BTreeMap<Option<u8>, Vec<(GroupId, Epoch)>> = BTreeMap::new();
        for (id, epoch) in self.behind.keys() {
            let group = map.group(*id);
            let Some(members) = group.and_then(|group| group.members_at(*epoch)) else { continue };
            let group =
                PlacementGroup { id: *id, epoch: *epoch, members: members.to_vec(), history: Vec::new() };
            levels.entry(map.losses_survived(&group)).or_default().push((*id, *epoch));
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::care::tests::{GROUP, first_map, regroup, row};

    #[test]
    fn those_that_survive_the_fewest_losses_come_first() {
        let mut map = first_map(8);
        regroup(&mut map, &[1, 2, 3, 4, 1, 2]);
        regroup(&mut map, &[1, 2, 3, 4, 5, 7]);
        let mut survey = Survey::default();
        (1..=3).for_each(|epoch| survey.see(&map, &row(epoch)));
        assert_eq!(survey.left(), 2, "the present membership is not behind");
        let levels: Vec<_> = survey.by_risk(&map).into_iter().collect();
        let list = |epoch| vec![(GROUP, Epoch::new(epoch))];
        assert_eq!(levels, [(Some(1), list(2)), (Some(2), list(1))]);
    }

    #[test]
    fn the_floor_is_the_oldest_membership_that_is_left() {
        let mut map = first_map(8);
        assert_eq!(Survey::default().floors(&map), [], "a group without a history has none");
        regroup(&mut map, &[1, 2, 3, 4, 5, 7]);
        regroup(&mut map, &[1, 2, 3, 4, 8, 7]);
        let mut survey = Survey::default();
        let floor = |survey: &Survey| survey.floors(&map)[0].epoch.get();
        [2, 1, 3, 2].into_iter().for_each(|epoch| survey.see(&map, &row(epoch)));
        assert_eq!(floor(&survey), 1);
        survey.moved(GROUP, Epoch::new(1));
        survey.moved(GROUP, Epoch::new(2));
        assert_eq!(floor(&survey), 2);
        survey.moved(GROUP, Epoch::new(2));
        assert_eq!(floor(&survey), 3);
    }
}
