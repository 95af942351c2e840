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
    drives: DriveCount,
    computes: Count,
    /// What goes on in the background to get back to full redundancy.
    care: CareView,
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
    /// The cluster store: the map, the identities and who owns what.
    store: StoreView,
}

#[derive(Debug, Serialize)]
struct DriveCount {
    total: usize,
    up: usize,
    /// Back after they were down, and being compared with what they should hold; they do not count yet.
    returning: usize,
    /// Reached through the page cache, because their host refuses something.
    buffered: usize,
}

#[derive(Debug, Serialize)]
struct StoreView {
    /// Its version, as `term.count`.
    version: String,
    /// Drives that vote on it.
    voters: u32,
    /// How many of them must agree.
    necessary: u32,
    /// How many hold the newest version.
    current: u32,
}

#[derive(Debug, Serialize)]
struct CareView {
    /// Extents that still lie as their group was before.
    respread_left: u64,
    /// Drives that are being compared with what they should hold.
    reconciling: u64,
    /// Shards that drives that came back were found not to hold.
    missing_shards: u64,
    /// Extents that have shards on drives.
    extents: u64,
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
    let drives = drive_count(&status, &here);
    let losses_survived = losses_survived(&status, &here);
    let computes = || status.nodes.iter().filter(|node| node.role == Role::Compute);
    View {
        cluster: status.map.cluster,
        healthy,
        protection: status.map.protection.to_string(),
        losses_survived,
        drives,
        computes: Count { total: computes().count(), up: computes().filter(|node| node.up).count() },
        care: care(&status),
        frontends,
        mount,
        damaged,
        reconstructions,
        unreadable,
        alerts: alerts.into_iter().map(alert).collect(),
        capacity_bytes: status.capacity.get(),
        free_bytes: status.free.get(),
        kms: status.kms,
        store: StoreView {
            version: format!(
                "{}.{}",
                status.store.version.get() >> 32,
                status.store.version.get() & 0xffff_ffff
            ),
            voters: status.store.voters,
            necessary: status.store.necessary,
            current: status.store.holding,
        },
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

fn drive_count(status: &Status, here: &Here<'_>) -> DriveCount {
    let drives = &status.map.drives;
    let up = drives.iter().filter(|drive| drive.state != DriveState::Down && here.runs(&drive.name));
    let returning = drives.iter().filter(|drive| drive.state == DriveState::Returning);
    let buffered = status.nodes.iter().filter(|node| {
        matches!(
            node.last.as_ref().map(|last| &last.report),
            Some(NodeReport::Drive(report)) if report.device.mode == "buffered"
        )
    });
    DriveCount {
        total: drives.len(),
        up: up.count(),
        returning: returning.count(),
        buffered: buffered.count(),
    }
}

/// What management says, less the drives whose processes this host knows to be gone before management does.
fn losses_survived(status: &Status, here: &Here<'_>) -> Option<u8> {
    let gone = status.map.drives.iter().filter(|drive| drive.counts() && !here.runs(&drive.name)).count();
    status.losses_survived?.checked_sub(u8::try_from(gone).unwrap_or(u8::MAX))
}

fn care(status: &Status) -> CareView {
    let missing_shards = status.map.drives.iter().map(|drive| drive.missing).fold(0, u64::saturating_add);
    let mut care = CareView { respread_left: 0, reconciling: 0, missing_shards, extents: 0 };
    for node in &status.nodes {
        if let Some(NodeReport::Compute(report)) = node.last.as_ref().map(|last| &last.report) {
            care.respread_left = care.respread_left.saturating_add(report.respread_left);
            care.reconciling = care.reconciling.saturating_add(report.reconciling);
            care.extents = care.extents.saturating_add(report.extents);
        }
    }
    care
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
        Some(0) => "NOT PROTECTED: one more lost drive makes data unreachable".to_owned(),
        Some(1) => "1 more drive may be lost".to_owned(),
        Some(losses) => format!("{losses} more drives may be lost"),
        None => "data is unreachable".to_owned(),
    };
    let bytes = ByteCount::new;
    let mount = mounts::shown(&view.mount.path);
    let rows = [
        ("health", if view.healthy { "healthy" } else { "NOT HEALTHY, see below" }.to_owned()),
        ("protection", format!("{}; {survived}", view.protection)),
        ("drives", drives(&view.drives)),
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
        (
            "store",
            format!(
                "{} of {} copies current, {} necessary",
                view.store.current, view.store.voters, view.store.necessary
            ),
        ),
        ("keys", view.kms.clone()),
    ];
    let care = doing(&view.care);
    let care = (!care.is_empty()).then(|| ("background", care.join(", ")));
    for (name, text) in rows.into_iter().chain(care) {
        output::line(format_args!("{name:<12}{text}"))?;
    }
    for alert in &view.alerts {
        output::line(format_args!("\n{}: {}\n  {}", alert.severity, alert.cause, alert.next_step))?;
    }
    Ok(())
}

fn drives(count: &DriveCount) -> String {
    let mut text = format!("{} of {} up", count.up, count.total);
    if count.returning > 0 {
        text.push_str(&format!(", {} of them back and being compared", count.returning));
    }
    if count.buffered > 0 {
        text.push_str(&format!(", {} through the page cache", count.buffered));
    }
    text
}

/// What goes on in the background, a part each.
fn doing(care: &CareView) -> Vec<String> {
    let mut parts = Vec::new();
    if care.reconciling > 0 {
        parts.push(format!("{} returned drives are being compared", care.reconciling));
    }
    if care.respread_left > 0 {
        parts.push(format!("{} extents are still to be spread over all domains", care.respread_left));
    }
    if care.missing_shards > 0 {
        parts.push(format!("{} shards are missing on drives that came back", care.missing_shards));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_on_is_said() {
        let mut count = DriveCount { total: 6, up: 6, returning: 0, buffered: 0 };
        assert_eq!(drives(&count), "6 of 6 up");
        (count.returning, count.buffered) = (2, 1);
        assert_eq!(drives(&count), "6 of 6 up, 2 of them back and being compared, 1 through the page cache");
        let none = CareView { respread_left: 0, reconciling: 0, missing_shards: 0, extents: 0 };
        assert!(doing(&none).is_empty());
        assert_eq!(
            doing(&CareView { respread_left: 3, reconciling: 1, missing_shards: 9, extents: 1 }).len(),
            3
        );
    }
}
