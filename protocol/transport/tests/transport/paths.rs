//! How much goes through a connection.

use bytes::Bytes;
use weft_transport::ServerSettings;

use crate::net::{LONG, pair, say};

#[tokio::test]
async fn large_datagrams_are_found_and_carry_bulk() {
    let pair = pair(ServerSettings::default());
    let bulk = Bytes::from(vec![0x5a; 1 << 20]);
    for _ in 0..8 {
        let calls: Vec<_> = (0..8)
            .map(|_| tokio::spawn(pair.pool.call(&pair.server.peer, &say("a"), bulk.clone(), LONG)))
            .collect();
        for call in calls {
            let (reply, back) = call.await.expect("not cancelled").expect("answered");
            assert!(reply.bulk_bytes == 1 << 20 && back == bulk);
        }
    }
    let paths = pair.pool.paths();
    let [path] = paths.as_slice() else { panic!("one connection: {paths:?}") };
    assert_eq!(path.peer, pair.server.peer);
    assert!(path.mtu > 8 << 10, "{path:?}");
    // 64 MiB in datagrams of 1200 bytes would be 56 thousand packets.
    assert!(path.packets_sent < 20_000, "{path:?}");
    assert!(path.packets_lost < path.packets_sent / 10, "{path:?}");
}
