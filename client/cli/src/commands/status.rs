//! `weft status`

mod health;

use std::path::PathBuf;

use serde::Serialize;
use weft_layout::DriveState;
use weft_types::{ByteCount, ClusterId, Role};
use weft_wire::management::{Alert, FrontendReport, NodeReport, NodeStatus, Severity, Status};

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::container::Observed;
use crate::error::CommandError;
use crate::host::mounts::{self, Mount, MountTable};
use crate::output;
use health::{Here, local_alerts};

/// All that is shown.
#[derive(Debug, Serialize)]
struct View {
    cluster: ClusterId,
    /// Everything is up and nothing is lost: whatever is in `alerts` can wait.
    healthy: bool,
    protection: String,
    losses_survived: Option<u8>,
    drives: Count,
    computes: Count,
    frontends: Vec<FrontendView>,
    mount: MountView,
    /// Places found damaged since the processes started: by drives or by frontends, whoever found more, as both count
    /// the same damage.
    damaged: u64,
    reconstructions: u64,
    unreadable: u64,
    alerts: Vec<AlertView>,
    capacity_bytes: u64,
    free_bytes: u64,
    kms: String,
}

#[derive(Debug, Serialize)]
struct Count {
    total: usize,
    up: usize,
}

#[derive(Debug, Serialize)]
struct FrontendView {
    container: String,
    up: bool,
    filesystem: String,
    mount: String,
    dirty_bytes: u64,
    reconstructions: u64,
    damaged: u64,
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct MountView {
    path: PathBuf,
    served: bool,
}

#[derive(Debug, Serialize)]
struct AlertView {
    severity: &'static str,
    cause: String,
    next_step: String,
}

/// Shows how the cluster is. That it is not healthy is an answer, not a failure.
///
/// # Errors
/// [`CommandError`] when management does not answer.
pub(crate) fn run(cluster: &Cluster, json: bool) -> Result<(), CommandError> {
    let status = Admin::new(cluster)?.status()?;
    let containers = cluster.containers()?;
    let mount = mount_view(cluster, &containers);
    let view = view(status, &containers, mount);
    if json { Ok(output::json(&view)?) } else { show(&view) }
}

fn mount_view(cluster: &Cluster, containers: &[Observed]) -> MountView {
    let path = mounts::real_path(&cluster.mount_point()).unwrap_or_else(|_| cluster.mount_point());
    let table = MountTable::read();
    let is_mounted = table.is_ok_and(|table| table.at(&path).is_some_and(Mount::is_weft));
    let is_served = containers.iter().any(|one| one.is_running() && one.mount.as_deref() == Some(&path));
    MountView { path, served: is_mounted && is_served }
}

fn view(status: Status, containers: &[Observed], mount: MountView) -> View {
    let here = Here { containers, mount: &mount.path, is_served: mount.served };
    let frontends: Vec<_> = status.nodes.iter().filter_map(frontend).collect();
    let sum = |count: fn(&FrontendView) -> u64| frontends.iter().map(count).fold(0, u64::saturating_add);
    let (reconstructions, unreadable) = (sum(|one| one.reconstructions), sum(|one| one.unreadable));
    let damaged = sum(|one| one.damaged).max(damaged_on_drives(&status));
    let healthy = health::is_healthy(&status, &here, unreadable);
    let mut alerts = local_alerts(&status, &here);
    alerts.extend(status.alerts.iter().cloned());
    alerts.sort_by_key(|alert| alert.severity);
    let drives_up = status.map.drives.iter().filter(|drive| drive.state != DriveState::Down);
    let drives_up = drives_up.filter(|drive| here.runs(&drive.name)).count();
    let computes = || status.nodes.iter().filter(|node| node.role == Role::Compute);
    View {
        cluster: status.map.cluster,
        healthy,
        protection: status.map.protection.to_string(),
        losses_survived: status.losses_survived,
        drives: Count { total: status.map.drives.len(), up: drives_up },
        computes: Count { total: computes().count(), up: computes().filter(|node| node.up).count() },
        frontends,
        mount,
        damaged,
        reconstructions,
        unreadable,
        alerts: alerts.into_iter().map(alert).collect(),
        capacity_bytes: status.capacity.get(),
        free_bytes: status.free.get(),
        kms: status.kms,
    }
}

fn frontend(node: &NodeStatus) -> Option<FrontendView> {
    let NodeReport::Frontend(report) = &node.last.as_ref()?.report else { return None };
    let FrontendReport { filesystem, mount, reconstructions, damaged, unreadable, dirty, .. } =
        report.clone();
    Some(FrontendView {
        container: node.container.clone(),
        up: node.up,
        filesystem,
        mount,
        dirty_bytes: dirty.get(),
        reconstructions,
        damaged,
        unreadable,
    })
}

fn damaged_on_drives(status: &Status) -> u64 {
    let count = |node: &NodeStatus| match &node.last.as_ref()?.report {
        NodeReport::Drive(report) => Some(report.damaged),
        _ => None,
    };
    status.nodes.iter().filter_map(count).fold(0, u64::saturating_add)
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    }
}

fn alert(alert: Alert) -> AlertView {
    AlertView { severity: word(alert.severity), cause: alert.cause, next_step: alert.next_step }
}

fn show(view: &View) -> Result<(), CommandError> {
    let survived = match view.losses_survived {
        Some(1) => "1 more drive may be lost".to_owned(),
        Some(losses) => format!("{losses} more drives may be lost"),
        None => "data is unreachable".to_owned(),
    };
    let bytes = ByteCount::new;
    let mount = mounts::shown(&view.mount.path);
    let rows = [
        ("health", if view.healthy { "healthy" } else { "NOT HEALTHY, see below" }.to_owned()),
        ("protection", format!("{}; {survived}", view.protection)),
        ("drives", format!("{} of {} up", view.drives.up, view.drives.total)),
        ("compute", format!("{} of {} up", view.computes.up, view.computes.total)),
        ("mount", if view.mount.served { mount } else { format!("{mount} is not served") }),
        ("room", format!("{} free of {}", bytes(view.free_bytes), bytes(view.capacity_bytes))),
        (
            "damage",
            format!(
                "{} places found, {} reads reconstructed, {} unreadable",
                view.damaged, view.reconstructions, view.unreadable
            ),
        ),
        ("keys", view.kms.clone()),
    ];
    for (name, text) in rows {
        output::line(format_args!("{name:<12}{text}"))?;
    }
    for alert in &view.alerts {
        output::line(format_args!("\n{}: {}\n  {}", alert.severity, alert.cause, alert.next_step))?;
    }
    Ok(())
}
