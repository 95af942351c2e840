//! Cluster CA, node identities with roles, and the TLS configurations made from them.
//!
//! Every process of a cluster proves who it is with a certificate of the cluster's own authority. The certificate
//! names exactly one node in one role of one cluster, as a DNS name, so that a client can demand exactly the node
//! it means and a server can authorise each request by the role of its peer. There is no other trust root: the
//! system's are never read.

mod armor;
mod authority;
mod credentials;
mod identity;
mod statement;
pub mod tls;
mod validity;

pub use armor::PemError;
pub use authority::{AuthorityError, ClusterAuthority};
pub use credentials::{Credentials, CredentialsError};
pub use identity::{IdentityError, NodeIdentity};
pub use statement::AuthorityVerifier;
pub use validity::{Validity, ValidityError};
