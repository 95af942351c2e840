//! Maps for tests.

use weft_types::{ByteCount, ClusterId, DriveId, Incarnation, MapVersion, NodeId};

use crate::{ClusterMap, DriveEntry, DriveState, NodeEntry};

/// Drive number `n`, in failure domain `domain`.
pub(super) fn drive(n: u8, domain: u8, capacity: u64) -> DriveEntry {
    DriveEntry {
        id: DriveId::from_bytes([n; 16]),
        node: NodeId::from_bytes([n ^ 0x80; 16]),
        incarnation: Incarnation::new(1),
        name: format!("drives{n}"),
        address: format!("127.0.0.1:{}", 7000 + u16::from(n)),
        failure_domain: format!("host{domain}"),
        capacity: ByteCount::new(capacity),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    }
}

/// A node that serves no data.
pub(super) fn node(n: u8) -> NodeEntry {
    NodeEntry {
        node: NodeId::from_bytes([n; 16]),
        name: format!("node{n}"),
        address: format!("[::1]:{}", 8000 + u16::from(n)),
    }
}

/// A map of these drives without groups.
pub(super) fn map(protection: &str, drives: Vec<DriveEntry>) -> ClusterMap {
    ClusterMap {
        cluster: ClusterId::from_bytes([9; 16]),
        version: MapVersion::new(1),
        protection: protection.parse().expect("offered"),
        drives,
        groups: Vec::new(),
        computes: vec![node(1)],
        management: node(2),
    }
}

/// A map of `count` equal drives, each a failure domain, without groups.
pub(super) fn equal(protection: &str, count: u8) -> ClusterMap {
    map(protection, (0..count).map(|n| drive(n, n, 1 << 30)).collect())
}
