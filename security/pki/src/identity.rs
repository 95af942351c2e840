//! Who a node is, and how its certificate says so.

use core::fmt;

use rustls_pki_types::{CertificateDer, ServerName};
use weft_types::{ClusterId, NodeId, Role};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The last label of every name; no public domain, so no public authority can vouch for it.
const DOMAIN: &str = "weft";

/// One node in one role of one cluster: what a certificate vouches for.
///
/// In a certificate it is the only subject alternative name, `<node id>.<role>.<cluster id>.weft` with ids as 32
/// lower-case hexadecimal digits. A process that plays several roles holds one certificate for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeIdentity {
    /// The cluster whose authority vouches.
    pub cluster: ClusterId,
    /// What the node may do.
    pub role: Role,
    /// The node.
    pub node: NodeId,
}

/// Why a certificate or a name is not a node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not one DER certificate, or bytes after it.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// An authority's certificate where a node's was expected.
    #[error("the certificate is an authority's, not a node's")]
    IsAuthority,
    /// No subject alternative name, a second one, or one that is not a DNS name.
    #[error("the certificate does not carry exactly one DNS name")]
    NotOneName,
    /// The name is not written exactly as [`NodeIdentity`] writes it.
    #[error("`{name}` is not a node's name: expected <node id>.<role>.<cluster id>.{DOMAIN}")]
    MalformedName {
        /// The name found, cut to 128 characters and with control characters escaped: it comes from a peer.
        name: String,
    },
}

impl NodeIdentity {
    /// Reads the identity out of a peer's end-entity certificate.
    ///
    /// Parses only: that the cluster's authority signed the certificate, and that it is valid now, is what the TLS
    /// handshake has checked before a peer's certificate is handed out.
    pub fn from_certificate(certificate: &[u8]) -> Result<Self, IdentityError> {
        let parsed = parse_certificate(certificate).ok_or(IdentityError::NotACertificate)?;
        if parsed.is_ca() {
            return Err(IdentityError::IsAuthority);
        }
        let name = only_dns_name(&parsed).ok_or(IdentityError::NotOneName)?;
        Self::from_dns_name(name)
    }

    /// Reads the identity of the peer from the chain that it presented, its own certificate first.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, IdentityError> {
        Self::from_certificate(chain.first().ok_or(IdentityError::NotACertificate)?)
    }

    /// Parses what [`Display`](fmt::Display) writes, and nothing else: no upper case, no final dot.
    pub fn from_dns_name(name: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::MalformedName {
            name: name.chars().take(128).flat_map(char::escape_debug).collect(),
        };
        let identity = Self::parse(name).ok_or_else(malformed)?;
        if identity.to_string() == name { Ok(identity) } else { Err(malformed()) }
    }

    /// The name a TLS client demands of the server in order to talk to this node and to no other.
    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.to_string()).expect("hexadecimal labels and words make a DNS name")
    }

    fn parse(name: &str) -> Option<Self> {
        let mut labels = name.split('.');
        let node = labels.next()?.parse().ok()?;
        let role = Role::from_word(labels.next()?)?;
        let cluster = labels.next()?.parse().ok()?;
        let end = (labels.next()?, labels.next());
        (end == (DOMAIN, None)).then_some(Self { cluster, role, node })
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.role, cluster_domain(self.cluster))
    }
}

/// The domain under which all nodes of a cluster are named, and the authority's own name.
pub(crate) fn cluster_domain(cluster: ClusterId) -> String {
    format!("{cluster}.{DOMAIN}")
}

/// The cluster whose [`cluster_domain`] this is.
pub(crate) fn parse_cluster_domain(name: &str) -> Option<ClusterId> {
    let cluster = name.split('.').next()?.parse().ok()?;
    (cluster_domain(cluster) == name).then_some(cluster)
}

/// One certificate and no byte after it.
pub(crate) fn parse_certificate(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

/// The certificate's subject alternative name, when there is exactly one and it is a DNS name.
pub(crate) fn only_dns_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok()??.value;
    match names.general_names.as_slice() {
        [GeneralName::DNSName(name)] => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(cluster: [u8; 16], role: usize, node: [u8; 16]) -> NodeIdentity {
        NodeIdentity {
            cluster: ClusterId::from_bytes(cluster),
            role: Role::ALL[role],
            node: NodeId::from_bytes(node),
        }
    }

    proptest! {
        #[test]
        fn an_identity_survives_its_name(cluster: [u8; 16], role in 0_usize..5, node: [u8; 16]) {
            let identity = identity(cluster, role, node);
            prop_assert_eq!(NodeIdentity::from_dns_name(&identity.to_string()), Ok(identity));
            prop_assert!(matches!(identity.server_name(), ServerName::DnsName(_)));
            let demanded = identity.server_name();
            prop_assert_eq!(demanded.to_str(), identity.to_string());
        }

        #[test]
        fn any_text_is_an_answer_and_no_two_texts_are_one_node(name in "([0-9a-fA-F]{32}|\\PC{0,3}|drive|weft|\\.){0,9}") {
            if let Ok(identity) = NodeIdentity::from_dns_name(&name) {
                prop_assert_eq!(identity.to_string(), name);
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(NodeIdentity::from_certificate(&bytes).is_err());
        }
    }

    #[test]
    fn a_name_is_read_strictly() {
        let good = identity([0xab; 16], 0, [0xcd; 16]).to_string();
        let cluster = "ab".repeat(16);
        let node = "cd".repeat(16);
        assert_eq!(good, format!("{node}.drive.{cluster}.weft"));
        let bad = [
            String::new(),
            good.to_uppercase(),
            good.replace("ab", "AB"),
            format!("{good}."),
            format!("{good}.example"),
            format!("x.{good}"),
            format!("{node}.root.{cluster}.weft"),
            format!("{node}.Drive.{cluster}.weft"),
            format!("{node}.drive.{cluster}.wefts"),
            format!("{node}.drive.{cluster}"),
            format!("*.drive.{cluster}.weft"),
        ];
        for name in bad {
            assert!(NodeIdentity::from_dns_name(&name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_error_quotes_a_hostile_name_harmlessly() {
        let hostile = format!("\u{1b}[2J{}", "x".repeat(10_000));
        let text = NodeIdentity::from_dns_name(&hostile).expect_err("no name").to_string();
        assert!(!text.contains('\u{1b}') && text.len() < 400, "{text}");
    }
}
