//! What management signs for others to show to drives.

use weft_layout::ClusterMap;
use weft_pki::ClusterAuthority;
use weft_types::{FilesystemId, MetadataShard, NodeId};
use weft_wire::grant::{GRANT_PURPOSE, Grant, LogGrant, SessionGrant, SignedGrant};
use weft_wire::ownership::{DriveGrant, DriveHome, ShardRow};

use crate::sessions::SessionRow;

fn signed(authority: &ClusterAuthority, grant: &Grant) -> SignedGrant {
    let body = minicbor::to_vec(grant).expect("memory takes all");
    let signature = authority.sign(GRANT_PURPOSE, &body).into();
    SignedGrant { body: body.into(), signature }
}

/// What a frontend shows to drives for a session that is registered.
pub(crate) fn session_grant(
    authority: &ClusterAuthority,
    filesystem: FilesystemId,
    row: SessionRow,
) -> SignedGrant {
    let cluster = authority.cluster();
    let SessionRow { session, node } = row;
    signed(authority, &Grant::Session(SessionGrant { cluster, filesystem, session, node }))
}

/// What the owner of a shard shows to each drive of the map.
pub(crate) fn log_grants(
    authority: &ClusterAuthority,
    map: &ClusterMap,
    (filesystem, shard): (FilesystemId, MetadataShard),
    row: &ShardRow,
) -> Vec<DriveGrant> {
    let (cluster, epoch): (_, _) = (authority.cluster(), row.epoch);
    let owner: NodeId = row.owner;
    let grant = |drive: &weft_layout::DriveEntry| {
        let home = DriveHome { drive: drive.id, incarnation: drive.incarnation };
        let DriveHome { drive, incarnation } = home;
        let grant = Grant::Log(LogGrant { cluster, filesystem, shard, epoch, owner, drive, incarnation });
        DriveGrant { home, grant: signed(authority, &grant) }
    };
    map.drives.iter().map(grant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use weft_pki::AuthorityVerifier;
    use weft_types::{Epoch, SessionId, Timestamp};

    #[test]
    fn grants_say_what_they_allow_and_verify_offline() {
        let map = fixture::map();
        let now = Timestamp { seconds: 1_700_000_000, ..Timestamp::default() };
        let authority = ClusterAuthority::create(map.cluster, now).expect("created");
        let verifier = AuthorityVerifier::from_certificate(authority.certificate()).expect("an authority's");
        let filesystem = FilesystemId::from_bytes([3; 16]);
        let (owner, shard) = (NodeId::from_bytes([7; 16]), MetadataShard::new(0));
        let row = ShardRow {
            version: 4,
            epoch: Epoch::new(9),
            owner,
            segments: Vec::new(),
            ends: Vec::new(),
            checkpoint: None,
        };
        let grants = log_grants(&authority, &map, (filesystem, shard), &row);
        assert_eq!(grants.len(), map.drives.len());
        for (drive, DriveGrant { home, grant }) in map.drives.iter().zip(grants) {
            assert!(verifier.verify(GRANT_PURPOSE, &grant.body, &grant.signature));
            let Ok(Grant::Log(said)) = grant.grant() else { panic!("a log's grant") };
            assert_eq!((home.drive, said.drive, said.incarnation), (drive.id, drive.id, drive.incarnation));
            assert_eq!((said.epoch, said.owner, said.filesystem), (row.epoch, owner, filesystem));
        }
        let session =
            SessionRow { session: SessionId::from_bytes([5; 16]), node: NodeId::from_bytes([6; 16]) };
        let grant = session_grant(&authority, filesystem, session);
        assert!(verifier.verify(GRANT_PURPOSE, &grant.body, &grant.signature));
        let expected =
            SessionGrant { cluster: map.cluster, filesystem, session: session.session, node: session.node };
        assert_eq!(grant.grant().ok(), Some(Grant::Session(expected)));
    }
}
