//! One connection of a server: who is at the other end, and the streams that it opens.

use std::sync::{Arc, OnceLock};

use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream};
use weft_pki::{IdentityError, NodeIdentity};
use weft_wire::Welcome;

use super::limits::{Limits, Share};
use super::request;
use crate::Router;
use crate::peer::identity;

/// An established connection.
pub(super) struct Session {
    connection: Connection,
    pub(super) peer: NodeIdentity,
    pub(super) router: Arc<Router>,
    pub(super) share: Share,
    /// What the hello agreed on; without it no call is answered.
    pub(super) agreed: OnceLock<Welcome>,
}

/// Why a connection is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum EstablishError {
    #[error("the handshake failed")]
    Handshake(#[from] ConnectionError),
    #[error("the peer presented no certificate")]
    NoCertificate,
    #[error("the peer's certificate names no node")]
    NoIdentity(#[from] IdentityError),
}

impl Session {
    /// Finishes the handshake and learns who the peer is.
    pub(super) async fn establish(
        incoming: Incoming,
        router: Arc<Router>,
        limits: Arc<Limits>,
    ) -> Result<Self, EstablishError> {
        let connection = incoming.accept()?.await?;
        let peer = identity(&connection).ok_or(EstablishError::NoCertificate)??;
        Ok(Self { connection, peer, router, share: Share::new(limits), agreed: OnceLock::new() })
    }

    /// Answers streams until the connection ends.
    pub(super) async fn run(self) {
        let session = Arc::new(self);
        loop {
            match session.connection.accept_bi().await {
                Ok((send, recv)) => session.admit(send, recv),
                Err(error) => {
                    tracing::debug!(peer = %session.peer, %error, "session ended");
                    return;
                }
            }
        }
    }

    /// One task for each stream; quinn bounds how many streams there are, and the share how many do work.
    fn admit(self: &Arc<Self>, send: SendStream, recv: RecvStream) {
        match self.share.admit() {
            Ok(permit) => {
                let session = Arc::clone(self);
                tokio::spawn(async move {
                    request::serve(&session, send, recv).await;
                    drop(permit);
                });
            }
            Err(fault) => drop(tokio::spawn(request::refuse(send, recv, fault))),
        }
    }

    pub(super) fn address(&self) -> core::net::SocketAddr {
        self.connection.remote_address()
    }
}
