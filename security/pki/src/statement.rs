//! What the cluster's authority signs beside certificates: statements that every node can verify offline.

use core::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use weft_types::ClusterId;

use crate::authority::AuthorityError;
use crate::identity::{only_dns_name, parse_certificate, parse_cluster_domain};

/// First bytes of every statement. What an authority signs in a certificate, a revocation list or a request begins with
/// the tag of an ASN.1 SEQUENCE (0x30), so no statement is ever one of those.
const PREFIX: &[u8; 16] = b"weft statement 1";

/// The bytes that are signed: [`PREFIX`], the purpose's length as 64 bits big-endian, the purpose, the body.
pub(crate) fn encode(purpose: &str, body: &[u8]) -> Vec<u8> {
    let length = u64::try_from(purpose.len()).unwrap_or(u64::MAX).to_be_bytes();
    [PREFIX.as_slice(), &length, purpose.as_bytes(), body].concat()
}

/// Tells statements of one cluster's authority from others'. Cheap to clone; holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityVerifier {
    cluster: ClusterId,
    /// An uncompressed point of P-256.
    key: Vec<u8>,
}

impl AuthorityVerifier {
    /// The verifier of the authority whose certificate this is. Believe the certificate before: here it is only read.
    ///
    /// # Errors
    /// [`AuthorityError::NotAnAuthority`].
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, AuthorityError> {
        let parsed = parse_certificate(certificate)
            .filter(|certificate| certificate.is_ca())
            .ok_or(AuthorityError::NotAnAuthority)?;
        let cluster =
            only_dns_name(&parsed).and_then(parse_cluster_domain).ok_or(AuthorityError::NotAnAuthority)?;
        Ok(Self { cluster, key: parsed.public_key().subject_public_key.data.to_vec() })
    }

    /// The authority's cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Whether the authority signed exactly this body for exactly this purpose.
    #[must_use]
    pub fn verify(&self, purpose: &str, body: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.key);
        key.verify(&encode(purpose, body), signature).is_ok()
    }
}

impl fmt::Debug for AuthorityVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityVerifier({})", self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterAuthority, NodeIdentity, Validity};
    use proptest::prelude::*;
    use weft_types::{NodeId, Role, Timestamp};

    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

    fn authority(cluster: u8) -> ClusterAuthority {
        ClusterAuthority::create(ClusterId::from_bytes([cluster; 16]), NOW).expect("created")
    }

    #[test]
    fn a_statement_is_verified_with_what_any_node_holds() {
        let authority = authority(1);
        let identity = NodeIdentity {
            cluster: authority.cluster(),
            role: Role::Drive,
            node: NodeId::from_bytes([2; 16]),
        };
        let node = authority.issue(identity, Validity::of_a_node(NOW).expect("dates")).expect("issued");
        let verifier = node.authority_verifier().expect("an authority's");
        let signature = authority.sign("weft grant", b"body");
        assert!(verifier.verify("weft grant", b"body", &signature));
        assert_eq!(verifier.cluster(), authority.cluster());
        assert_eq!(verifier, authority.verifier());
        let read = ClusterAuthority::from_pem(&authority.to_pem()).expect("reads");
        assert!(verifier.verify("weft grant", b"later", &read.sign("weft grant", b"later")));
        let own = AuthorityVerifier::from_certificate(node.certificate());
        assert!(matches!(own, Err(AuthorityError::NotAnAuthority)));
    }

    #[test]
    fn another_purpose_body_or_authority_is_refused() {
        let authority = authority(1);
        let verifier = authority.verifier();
        let signature = authority.sign("weft grant", b"body");
        assert!(!verifier.verify("weft token", b"body", &signature));
        assert!(!verifier.verify("weft grantb", b"ody", &signature), "no byte moves between the two");
        assert!(!verifier.verify("weft gran", b"tbody", &signature), "no byte moves between the two");
        assert!(!verifier.verify("weft grant", b"bodY", &signature));
        assert!(!verifier.verify("weft grant", b"body", &[]));
        // Of another cluster; and one that only claims to be of this cluster.
        for other in [self::authority(2), self::authority(1)] {
            assert!(!other.verifier().verify("weft grant", b"body", &signature));
            assert!(!verifier.verify("weft grant", b"body", &other.sign("weft grant", b"body")));
        }
    }

    #[test]
    fn a_statement_is_never_a_certificate() {
        assert_ne!(encode("", b"")[0], 0x30);
        let authority = authority(1);
        let identity = NodeIdentity {
            cluster: authority.cluster(),
            role: Role::Admin,
            node: NodeId::from_bytes([3; 16]),
        };
        let node = authority.issue(identity, Validity::of_a_node(NOW).expect("dates")).expect("issued");
        let parsed = parse_certificate(node.certificate()).expect("parses");
        let body = parsed.tbs_certificate.as_ref();
        assert!(!authority.verifier().verify("", body, parsed.signature_value.data.as_ref()));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_is_overlooked(body in prop::collection::vec(any::<u8>(), 1..64), at: prop::sample::Index, bit in 0..8) {
            let authority = authority(1);
            let signature = authority.sign("weft grant", &body);
            let flip = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = at.index(bytes.len());
                bytes[at] ^= 1_u8 << bit;
                bytes
            };
            let verifier = authority.verifier();
            prop_assert!(verifier.verify("weft grant", &body, &signature));
            prop_assert!(!verifier.verify("weft grant", &flip(&body), &signature));
            prop_assert!(!verifier.verify("weft grant", &body, &flip(&signature)));
        }
    }
}
