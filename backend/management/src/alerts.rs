//! What needs a person's attention: a pure function of the cluster's state.

use core::time::Duration;
use std::collections::BTreeMap;

use weft_layout::{ClusterMap, DriveState, MAX_HISTORY};
use weft_types::{ByteCount, MetadataShard, Role};
use weft_wire::management::{Alert, NodeReport, NodeStatus, Severity, StoreState};

use crate::membership::SILENCE_MAX;

/// The cluster as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Health<'a> {
    /// Its map.
    pub map: &'a ClusterMap,
    /// Every node that it knows.
    pub nodes: &'a [NodeStatus],
    /// How many more failure domains may be lost; absent when data is unreachable.
    pub losses_survived: Option<u8>,
    /// Net capacity for files.
    pub capacity: ByteCount,
    /// Net room left.
    pub free: ByteCount,
    /// How long management has run.
    pub running_for: Duration,
    /// Whether the KMS key lies in a file on this host.
    pub local_kms: bool,
    /// How the cluster store is.
    pub store: &'a StoreState,
    /// Why the cluster store was not written the last time.
    pub store_fault: Option<&'a str>,
    /// Drives that came back.
    pub returning: &'a [Waiting],
    /// Filesystems with extents that lie by earlier lists of groups, and how many groups those are.
    pub unspread: &'a BTreeMap<String, usize>,
    /// Logs with too few copies.
    pub short_logs: &'a [ShortLog],
}

/// A drive that came back and does not count yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Its name.
    pub drive: String,
    /// The filesystems that have not compared it with their extents.
    pub waits_for: Vec<String>,
}

/// A log with too few copies on drives that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShortLog {
    /// Whose.
    pub filesystem: String,
    /// Of which shard.
    pub shard: MetadataShard,
    /// Copies of the segment that has fewest.
    pub copies: usize,
    /// How many there should be.
    pub wanted: usize,
}

/// All alerts, the worst first.
pub(crate) fn alerts(health: &Health<'_>) -> Vec<Alert> {
    let mut alerts = Vec::new();
    redundancy(health, &mut alerts);
    for node in health.nodes {
        silence(health, node, &mut alerts);
        reported(node, &mut alerts);
    }
    space(health, &mut alerts);
    placement(health, &mut alerts);
    care(health, &mut alerts);
    store(health, &mut alerts);
    if health.local_kms {
        alerts.push(alert(
            Severity::Notice,
            "the KMS key lies in a file on this host, beside the data that it protects",
            "use an external KMS for data that must stay closed when this host is stolen",
        ));
    }
    alerts.sort_by_key(|alert| alert.severity);
    alerts
}

fn alert(severity: Severity, cause: impl Into<String>, next_step: impl Into<String>) -> Alert {
    Alert { severity, cause: cause.into(), next_step: next_step.into() }
}

/// What is left of the protection.
fn redundancy(health: &Health<'_>, alerts: &mut Vec<Alert>) {
    let protection = health.map.protection;
    let down: Vec<_> = health.map.drives.iter().filter(|drive| drive.state == DriveState::Down).collect();
    let names = down.iter().map(|drive| drive.name.as_str()).collect::<Vec<_>>().join(", ");
    match health.losses_survived {
        None => alerts.push(alert(
            Severity::Critical,
            format!(
                "data is unreachable: {} drives are down ({names}), and protection {protection} bridges {}",
                down.len(),
                protection.parity()
            ),
            "start the drives again with `weft up`; replace none before their data is back",
        )),
        Some(left) if left < protection.parity() => alerts.push(alert(
            Severity::Warning,
            format!("{left} more losses are survived instead of {}", protection.parity()),
            if !health.returning.is_empty() || !health.unspread.is_empty() {
                "wait until what was written meanwhile has been moved to where it belongs".to_owned()
            } else if down.is_empty() {
                "add failure domains, so that every shard of a stripe has one of its own".to_owned()
            } else {
                format!("bring back {names}")
            },
        )),
        Some(_) => {}
    }
}

/// A node that should speak and does not. A frontend may go whenever it likes.
fn silence(health: &Health<'_>, node: &NodeStatus, alerts: &mut Vec<Alert>) {
    if node.up || node.role == Role::Frontend || health.running_for <= SILENCE_MAX {
        return;
    }
    let name = &node.container;
    let cause = match node.silent_ms {
        None => format!("{} {name} has not been heard of since management started", node.role),
        Some(ms) => format!("{} {name} is down: silent for {} s", node.role, ms / 1000),
    };
    let severity = if node.role == Role::Drive { Severity::Warning } else { Severity::Critical };
    alerts.push(alert(
        severity,
        cause,
        format!("see `weft logs {name}`, then start it again with `weft up`"),
    ));
}

/// What a node itself reports.
fn reported(node: &NodeStatus, alerts: &mut Vec<Alert>) {
    let Some(heartbeat) = &node.last else { return };
    let name = &node.container;
    let warning = match &heartbeat.report {
        NodeReport::Drive(report) => {
            if report.damaged > 0 {
                alerts.push(alert(
                    Severity::Warning,
                    format!("drive {name} holds damaged data: {} places found", report.damaged),
                    "reads are answered from the other drives; replace the device when the number grows",
                ));
            }
            &report.warning
        }
        NodeReport::Compute(report) => &report.warning,
        NodeReport::Frontend(report) => {
            if report.unreadable > 0 {
                alerts.push(alert(
                    Severity::Critical,
                    format!("frontend {name} could not read data: {} reads failed", report.unreadable),
                    "bring back drives that are down; else restore the files that say EIO from a backup",
                ));
            }
            if report.damaged > 0 {
                alerts.push(alert(
                    Severity::Warning,
                    format!("frontend {name} met damaged data: {} blocks, read around", report.damaged),
                    "see which drive counts damage in `weft drive list`",
                ));
            }
            &report.warning
        }
    };
    if let Some(text) = warning.as_ref().filter(|_| node.up) {
        alerts.push(alert(
            Severity::Warning,
            format!("{} {name} reports: {text}", node.role),
            format!("see `weft logs {name}`"),
        ));
    }
}

/// Where shards can go.
fn placement(health: &Health<'_>, alerts: &mut Vec<Alert>) {
    let (map, protection) = (health.map, health.map.protection);
    let (healthy, necessary) = (map.healthy_domains(), usize::from(protection.domains_min_for_writes()));
    if healthy < necessary {
        let (width, max) = (protection.width(), protection.max_shards_per_domain());
        alerts.push(alert(
            Severity::Critical,
            format!(
                "writes wait: protection {protection} needs {necessary} healthy failure domains ({width} shards, at most {max} in one domain), and {healthy} have a drive that is up"
            ),
            "start drives again with `weft up`",
        ));
    } else if healthy < usize::from(protection.width()) {
        let width = protection.width();
        alerts.push(alert(
            Severity::Warning,
            format!(
                "{healthy} failure domains for {width} shards: new writes put several shards into one domain"
            ),
            "bring back drives; what was written meanwhile is spread again then",
        ));
    }
    let full = map.groups.iter().filter(|group| group.history.len() >= MAX_HISTORY).count();
    if full > 0 {
        alerts.push(alert(
            Severity::Warning,
            format!(
                "{full} placement groups changed {MAX_HISTORY} times without their extents being moved, and stay as they are"
            ),
            "find the drive that comes and goes in `weft logs compute0`, and mount every filesystem so that its extents can be moved",
        ));
    }
}

/// What owners have to do before everything is where it belongs.
fn care(health: &Health<'_>, alerts: &mut Vec<Alert>) {
    for Waiting { drive, waits_for } in health.returning {
        let filesystems = waits_for.join(", ");
        alerts.push(alert(
            Severity::Notice,
            format!("drive {drive} is back and is compared with the extents of {filesystems}"),
            "wait; it counts once that is done. If it stays so, mount those filesystems",
        ));
    }
    for drive in health.map.drives.iter().filter(|drive| drive.missing > 0) {
        alerts.push(alert(
            Severity::Warning,
            format!("drive {} lacks {} shards that it should hold", drive.name, drive.missing),
            "they are read from the rest of their stripes; lose no other drive before they are rebuilt",
        ));
    }
    for (filesystem, groups) in health.unspread {
        alerts.push(alert(
            Severity::Notice,
            format!("extents of {filesystem} in {groups} placement groups may lie where they did before drives changed"),
            "wait; they are moved in the background. If it stays so, mount the filesystem",
        ));
    }
    for ShortLog { filesystem, shard, copies, wanted } in health.short_logs {
        let severity = if *copies == 0 { Severity::Critical } else { Severity::Warning };
        alerts.push(alert(
            severity,
            format!("the log of {filesystem} (metadata shard {shard}) has {copies} of {wanted} copies"),
            "bring back drives that are down; its owner makes new copies on others meanwhile",
        ));
    }
}

/// The cluster store.
fn store(health: &Health<'_>, alerts: &mut Vec<Alert>) {
    let StoreState { voters, necessary, holding, fenced, .. } = *health.store;
    if let Some(by) = fenced {
        alerts.push(alert(
            Severity::Critical,
            format!("another management process has opened the cluster store under term {by}"),
            "stop one of the two; this one has stopped changing anything",
        ));
    }
    if let Some(fault) = health.store_fault {
        alerts.push(alert(
            Severity::Critical,
            format!("the cluster store cannot be written: {fault}"),
            "bring back the voting drives that are down, or make room on those that are full",
        ));
    } else if holding < voters && health.running_for > SILENCE_MAX {
        let spare = holding.saturating_sub(necessary);
        let severity = if holding < necessary { Severity::Critical } else { Severity::Warning };
        alerts.push(alert(
            severity,
            format!(
                "{holding} of {voters} copies of the cluster store are current, {necessary} are necessary: {spare} more may be lost"
            ),
            "bring back drives that are down; the copies follow by themselves",
        ));
    }
}

/// Room for files.
fn space(health: &Health<'_>, alerts: &mut Vec<Alert>) {
    let (capacity, free) = (health.capacity.get(), health.free.get());
    if free < capacity / 10 {
        alerts.push(alert(
            Severity::Warning,
            format!("{} of {} for files are left", health.free, health.capacity),
            "delete what is not needed; writes are refused when it is full",
        ));
    }
}

#[cfg(test)]
mod tests;
