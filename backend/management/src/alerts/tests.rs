use super::*;
use crate::fixture;
use weft_types::{Incarnation, NodeId, Timestamp};
use weft_wire::management::{ComputeReport, DriveReport, FrontendReport, Heartbeat};

/// A cluster to spoil.
struct Cluster {
    map: ClusterMap,
    nodes: Vec<NodeStatus>,
    losses_survived: Option<u8>,
    free: u64,
    running_for: Duration,
    local_kms: bool,
    store: StoreState,
    store_fault: Option<&'static str>,
    returning: Vec<Waiting>,
    unspread: BTreeMap<String, usize>,
    short_logs: Vec<ShortLog>,
}

fn healthy() -> Cluster {
    let map = fixture::map();
    let node = |node, role, container: &str, report| NodeStatus {
        node,
        role,
        container: container.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        up: true,
        silent_ms: Some(200),
        last: Some(Heartbeat {
            node,
            container: container.to_owned(),
            pid: 1,
            started: Timestamp::default(),
            report,
        }),
    };
    let compute = ComputeReport {
        sessions: 0,
        operations: 0,
        batches: 0,
        extents_to_reclaim: 0,
        warning: None,
        respread_left: 0,
        orphans_deleted: 0,
        reconciling: 0,
        extents: 0,
    };
    let frontend = FrontendReport {
        filesystem: "default".to_owned(),
        mount: "/mnt".to_owned(),
        reconstructions: 12,
        damaged: 0,
        unreadable: 0,
        dirty: ByteCount::default(),
        warning: None,
    };
    let mut nodes = vec![
        node(map.computes[0].node, Role::Compute, "compute0", NodeReport::Compute(compute)),
        node(NodeId::from_bytes([0x50; 16]), Role::Frontend, "frontend0", NodeReport::Frontend(frontend)),
    ];
    for drive in &map.drives {
        let report = DriveReport {
            drive: drive.id,
            incarnation: Incarnation::new(1),
            capacity: drive.capacity,
            used: ByteCount::default(),
            shards: 0,
            damaged: 0,
            puts: 0,
            gets: 0,
            warning: None,
            writable: drive.capacity,
            device: weft_wire::management::DeviceReport::default(),
        };
        nodes.push(node(drive.node, Role::Drive, &drive.name, NodeReport::Drive(report)));
    }
    Cluster {
        map,
        nodes,
        losses_survived: Some(2),
        free: 1000,
        running_for: Duration::from_secs(60),
        local_kms: false,
        store: StoreState { voters: 5, necessary: 3, holding: 5, ..StoreState::default() },
        store_fault: None,
        returning: Vec::new(),
        unspread: BTreeMap::new(),
        short_logs: Vec::new(),
    }
}

impl Cluster {
    fn alerts(&self) -> Vec<Alert> {
        alerts(&Health {
            map: &self.map,
            nodes: &self.nodes,
            losses_survived: self.losses_survived,
            capacity: ByteCount::new(1000),
            free: ByteCount::new(self.free),
            running_for: self.running_for,
            local_kms: self.local_kms,
            store: &self.store,
            store_fault: self.store_fault,
            returning: &self.returning,
            unspread: &self.unspread,
            short_logs: &self.short_logs,
        })
    }

    fn drive(&mut self) -> &mut DriveReport {
        self.nodes
            .iter_mut()
            .find_map(|node| match &mut node.last.as_mut()?.report {
                NodeReport::Drive(report) => Some(report),
                _ => None,
            })
            .expect("a drive")
    }

    fn compute(&mut self) -> &mut ComputeReport {
        match &mut self.nodes[0].last.as_mut().expect("heard").report {
            NodeReport::Compute(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn frontend(&mut self) -> &mut FrontendReport {
        match &mut self.nodes[1].last.as_mut().expect("heard").report {
            NodeReport::Frontend(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn short_log(&mut self, copies: usize) {
        let (filesystem, shard) = ("home".to_owned(), MetadataShard::new(0));
        self.short_logs = vec![ShortLog { filesystem, shard, copies, wanted: 3 }];
    }

    fn kill(&mut self, drives: usize) {
        for drive in &mut self.map.drives[..drives] {
            drive.state = DriveState::Down;
        }
        for node in &mut self.nodes[2..2 + drives] {
            (node.up, node.silent_ms) = (false, Some(7200));
        }
        self.losses_survived = 2_u8.checked_sub(u8::try_from(drives).expect("few"));
    }
}

/// What happened, and the alert that must stand first.
type Row = (fn(&mut Cluster), Severity, &'static str, &'static str);

const TABLE: [Row; 24] = [
    (|c| c.kill(1), Severity::Warning, "1 more losses are survived instead of 2", "bring back drive0"),
    (|c| c.kill(2), Severity::Warning, "0 more losses", "bring back drive0, drive1"),
    (
        |c| c.kill(3),
        Severity::Critical,
        "data is unreachable: 3 drives are down (drive0, drive1, drive2)",
        "weft up",
    ),
    (|c| c.losses_survived = Some(1), Severity::Warning, "1 more losses", "add failure domains"),
    (
        |c| (c.nodes[2].up, c.nodes[2].silent_ms) = (false, Some(7200)),
        Severity::Warning,
        "drive drive0 is down: silent for 7 s",
        "weft logs drive0",
    ),
    (
        |c| (c.nodes[2].up, c.nodes[2].silent_ms, c.nodes[2].last) = (false, None, None),
        Severity::Warning,
        "drive drive0 has not been heard of since management started",
        "weft up",
    ),
    (
        |c| (c.nodes[0].up, c.nodes[0].silent_ms) = (false, Some(5000)),
        Severity::Critical,
        "compute compute0 is down: silent for 5 s",
        "weft up",
    ),
    (
        |c| c.drive().damaged = 3,
        Severity::Warning,
        "drive drive0 holds damaged data: 3 places",
        "replace the device",
    ),
    (
        |c| c.frontend().damaged = 4,
        Severity::Warning,
        "frontend frontend0 met damaged data: 4",
        "weft drive list",
    ),
    (|c| c.frontend().unreadable = 1, Severity::Critical, "could not read data: 1", "backup"),
    (
        |c| c.compute().warning = Some("disk is full".to_owned()),
        Severity::Warning,
        "compute compute0 reports: disk is full",
        "weft logs compute0",
    ),
    (|c| c.free = 99, Severity::Warning, "99 B of 1000 B for files are left", "delete"),
    (|c| c.local_kms = true, Severity::Notice, "KMS key lies in a file on this host", "external KMS"),
    (
        |c| c.store_fault = Some("No space left on device"),
        Severity::Critical,
        "cluster store cannot be written: No space left",
        "make room",
    ),
    (|c| c.store.holding = 4, Severity::Warning, "4 of 5 copies of the cluster store", "bring back drives"),
    (|c| c.store.holding = 2, Severity::Critical, "3 are necessary: 0 more", "bring back drives"),
    (
        |c| c.store.fenced = Some(weft_types::Epoch::new(9)),
        Severity::Critical,
        "has opened the cluster store under term 9",
        "stop one",
    ),
    (
        |c| c.returning = vec![Waiting { drive: "drive3".to_owned(), waits_for: vec!["home".to_owned()] }],
        Severity::Notice,
        "drive drive3 is back and is compared with the extents of home",
        "mount",
    ),
    (|c| c.map.drives[1].missing = 7, Severity::Warning, "drive drive1 lacks 7 shards", "lose no other"),
    (
        |c| _ = c.unspread.insert("home".to_owned(), 12),
        Severity::Notice,
        "extents of home in 12 placement groups",
        "moved in the background",
    ),
    (
        |c| c.short_log(2),
        Severity::Warning,
        "the log of home (metadata shard 0) has 2 of 3 copies",
        "bring back",
    ),
    (|c| c.short_log(0), Severity::Critical, "has 0 of 3 copies", "bring back"),
    (
        |c| c.kill(4),
        Severity::Critical,
        "writes wait: protection 4+2 needs 3 healthy failure domains (6 shards, at most 2 in one domain), and 2",
        "weft up",
    ),
    (
        |c| {
            let list = weft_layout::Membership { epoch: weft_types::Epoch::new(0), members: Vec::new() };
            c.map.groups[0].history = vec![list; MAX_HISTORY];
        },
        Severity::Warning,
        "1 placement groups changed 64 times",
        "mount every filesystem",
    ),
];

#[test]
fn a_healthy_cluster_needs_nobody() {
    assert_eq!(healthy().alerts(), []);
}

#[test]
fn everything_that_goes_wrong_is_said_with_its_next_step() {
    for (spoil, severity, cause, next_step) in TABLE {
        let mut cluster = healthy();
        spoil(&mut cluster);
        let alerts = cluster.alerts();
        let found = alerts.iter().find(|alert| alert.cause.contains(cause));
        let found = found.unwrap_or_else(|| panic!("no {cause:?} in {alerts:#?}"));
        assert_eq!(found.severity, severity, "{cause}");
        assert!(found.next_step.contains(next_step), "{}", found.next_step);
        assert!(alerts.is_sorted_by_key(|alert| alert.severity), "{alerts:#?}");
    }
}

#[test]
fn a_frontend_that_has_gone_is_no_alert_but_its_counters_are() {
    let mut cluster = healthy();
    cluster.frontend().damaged = 2;
    cluster.frontend().warning = Some("writes wait".to_owned());
    (cluster.nodes[1].up, cluster.nodes[1].silent_ms) = (false, Some(60_000));
    let alerts = cluster.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert!(alerts[0].cause.contains("met damaged data"));
}

#[test]
fn nobody_is_missed_before_there_was_time_to_speak() {
    let mut cluster = healthy();
    cluster.running_for = SILENCE_MAX;
    for node in &mut cluster.nodes {
        (node.up, node.silent_ms, node.last) = (false, None, None);
    }
    assert_eq!(cluster.alerts(), []);
}
