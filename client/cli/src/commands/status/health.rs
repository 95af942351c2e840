//! Whether a cluster is healthy: what management says, held against what this host sees.

use std::path::Path;

use weft_types::Role;
use weft_wire::management::{Alert, Severity, Status};

use crate::container::{Observed, State};
use crate::host::mounts;

/// What this host sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    /// The containers.
    pub containers: &'a [Observed],
    /// Where the filesystem `default` belongs.
    pub mount: &'a Path,
    /// Whether it is served there.
    pub is_served: bool,
}

impl Here<'_> {
    /// Whether a container of this name serves. One that is not of this host is management's to judge.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.containers.iter().find(|one| one.name.as_str() == name).is_none_or(Observed::is_running)
    }

    fn backend(&self) -> impl Iterator<Item = &Observed> {
        self.containers.iter().filter(|one| !one.roles.contains(&Role::Frontend))
    }
}

/// Everything is up, every stripe has its full redundancy, every read was answered. Damage that reads went around,
/// and a key in a file, leave a cluster healthy: they are alerts.
pub(super) fn is_healthy(status: &Status, here: &Here<'_>, unreadable: u64) -> bool {
    let nodes_up = status.nodes.iter().filter(|node| node.role != Role::Frontend).all(|node| node.up);
    let containers_up = here.backend().all(Observed::is_running);
    let redundant = status.losses_survived == Some(status.map.protection.parity());
    let critical = status.alerts.iter().any(|alert| alert.severity == Severity::Critical);
    nodes_up && containers_up && redundant && here.is_served && unreadable == 0 && !critical
}

/// What this host sees before management does, or that management cannot see.
pub(super) fn local_alerts(status: &Status, here: &Here<'_>) -> Vec<Alert> {
    let told = |name: &str| {
        status.alerts.iter().any(|alert| alert.cause.split([' ', ',', ':']).any(|word| word == name))
    };
    let missing = here.backend().filter(|one| !one.is_running() && !told(one.name.as_str()));
    let mut alerts: Vec<_> = missing.map(not_running).collect();
    if !here.is_served {
        let reason = here.containers.iter().find(|one| one.mount.as_deref() == Some(here.mount));
        let reason = reason.and_then(|one| one.reason.as_ref()).map(|reason| format!(": {reason}"));
        alerts.push(Alert {
            severity: Severity::Warning,
            cause: format!("{} is not served{}", mounts::shown(here.mount), reason.unwrap_or_default()),
            next_step: "mount it again with `weft up`".to_owned(),
        });
    }
    alerts
}

fn not_running(one: &Observed) -> Alert {
    let name = &one.name;
    let cause = match (&one.state, &one.reason) {
        (State::Failed, Some(reason)) => format!("{name} gave up: {reason}"),
        (State::Died, _) => format!("{name} does not run: its process has died"),
        (state, _) => format!("{name} does not run: it is {}", state.word()),
    };
    let next_step = format!("see `weft logs {name}`, then start it again with `weft up`");
    Alert { severity: Severity::Warning, cause, next_step }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::Process;
    use weft_layout::{ClusterMap, NodeEntry, Protection};
    use weft_resources::ContainerName;
    use weft_types::{ByteCount, ClusterId, MapVersion, NodeId};
    use weft_wire::management::{NodeStatus, StoreState};

    fn observed(state: State) -> Observed {
        Observed {
            name: ContainerName::drive(0),
            roles: vec![Role::Drive],
            process: (state == State::Running).then_some(Process { pid: 1, start_ticks: 1 }),
            state,
            address: None,
            mount: None,
            mounted: None,
            reason: None,
        }
    }

    fn status(up: bool, losses_survived: Option<u8>, severity: Option<Severity>) -> Status {
        let node = NodeId::from_bytes([1; 16]);
        let management = NodeEntry { node, name: "compute0".to_owned(), address: String::new() };
        let alert =
            |severity| Alert { severity, cause: "drive9: cause".to_owned(), next_step: String::new() };
        Status {
            map: ClusterMap {
                cluster: ClusterId::from_bytes([1; 16]),
                version: MapVersion::new(1),
                protection: Protection::new(4, 2).expect("offered"),
                drives: Vec::new(),
                groups: Vec::new(),
                computes: Vec::new(),
                management,
            },
            nodes: vec![NodeStatus {
                node,
                role: Role::Drive,
                container: "drive0".to_owned(),
                address: String::new(),
                up,
                silent_ms: None,
                last: None,
            }],
            losses_survived,
            alerts: severity.map(alert).into_iter().collect(),
            kms: String::new(),
            capacity: ByteCount::new(0),
            free: ByteCount::new(0),
            store: StoreState::default(),
        }
    }

    #[test]
    fn healthy_is_everything_up_and_nothing_lost() {
        let runs = [observed(State::Running)];
        let died = [observed(State::Died)];
        let mount = Path::new("/mnt");
        let here = |containers, is_served| Here { containers, mount, is_served };
        let good = || status(true, Some(2), Some(Severity::Warning));
        let rows = [
            (good(), here(&runs, true), 0, true),
            (good(), here(&runs, false), 0, false),
            (good(), here(&died, true), 0, false),
            (good(), here(&runs, true), 1, false),
            (status(false, Some(2), None), here(&runs, true), 0, false),
            (status(true, Some(1), None), here(&runs, true), 0, false),
            (status(true, None, None), here(&runs, true), 0, false),
            (status(true, Some(2), Some(Severity::Notice)), here(&runs, true), 0, true),
            (status(true, Some(2), Some(Severity::Critical)), here(&runs, true), 0, false),
        ];
        for (number, (status, here, unreadable, healthy)) in rows.into_iter().enumerate() {
            assert_eq!(is_healthy(&status, &here, unreadable), healthy, "row {number}");
        }
    }

    #[test]
    fn what_management_told_already_is_not_told_again() {
        let died = [observed(State::Died)];
        let here = Here { containers: &died, mount: Path::new("/mnt"), is_served: true };
        let mut status = status(true, Some(2), Some(Severity::Warning));
        assert_eq!(local_alerts(&status, &here).len(), 1);
        status.alerts[0].cause = "drive drive0 is down: silent for 7 s".to_owned();
        assert!(local_alerts(&status, &here).is_empty());
    }

    #[test]
    fn a_mount_that_is_not_served_is_told() {
        let here = Here { containers: &[], mount: Path::new("/mnt"), is_served: false };
        let alerts = local_alerts(&status(true, Some(2), None), &here);
        assert!(
            alerts.iter().any(|alert| alert.cause.contains("/mnt") && alert.next_step.contains("weft up"))
        );
    }
}
