//! Making a connection: socket, handshake, hello.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, VarInt};
use tokio::runtime::Handle;
use weft_pki::{Credentials, NodeIdentity, tls};
use weft_wire::{Fault, Hello};

use super::channel::{Channel, until};
use super::{Failure, PoolSettings};
use crate::stream::{self, Answer, Request};
use crate::{BindError, Bulk, DialError, Peer};

/// How long closing waits for peers to hear it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes connections, over one socket for each kind of address.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) handle: Handle,
    pub(super) settings: PoolSettings,
    /// The TLS side of every connection.
    config: ClientConfig,
    /// By the local address that they are bound to.
    endpoints: Mutex<HashMap<IpAddr, Endpoint>>,
}

impl Dialer {
    pub(super) fn new(
        handle: Handle,
        credentials: &Credentials,
        settings: PoolSettings,
    ) -> Result<Self, BindError> {
        let tls = tls::client_config(credentials, tls::system_clock())?;
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        Ok(Self { handle, settings, config, endpoints: Mutex::default() })
    }

    /// A connection to the peer, and to no other node, on which both sides agree how to speak.
    pub(super) async fn dial(&self, peer: Peer) -> Result<Channel, DialError> {
        let limit = self.settings.dial_timeout;
        let deadline = Instant::now() + limit;
        let connect = self.connect(peer, deadline);
        until(&self.handle, deadline, connect).await.unwrap_or(Err(DialError::NoAnswer(limit)))
    }

    async fn connect(&self, peer: Peer, deadline: Instant) -> Result<Channel, DialError> {
        let local = local_address(peer.address.ip());
        let endpoint = self.endpoint(local).map_err(DialError::Socket)?;
        let mut config = self.config.clone();
        config.transport_config(self.settings.path.transport(local));
        let name = peer.identity.to_string();
        let connecting = endpoint.connect_with(config, peer.address, &name).map_err(DialError::Address)?;
        let connection = connecting.await.map_err(DialError::Handshake)?;
        verify(&connection, peer.identity)?;
        say_hello(Channel::new(connection, self.handle.clone(), &self.settings), deadline).await
    }

    fn endpoint(&self, local: IpAddr) -> io::Result<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&local) {
            return Ok(endpoint.clone());
        }
        let address = SocketAddr::new(local, 0);
        let endpoint = self.settings.path.endpoint(&self.handle, address, EndpointConfig::default(), None)?;
        endpoints.insert(local, endpoint.clone());
        Ok(endpoint)
    }

    pub(super) async fn close(&self) {
        let endpoints: Vec<_> = {
            let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            endpoints.drain().map(|(_, endpoint)| endpoint).collect()
        };
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        for endpoint in endpoints {
            endpoint.close(VarInt::from_u32(0), b"done");
            // A peer that hears nothing finds out by its own timeout.
            let _ = until(&self.handle, deadline, endpoint.wait_idle()).await;
        }
    }
}

/// Peers on this host are called over the loopback interface, whose datagrams may be far larger.
fn local_address(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        _ if peer.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The handshake has demanded this name already; that the certificate carries no other is checked here.
fn verify(connection: &Connection, expected: NodeIdentity) -> Result<(), DialError> {
    let found = crate::peer::identity(connection)
        .unwrap_or(Err(weft_pki::IdentityError::NotACertificate))
        .map_err(DialError::NoIdentity)?;
    if found == expected {
        Ok(())
    } else {
        Err(DialError::OtherNode { expected: Box::new(expected), found: Box::new(found) })
    }
}

async fn say_hello(channel: Channel, deadline: Instant) -> Result<Channel, DialError> {
    let hello = Hello::ours(crate::SOFTWARE, random());
    let request = Request::encode(&hello, Bulk::none()).map_err(DialError::HelloAnswer)?;
    let answer = channel.hello(&request, deadline).await.map_err(|failure| match failure {
        Failure::Lost { source, .. } => DialError::Handshake(source),
        Failure::Protocol(error) => DialError::HelloAnswer(error),
        Failure::Unreachable(_) | Failure::TimedOut { .. } => DialError::HelloFault(Fault::DeadlinePassed),
    })?;
    let undecodable = |error| DialError::HelloAnswer(crate::ProtocolError::Decode(error));
    match answer {
        Answer::Done { body, .. } => {
            let welcome: weft_wire::Welcome = stream::decode(&body).map_err(undecodable)?;
            tracing::debug!(version = welcome.version.0, software = welcome.software, "connected");
            Ok(channel)
        }
        Answer::Refused { body } => Err(DialError::Version(stream::decode(&body).map_err(undecodable)?)),
        Answer::Fault(fault) => Err(DialError::HelloFault(fault)),
    }
}

/// Differs from process to process and from call to call; nothing secret depends on it.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_on_this_host_is_called_over_loopback() {
        let rows = [
            ("127.0.0.1", "127.0.0.1"),
            ("127.3.2.1", "127.0.0.1"),
            ("10.0.0.1", "0.0.0.0"),
            ("::1", "::1"),
            ("2001:db8::1", "::"),
        ];
        for (peer, local) in rows {
            let local: IpAddr = local.parse().expect("an address");
            assert_eq!(local_address(peer.parse().expect("an address")), local, "{peer}");
        }
    }
}
