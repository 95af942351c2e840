//! Where shards of an extent may be. Pure.

use std::collections::BTreeSet;

use weft_layout::{ClusterMap, DriveEntry, PlacementGroup};
use weft_meta::ExtentRow;
use weft_types::{DriveId, Epoch, ExtentId};
use weft_wire::drive::ShardKey;
use weft_wire::ownership::DriveHome;

/// A drive of the map, as it is now.
pub(super) const fn home(drive: &DriveEntry) -> DriveHome {
    DriveHome { drive: drive.id, incarnation: drive.incarnation }
}

/// All places where any list of its group puts a stored shard of an extent; `None` when the map does not
/// know the group, or not yet as the extent was written to it.
pub(super) fn everywhere(
    map: &ClusterMap,
    id: ExtentId,
    row: &ExtentRow,
) -> Option<BTreeSet<(DriveId, ShardKey)>> {
    // With a newer map there are homes that this one does not name.
    let group = map.group(row.group).filter(|group| group.epoch >= row.group_epoch)?;
    let protection = row.geometry.protection();
    let mut homes = BTreeSet::new();
    for index in row.geometry.stored_shards() {
        let drives = group.holder(protection, index, id.seq).into_iter();
        let drives = drives.chain(group.earlier_holders(protection, index, id.seq));
        homes.extend(drives.map(|drive| (drive, ShardKey { extent: id, index })));
    }
    Some(homes)
}

/// The lists of a group from an epoch on, the newest first; `None` when that epoch's own is not known.
pub(super) fn lists_since(
    group: &PlacementGroup,
    epoch: Epoch,
) -> Option<impl Iterator<Item = (Epoch, &[DriveId])>> {
    group.members_at(epoch)?;
    let present = [(group.epoch, group.members.as_slice())].into_iter();
    let earlier = group.history.iter().map(|earlier| (earlier.epoch, earlier.members.as_slice()));
    Some(present.chain(earlier).take_while(move |(listed, _)| *listed >= epoch))
}

/// Whether a drive may be where a shard lies, by the membership that the extent's row names or a later one; `None` when
/// the map does not say.
pub(super) fn may_hold(map: &ClusterMap, drive: DriveId, key: ShardKey, row: &ExtentRow) -> Option<bool> {
    let group = map.group(row.group)?;
    let mut lists = lists_since(group, row.group_epoch)?;
    if row.geometry.shard_len(key.index) == 0 {
        return Some(false);
    }
    let slot = row.geometry.protection().group_slot(key.index, key.extent.seq).get();
    Some(lists.any(|(_, members)| members.get(slot) == Some(&drive)))
}

/// The shards of an extent that a drive should hold by the membership that the extent's row names.
pub(super) fn expected_at(map: &ClusterMap, drive: DriveId, id: ExtentId, row: &ExtentRow) -> Vec<ShardKey> {
    let members = map.group(row.group).and_then(|group| group.members_at(row.group_epoch));
    let Some(members) = members else { return Vec::new() };
    let here = row.geometry.holders(id.seq).filter(|(_, slot)| members.get(slot.get()) == Some(&drive));
    here.map(|(index, _)| ShardKey { extent: id, index }).collect()
}
