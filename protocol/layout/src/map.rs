//! The cluster map: which drives there are, and which of them form placement groups.

use minicbor::{Decode, Encode};
use weft_types::{ByteCount, ClusterId, DriveId, Epoch, GroupId, Incarnation, MapVersion, NodeId};

use crate::Protection;

/// Whether a drive serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum DriveState {
    /// Heard of within the detection time.
    #[n(0)]
    Up,
    /// Silent for longer than the detection time; its data counts as missing, not as lost.
    #[n(1)]
    Down,
    /// It serves reads while its shards are copied away; it takes no new ones.
    #[n(2)]
    Draining,
    /// It was down and is heard of again. It serves reads and deletions, takes no new shards, and does not count until
    /// every owner has compared it with its extent rows.
    #[n(3)]
    Returning,
}

impl DriveState {
    /// The word for output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Returning => "returning",
        }
    }
}

impl std::fmt::Display for DriveState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// One drive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DriveEntry {
    /// Its id.
    #[n(0)]
    pub id: DriveId,
    /// The node that its certificate names.
    #[n(1)]
    pub node: NodeId,
    /// How often it was blank.
    #[n(2)]
    pub incarnation: Incarnation,
    /// The container it runs in, which people know it by.
    #[n(3)]
    pub name: String,
    /// Where it serves: an IP address and a port.
    #[n(4)]
    pub address: String,
    /// What it shares its fate with; drives of one domain may go together.
    #[n(5)]
    pub failure_domain: String,
    /// What its shards can occupy.
    #[n(6)]
    pub capacity: ByteCount,
    /// Whether it serves.
    #[n(7)]
    pub state: DriveState,
    /// The version of the map in which it last came back; 0 when it was never away.
    #[n(8)]
    pub returned: MapVersion,
    /// Shards that it was found not to hold when it came back: they count as lost until they are rebuilt.
    #[n(9)]
    pub missing: u64,
}

/// A list of drives in order: member `i` holds group slot `i`. Which shard of an extent that is, depends on the
/// extent's number: see [`Protection::group_slot`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PlacementGroup {
    /// Its id.
    #[n(0)]
    pub id: GroupId,
    /// The version of its membership.
    #[n(1)]
    pub epoch: Epoch,
    /// Its N+M drives.
    #[n(2)]
    pub members: Vec<DriveId>,
    /// Earlier memberships, the newest first, for as long as a shard may still be where they say.
    #[n(3)]
    pub history: Vec<Membership>,
}

/// A membership that a group had.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Membership {
    /// Its version.
    #[n(0)]
    pub epoch: Epoch,
    /// Its N+M drives.
    #[n(1)]
    pub members: Vec<DriveId>,
}

/// A process that serves, other than a drive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeEntry {
    /// Its id.
    #[n(0)]
    pub node: NodeId,
    /// The container it runs in.
    #[n(1)]
    pub name: String,
    /// Where it serves: an IP address and a port.
    #[n(2)]
    pub address: String,
}

/// What every process must agree on to find data.
///
/// Decoding checks the form alone: call [`validate`](Self::validate) on what came from a network or a disk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClusterMap {
    /// The cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// Every change makes the next version.
    #[n(1)]
    pub version: MapVersion,
    /// How stripes are protected.
    #[n(2)]
    pub protection: Protection,
    /// All drives, by id.
    #[n(3)]
    pub drives: Vec<DriveEntry>,
    /// All placement groups, by id.
    #[n(4)]
    pub groups: Vec<PlacementGroup>,
    /// The compute processes.
    #[n(5)]
    pub computes: Vec<NodeEntry>,
    /// The management process.
    #[n(6)]
    pub management: NodeEntry,
}

impl DriveEntry {
    /// Whether the shards that it should hold are there to be read, all of them.
    pub const fn counts(&self) -> bool {
        matches!(self.state, DriveState::Up | DriveState::Draining) && self.missing == 0
    }
}

impl PlacementGroup {
    /// The drives that shards of this epoch were put to; `None` when no list of it is kept.
    pub fn members_at(&self, epoch: Epoch) -> Option<&[DriveId]> {
        if epoch == self.epoch {
            return Some(&self.members);
        }
        let earlier = self.history.iter().find(|earlier| earlier.epoch == epoch);
        earlier.map(|earlier| earlier.members.as_slice())
    }
}

impl ClusterMap {
    /// The drive of this id.
    pub fn drive(&self, id: DriveId) -> Option<&DriveEntry> {
        self.drives.iter().find(|drive| drive.id == id)
    }

    /// Whether any drive counts. When none does, because all are coming back, what is known of extents was compared with
    /// no drive yet: nothing may be deleted by it.
    pub fn is_any_up(&self) -> bool {
        self.drives.iter().any(|drive| drive.state == DriveState::Up)
    }

    /// The placement group of this id.
    pub fn group(&self, id: GroupId) -> Option<&PlacementGroup> {
        self.groups.iter().find(|group| group.id == id)
    }
}
