//! From a map and the health of its drives to the next map.

use std::collections::BTreeMap;

use weft_types::{DriveId, Epoch, GroupId};

use super::{MAX_GROUPS, MAX_HISTORY, MapError};
use crate::{ClusterMap, DriveState, GroupSlot, Membership, PlacementGroup, Protection};

mod board;

use board::Board;

/// Placement groups formed for each drive: enough that a drive's load is even to a few per cent and its rebuild
/// is shared by many, few enough that the map stays small.
pub const GROUPS_PER_DRIVE: usize = 8;

/// Why a shard gets another home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum MoveReason {
    /// The drive is down.
    #[n(0)]
    DriveDown,
    /// The drive is being emptied.
    #[n(1)]
    DriveDraining,
    /// The drive has left the map.
    #[n(2)]
    DriveRemoved,
    /// The group had several shards in one failure domain while another had room.
    #[n(3)]
    Respread,
    /// The drive held more than its share.
    #[n(4)]
    Balance,
}

impl MoveReason {
    /// The words for output.
    pub const fn words(self) -> &'static str {
        match self {
            Self::DriveDown => "drive is down",
            Self::DriveDraining => "drive is draining",
            Self::DriveRemoved => "drive was removed",
            Self::Respread => "failure domain held several shards",
            Self::Balance => "drive held more than its share",
        }
    }
}

impl std::fmt::Display for MoveReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// One slot of a group that changes hands: all shards in it are to be rebuilt or copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Move {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The slot in it.
    #[n(1)]
    pub slot: GroupSlot,
    /// Who held it.
    #[n(2)]
    pub from: DriveId,
    /// Who holds it from now on.
    #[n(3)]
    pub to: DriveId,
    /// Why.
    #[n(4)]
    pub reason: MoveReason,
}

/// What [`place`] decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The next map; the same map, version included, when nothing changes.
    pub map: ClusterMap,
    /// The slots that change hands, by group and slot. Empty when groups are formed: they hold nothing yet.
    pub moves: Vec<Move>,
    /// Groups that stay as they are although members of them are not up: they have [`MAX_HISTORY`] earlier lists that
    /// are not proven empty.
    pub held_back: Vec<GroupId>,
}

/// Why there is no placement. The present map stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The map is not one to start from.
    #[error("placement cannot start from this map")]
    Map(#[from] MapError),
    /// Too few failure domains to form groups, each shard in one of its own.
    #[error(
        "protection {protection} needs {} failure domains ({} data + {} parity shards, each in its own); {healthy} have a drive that is up",
        protection.width(), protection.data(), protection.parity()
    )]
    TooFewToForm {
        /// The protection.
        protection: Protection,
        /// Failure domains with a drive that is up.
        healthy: usize,
    },
    /// Too few failure domains to keep full stripes even with several shards in one.
    #[error(
        "protection {protection} needs {} healthy failure domains ({} shards, at most {} in one domain); {healthy} have a drive that is up",
        protection.domains_min_for_writes(), protection.width(), protection.max_shards_per_domain()
    )]
    TooFewToServe {
        /// The protection.
        protection: Protection,
        /// Failure domains with a drive that is up.
        healthy: usize,
    },
}

/// The next map: groups over drives that are up, each shard of a group in a failure domain of its own while there
/// are enough, load in proportion to capacity, and nobody moved without a reason.
///
/// - Without groups: forms [`GROUPS_PER_DRIVE`] for each drive that is up. Needs N+M failure domains.
/// - With groups: members that are down, draining or gone are replaced; groups with several shards in one failure
///   domain are spread again as far as domains allow; then slots move from the fullest drives, in
///   proportion to capacity, to the emptiest, while that makes the load more even. What can stay, stays, and a
///   drive that held a slot before is preferred for it, since its shards are there. While fewer than N+M
///   failure domains are healthy, groups put several shards into one, evenly, never above
///   [`Protection::max_shards_per_domain`]; [`ClusterMap::losses_survived`] says what that costs.
///
/// A changed group gets the next epoch, and its list goes to its history; one whose history is full stays as it is,
/// until some list of it is proven empty. The same map always gives the same
/// placement, in whatever order the drives stand in it; applied to its own result, it changes nothing.
///
/// # Errors
/// [`PlaceError`]; it says by which count the cluster falls short.
pub fn place(map: &ClusterMap) -> Result<Placement, PlaceError> {
    map.validate_form()?;
    let (protection, healthy) = (map.protection, map.healthy_domains());
    let forming = map.groups.is_empty();
    if forming && healthy < protection.width().into() {
        return Err(PlaceError::TooFewToForm { protection, healthy });
    }
    if healthy < protection.domains_min_for_writes().into() {
        return Err(PlaceError::TooFewToServe { protection, healthy });
    }
    let vacant;
    let groups = if forming {
        vacant = vacant_groups(map);
        &vacant
    } else {
        &map.groups
    };
    let mut board = Board::new(protection, &map.drives, groups);
    board.fill();
    board.spread();
    board.balance();
    Ok(if forming { formed(map, groups, &board) } else { changed(map, &board) })
}

/// Groups without members, to be filled.
fn vacant_groups(map: &ClusterMap) -> Vec<PlacementGroup> {
    let up = map.drives.iter().filter(|drive| drive.state == DriveState::Up).count();
    let count = u32::try_from((up * GROUPS_PER_DRIVE).min(MAX_GROUPS)).unwrap_or(u32::MAX);
    let vacant = |id| PlacementGroup {
        id: GroupId::new(id),
        epoch: Epoch::new(1),
        members: Vec::new(),
        history: Vec::new(),
    };
    (0..count).map(vacant).collect()
}

fn formed(map: &ClusterMap, vacant: &[PlacementGroup], board: &Board<'_>) -> Placement {
    let mut next = map.clone();
    next.version = map.version.next();
    next.groups = vacant.to_vec();
    for (index, group) in next.groups.iter_mut().enumerate() {
        group.members = board.members(index);
    }
    Placement { map: next, moves: Vec::new(), held_back: Vec::new() }
}

fn changed(map: &ClusterMap, board: &Board<'_>) -> Placement {
    let mut next = map.clone();
    let (mut moves, mut held_back) = (Vec::new(), Vec::new());
    for (index, group) in next.groups.iter_mut().enumerate() {
        if is_full(group) {
            if board.must_change(index) {
                held_back.push(group.id);
            }
            continue;
        }
        let members = board.members(index);
        if members == group.members {
            continue;
        }
        let slots = (0..).zip(group.members.iter().zip(&members));
        for (slot, (from, to)) in slots.filter(|(_, (from, to))| from != to) {
            let reason = board.reason(index, usize::from(slot));
            moves.push(Move { group: group.id, slot: GroupSlot::new(slot), from: *from, to: *to, reason });
        }
        let earlier = std::mem::replace(&mut group.members, members);
        group.history.insert(0, Membership { epoch: group.epoch, members: earlier });
        group.epoch = group.epoch.next();
    }
    if !moves.is_empty() {
        next.version = map.version.next();
    }
    Placement { map: next, moves, held_back }
}

/// Whether a group cannot change, because no further list fits its history.
fn is_full(group: &PlacementGroup) -> bool {
    group.history.len() >= MAX_HISTORY
}

/// Why a member cannot stay, by its entry in the map.
fn eviction(drive: Option<DriveState>) -> Option<MoveReason> {
    match drive {
        Some(DriveState::Up) => None,
        Some(DriveState::Down | DriveState::Returning) => Some(MoveReason::DriveDown),
        Some(DriveState::Draining) => Some(MoveReason::DriveDraining),
        None => Some(MoveReason::DriveRemoved),
    }
}

type Reasons = BTreeMap<(usize, usize), MoveReason>;

#[cfg(test)]
mod tests;
