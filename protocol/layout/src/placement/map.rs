//! What the cluster map says: drives, placement groups and the nodes that serve.

use std::collections::{BTreeMap, BTreeSet};

use weft_types::{
    ByteCount, ClusterId, DriveId, Epoch, ExtentSeq, GroupId, Incarnation, MapVersion, NodeId, ShardIndex,
};

use crate::Protection;

/// What a drive is good for, as the manager sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum DriveState {
    /// It serves, and takes new shards.
    #[n(0)]
    Up,
    /// It cannot be reached: new shards go elsewhere, reads go on without it.
    #[n(1)]
    Down,
    /// It serves reads while its shards are copied away; it takes no new ones.
    #[n(2)]
    Draining,
}

impl DriveState {
    /// The word for output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

impl std::fmt::Display for DriveState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A drive as every node knows it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct DriveEntry {
    /// Its identity for the life of its data.
    #[n(0)]
    pub id: DriveId,
    /// How often it was formatted.
    #[n(1)]
    pub incarnation: Incarnation,
    /// The container that serves it.
    #[n(2)]
    pub name: String,
    /// `host:port` where it serves.
    #[n(3)]
    pub address: String,
    /// What fails together with it: a host, a rack. Drives of equal text share it.
    #[n(4)]
    pub failure_domain: String,
    /// Bytes it can store.
    #[n(5)]
    pub capacity: ByteCount,
    /// What it is good for now.
    #[n(6)]
    pub state: DriveState,
}

/// A node that serves something other than a drive.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct NodeEntry {
    /// Its identity, as in its certificate.
    #[n(0)]
    pub id: NodeId,
    /// The container it runs in.
    #[n(1)]
    pub name: String,
    /// `host:port` where it serves.
    #[n(2)]
    pub address: String,
}

/// A list of members that a placement group had before.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct EarlierMembers {
    /// The group's epoch while it had them.
    #[n(0)]
    pub epoch: Epoch,
    /// The N+M drives, in the order of group slots. A drive may have left the map since.
    #[n(1)]
    pub members: Vec<DriveId>,
}

/// N+M drives that hold the shards of the group's extents.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct PlacementGroup {
    /// Its number.
    #[n(0)]
    pub id: GroupId,
    /// Raised by every change of the members. Starts at 1.
    #[n(1)]
    pub epoch: Epoch,
    /// The N+M drives, in the order of group slots.
    #[n(2)]
    pub members: Vec<DriveId>,
    /// Every earlier list, oldest first, until all shards are proven to be with the present members: readers try
    /// these drives too, and deletes go to all of them.
    #[n(3)]
    pub history: Vec<EarlierMembers>,
}

impl PlacementGroup {
    /// The present holder of a shard of extent `seq`; `None` for an index that the protection does not have.
    pub fn holder(&self, protection: Protection, shard: ShardIndex, seq: ExtentSeq) -> Option<DriveId> {
        self.members.get(protection.group_slot(shard, seq).get()).copied()
    }

    /// Earlier holders of a shard of extent `seq`, latest first, for a reader that misses it at the present one.
    pub fn earlier_holders(
        &self,
        protection: Protection,
        shard: ShardIndex,
        seq: ExtentSeq,
    ) -> impl Iterator<Item = DriveId> + '_ {
        let slot = protection.group_slot(shard, seq).get();
        self.history.iter().rev().filter_map(move |earlier| earlier.members.get(slot).copied())
    }
}

/// Everything a node needs to know to find the others and the data. One authority writes it; every change makes
/// the next version.
///
/// Decoding checks the form alone: call [`validate`](Self::validate) on what came from a network or a disk.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct ClusterMap {
    /// The cluster it describes.
    #[n(0)]
    pub cluster: ClusterId,
    /// Its version.
    #[n(1)]
    pub version: MapVersion,
    /// The code of every extent.
    #[n(2)]
    pub protection: Protection,
    /// All drives, in any order.
    #[n(3)]
    pub drives: Vec<DriveEntry>,
    /// All placement groups, by ascending id.
    #[n(4)]
    pub groups: Vec<PlacementGroup>,
    /// The nodes that may own metadata shards.
    #[n(5)]
    pub computes: Vec<NodeEntry>,
    /// The node that holds the cluster store.
    #[n(6)]
    pub management: NodeEntry,
}

impl ClusterMap {
    /// The drive of this id.
    pub fn drive(&self, id: DriveId) -> Option<&DriveEntry> {
        self.drives.iter().find(|drive| drive.id == id)
    }

    /// The placement group of this id.
    pub fn group(&self, id: GroupId) -> Option<&PlacementGroup> {
        let index = self.groups.binary_search_by_key(&id, |group| group.id).ok()?;
        self.groups.get(index)
    }

    /// Failure domains with a drive that is up.
    pub fn healthy_domains(&self) -> usize {
        let up = self.drives.iter().filter(|drive| drive.state == DriveState::Up);
        up.map(|drive| drive.failure_domain.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// How many more failure domains a group may lose, whichever they are, before data is lost, provided that
    /// every shard is at its present home. A member that is down or has left the map counts as lost already;
    /// `None` when more than M are.
    pub fn losses_survived(&self, group: &PlacementGroup) -> Option<u8> {
        let mut shards: BTreeMap<&str, u8> = BTreeMap::new();
        for member in &group.members {
            let drive = self.drive(*member).filter(|drive| drive.state != DriveState::Down);
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
