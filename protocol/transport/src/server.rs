//! The answering side.

mod limits;
mod request;
mod session;

use core::future::Future;
use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, VarInt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weft_pki::{Credentials, tls};

use crate::endpoint::{PathSettings, server_endpoint_config};
use crate::{BindError, Router};
use limits::Limits;
use session::Session;

/// A connection that has not finished its handshake by then is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stopping server waits for its peers to hear that it closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The code of an orderly close.
const CLOSED: VarInt = VarInt::from_u32(0);

/// What a server takes on at once. What is beyond is refused as overloaded, and costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSettings {
    /// Connections, in handshake or established.
    pub connections: usize,
    /// Calls at work, on all connections.
    pub calls: usize,
    /// Calls at work on one connection.
    pub calls_per_connection: usize,
    /// Bytes of requests at work, on all connections.
    pub request_bytes: usize,
    /// Bytes of requests at work on one connection.
    pub request_bytes_per_connection: usize,
    /// The longest that a call may take, whatever its caller says.
    pub deadline_max: Duration,
    /// How long a stopping server waits for calls at work.
    pub drain: Duration,
    /// How connections are tuned.
    pub path: PathSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            connections: 1024,
            calls: 1024,
            calls_per_connection: 192,
            // Together with what it keeps, a process of the backend stays below 256 MiB.
            request_bytes: 96 << 20,
            request_bytes_per_connection: 64 << 20,
            deadline_max: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            path: PathSettings::default(),
        }
    }
}

/// A bound server. Connections are answered while [`serve`](Self::serve) runs.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    address: SocketAddr,
    router: Arc<Router>,
    limits: Arc<Limits>,
    settings: ServerSettings,
}

impl Server {
    /// Takes the address; port 0 takes a free one. Must be called within the Tokio runtime that will serve.
    pub fn bind(
        address: SocketAddr,
        credentials: &Credentials,
        router: Router,
        settings: ServerSettings,
    ) -> Result<Self, BindError> {
        let tls = tls::server_config(credentials, tls::system_clock())?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        config.transport_config(settings.path.transport(address.ip()));
        config.migration(false).max_incoming(settings.connections);
        config.incoming_buffer_size(64 << 10).incoming_buffer_size_total(16 << 20);
        let unusable = |source| BindError::Address { address, source };
        let endpoint = settings
            .path
            .endpoint(&Handle::current(), address, server_endpoint_config(credentials), Some(config))
            .map_err(unusable)?;
        let address = endpoint.local_addr().map_err(unusable)?;
        let limits = Arc::new(Limits::new(settings));
        Ok(Self { endpoint, address, router: Arc::new(router), limits, settings })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers calls until `shutdown` is done; then refuses new ones as not served, waits for those at work at most
    /// as long as the settings say, and closes all connections.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &mut sessions),
                    None => break,
                },
            }
        }
        self.endpoint.set_server_config(None);
        self.limits.stop();
        if timeout(self.settings.drain, self.limits.idle()).await.is_err() {
            tracing::warn!("stopped with calls at work");
        }
        self.endpoint.close(CLOSED, b"stopping");
        // A peer that hears nothing finds out by its own timeout.
        let _ = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }

    fn admit(&self, incoming: Incoming, sessions: &mut JoinSet<()>) {
        if sessions.len() >= self.settings.connections {
            tracing::warn!(from = %incoming.remote_address(), "refused a connection: too many");
            incoming.refuse();
            return;
        }
        // When many knock, those that may not be who their address says are asked to show it first.
        if sessions.len() >= self.settings.connections / 2 && incoming.may_retry() {
            // It cannot fail: we have just asked whether we may.
            let _ = incoming.retry();
            return;
        }
        let (router, limits) = (Arc::clone(&self.router), Arc::clone(&self.limits));
        sessions.spawn(async move {
            let address = incoming.remote_address();
            match timeout(HANDSHAKE_TIMEOUT, Session::establish(incoming, router, limits)).await {
                Ok(Ok(session)) => session.run().await,
                Ok(Err(error)) => {
                    tracing::debug!(%address, error = &error as &dyn core::error::Error, "no session");
                }
                Err(_) => tracing::debug!(%address, "no session: the handshake took too long"),
            }
        });
    }
}
