//! What an extent needs so that all its shards lie by the present membership of its group. Pure.

use weft_layout::{ClusterMap, DriveState, PlacementGroup};
use weft_meta::ExtentRow;
use weft_types::{DriveId, Epoch, ExtentId, ShardIndex};

use super::homes::lists_since;

/// What an extent needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: its row names the present membership.
    Settled,
    /// Its row is to name this epoch, by which its shards lie already.
    Rehome(Epoch),
    /// These shards are to be copied or found at their new homes; then its row is to name the epoch.
    Copy(Epoch, Vec<ShardMove>),
    /// It stays where it is for now: of some shard no copy can be read, or a new home does not take it. To build the shard
    /// from the rest of its stripe would be the way on.
    Stuck,
}

/// One shard that has another home now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardMove {
    /// Which shard.
    pub(super) index: ShardIndex,
    /// Where it should be.
    pub(super) to: DriveId,
    /// Who may have it, the likeliest first.
    pub(super) from: Vec<DriveId>,
}

/// What an extent needs under this map.
pub(super) fn plan(map: &ClusterMap, id: ExtentId, row: &ExtentRow) -> Plan {
    let Some(group) = map.group(row.group) else { return Plan::Stuck };
    if row.group_epoch >= group.epoch {
        return Plan::Settled;
    }
    let Some(old) = group.members_at(row.group_epoch) else { return Plan::Stuck };
    let mut moves = Vec::new();
    for (index, slot) in row.geometry.holders(id.seq) {
        let (Some(was), Some(to)) = (old.get(slot.get()), group.members.get(slot.get())) else {
            return Plan::Stuck;
        };
        // A drive that lost shards may have lost this one.
        if was == to && lost_nothing(map, *to) {
            continue;
        }
        let from = sources(map, group, row.group_epoch, slot.get(), *to);
        if from.is_empty() || !takes(map, *to) {
            return Plan::Stuck;
        }
        moves.push(ShardMove { index, to: *to, from });
    }
    if moves.is_empty() { Plan::Rehome(group.epoch) } else { Plan::Copy(group.epoch, moves) }
}

/// Drives that may have the shard of a group slot: by the list of the extent's row first, then by later ones; its new
/// home last, where an earlier attempt may have put it.
fn sources(map: &ClusterMap, group: &PlacementGroup, epoch: Epoch, slot: usize, to: DriveId) -> Vec<DriveId> {
    let mut lists: Vec<_> = lists_since(group, epoch).into_iter().flatten().collect();
    lists.reverse();
    let mut from: Vec<DriveId> = Vec::new();
    for drive in lists.into_iter().filter_map(|(_, members)| members.get(slot)) {
        if *drive != to && !from.contains(drive) && answers(map, *drive) {
            from.push(*drive);
        }
    }
    // With nobody else to ask, all depends on what the new home says.
    if from.is_empty()
        && lists_since(group, epoch).is_some_and(|mut lists| {
            lists.any(|(listed, members)| listed < group.epoch && members.get(slot) == Some(&to))
        })
    {
        from.push(to);
    }
    from
}

fn answers(map: &ClusterMap, drive: DriveId) -> bool {
    map.drive(drive).is_some_and(|drive| drive.state != DriveState::Down)
}

fn takes(map: &ClusterMap, drive: DriveId) -> bool {
    map.drive(drive).is_some_and(|drive| drive.state == DriveState::Up)
}

fn lost_nothing(map: &ClusterMap, drive: DriveId) -> bool {
    map.drive(drive).is_some_and(|drive| drive.missing == 0)
}

#[cfg(test)]
mod tests {
    use weft_types::{ExtentSeq, SessionId};

    use super::*;
    use crate::care::tests::{drive_id, first_map, regroup, row};

    const ID: ExtentId = ExtentId { session: SessionId::from_bytes([1; 16]), seq: ExtentSeq::new(0) };

    fn set(map: &mut ClusterMap, n: u8, change: impl FnOnce(&mut weft_layout::DriveEntry)) {
        change(map.drives.iter_mut().find(|drive| drive.id == drive_id(n)).expect("is there"));
    }

    #[test]
    fn only_shards_with_another_home_move() {
        let mut map = first_map(8);
        assert_eq!(plan(&map, ID, &row(1)), Plan::Settled);
        regroup(&mut map, &[1, 2, 7, 4, 5, 6]);
        let one = |from: &[u8]| {
            let from = from.iter().map(|n| drive_id(*n)).collect();
            let moves = vec![ShardMove { index: ShardIndex::new(2), to: map.groups[0].members[2], from }];
            Plan::Copy(map.groups[0].epoch, moves)
        };
        assert_eq!(plan(&map, ID, &row(1)), one(&[3]));
        assert_eq!(plan(&map, ID, &row(2)), Plan::Settled);
        regroup(&mut map, &[1, 2, 8, 4, 5, 6]);
        let moves = |epoch| match plan(&map, ID, &row(epoch)) {
            Plan::Copy(_, moves) => moves[0].from.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(moves(1), [drive_id(3), drive_id(7)], "where its row says first");
        assert_eq!(moves(2), [drive_id(7)]);
        assert_eq!(plan(&map, ID, &row(9)), Plan::Settled, "it was written by a newer map");
    }

    #[test]
    fn what_has_no_copy_that_answers_or_no_home_that_takes_it_is_stuck() {
        let mut map = first_map(8);
        regroup(&mut map, &[1, 2, 7, 4, 5, 6]);
        let change = |n, state| {
            let mut map = map.clone();
            set(&mut map, n, |drive| drive.state = state);
            plan(&map, ID, &row(1))
        };
        assert_eq!(change(3, DriveState::Down), Plan::Stuck);
        assert_eq!(change(7, DriveState::Returning), Plan::Stuck);
        assert!(matches!(change(3, DriveState::Draining), Plan::Copy(..)));
        assert!(matches!(change(5, DriveState::Down), Plan::Copy(..)), "it has its shard already");
        map.groups[0].history.clear();
        assert_eq!(plan(&map, ID, &row(1)), Plan::Stuck, "nobody knows where it is");
    }

    #[test]
    fn a_home_that_lost_shards_is_asked_before_it_counts() {
        let mut map = first_map(8);
        regroup(&mut map, &[1, 2, 7, 4, 5, 6]);
        regroup(&mut map, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(plan(&map, ID, &row(1)), Plan::Rehome(map.groups[0].epoch));
        set(&mut map, 3, |drive| drive.missing = 1);
        let Plan::Copy(_, moves) = plan(&map, ID, &row(1)) else { panic!("it may have lost this one") };
        assert_eq!((moves[0].to, moves[0].from.as_slice()), (drive_id(3), &[drive_id(7)][..]));
    }
}
