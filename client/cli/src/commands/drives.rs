//! `weft drive list`

use serde::Serialize;
use weft_layout::DriveState;
use weft_resources::{ContainerName, DriveProcess, Process};
use weft_types::{ByteCount, DriveId, Role};
use weft_wire::management::{NodeReport, NodeStatus, Status};

use crate::admin::Admin;
use crate::cluster::{Cluster, ClusterError};
use crate::error::CommandError;
use crate::output;

/// A row. What only a running cluster knows is absent without one.
#[derive(Debug, Serialize)]
struct Row {
    id: DriveId,
    container: ContainerName,
    failure_domain: String,
    state: &'static str,
    capacity_bytes: u64,
    used_bytes: Option<u64>,
    shards: Option<u64>,
    damaged: Option<u64>,
    /// Shards that it was found not to hold when it came back.
    missing: Option<u64>,
    /// The way its bytes travel: `direct` or `buffered`.
    io: Option<String>,
    /// Requests that its host has not answered for too long.
    stuck: Option<u64>,
    warning: Option<String>,
    path: String,
}

/// Lists the drives: from their files and processes on this host, and from management when it answers.
///
/// # Errors
/// [`CommandError`] when their files cannot be used.
pub(crate) fn run(cluster: &Cluster, json: bool) -> Result<(), CommandError> {
    let status = Admin::new(cluster).and_then(|admin| admin.status()).ok();
    let rows = rows(cluster, status.as_ref())?;
    if json {
        return Ok(output::json(&rows)?);
    }
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let size = |bytes| ByteCount::new(bytes).to_string();
    let rows = rows.into_iter().map(|row| {
        [
            row.container.to_string(),
            row.id.short(),
            row.failure_domain,
            row.state.to_owned(),
            size(row.capacity_bytes),
            row.used_bytes.map_or("-".to_owned(), size),
            number(row.damaged),
            row.io.unwrap_or_else(|| "-".to_owned()),
            row.path,
        ]
    });
    let header = ["CONTAINER", "ID", "DOMAIN", "STATE", "CAPACITY", "USED", "DAMAGED", "IO", "PATH"];
    Ok(output::table(header, rows.collect(), "no drives")?)
}

fn rows(cluster: &Cluster, status: Option<&Status>) -> Result<Vec<Row>, CommandError> {
    let mut rows = Vec::new();
    for entry in cluster.file.containers.iter().filter(|entry| entry.roles.contains(&Role::Drive)) {
        let file = cluster.container_file(&entry.name)?;
        let runs = cluster.container(&entry.name).map_err(ClusterError::from)?.is_running();
        for process in file.processes {
            if let Process::Drive(drive) = process {
                rows.push(row(cluster, &entry.name, &drive, runs, status));
            }
        }
    }
    Ok(rows)
}

fn row(
    cluster: &Cluster,
    container: &ContainerName,
    drive: &DriveProcess,
    runs: bool,
    status: Option<&Status>,
) -> Row {
    let entry = status.and_then(|status| status.map.drive(drive.drive));
    let node = status.and_then(|status| status.nodes.iter().find(|node| node.node == drive.node));
    let report = node.and_then(|node| match &node.last.as_ref()?.report {
        NodeReport::Drive(report) => Some(report),
        _ => None,
    });
    let capacity = report.map(|report| report.capacity).or(entry.map(|entry| entry.capacity));
    Row {
        id: drive.drive,
        container: container.clone(),
        failure_domain: drive.failure_domain.clone(),
        state: state(runs, entry.map(|entry| entry.state), node).word(),
        capacity_bytes: capacity.unwrap_or(cluster.file.drive_size).get(),
        used_bytes: report.map(|report| report.used.get()),
        shards: report.map(|report| report.shards),
        damaged: report.map(|report| report.damaged),
        missing: entry.map(|entry| entry.missing),
        io: report.map(|report| report.device.mode.clone()).filter(|mode| !mode.is_empty()),
        stuck: report.map(|report| report.device.stuck),
        warning: report.and_then(|report| report.warning.clone()),
        path: cluster.dir.resolve(&drive.device).to_string_lossy().into_owned(),
    }
}

/// A drive whose process is gone is down before management has noticed.
fn state(runs: bool, in_map: Option<DriveState>, node: Option<&NodeStatus>) -> DriveState {
    match (runs, in_map) {
        (false, _) => DriveState::Down,
        (true, None) => DriveState::Up,
        (true, Some(state)) if node.is_none_or(|node| node.up) => state,
        (true, Some(_)) => DriveState::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_up_when_its_process_and_management_say_so() {
        let rows = [
            (true, None, DriveState::Up),
            (true, Some(DriveState::Up), DriveState::Up),
            (true, Some(DriveState::Down), DriveState::Down),
            (true, Some(DriveState::Draining), DriveState::Draining),
            (true, Some(DriveState::Returning), DriveState::Returning),
            (false, Some(DriveState::Up), DriveState::Down),
            (false, None, DriveState::Down),
        ];
        for (runs, in_map, expected) in rows {
            assert_eq!(state(runs, in_map, None), expected, "{runs} {in_map:?}");
        }
    }
}
