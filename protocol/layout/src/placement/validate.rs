//! Whether a cluster map can be believed.

use std::collections::{BTreeMap, BTreeSet};

use weft_types::{DriveId, GroupId};

use crate::{ClusterMap, PlacementGroup};

/// The most drives of a map.
pub const MAX_DRIVES: usize = 1024;
/// The most placement groups of a map.
pub const MAX_GROUPS: usize = 8192;
/// The most compute nodes of a map.
pub const MAX_COMPUTES: usize = 1024;
/// The most earlier lists a group may wait to prove empty: more would make a map that nobody can send.
pub const MAX_HISTORY: usize = 64;
/// The most bytes of a name, an address or a failure domain.
pub const MAX_TEXT_BYTES: usize = 255;

/// Why a cluster map is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// A list is longer than its bound.
    #[error("cluster map has {got} {what}, at most {max} are allowed")]
    TooMany {
        /// The list.
        what: &'static str,
        /// Its length.
        got: usize,
        /// Its bound.
        max: usize,
    },
    /// A name or failure domain is empty or too long.
    #[error("cluster map: {what} of {owner} is empty or longer than {MAX_TEXT_BYTES} bytes")]
    Text {
        /// The field.
        what: &'static str,
        /// The id of the drive or node.
        owner: String,
    },
    /// An address is not `host:port`.
    #[error("cluster map: address {address:?} of {owner} is not host:port")]
    Address {
        /// The address.
        address: String,
        /// The id of the drive or node.
        owner: String,
    },
    /// Two drives or two nodes have one id.
    #[error("cluster map names {0} twice")]
    Duplicate(String),
    /// Groups do not stand in ascending order of their ids.
    #[error("cluster map: placement group {0} is out of order")]
    GroupOrder(GroupId),
    /// A group's list, or an earlier one, is not of N+M drives.
    #[error("cluster map: placement group {group} lists {members} drives instead of {width}")]
    GroupWidth {
        /// The group.
        group: GroupId,
        /// Its members.
        members: usize,
        /// N+M.
        width: u8,
    },
    /// Earlier lists do not stand in descending order of epochs below the group's own.
    #[error("cluster map: earlier members of placement group {0} are out of order")]
    HistoryOrder(GroupId),
    /// A counter stands at its end, so that no change could follow.
    #[error("cluster map: a version or epoch is exhausted")]
    Exhausted,
    /// A group's member is not in the map.
    #[error("cluster map: placement group {group} names drive {drive}, which the map does not have")]
    UnknownDrive {
        /// The group.
        group: GroupId,
        /// The drive.
        drive: DriveId,
    },
    /// A failure domain holds more shards of a group than may be lost with it.
    #[error(
        "cluster map: placement group {group} has {shards} shards in failure domain {domain:?}, at most {max}"
    )]
    DomainShare {
        /// The group.
        group: GroupId,
        /// The failure domain.
        domain: String,
        /// Shards there.
        shards: u8,
        /// The most there may be.
        max: u8,
    },
}

impl ClusterMap {
    /// Checks every bound and every reference of the map.
    ///
    /// # Errors
    /// [`MapError`], the first thing found wrong.
    pub fn validate(&self) -> Result<(), MapError> {
        self.validate_form()?;
        let domains: BTreeMap<_, _> =
            self.drives.iter().map(|drive| (drive.id, drive.failure_domain.as_str())).collect();
        self.groups.iter().try_for_each(|group| self.validate_members(group, &domains))
    }

    /// All but the members of the groups: what must hold before [`place`](super::place) puts the members right.
    pub(super) fn validate_form(&self) -> Result<(), MapError> {
        bound("drives", self.drives.len(), MAX_DRIVES)?;
        bound("placement groups", self.groups.len(), MAX_GROUPS)?;
        bound("compute nodes", self.computes.len(), MAX_COMPUTES)?;
        if self.version.get() == u64::MAX {
            return Err(MapError::Exhausted);
        }
        self.validate_drives()?;
        self.validate_nodes()?;
        let mut previous = None;
        for group in &self.groups {
            if previous.replace(group.id).is_some_and(|previous| previous >= group.id) {
                return Err(MapError::GroupOrder(group.id));
            }
            self.validate_group(group)?;
        }
        Ok(())
    }

    fn validate_drives(&self) -> Result<(), MapError> {
        let mut ids = BTreeSet::new();
        for drive in &self.drives {
            let owner = || format!("drive {}", drive.id.short());
            text("name", &drive.name, owner)?;
            text("failure domain", &drive.failure_domain, owner)?;
            address(&drive.address, owner)?;
            if !ids.insert(drive.id) {
                return Err(MapError::Duplicate(format!("drive {}", drive.id)));
            }
        }
        Ok(())
    }

    fn validate_nodes(&self) -> Result<(), MapError> {
        let mut ids = BTreeSet::new();
        for node in self.computes.iter().chain([&self.management]) {
            let owner = || format!("node {}", node.node.short());
            text("name", &node.name, owner)?;
            address(&node.address, owner)?;
            if !ids.insert(node.node) {
                return Err(MapError::Duplicate(format!("node {}", node.node)));
            }
        }
        Ok(())
    }

    fn validate_group(&self, group: &PlacementGroup) -> Result<(), MapError> {
        bound("earlier member lists", group.history.len(), MAX_HISTORY)?;
        if group.epoch.get() == u64::MAX {
            return Err(MapError::Exhausted);
        }
        let width = self.protection.width();
        let earlier = group.history.iter().map(|earlier| earlier.members.len());
        if let Some(members) = earlier.chain([group.members.len()]).find(|len| *len != usize::from(width)) {
            return Err(MapError::GroupWidth { group: group.id, members, width });
        }
        let epochs = [group.epoch].into_iter().chain(group.history.iter().map(|earlier| earlier.epoch));
        if !epochs.is_sorted_by(|a, b| a > b) {
            return Err(MapError::HistoryOrder(group.id));
        }
        Ok(())
    }

    fn validate_members(
        &self,
        group: &PlacementGroup,
        domains: &BTreeMap<DriveId, &str>,
    ) -> Result<(), MapError> {
        let max = self.protection.max_shards_per_domain();
        let mut shares: BTreeMap<&str, u8> = BTreeMap::new();
        for drive in &group.members {
            let unknown = MapError::UnknownDrive { group: group.id, drive: *drive };
            *shares.entry(domains.get(drive).ok_or(unknown)?).or_default() += 1;
        }
        match shares.into_iter().find(|(_, shards)| *shards > max) {
            Some((domain, shards)) => {
                Err(MapError::DomainShare { group: group.id, domain: domain.to_owned(), shards, max })
            }
            None => Ok(()),
        }
    }
}

fn bound(what: &'static str, got: usize, max: usize) -> Result<(), MapError> {
    if got > max { Err(MapError::TooMany { what, got, max }) } else { Ok(()) }
}

fn text(what: &'static str, text: &str, owner: impl Fn() -> String) -> Result<(), MapError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(MapError::Text { what, owner: owner() });
    }
    Ok(())
}

fn address(address: &str, owner: impl Fn() -> String) -> Result<(), MapError> {
    text("address", address, &owner)?;
    let port =
        address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(1..)) => Ok(()),
        _ => Err(MapError::Address { address: address.to_owned(), owner: owner() }),
    }
}

#[cfg(test)]
mod tests;
