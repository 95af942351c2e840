//! Contents for tests.

use weft_keys::{FilesystemKey, KmsWrapped, MetadataKey, NameKey, Nonce};
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry, place};
use weft_types::{
    ByteCount, ClusterId, DriveId, FilesystemId, Incarnation, KeyVersion, MapVersion, NodeId, Timestamp,
};
use zeroize::Zeroizing;

use crate::contents::Contents;
use crate::filesystem::{FilesystemKeyRow, FilesystemRow};
use crate::secret_text::SecretText;
use crate::voters::choose_voters;

/// Usable bytes of each drive of [`map`].
pub(crate) const DRIVE_BYTES: u64 = 1 << 30;

/// A 4+2 map of six drives, all up, with groups.
pub(crate) fn map() -> ClusterMap {
    let drive = |n: u8| DriveEntry {
        id: DriveId::from_bytes([n; 16]),
        node: NodeId::from_bytes([n | 0x80; 16]),
        incarnation: Incarnation::new(1),
        name: format!("drive{n}"),
        address: format!("127.0.0.1:{}", 7402 + u16::from(n)),
        failure_domain: format!("drive{n}"),
        capacity: ByteCount::new(DRIVE_BYTES),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    };
    let node = |n: u8, port: u16| NodeEntry {
        node: NodeId::from_bytes([n; 16]),
        name: "compute0".to_owned(),
        address: format!("127.0.0.1:{port}"),
    };
    let vacant = ClusterMap {
        cluster: ClusterId::from_bytes([1; 16]),
        version: MapVersion::new(0),
        protection: "4+2".parse().expect("offered"),
        drives: (0..6).map(drive).collect(),
        groups: Vec::new(),
        computes: vec![node(0x20, 7401)],
        management: node(0x21, 7400),
    };
    place(&vacant).expect("six domains").map
}

pub(crate) fn contents() -> Contents {
    let map = map();
    let voters = choose_voters(&map);
    Contents::new(map, SecretText::new(Zeroizing::new("the authority's key".to_owned())), voters)
}

pub(crate) fn filesystem(name: &str) -> FilesystemRow {
    let mut id = [0; 16];
    id[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
    let (id, version) = (FilesystemId::from_bytes(id), KeyVersion::new(1));
    let key = FilesystemKey::from_bytes(id, version, &[3; 32]);
    let nonce = || Nonce::from_random([4; 12]);
    FilesystemRow {
        id,
        name: name.to_owned(),
        created: Timestamp::default(),
        deleting: false,
        keys: vec![FilesystemKeyRow { version, wrapped: KmsWrapped::from_bytes(vec![5; 40]) }],
        metadata_key: key.wrap_metadata_key(&MetadataKey::from_bytes(&[6; 32]), nonce()),
        name_key: key.wrap_name_key(&NameKey::from_bytes(&[7; 32]), nonce()),
        shards: Vec::new(),
        sessions: Vec::new(),
    }
}
