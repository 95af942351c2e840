//! TLS configurations for the connections between nodes.
//!
//! TLS 1.3 and nothing older, both sides authenticated, one root, hybrid post-quantum key exchange first. There is no
//! early data: a replayed request must never look like a new one.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Credentials;

/// The protocol's name in the handshake (ALPN). Versions and features are agreed on after it.
pub const ALPN: &[u8] = b"weft/1";

/// Why no TLS configuration can be made from credentials.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cryptography library does not offer what the configuration asks for.
    #[error("the TLS library refuses the protocol version or its cipher suites")]
    Provider(#[source] rustls::Error),
    /// The authority's certificate cannot serve as a root.
    #[error("the authority's certificate cannot be trusted as a root")]
    Root(#[source] rustls::Error),
    /// No verifier can be made from the root.
    #[error("peers cannot be verified against the authority's certificate")]
    Verifier(#[source] VerifierBuilderError),
    /// The key cannot be read, or is not the certificate's.
    #[error("the private key does not fit the certificate")]
    Key(#[source] rustls::Error),
}

/// The system's clock, for [`client_config`] and [`server_config`].
pub fn system_clock() -> Arc<dyn TimeProvider> {
    Arc::new(DefaultTimeProvider)
}

/// For connections that this node opens. Demand the peer by its
/// [`server_name`](crate::NodeIdentity::server_name): then no other node of the cluster can stand in for it.
///
/// Sessions are resumed, without early data.
pub fn client_config(
    credentials: &Credentials,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(credentials)?, Arc::clone(&provider))
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Provider)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(vec![credentials.certificate().clone()], credentials.key())
        .map_err(TlsError::Key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// For connections that this node accepts: a peer without a certificate of the cluster's authority is refused.
/// Who the peer is, [`NodeIdentity::from_chain`](crate::NodeIdentity::from_chain) tells.
pub fn server_config(
    credentials: &Credentials,
    clock: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(credentials)?, Arc::clone(&provider))
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![credentials.certificate().clone()], credentials.key())
        .map_err(TlsError::Key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// AES-256 first. AES-128-GCM stays because QUIC protects its first packets with it.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..default_provider()
    })
}

fn roots(credentials: &Credentials) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(credentials.authority().clone()).map_err(TlsError::Root)?;
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterAuthority, NodeIdentity, Validity};
    use core::time::Duration;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{
        CertificateError, ClientConnection, Connection, HandshakeKind, NamedGroup, ServerConnection,
    };
    use weft_types::{ClusterId, NodeId, Role, Timestamp};

    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

    #[derive(Debug)]
    struct Stopped(u64);

    impl TimeProvider for Stopped {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
        }
    }

    fn now() -> Arc<dyn TimeProvider> {
        Arc::new(Stopped(1_800_000_000))
    }

    fn cluster(number: u8) -> ClusterAuthority {
        ClusterAuthority::create(ClusterId::from_bytes([number; 16]), NOW).expect("created")
    }

    fn issue(authority: &ClusterAuthority, role: Role, node: u8) -> Credentials {
        let identity =
            NodeIdentity { cluster: authority.cluster(), role, node: NodeId::from_bytes([node; 16]) };
        authority.issue(identity, Validity::of_a_node(NOW).expect("dates")).expect("issued")
    }

    fn server(credentials: &Credentials) -> Arc<ServerConfig> {
        Arc::new(server_config(credentials, now()).expect("configured"))
    }

    fn client(credentials: &Credentials) -> Arc<ClientConfig> {
        Arc::new(client_config(credentials, now()).expect("configured"))
    }

    /// Carries what `from` has to say to `to`.
    fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
        let mut flight = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut flight).expect("a vector takes all");
        }
        let mut rest = flight.as_slice();
        while !rest.is_empty() {
            to.read_tls(&mut rest).expect("a slice gives all");
            to.process_new_packets()?;
        }
        Ok(())
    }

    /// A whole handshake in memory. An error is of the side that found the fault.
    fn handshake(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
        demanded: ServerName<'static>,
    ) -> Result<(Connection, Connection), rustls::Error> {
        let mut client = Connection::from(ClientConnection::new(Arc::clone(client), demanded)?);
        let mut server = Connection::from(ServerConnection::new(Arc::clone(server))?);
        for _ in 0..4 {
            carry(&mut client, &mut server)?;
            carry(&mut server, &mut client)?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok((client, server))
    }

    #[test]
    fn two_nodes_of_a_cluster_agree_on_hybrid_keys_and_know_each_other() {
        let authority = cluster(1);
        let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
        let (client, server) =
            handshake(&client(&frontend), &server(&drive), drive.identity().server_name()).expect("agree");
        for side in [&client, &server] {
            let group = side.negotiated_key_exchange_group().expect("negotiated").name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
            assert_eq!(side.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
            assert_eq!(side.alpn_protocol(), Some(ALPN));
        }
        let seen = |side: &Connection| NodeIdentity::from_chain(side.peer_certificates().expect("a chain"));
        assert_eq!(seen(&client), Ok(drive.identity()));
        assert_eq!(seen(&server), Ok(frontend.identity()));
    }

    #[test]
    fn a_second_connection_resumes_and_still_knows_its_peer() {
        let authority = cluster(1);
        let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
        let (client_side, server_side) = (client(&frontend), server(&drive));
        let name = drive.identity().server_name();
        handshake(&client_side, &server_side, name.clone()).expect("agree");
        let (again, seen) = handshake(&client_side, &server_side, name).expect("agree");
        assert_eq!(again.handshake_kind(), Some(HandshakeKind::Resumed));
        let chain = seen.peer_certificates().expect("a chain");
        assert_eq!(NodeIdentity::from_chain(chain), Ok(frontend.identity()));
        assert!(!client_side.enable_early_data);
        assert_eq!(server_side.max_early_data_size, 0);
    }

    #[test]
    fn another_node_or_role_cannot_stand_in() {
        let authority = cluster(1);
        let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
        let own = drive.identity();
        let others = [
            NodeIdentity { node: NodeId::from_bytes([4; 16]), ..own },
            NodeIdentity { role: Role::Management, ..own },
            NodeIdentity { cluster: ClusterId::from_bytes([9; 16]), ..own },
        ];
        for demanded in others {
            let refused = handshake(&client(&frontend), &server(&drive), demanded.server_name());
            let error = refused.expect_err("refused");
            let wrong_name = matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
            );
            assert!(wrong_name, "{error:?}");
        }
    }

    #[test]
    fn a_node_of_another_cluster_is_refused_on_both_sides() {
        let (here, there) = (cluster(1), cluster(2));
        let (drive, frontend) = (issue(&here, Role::Drive, 2), issue(&here, Role::Frontend, 3));
        // Made by an authority that only claims to be of the same cluster: the same names, another key.
        let impostor = issue(&cluster(1), Role::Drive, 2);
        let name = drive.identity().server_name();
        for server_credentials in [&issue(&there, Role::Drive, 2), &impostor] {
            assert!(handshake(&client(&frontend), &server(server_credentials), name.clone()).is_err());
        }
        let foreign = Credentials::new(
            there_identity(),
            issue(&there, Role::Frontend, 3).certificate().clone(),
            drive.authority().clone(),
            Vec::new().into(),
        );
        assert!(client_config(&foreign, now()).is_err(), "a certificate without its key is no credential");
        let stranger = trusting(&issue(&there, Role::Frontend, 3), &drive);
        let error = handshake(&stranger, &server(&drive), name).expect_err("refused");
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error:?}");
    }

    fn there_identity() -> NodeIdentity {
        NodeIdentity {
            cluster: ClusterId::from_bytes([2; 16]),
            role: Role::Frontend,
            node: NodeId::from_bytes([3; 16]),
        }
    }

    /// A client that believes `server`'s authority but proves itself with `own`.
    fn trusting(own: &Credentials, server: &Credentials) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_details(provider(), now())
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots(server).expect("a root"))
            .with_client_auth_cert(vec![own.certificate().clone()], own.key())
            .expect("a key");
        with_alpn(config)
    }

    fn with_alpn(mut config: ClientConfig) -> Arc<ClientConfig> {
        config.alpn_protocols = vec![ALPN.to_vec()];
        Arc::new(config)
    }

    #[test]
    fn a_client_without_a_certificate_is_refused() {
        let drive = issue(&cluster(1), Role::Drive, 2);
        let nobody = ClientConfig::builder_with_details(provider(), now())
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots(&drive).expect("a root"))
            .with_no_client_auth();
        let refused = handshake(&with_alpn(nobody), &server(&drive), drive.identity().server_name());
        assert_eq!(refused.err(), Some(rustls::Error::NoCertificatesPresented));
    }

    #[test]
    fn a_peer_that_speaks_another_protocol_is_refused() {
        let authority = cluster(1);
        let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
        let mut web = client_config(&frontend, now()).expect("configured");
        web.alpn_protocols = vec![b"h3".to_vec()];
        let refused = handshake(&Arc::new(web), &server(&drive), drive.identity().server_name());
        assert_eq!(refused.err(), Some(rustls::Error::NoApplicationProtocol));
    }

    #[test]
    fn an_expired_certificate_is_refused() {
        let authority = cluster(1);
        let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
        let later: Arc<dyn TimeProvider> = Arc::new(Stopped(1_800_000_000 + 366 * 86_400));
        let name = drive.identity().server_name();
        let late_client = Arc::new(client_config(&frontend, Arc::clone(&later)).expect("configured"));
        let late_server = Arc::new(server_config(&drive, later).expect("configured"));
        let expired = |error: &rustls::Error| {
            matches!(error, rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
        };
        let by_client = handshake(&late_client, &server(&drive), name.clone()).expect_err("refused");
        let by_server = handshake(&client(&frontend), &late_server, name).expect_err("refused");
        assert!(expired(&by_client), "{by_client:?}");
        assert!(expired(&by_server), "{by_server:?}");
    }

    #[test]
    fn a_stolen_authority_vouches_for_no_other_cluster() {
        let authority = cluster(1);
        let drive = issue(&authority, Role::Drive, 2);
        let victim = there_identity();
        let forged = authority.vouch(victim, Validity::of_a_node(NOW).expect("dates")).expect("signed");
        let name = drive.identity().server_name();
        let error = handshake(&client(&forged), &server(&drive), name).expect_err("refused");
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error:?}");
    }
}
