//! What needs a person's attention: a pure function of the cluster's state.

use core::time::Duration;

use weft_layout::{ClusterMap, DriveState};
use weft_types::{ByteCount, Role};
use weft_wire::management::{Alert, NodeReport, NodeStatus, Severity};

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
    /// Why the cluster store was not written the last time.
    pub store_fault: Option<&'a str>,
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
    if let Some(fault) = health.store_fault {
        let cause = format!("the cluster store cannot be written: {fault}");
        let next_step = "make room on the disk that holds it, or replace the disk".to_owned();
        alerts.push(Alert { severity: Severity::Critical, cause, next_step });
    }
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
            if down.is_empty() {
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
