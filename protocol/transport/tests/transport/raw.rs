//! A peer that speaks QUIC and TLS rightly, and on top of them whatever a test wants.

use core::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use weft_pki::{Credentials, tls};
use weft_transport::Peer;
use weft_wire::Hello;
use weft_wire::frame::{AnswerHeader, HEADER_BYTES, RequestHeader};
use weft_wire::{Call, CallTag};

use crate::net::ANY_PORT;

pub(crate) struct RawClient {
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
}

impl RawClient {
    pub(crate) async fn connect(credentials: &Credentials, peer: Peer) -> Self {
        let config = tls::client_config(credentials, tls::system_clock()).expect("configured");
        let crypto = QuicClientConfig::try_from(config).expect("a suite for QUIC");
        let endpoint = Endpoint::client(ANY_PORT.into()).expect("bound");
        let config = ClientConfig::new(Arc::new(crypto));
        let connection = endpoint
            .connect_with(config, peer.address, &peer.identity.to_string())
            .expect("connects")
            .await
            .expect("connected");
        Self { connection, _endpoint: endpoint }
    }

    /// As [`connect`](Self::connect), with the hello said.
    pub(crate) async fn introduced(credentials: &Credentials, peer: Peer) -> Self {
        let client = Self::connect(credentials, peer).await;
        let (header, _) = client.ask(&request(&Hello::ours("raw", 5))).await;
        assert_eq!(header.status, AnswerHeader::DONE);
        client
    }

    /// Sends these bytes as a request, and reads the answer's header and body.
    pub(crate) async fn ask(&self, bytes: &[u8]) -> (AnswerHeader, Vec<u8>) {
        let (mut send, mut recv) = self.connection.open_bi().await.expect("a stream");
        // A server that has heard enough stops reading.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        let answer = recv.read_to_end(8 << 20).await.expect("an answer");
        let (header, rest) = answer.split_first_chunk::<HEADER_BYTES>().expect("a header");
        (AnswerHeader::decode(header).expect("acceptable"), rest.to_vec())
    }
}

/// The wire form of a request with the deadline of a minute and no bulk.
pub(crate) fn request<C: Call>(call: &C) -> Vec<u8> {
    frame(C::TAG, 60_000, &minicbor::to_vec(call).expect("encodes"))
}

pub(crate) fn frame(tag: CallTag, deadline_ms: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("fits");
    let header = RequestHeader { tag, deadline_ms, body: length, bulk: 0 };
    [&header.encode(), body].concat()
}

/// A server that answers the hello with `welcome` and every other request with `answer`.
pub(crate) fn raw_server(credentials: &Credentials, welcome: Vec<u8>, answer: Vec<u8>) -> Peer {
    let config = tls::server_config(credentials, tls::system_clock()).expect("configured");
    let crypto = QuicServerConfig::try_from(config).expect("a suite for QUIC");
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, SocketAddr::from(ANY_PORT)).expect("bound");
    let address = endpoint.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.expect("connected");
            let answers = core::iter::once(&welcome).chain(core::iter::repeat(&answer));
            for bytes in answers {
                let Ok((mut send, mut recv)) = connection.accept_bi().await else { break };
                recv.read_to_end(8 << 20).await.expect("a request");
                send.write_all(bytes).await.expect("written");
                send.finish().expect("finished");
            }
        }
    });
    Peer { identity: credentials.identity(), address }
}

/// The wire form of an answer without bulk.
pub(crate) fn answer(status: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("fits");
    [&AnswerHeader { status, body: length, bulk: 0 }.encode(), body].concat()
}
