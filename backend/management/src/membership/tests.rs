use super::*;
use crate::fixture;
use crate::space::net_free;
use proptest::prelude::*;
use weft_types::{Incarnation, Timestamp};
use weft_wire::management::{ComputeReport, DriveReport};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn heartbeat(node: NodeId, pid: u32, report: NodeReport) -> Heartbeat {
    Heartbeat { node, container: "c".to_owned(), pid, started: Timestamp::default(), report }
}

fn of_drive(drive: &DriveEntry) -> Heartbeat {
    let report = DriveReport {
        drive: drive.id,
        incarnation: drive.incarnation,
        capacity: ByteCount::new(1000),
        used: ByteCount::new(10),
        shards: 1,
        damaged: 0,
        puts: 0,
        gets: 0,
        warning: None,
        writable: ByteCount::new(990),
        device: weft_wire::management::DeviceReport::default(),
    };
    heartbeat(drive.node, 1, NodeReport::Drive(report))
}

fn of_frontend(node: NodeId, pid: u32, reconstructions: u64) -> Heartbeat {
    let report = FrontendReport {
        filesystem: "default".to_owned(),
        mount: "/mnt".to_owned(),
        reconstructions,
        damaged: 2 * reconstructions,
        unreadable: 0,
        dirty: ByteCount::default(),
        warning: None,
    };
    heartbeat(node, pid, NodeReport::Frontend(report))
}

fn of_compute(node: NodeId) -> Heartbeat {
    let report = ComputeReport {
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
    heartbeat(node, 1, NodeReport::Compute(report))
}

fn counters(membership: &Membership, container: &str) -> (u64, u64) {
    let mut frontends = membership.frontends().map(|(_, heard)| &heard.last);
    match &frontends.find(|last| last.container == container).expect("heard").report {
        NodeReport::Frontend(report) => (report.reconstructions, report.damaged),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn a_node_is_up_for_as_long_as_its_silence_is_short(heard in 0_u64..100_000, later in 0_u64..100_000) {
        let (heard, now) = (Duration::from_millis(heard), Duration::from_millis(heard + later));
        prop_assert_eq!(is_up(Some(heard), now), later <= 4500);
        prop_assert!(is_up(Some(now), heard), "a clock that stands still hurts nobody");
        prop_assert!(!is_up(None, now));
    }
}

#[test]
fn a_dead_process_is_seen_within_five_seconds() {
    assert!(SILENCE_MAX + LOOK_EVERY < seconds(5));
}

#[test]
fn a_drive_goes_down_when_silent_and_returns_when_heard() {
    let mut map = fixture::map();
    let mut membership = Membership::default();
    assert_eq!(membership.changed_drives(&map, seconds(4)), [], "nobody had time to speak yet");
    for drive in &map.drives {
        membership.hear(seconds(4), &map, (drive.node, Role::Drive), of_drive(drive)).expect("counted");
    }
    assert_eq!(membership.changed_drives(&map, seconds(8)), []);
    for drive in &map.drives[1..] {
        membership.hear(seconds(8), &map, (drive.node, Role::Drive), of_drive(drive)).expect("counted");
    }
    let silent = map.drives[0].id;
    assert_eq!(membership.changed_drives(&map, seconds(9)), [(silent, DriveState::Down)]);
    map.drives[0].state = DriveState::Down;
    assert_eq!(membership.changed_drives(&map, seconds(9)), []);
    let drive = map.drives[0].clone();
    membership.hear(seconds(10), &map, (drive.node, Role::Drive), of_drive(&drive)).expect("counted");
    assert_eq!(membership.changed_drives(&map, seconds(10)), [(silent, DriveState::Returning)]);
    map.drives[0].state = DriveState::Returning;
    assert_eq!(membership.changed_drives(&map, seconds(10)), [], "others say when it is up");
    for drive in &map.drives[1..] {
        membership.hear(seconds(15), &map, (drive.node, Role::Drive), of_drive(drive)).expect("counted");
    }
    assert_eq!(membership.changed_drives(&map, seconds(15)), [(silent, DriveState::Down)]);
}

#[test]
fn drives_that_fell_silent_together_go_together() {
    let map = fixture::map();
    let mut membership = Membership::default();
    let ms = Duration::from_millis;
    for (drive, last) in map.drives.iter().zip([0, 400, 900, 2000, 4000, 4400]) {
        membership.hear(ms(last), &map, (drive.node, Role::Drive), of_drive(drive)).expect("counted");
    }
    assert_eq!(membership.changed_drives(&map, ms(4500)), []);
    let down: Vec<_> = map.drives[..3].iter().map(|drive| (drive.id, DriveState::Down)).collect();
    assert_eq!(membership.changed_drives(&map, ms(4600)), down);
}

#[test]
fn drives_that_start_one_after_the_other_stay_up() {
    let mut map = fixture::map();
    map.drives[5].state = DriveState::Draining;
    assert_eq!(Membership::default().changed_drives(&map, seconds(10)), []);
    let changed = Membership::default().changed_drives(&map, seconds(11));
    let down: Vec<_> = map.drives[..5].iter().map(|drive| (drive.id, DriveState::Down)).collect();
    assert_eq!(changed, down, "one that drains goes on draining");
}

#[test]
fn the_drive_that_is_full_first_ends_what_can_be_written() {
    let mut map = fixture::map();
    let mut membership = Membership::default();
    assert_eq!(membership.raw_writable(&map), None);
    assert_eq!(net_free(&map, &membership), None, "what nobody knows is promised to nobody");
    for (drive, writable) in map.drives.iter().zip([900, 300, 900, 900, 900, 900]) {
        let mut heartbeat = of_drive(drive);
        if let NodeReport::Drive(report) = &mut heartbeat.report {
            report.writable = ByteCount::new(writable);
        }
        membership.hear(Duration::ZERO, &map, (drive.node, Role::Drive), heartbeat).expect("heard");
    }
    assert_eq!(membership.raw_writable(&map), Some(ByteCount::new(6 * 300)), "equal parts");
    assert_eq!(net_free(&map, &membership), Some(ByteCount::new(4 * 300)), "net of parity");
    map.drives[1].state = DriveState::Down;
    assert_eq!(membership.raw_writable(&map), Some(ByteCount::new(6 * 900)), "of those that are up");
}

#[test]
fn nobody_speaks_for_another() {
    let map = fixture::map();
    let (drive, other) = (&map.drives[0], &map.drives[1]);
    let compute = map.computes[0].node;
    let mut blank = of_drive(drive);
    let mut stranger = of_drive(drive);
    if let (NodeReport::Drive(blank), NodeReport::Drive(stranger)) = (&mut blank.report, &mut stranger.report)
    {
        blank.incarnation = Incarnation::new(2);
        stranger.drive = DriveId::from_bytes([99; 16]);
    }
    let mut disguised = of_drive(drive);
    disguised.node = other.node;
    let rows = [
        ((other.node, Role::Drive), of_drive(drive), HeartbeatRefusal::NotYours),
        ((other.node, Role::Drive), disguised, HeartbeatRefusal::NotYours),
        ((drive.node, Role::Frontend), of_drive(drive), HeartbeatRefusal::NotYours),
        ((drive.node, Role::Drive), of_compute(drive.node), HeartbeatRefusal::NotYours),
        ((compute, Role::Admin), of_compute(compute), HeartbeatRefusal::NotYours),
        ((drive.node, Role::Drive), blank, HeartbeatRefusal::UnknownDrive),
        ((drive.node, Role::Drive), stranger, HeartbeatRefusal::UnknownDrive),
    ];
    for (who, heartbeat, refusal) in rows {
        let mut membership = Membership::default();
        assert_eq!(membership.hear(seconds(1), &map, who, heartbeat.clone()), Err(refusal), "{heartbeat:?}");
        assert!(membership.heard.is_empty());
    }
}

#[test]
fn counters_outlast_the_process_that_counted() {
    let map = fixture::map();
    let node = NodeId::from_bytes([0x55; 16]);
    let mut membership = Membership::default();
    let mut hear = |at, pid, count| {
        let heartbeat = of_frontend(node, pid, count);
        let container = heartbeat.container.clone();
        membership.hear(seconds(at), &map, (node, Role::Frontend), heartbeat).expect("counted");
        counters(&membership, &container)
    };
    assert_eq!(hear(1, 10, 5), (5, 10));
    assert_eq!(hear(2, 10, 7), (7, 14), "one process is not counted twice");
    assert_eq!(hear(3, 11, 0), (7, 14));
    assert_eq!(hear(4, 11, 2), (9, 18));
    assert_eq!(hear(5, 12, 1), (10, 20));
    assert_eq!(membership.frontends().count(), 1);
}

#[test]
fn two_mounts_of_one_identity_are_counted_apart() {
    let map = fixture::map();
    let node = NodeId::from_bytes([0x55; 16]);
    let mut membership = Membership::default();
    for at in 1..6 {
        for (pid, container) in [(10, "frontend0"), (11, "frontend1")] {
            let mut heartbeat = of_frontend(node, pid, 3);
            heartbeat.container = container.to_owned();
            membership.hear(seconds(at), &map, (node, Role::Frontend), heartbeat).expect("counted");
        }
    }
    assert_eq!((counters(&membership, "frontend0"), counters(&membership, "frontend1")), ((3, 6), (3, 6)));
}

#[test]
fn frontends_are_remembered_within_bounds_the_latest_first() {
    let map = fixture::map();
    let mut membership = Membership::default();
    for n in 0..10_u8 {
        let node = NodeId::from_bytes([n; 16]);
        let heartbeat = of_frontend(node, 1, 1);
        membership.hear(seconds(n.into()), &map, (node, Role::Frontend), heartbeat).expect("counted");
    }
    let drive = &map.drives[0];
    membership.hear(seconds(0), &map, (drive.node, Role::Drive), of_drive(drive)).expect("counted");
    membership.forget_frontends(3);
    let left: Vec<_> = membership.frontends().map(|(node, _)| node.to_bytes()[0]).collect();
    assert_eq!(left, [7, 8, 9]);
    assert!(membership.of(drive.node).is_some());
}

#[test]
fn long_texts_are_cut_between_characters() {
    let map = fixture::map();
    let node = NodeId::from_bytes([0x55; 16]);
    let mut heartbeat = of_frontend(node, 1, 1);
    heartbeat.container = "é".repeat(100_000);
    if let NodeReport::Frontend(report) = &mut heartbeat.report {
        (report.mount, report.warning) = (format!("/{}", "é".repeat(100_000)), Some("w".repeat(100_000)));
    }
    let mut membership = Membership::default();
    membership.hear(seconds(1), &map, (node, Role::Frontend), heartbeat).expect("counted");
    let last = &membership.frontends().next().expect("heard").1.last;
    assert_eq!(last.container, "é".repeat(128));
    let NodeReport::Frontend(report) = &last.report else { panic!("{last:?}") };
    assert_eq!(report.mount.len(), 255, "no character is cut through");
    assert_eq!(report.warning.as_ref().map(String::len), Some(256));
}

#[test]
fn space_is_what_drives_say_and_what_the_map_says_of_the_silent() {
    let map = fixture::map();
    let mut membership = Membership::default();
    let drive = &map.drives[0];
    membership.hear(seconds(0), &map, (drive.node, Role::Drive), of_drive(drive)).expect("counted");
    let (capacity, used) = membership.raw_space(&map);
    assert_eq!(capacity.get(), 1000 + 5 * fixture::DRIVE_BYTES);
    let hundredth = fixture::DRIVE_BYTES / 100;
    assert!(
        (10 + 5 * hundredth..11 + 5 * hundredth + 5 * fixture::DRIVE_BYTES / WHOLE).contains(&used.get())
    );
}

#[test]
fn a_silent_drive_is_taken_to_be_as_full_as_the_fullest() {
    let map = fixture::map();
    let mut membership = Membership::default();
    assert_eq!(membership.raw_space(&map).1, ByteCount::default(), "nothing is known");
    for (drive, used) in [(0, 300), (1, 500)] {
        let drive = &map.drives[drive];
        let mut heartbeat = of_drive(drive);
        if let NodeReport::Drive(report) = &mut heartbeat.report {
            (report.capacity, report.used) = (drive.capacity, ByteCount::new(used << 20));
        }
        membership.hear(Duration::ZERO, &map, (drive.node, Role::Drive), heartbeat).expect("heard");
    }
    let (capacity, used) = membership.raw_space(&map);
    assert_eq!(capacity.get(), 6 * fixture::DRIVE_BYTES);
    assert_eq!(used.get() >> 20, 300 + 500 + 4 * 500);
}
