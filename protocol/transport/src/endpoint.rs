//! How connections are tuned, and the sockets they run over.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac, rand};
use quinn::congestion::CubicConfig;
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, MtuDiscoveryConfig, TransportConfig,
    VarInt,
};
use tokio::runtime::Handle;
use weft_pki::Credentials;

use crate::socket::{self, DATAGRAM_BYTES_MAX, PinnedRuntime};

/// Streams that a peer may have open at once on a connection; more wait at the peer.
const STREAMS_MAX: u32 = 256;
/// What a sender may have in flight on a connection. Above the receiver's socket buffer it would only lose datagrams.
const SEND_WINDOW_BYTES: u64 = 2 << 20;
/// What a receiver buffers for one stream before its reader takes it.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What a receiver buffers for one connection before its readers take it.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Assumed until measured: hosts of a cluster are near each other, and a lost first packet should not cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// Every datagram of this size passes every network that carries QUIC at all.
const INITIAL_MTU: u16 = 1200;

/// How connections over a path are tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathSettings {
    /// The largest UDP payload tried beyond this host, in bytes; the path's own limit is discovered. 1452 fits
    /// Ethernet, 8940 jumbo frames. On the loopback interface it is always 65507.
    pub routed_mtu: u16,
    /// A connection over which nothing came for so long is dead.
    pub idle_timeout: Duration,
    /// The side that opened a connection sends something at least this often.
    pub keep_alive: Duration,
}

impl Default for PathSettings {
    fn default() -> Self {
        Self { routed_mtu: 1452, idle_timeout: Duration::from_secs(10), keep_alive: Duration::from_secs(2) }
    }
}

impl PathSettings {
    /// The largest UDP payload tried on a socket bound to this address, in bytes.
    pub(crate) fn mtu_bound(&self, local: IpAddr) -> u16 {
        if local.to_canonical().is_loopback() {
            DATAGRAM_BYTES_MAX
        } else {
            self.routed_mtu.clamp(INITIAL_MTU, DATAGRAM_BYTES_MAX)
        }
    }

    /// The tuning of connections on a socket bound to this address.
    pub(crate) fn transport(&self, local: IpAddr) -> Arc<TransportConfig> {
        let mut discovery = MtuDiscoveryConfig::default();
        // A handful of probes instead of a dozen; and when losses look like a smaller path, look again soon.
        discovery
            .upper_bound(self.mtu_bound(local))
            .minimum_change(64)
            .black_hole_cooldown(Duration::from_secs(5));
        let idle = u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(STREAMS_MAX.into())
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(Some(VarInt::from_u32(idle).into()))
            .keep_alive_interval(Some(self.keep_alive))
            .stream_receive_window(STREAM_WINDOW_BYTES.into())
            .receive_window(CONNECTION_WINDOW_BYTES.into())
            .send_window(SEND_WINDOW_BYTES)
            .initial_rtt(INITIAL_RTT)
            .initial_mtu(INITIAL_MTU)
            .mtu_discovery_config(Some(discovery))
            .congestion_controller_factory(Arc::new(CubicConfig::default()));
        Arc::new(config)
    }

    /// A socket at this address and the QUIC endpoint on it, driven by this runtime.
    pub(crate) fn endpoint(
        &self,
        handle: &Handle,
        address: SocketAddr,
        config: EndpointConfig,
        server: Option<quinn::ServerConfig>,
    ) -> io::Result<Endpoint> {
        let socket = socket::open(address)?;
        let runtime = PinnedRuntime::new(handle.clone(), self.mtu_bound(address.ip()));
        Endpoint::new(with_payload_max(config), server, socket, Arc::new(runtime))
    }
}

/// The endpoint of a server, which recognises its own connections after a restart.
///
/// A restarted server knows nothing of the connections of its predecessor. When it can prove that they were its own,
/// it says so at the first packet, and clients connect anew at once instead of waiting for a timeout.
pub(crate) fn server_endpoint_config(credentials: &Credentials) -> EndpointConfig {
    let mut seed = digest::Context::new(&digest::SHA256);
    seed.update(b"weft stateless reset");
    seed.update(credentials.to_pem().as_bytes());
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, seed.finish().as_ref());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Connection ids without a process's own mark, which quinn's have: a restarted server would drop packets to its
/// predecessor's without a word.
struct RandomIds;

/// Enough that no two of a server's connections ever share an id.
const CONNECTION_ID_BYTES: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_BYTES];
        rand::fill(&mut id).expect("the system gives random bytes");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn with_payload_max(mut config: EndpointConfig) -> EndpointConfig {
    config.max_udp_payload_size(DATAGRAM_BYTES_MAX).expect("65507 is within QUIC's bounds");
    config
}
