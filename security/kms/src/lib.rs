//! Key management services that wrap the keys of a cluster.
//!
//! Weft's own keys are wrapped under a key that it never sees: the KMS key. Whoever can make the KMS unwrap holds the
//! cluster; without it, what lies on the drives is noise. [`KeyManagement`] is what Weft asks of such a service;
//! [`LocalKms`] is the one that needs no service, a key in a file.

mod config;
mod context;
mod error;
mod local;
mod service;

pub use config::KmsConfig;
pub use context::EncryptionContext;
pub use error::KmsError;
pub use local::{KeyFileError, LocalKeyId, LocalKms};
pub use service::{KeyManagement, KmsFuture, Provider, UnwrappedKey};
