//! `weft cluster map`

use serde::Serialize;
use weft_layout::{ClusterMap, DriveEntry, NodeEntry, PlacementGroup};
use weft_types::{ByteCount, ClusterId, DriveId, MapVersion, NodeId};
use weft_wire::management::GetMap;

use crate::admin::{Admin, AdminError};
use crate::cluster::Cluster;
use crate::error::CommandError;
use crate::output;

#[derive(Debug, Serialize)]
struct MapView {
    cluster: ClusterId,
    version: MapVersion,
    protection: String,
    management: NodeView,
    computes: Vec<NodeView>,
    drives: Vec<DriveView>,
    groups: Vec<GroupView>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    node: NodeId,
    container: String,
    address: String,
}

#[derive(Debug, Serialize)]
struct DriveView {
    id: DriveId,
    node: NodeId,
    incarnation: u64,
    container: String,
    address: String,
    failure_domain: String,
    capacity_bytes: u64,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct GroupView {
    id: u32,
    epoch: u64,
    members: Vec<DriveId>,
    earlier: usize,
}

/// Shows the cluster map.
///
/// # Errors
/// [`CommandError`] when management does not answer.
pub(crate) fn run(cluster: &Cluster, json: bool) -> Result<(), CommandError> {
    let map = fetch(&Admin::new(cluster)?)?;
    if json { Ok(output::json(&view(&map))?) } else { show(&map) }
}

fn fetch(admin: &Admin) -> Result<ClusterMap, AdminError> {
    let reply = admin.ask(&GetMap { known: None })?;
    reply.map.ok_or_else(|| admin.wrong_answer("it sent no map"))
}

fn view(map: &ClusterMap) -> MapView {
    let node = |entry: &NodeEntry| NodeView {
        node: entry.node,
        container: entry.name.clone(),
        address: entry.address.clone(),
    };
    let drive = |drive: &DriveEntry| DriveView {
        id: drive.id,
        node: drive.node,
        incarnation: drive.incarnation.get(),
        container: drive.name.clone(),
        address: drive.address.clone(),
        failure_domain: drive.failure_domain.clone(),
        capacity_bytes: drive.capacity.get(),
        state: drive.state.word(),
    };
    let group = |group: &PlacementGroup| GroupView {
        id: group.id.get(),
        epoch: group.epoch.get(),
        members: group.members.clone(),
        earlier: group.history.len(),
    };
    MapView {
        cluster: map.cluster,
        version: map.version,
        protection: map.protection.to_string(),
        management: node(&map.management),
        computes: map.computes.iter().map(node).collect(),
        drives: map.drives.iter().map(drive).collect(),
        groups: map.groups.iter().map(group).collect(),
    }
}

fn show(map: &ClusterMap) -> Result<(), CommandError> {
    output::line(format!(
        "cluster {}, map version {}, protection {}, {} placement groups\n",
        map.cluster,
        map.version,
        map.protection,
        map.groups.len()
    ))?;
    let node = |role: &str, entry: &NodeEntry| {
        [
            entry.name.clone(),
            role.to_owned(),
            entry.address.clone(),
            String::new(),
            String::new(),
            String::new(),
        ]
    };
    let drive = |drive: &DriveEntry| {
        [
            drive.name.clone(),
            "drive".to_owned(),
            drive.address.clone(),
            drive.failure_domain.clone(),
            ByteCount::to_string(&drive.capacity),
            drive.state.to_string(),
        ]
    };
    let mut rows = vec![node("management", &map.management)];
    rows.extend(map.computes.iter().map(|entry| node("compute", entry)));
    let mut drives: Vec<_> = map.drives.iter().collect();
    drives.sort_by_key(|drive| (drive.name.len(), drive.name.clone()));
    rows.extend(drives.into_iter().map(drive));
    Ok(output::table(["CONTAINER", "ROLE", "ADDRESS", "DOMAIN", "CAPACITY", "STATE"], rows, "nothing")?)
}
