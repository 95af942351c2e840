//! What a node proves itself with.

use core::fmt;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::armor::{self, PemError, Section};
use crate::identity::{IdentityError, NodeIdentity, parse_certificate};
use crate::statement::AuthorityVerifier;

/// A node's certificate, the authority's certificate that vouches for it, and the node's private key.
///
/// The key is wiped on drop and never printed. Not `Clone`: share the TLS configurations made from it instead.
pub struct Credentials {
    identity: NodeIdentity,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
}

/// Why a text does not hold a node's credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Not the three sections expected.
    #[error("not a node's credentials")]
    Pem(#[from] PemError),
    /// The first certificate is not a node's.
    #[error("the first certificate does not name a node")]
    Node(#[source] IdentityError),
    /// The second certificate is not an authority's.
    #[error("the second certificate is not an authority's")]
    Authority,
}

impl Credentials {
    pub(crate) fn new(
        identity: NodeIdentity,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
        key: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self { identity, certificate, authority, key }
    }

    /// Whom they prove.
    pub fn identity(&self) -> NodeIdentity {
        self.identity
    }

    /// The node's own certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate of the cluster's authority, DER: the only root that a node of the cluster trusts.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// Verifies what the cluster's authority signed, offline.
    ///
    /// # Errors
    /// [`CredentialsError::Authority`].
    pub fn authority_verifier(&self) -> Result<AuthorityVerifier, CredentialsError> {
        AuthorityVerifier::from_certificate(&self.authority).map_err(|_| CredentialsError::Authority)
    }

    /// Three PEM sections: the node's certificate, the authority's, the private key (PKCS #8). Store it readable by
    /// its owner alone.
    pub fn to_pem(&self) -> Zeroizing<String> {
        armor::write(&[
            (Section::Certificate, &self.certificate),
            (Section::Certificate, &self.authority),
            (Section::PrivateKey, &self.key),
        ])
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote. That the key fits the certificate shows when a TLS configuration
    /// is made from it.
    pub fn from_pem(text: &str) -> Result<Self, CredentialsError> {
        let [certificate, authority, key] =
            armor::read(text, [Section::Certificate, Section::Certificate, Section::PrivateKey])?;
        let identity = NodeIdentity::from_certificate(&certificate).map_err(CredentialsError::Node)?;
        if !parse_certificate(&authority).is_some_and(|authority| authority.is_ca()) {
            return Err(CredentialsError::Authority);
        }
        let der = |bytes: Zeroizing<Vec<u8>>| CertificateDer::from(bytes.to_vec());
        Ok(Self::new(identity, der(certificate), der(authority), key))
    }

    /// A copy of the key for a TLS configuration, which wipes it once it has read it.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}
