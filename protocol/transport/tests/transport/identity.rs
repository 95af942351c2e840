//! Who may be connected to.

use weft_pki::NodeIdentity;
use weft_transport::{Bulk, CallError, DialError, Peer, PoolSettings, ServerSettings};
use weft_types::{ClusterId, NodeId, Role};

use crate::net::{LONG, authority, issue, pair, pool, say};

fn assert_refused(error: &CallError<crate::words::EchoRefusal>) {
    match error {
        CallError::Unreachable { source, .. } => {
            assert!(matches!(**source, DialError::Handshake(_)), "{source:?}");
            assert!(!source.is_transient(), "{source:?}");
        }
        other => panic!("expected no connection, found {other:?}"),
    }
    assert!(!error.is_retryable() && !error.outcome_unknown());
}

#[tokio::test]
async fn another_node_at_the_address_is_refused() {
    let pair = pair(ServerSettings::default());
    let own = pair.server.peer.identity;
    let others = [
        NodeIdentity { node: NodeId::from_bytes([9; 16]), ..own },
        NodeIdentity { role: Role::Compute, ..own },
        NodeIdentity { cluster: ClusterId::from_bytes([9; 16]), ..own },
    ];
    for identity in others {
        let peer = Peer { identity, ..pair.server.peer };
        let error = pair.pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("refused");
        assert_refused(&error);
    }
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let pair = pair(ServerSettings::default());
    // One authority of another cluster, and one that only claims to be of the same.
    for cluster in [2, 1] {
        let stranger = pool(&issue(&authority(cluster), Role::Frontend, 3), PoolSettings::default());
        let error =
            stranger.call(&pair.server.peer, &say("a"), Bulk::none(), LONG).await.expect_err("refused");
        assert_refused(&error);
    }
}
