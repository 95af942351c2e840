//! The cluster's certificate authority.

use core::fmt;
use core::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::CertificateDer;
use weft_types::{ClusterId, Timestamp};
use zeroize::Zeroizing;

use crate::armor::{self, PemError, Section};
use crate::credentials::Credentials;
use crate::identity::{NodeIdentity, cluster_domain, only_dns_name, parse_certificate, parse_cluster_domain};
use crate::statement::{self, AuthorityVerifier};
use crate::validity::{Validity, ValidityError};

/// The authority of one cluster: the only one that its nodes believe.
///
/// Its certificate carries a name constraint, so that even a stolen key vouches for no other cluster's nodes. Its
/// PEM text belongs into the sealed cluster store and nowhere else. The key is wiped on drop and never printed.
pub struct ClusterAuthority {
    cluster: ClusterId,
    validity: Validity,
    certificate: CertificateDer<'static>,
    key: SecretKey,
}

/// Why an authority cannot be made, read, or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The clock says something that no certificate can express.
    #[error("cannot date the certificate")]
    Validity(#[from] ValidityError),
    /// Not the two sections expected.
    #[error("not a cluster authority")]
    Pem(#[from] PemError),
    /// The certificate is not one that [`ClusterAuthority::create`] makes.
    #[error("the certificate is not a cluster authority's")]
    NotAnAuthority,
    /// The key is not an ECDSA P-256 key, or not the certificate's.
    #[error("the private key is not the one of the authority's certificate")]
    OtherKey,
    /// The node belongs to another cluster.
    #[error(
        "this is the authority of cluster {authority}: it cannot vouch for a node of cluster {requested}"
    )]
    OtherCluster {
        /// The authority's own cluster.
        authority: ClusterId,
        /// The node's.
        requested: ClusterId,
    },
    /// The authority's own certificate does not hold in the validity asked for.
    #[error("the cluster's authority expired at {} s after 1970: renew it", .not_after.seconds)]
    Expired {
        /// The authority's last second.
        not_after: Timestamp,
    },
    /// The system's cryptography failed.
    #[error("the system gave no key")]
    NoKey(#[source] aws_lc_rs::error::Unspecified),
    /// The certificate could not be written.
    #[error("the certificate could not be made")]
    Certificate(#[source] rcgen::Error),
}

impl ClusterAuthority {
    /// A new authority with a key of its own, valid for ten years from an hour before `now`.
    pub fn create(cluster: ClusterId, now: Timestamp) -> Result<Self, AuthorityError> {
        let validity = Validity::of_an_authority(now)?;
        let key = SecretKey::generate()?;
        let params = authority_params(cluster, validity)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Certificate)?;
        Ok(Self { cluster, validity, certificate: certificate.into(), key })
    }

    /// The cluster that it vouches in.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its own certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Makes a key and a certificate that vouches for this node. The certificate ends with the authority at latest:
    /// peers do not look at the dates of a root.
    pub fn issue(&self, identity: NodeIdentity, validity: Validity) -> Result<Credentials, AuthorityError> {
        if identity.cluster != self.cluster {
            return Err(AuthorityError::OtherCluster {
                authority: self.cluster,
                requested: identity.cluster,
            });
        }
        let validity = validity
            .within(self.validity)
            .ok_or(AuthorityError::Expired { not_after: self.validity.not_after() })?;
        self.vouch(identity, validity)
    }

    /// Vouches for any node at all; [`issue`](Self::issue) says which ones it should.
    pub(crate) fn vouch(
        &self,
        identity: NodeIdentity,
        validity: Validity,
    ) -> Result<Credentials, AuthorityError> {
        let key = SecretKey::generate()?;
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(AuthorityError::Certificate)?;
        let certificate =
            node_params(identity, validity)?.signed_by(&key, &issuer).map_err(AuthorityError::Certificate)?;
        Ok(Credentials::new(identity, certificate.into(), self.certificate.clone(), key.pkcs8))
    }

    /// Signs a statement: ECDSA P-256 with SHA-256, ASN.1. It holds for this purpose only, and is never a part of a
    /// certificate. [`verifier`](Self::verifier) tells it from others.
    ///
    /// # Panics
    ///
    /// When the system gives no randomness.
    #[must_use]
    pub fn sign(&self, purpose: &str, body: &[u8]) -> Vec<u8> {
        let message = statement::encode(purpose, body);
        let signature =
            self.key.pair.sign(&SystemRandom::new(), &message).expect("the system gives randomness");
        signature.as_ref().to_vec()
    }

    /// Verifies what [`sign`](Self::sign) signs. Every node can make it from its credentials too.
    pub fn verifier(&self) -> AuthorityVerifier {
        AuthorityVerifier::from_certificate(&self.certificate)
            .expect("an authority has an authority's certificate")
    }

    /// Two PEM sections: certificate, private key (PKCS #8). Secret.
    pub fn to_pem(&self) -> Zeroizing<String> {
        armor::write(&[(Section::Certificate, &self.certificate), (Section::PrivateKey, &self.key.pkcs8)])
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote, and checks that the parts belong together.
    pub fn from_pem(text: &str) -> Result<Self, AuthorityError> {
        let [certificate, key] = armor::read(text, [Section::Certificate, Section::PrivateKey])?;
        let key = SecretKey::from_pkcs8(key)?;
        let parsed = parse_certificate(&certificate)
            .filter(|certificate| certificate.is_ca())
            .ok_or(AuthorityError::NotAnAuthority)?;
        let cluster =
            only_dns_name(&parsed).and_then(parse_cluster_domain).ok_or(AuthorityError::NotAnAuthority)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(AuthorityError::OtherKey);
        }
        let second = |time: i64| u64::try_from(time).map_err(|_| AuthorityError::NotAnAuthority);
        let validity = Validity {
            not_before: second(parsed.validity().not_before.timestamp())?,
            not_after: second(parsed.validity().not_after.timestamp())?,
        };
        Ok(Self { cluster, validity, certificate: CertificateDer::from(certificate.to_vec()), key })
    }
}

impl fmt::Debug for ClusterAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterAuthority({})", self.cluster)
    }
}

/// An ECDSA P-256 key: small certificates, and fast to sign and to verify in every handshake.
struct SecretKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
}

impl SecretKey {
    fn generate() -> Result<Self, AuthorityError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(AuthorityError::NoKey)?;
        Self::from_pkcs8(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, AuthorityError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)
            .map_err(|_| AuthorityError::OtherKey)?;
        Ok(Self { pkcs8, pair })
    }
}

impl PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

fn authority_params(cluster: ClusterId, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let domain = cluster_domain(cluster);
    let mut params = params(&domain, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain)],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

/// Every node is a server to some and a client to others.
fn node_params(identity: NodeIdentity, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(&identity.to_string(), validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(dns_name: &str, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let name = dns_name.try_into().map_err(AuthorityError::Certificate)?;
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.distinguished_name = rcgen::DistinguishedName::new();
    // The common name may have 64 characters; nobody reads it but people.
    let common_name: String = dns_name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(validity.not_before);
    params.not_after = epoch + Duration::from_secs(validity.not_after);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_types::{NodeId, Role};

    const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

    fn drive_of(cluster: ClusterId) -> NodeIdentity {
        NodeIdentity { cluster, role: Role::Drive, node: NodeId::from_bytes([9; 16]) }
    }

    fn year() -> Validity {
        Validity::of_a_node(NOW).expect("dates")
    }

    #[test]
    fn a_certificate_names_the_node_it_was_issued_to() {
        let authority = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        for role in Role::ALL {
            let identity = NodeIdentity { role, ..drive_of(CLUSTER) };
            let credentials = authority.issue(identity, year()).expect("issued");
            assert_eq!(NodeIdentity::from_certificate(credentials.certificate()), Ok(identity));
            assert_eq!(credentials.authority(), authority.certificate());
        }
    }

    #[test]
    fn an_authority_is_no_node() {
        let authority = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let refused = NodeIdentity::from_certificate(authority.certificate());
        assert_eq!(refused, Err(crate::IdentityError::IsAuthority));
    }

    #[test]
    fn a_certificate_with_a_byte_more_or_less_is_none() {
        let authority = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let credentials = authority.issue(drive_of(CLUSTER), year()).expect("issued");
        let der = credentials.certificate();
        let longer = [der.as_ref(), &[0]].concat();
        for bad in [&longer, &der[..der.len() - 1], &[]] {
            assert_eq!(NodeIdentity::from_certificate(bad), Err(crate::IdentityError::NotACertificate));
        }
    }

    #[test]
    fn an_authority_survives_its_text() {
        let made = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let read = ClusterAuthority::from_pem(&made.to_pem()).expect("reads");
        assert_eq!((read.cluster(), read.certificate()), (CLUSTER, made.certificate()));
        assert_eq!(read.validity, made.validity);
        let credentials = read.issue(drive_of(CLUSTER), year()).expect("issued");
        let again = Credentials::from_pem(&credentials.to_pem()).expect("reads");
        assert_eq!(again.identity(), drive_of(CLUSTER));
        assert_eq!(again.certificate(), credentials.certificate());
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let one = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let other = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let node = one.issue(drive_of(CLUSTER), year()).expect("issued");
        let mixed = armor::write(&[
            (Section::Certificate, one.certificate()),
            (Section::PrivateKey, &other.key.pkcs8),
        ]);
        assert!(matches!(ClusterAuthority::from_pem(&mixed), Err(AuthorityError::OtherKey)));
        let no_authority = armor::write(&[
            (Section::Certificate, node.certificate()),
            (Section::PrivateKey, &other.key.pkcs8),
        ]);
        assert!(matches!(ClusterAuthority::from_pem(&no_authority), Err(AuthorityError::NotAnAuthority)));
        assert!(matches!(ClusterAuthority::from_pem(&node.to_pem()), Err(AuthorityError::Pem(_))));
        let whole = one.to_pem();
        assert!(ClusterAuthority::from_pem(&whole[..whole.len() / 2]).is_err(), "a truncated file");
    }

    #[test]
    fn it_vouches_for_its_own_cluster_only() {
        let authority = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let foreign = drive_of(ClusterId::from_bytes([8; 16]));
        assert!(matches!(authority.issue(foreign, year()), Err(AuthorityError::OtherCluster { .. })));
    }

    #[test]
    fn no_certificate_outlives_the_authority() {
        let authority = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let late = Timestamp { seconds: authority.validity.not_after().seconds - 60, nanos: 0 };
        let validity = Validity::of_a_node(late).expect("dates");
        let credentials = authority.issue(drive_of(CLUSTER), validity).expect("issued");
        let parsed = parse_certificate(credentials.certificate()).expect("parses");
        assert_eq!(parsed.validity().not_after.timestamp(), authority.validity.not_after().seconds);
        let after = Timestamp { seconds: authority.validity.not_after().seconds + 7200, nanos: 0 };
        let refused = authority.issue(drive_of(CLUSTER), Validity::of_a_node(after).expect("dates"));
        assert!(matches!(refused, Err(AuthorityError::Expired { .. })));
    }

    #[test]
    fn no_debug_output_shows_a_key() {
        let authority = ClusterAuthority::create(CLUSTER, NOW).expect("created");
        let credentials = authority.issue(drive_of(CLUSTER), year()).expect("issued");
        assert_eq!(format!("{authority:?}"), format!("ClusterAuthority({CLUSTER})"));
        assert_eq!(format!("{credentials:?}"), format!("Credentials({})", drive_of(CLUSTER)));
    }
}
