//! The state of the whole cluster, put together. Pure.

use core::time::Duration;
use std::collections::BTreeMap;

use weft_engine::store::StoreStatus;
use weft_layout::{ClusterMap, DriveState};
use weft_types::{NodeId, Role};
use weft_wire::management::{NodeStatus, Status, StoreState};

use crate::alerts::{Health, ShortLog, Waiting, alerts};
use crate::care::{Care, Owned};
use crate::contents::Contents;
use crate::leases::Shard;
use crate::membership::{Heard, Membership, SILENCE_MAX, is_up};
use crate::space::net_free;
use crate::voters::choose_voters;

/// What the status says besides the map and its nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// How long management has run.
    pub running_for: Duration,
    /// Provider and key reference of the KMS.
    pub kms: &'a str,
    /// Whether the KMS key lies in a file on this host.
    pub local_kms: bool,
    /// How the cluster store is.
    pub store: &'a StoreStatus,
    /// The shards whose extents count.
    pub owned: &'a [Owned],
}

/// The cluster's state now.
pub(crate) fn status(
    contents: &Contents,
    membership: &Membership,
    care: &Care,
    around: &Surroundings<'_>,
) -> Status {
    let (map, now) = (&contents.map, around.running_for);
    let mut nodes = known_nodes(map, membership, now);
    nodes.extend(membership.frontends().map(|(node, heard)| {
        let named = Named { node, role: Role::Frontend, container: &heard.last.container, address: "" };
        node_status(named, Some(heard), now)
    }));
    let short_logs = short_logs(contents);
    let capacity = map.net_capacity();
    // An alert about a full cluster is raised when it is known to be full.
    let free = net_free(map, membership).unwrap_or(capacity);
    let store = store_state(contents, around.store);
    let (returning, unspread) = (returning(map, care, around.owned), unspread(map, care, around.owned));
    let health = Health {
        map,
        nodes: &nodes,
        losses_survived: map.losses_survived_by_all(),
        capacity,
        free,
        running_for: now,
        local_kms: around.local_kms,
        store: &store,
        store_fault: around.store.fault.as_deref(),
        returning: &returning,
        unspread: &unspread,
        short_logs: &short_logs,
    };
    Status {
        alerts: alerts(&health),
        map: map.clone(),
        nodes,
        losses_survived: losses_survived(contents, &short_logs, &store, now),
        kms: around.kms.to_owned(),
        capacity,
        free,
        store,
    }
}

fn store_state(contents: &Contents, store: &StoreStatus) -> StoreState {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let reached = store.holding.iter().filter(|home| {
        let drive = contents.map.drive(home.drive);
        drive.is_some_and(|drive| drive.incarnation == home.incarnation && drive.state != DriveState::Down)
    });
    StoreState {
        version: store.version,
        voters: count(store.voters.len()),
        necessary: count(contents.voters.majority()),
        holding: count(reached.count()),
        fenced: store.fenced,
    }
}

/// How many more drives may be lost: by the placement of data, by the copies of metadata logs, and by those of the
/// cluster store.
fn losses_survived(
    contents: &Contents,
    logs: &[ShortLog],
    store: &StoreState,
    running_for: Duration,
) -> Option<u8> {
    let map = &contents.map;
    let data = usize::from(map.losses_survived_by_all()?);
    let log = logs.iter().map(|log| log.copies.checked_sub(1)).min().unwrap_or(Some(data))?;
    // With few failure domains even all voters bridge fewer losses than data does; that is no lack.
    let best = choose_voters(map).current.len().saturating_sub(1) / 2;
    let spare = store.holding.saturating_sub(store.necessary);
    let lacking = best.saturating_sub(usize::try_from(spare).unwrap_or(best));
    // Copies take a moment to follow when the store is opened.
    let lacking = if running_for >= SILENCE_MAX { lacking } else { 0 };
    let of_store = usize::from(map.protection.parity()).saturating_sub(lacking);
    u8::try_from(data.min(log).min(of_store)).ok()
}

/// The drives that came back, and whom each waits for.
fn returning(map: &ClusterMap, care: &Care, owned: &[Owned]) -> Vec<Waiting> {
    let returning = map.drives.iter().filter(|drive| drive.state == DriveState::Returning);
    let waiting = |drive: &weft_layout::DriveEntry| {
        let waits_for = care.not_reconciled(drive, owned).map(|owned| owned.name.clone()).collect();
        Waiting { drive: drive.name.clone(), waits_for }
    };
    returning.map(waiting).collect()
}

/// Filesystems with extents that may still lie by earlier lists of groups, and by how many of them.
fn unspread(map: &ClusterMap, care: &Care, owned: &[Owned]) -> BTreeMap<String, usize> {
    let groups = map.groups.iter().filter(|group| !group.history.is_empty());
    let mut unspread = BTreeMap::new();
    for group in groups {
        for owned in owned {
            let floor = care.floor(group.id, core::slice::from_ref(owned));
            if floor.is_none_or(|floor| floor < group.epoch) {
                *unspread.entry(owned.name.clone()).or_default() += 1;
            }
        }
    }
    unspread
}

/// Logs of which some segment has fewer copies on drives that are there than it should.
fn short_logs(contents: &Contents) -> Vec<ShortLog> {
    let wanted = usize::from(contents.map.protection.parity()) + 1;
    let is_there = |home: &&weft_wire::ownership::DriveHome| {
        let drive = contents.map.drive(home.drive);
        drive.is_some_and(|drive| drive.incarnation == home.incarnation && drive.state != DriveState::Down)
    };
    let short = contents.shards().filter_map(|(filesystem, state)| {
        let copies = state.row.segments.iter().map(|segment| segment.drives.iter().filter(is_there).count());
        let copies = copies.min().filter(|copies| *copies < wanted)?;
        let shard: Shard = (filesystem.id, state.shard);
        Some(ShortLog { filesystem: filesystem.name.clone(), shard: shard.1, copies, wanted })
    });
    short.collect()
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

#[cfg(test)]
mod tests;
