//! The state of the whole cluster, put together. Pure.

use core::time::Duration;

use weft_layout::ClusterMap;
use weft_types::{ByteCount, NodeId, Role};
use weft_wire::management::{NodeStatus, Status};

use crate::alerts::{Health, alerts};
use crate::membership::{Heard, Membership, is_up};

/// What the status says besides the map and its nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// How long management has run.
    pub running_for: Duration,
    /// Provider and key reference of the KMS.
    pub kms: &'a str,
    /// Whether the KMS key lies in a file on this host.
    pub local_kms: bool,
    /// Why the cluster store was not written the last time.
    pub store_fault: Option<&'a str>,
}

/// The cluster's state now.
pub(crate) fn status(map: &ClusterMap, membership: &Membership, around: &Surroundings<'_>) -> Status {
    let now = around.running_for;
    let mut nodes = known_nodes(map, membership, now);
    nodes.extend(membership.frontends().map(|(node, heard)| {
        let named = Named { node, role: Role::Frontend, container: &heard.last.container, address: "" };
        node_status(named, Some(heard), now)
    }));
    let survived = map.groups.iter().map(|group| map.losses_survived(group)).min().flatten();
    let capacity = map.net_capacity();
    let free = capacity.saturating_sub(net_used(map, membership));
    let health = Health {
        map,
        nodes: &nodes,
        losses_survived: survived,
        capacity,
        free,
        running_for: now,
        local_kms: around.local_kms,
        store_fault: around.store_fault,
    };
    Status {
        alerts: alerts(&health),
        map: map.clone(),
        nodes,
        losses_survived: survived,
        kms: around.kms.to_owned(),
        capacity,
        free,
    }
}

/// A node as the map has it.
struct Named<'a> {
    node: NodeId,
    role: Role,
    container: &'a str,
    address: &'a str,
}

fn known_nodes(map: &ClusterMap, membership: &Membership, now: Duration) -> Vec<NodeStatus> {
    let management = &map.management;
    let mut nodes = vec![NodeStatus {
        node: management.node,
        role: Role::Management,
        container: management.name.clone(),
        address: management.address.clone(),
        up: true,
        silent_ms: Some(0),
        last: None,
    }];
    let computes = map.computes.iter().map(|entry| Named {
        node: entry.node,
        role: Role::Compute,
        container: &entry.name,
        address: &entry.address,
    });
    let drives = map.drives.iter().map(|entry| Named {
        node: entry.node,
        role: Role::Drive,
        container: &entry.name,
        address: &entry.address,
    });
    let heard = |named: Named<'_>| {
        let heard = membership.of(named.node);
        node_status(named, heard, now)
    };
    nodes.extend(computes.chain(drives).map(heard));
    nodes
}

fn node_status(named: Named<'_>, heard: Option<&Heard>, now: Duration) -> NodeStatus {
    let silent = heard.map(|heard| now.saturating_sub(heard.at).as_millis());
    NodeStatus {
        node: named.node,
        role: named.role,
        container: named.container.to_owned(),
        address: named.address.to_owned(),
        up: is_up(heard.map(|heard| heard.at), now),
        silent_ms: silent.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        last: heard.map(|heard| heard.last.clone()),
    }
}

/// Bytes of files that what lies on the drives stands for: its data shards' share, rounded up.
fn net_used(map: &ClusterMap, membership: &Membership) -> ByteCount {
    let (_, used) = membership.raw_space(map);
    let (data, width) = (u128::from(map.protection.data()), u128::from(map.protection.width()));
    let net = (u128::from(used.get()) * data).div_ceil(width);
    ByteCount::new(u64::try_from(net).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::membership::SILENCE_MAX;
    use weft_types::Timestamp;
    use weft_wire::management::{DriveReport, Heartbeat, NodeReport};

    fn around(running_for: Duration) -> Surroundings<'static> {
        Surroundings { running_for, kms: "local k", local_kms: false, store_fault: None }
    }

    #[test]
    fn space_is_net_of_parity_and_spare() {
        let map = fixture::map();
        let mut membership = Membership::default();
        let status_of = |membership: &Membership| status(&map, membership, &around(Duration::from_secs(1)));
        let empty = status_of(&membership);
        assert_eq!(empty.capacity, map.net_capacity());
        assert_eq!(empty.free, empty.capacity);
        for (drive, used) in map.drives.iter().zip([6001, 0, 0, 0, 0, 0]) {
            let report = DriveReport {
                drive: drive.id,
                incarnation: drive.incarnation,
                capacity: drive.capacity,
                used: ByteCount::new(used),
                shards: 1,
                damaged: 0,
                puts: 0,
                gets: 0,
                warning: None,
            };
            let heartbeat = Heartbeat {
                node: drive.node,
                container: drive.name.clone(),
                pid: 1,
                started: Timestamp::default(),
                report: NodeReport::Drive(report),
            };
            membership.hear(Duration::ZERO, &map, (drive.node, Role::Drive), heartbeat).expect("counted");
        }
        let used = empty.free.get() - status_of(&membership).free.get();
        assert_eq!(used, 4001, "four of six shards are data");
    }

    #[test]
    fn every_node_of_the_map_is_listed_and_losses_follow_the_worst_group() {
        let mut map = fixture::map();
        let full = status(&map, &Membership::default(), &around(Duration::ZERO));
        assert_eq!(full.nodes.len(), 2 + 6);
        assert_eq!(full.losses_survived, Some(2));
        for (down, survived) in [(1, Some(1)), (2, Some(0)), (3, None)] {
            map.drives[down - 1].state = weft_layout::DriveState::Down;
            let status = status(&map, &Membership::default(), &around(SILENCE_MAX));
            assert_eq!(status.losses_survived, survived, "{down} down");
        }
    }
}
