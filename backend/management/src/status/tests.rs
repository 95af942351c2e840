use std::collections::BTreeSet;

use super::*;
use crate::fixture;
use crate::membership::SILENCE_MAX;
use tokio::time::Instant;
use weft_types::{ByteCount, Epoch, GroupId, MetadataShard, StoreVersion, Timestamp};
use weft_wire::management::{DriveReport, Heartbeat, NodeReport};
use weft_wire::ownership::{DriveHome, GroupFloor, Held, LogSegment, ReportCare};

fn store(contents: &Contents) -> StoreStatus {
    let voters: BTreeSet<_> = contents.voters.all();
    StoreStatus {
        version: StoreVersion::new(1 << 32),
        holding: voters.clone(),
        voters,
        fault: None,
        fenced: None,
        confirmed: Instant::now(),
    }
}

fn status_of(contents: &Contents, membership: &Membership, care: &Care, owned: &[Owned]) -> Status {
    let store = store(contents);
    let running_for = SILENCE_MAX;
    let around = Surroundings { running_for, kms: "local k", local_kms: false, store: &store, owned };
    status(contents, membership, care, &around)
}

#[test]
fn space_is_net_of_parity_and_spare_and_of_what_drives_can_take() {
    let contents = fixture::contents();
    let map = &contents.map;
    let mut membership = Membership::default();
    let free = |membership: &Membership| status_of(&contents, membership, &Care::default(), &[]).free.get();
    let empty = free(&membership);
    assert_eq!(empty, map.net_capacity().get());
    let mut hear = |used: [u64; 6], writable: u64| {
        for (drive, used) in map.drives.iter().zip(used) {
            let report = DriveReport {
                drive: drive.id,
                incarnation: drive.incarnation,
                capacity: drive.capacity,
                used: ByteCount::new(used),
                shards: 1,
                damaged: 0,
                puts: 0,
                gets: 0,
                warning: None,
                writable: ByteCount::new(writable),
                device: weft_wire::management::DeviceReport::default(),
            };
            let heartbeat = Heartbeat {
                node: drive.node,
                container: drive.name.clone(),
                pid: 1,
                started: Timestamp::default(),
                report: NodeReport::Drive(report),
            };
            membership.hear(Duration::ZERO, map, (drive.node, Role::Drive), heartbeat).expect("counted");
        }
        free(&membership)
    };
    assert_eq!(
        empty - hear([6001, 0, 0, 0, 0, 0], fixture::DRIVE_BYTES),
        4001,
        "four of six shards are data"
    );
    assert_eq!(hear([0; 6], 600), 4 * 600, "drives that cannot take more end it");
}

#[test]
fn every_node_of_the_map_is_listed_and_losses_follow_the_worst_list() {
    let mut contents = fixture::contents();
    let survived = |contents: &Contents| {
        status_of(contents, &Membership::default(), &Care::default(), &[]).losses_survived
    };
    let full = status_of(&contents, &Membership::default(), &Care::default(), &[]);
    assert_eq!(full.nodes.len(), 2 + 6);
    assert_eq!((full.store.voters, full.store.necessary, full.store.holding), (5, 3, 5));
    assert_eq!(survived(&contents), Some(2));
    for (down, left) in [(1, Some(1)), (2, Some(0)), (3, None)] {
        contents.map.drives[down - 1].state = DriveState::Down;
        assert_eq!(survived(&contents), left, "{down} down");
    }
    let holding = status_of(&contents, &Membership::default(), &Care::default(), &[]).store.holding;
    assert_eq!(holding, 2, "copies on drives that are down do not count");
}

#[test]
fn losses_are_survived_only_where_log_and_store_have_their_copies() {
    let mut contents = fixture::contents();
    contents.create(fixture::filesystem("home")).expect("created");
    let (shard, owner) = (MetadataShard::new(0), NodeId::from_bytes([7; 16]));
    let taken = contents.take_ownership("home", shard, owner, |_, _| false).expect("owned");
    let homes = |list: core::ops::Range<usize>, contents: &Contents| {
        let drives = contents.map.drives[list].iter();
        drives.map(|drive| DriveHome { drive: drive.id, incarnation: drive.incarnation }).collect::<Vec<_>>()
    };
    let survived = |contents: &Contents| {
        status_of(contents, &Membership::default(), &Care::default(), &[]).losses_survived
    };
    for (copies, left) in [(3, Some(2)), (2, Some(1)), (1, Some(0))] {
        let segments = vec![LogSegment { first: 1, drives: homes(0..copies, &contents) }];
        contents.filesystems[0].shards[0].row.segments = segments;
        assert_eq!(survived(&contents), left, "{copies} copies of a log");
    }
    contents.filesystems[0].shards[0].row = taken.row;
    contents.voters = weft_engine::store::Voters::of(homes(0..3, &contents));
    assert_eq!(survived(&contents), Some(1), "of three voters one may be lost");
}

#[test]
fn what_owners_have_to_do_is_told_by_filesystem() {
    let mut contents = fixture::contents();
    let shard = MetadataShard::new(0);
    contents.create(fixture::filesystem("home")).expect("created");
    let owner = NodeId::from_bytes([7; 16]);
    let taken = contents.take_ownership("home", shard, owner, |_, _| false).expect("owned");
    let id = taken.filesystem.id;
    let drives: Vec<_> = contents.map.drives[..3]
        .iter()
        .map(|drive| DriveHome { drive: drive.id, incarnation: drive.incarnation })
        .collect();
    let row = weft_wire::ownership::ShardRow {
        version: 2,
        segments: vec![LogSegment { first: 1, drives }],
        ..taken.row
    };
    contents.swap_shard(id, shard, row, owner).expect("swapped");
    let owned = [Owned { shard: (id, shard), epoch: Epoch::new(1), name: "home".to_owned() }];
    let causes = |contents: &Contents, care: &Care| {
        let status = status_of(contents, &Membership::default(), care, &owned);
        status.alerts.into_iter().map(|alert| alert.cause).collect::<Vec<_>>().join("\n")
    };
    let mut care = Care::default();
    assert_eq!(causes(&contents, &care), "");
    contents.map.drives[1].state = DriveState::Returning;
    let said = causes(&contents, &care);
    assert!(said.contains("is back and is compared with the extents of home"), "{said}");
    contents.map.drives[1].state = DriveState::Down;
    let said = causes(&contents, &care);
    assert!(said.contains("the log of home (metadata shard 0) has 2 of 3 copies"), "{said}");
    contents.map.drives[1].state = DriveState::Up;
    let group = &mut contents.map.groups[4];
    group.history = vec![weft_layout::Membership { epoch: group.epoch, members: group.members.clone() }];
    group.epoch = group.epoch.next();
    let (group, epoch) = (group.id, group.epoch);
    let said = causes(&contents, &care);
    assert!(said.contains("extents of home in 1 placement groups"), "{said}");
    let held = Held { filesystem: id, shard, epoch: Epoch::new(1) };
    let floors = vec![GroupFloor { group, epoch }, GroupFloor { group: GroupId::new(0), epoch }];
    care.report(&ReportCare { owner: held, map: contents.map.version, floors, reconciled: Vec::new() });
    assert_eq!(causes(&contents, &care), "");
}
