//! Why a key management service did not do what was asked.

use core::error::Error;

use crate::local::KeyFileError;
use crate::service::Provider;

/// Why a service did not wrap or unwrap a key. Every message names the cause and the next step.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// No answer in time, or no connection.
    #[error("{provider} does not answer for key {reference}: check the network and the service's address")]
    Unreachable {
        /// The kind of service.
        provider: Provider,
        /// The key.
        reference: String,
        /// What the connection said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The service refuses to use the key: disabled, or about to be deleted.
    #[error("{provider} has disabled key {reference}: enable it again to unlock what it wraps")]
    KeyDisabled {
        /// The kind of service.
        provider: Provider,
        /// The key.
        reference: String,
    },
    /// Wrapped under another key than the one configured.
    #[error(
        "the key was wrapped under {wrapped_under}, not under {configured}: configure the key it was wrapped under"
    )]
    OtherKey {
        /// The key it was wrapped under.
        wrapped_under: String,
        /// The key at hand.
        configured: String,
    },
    /// The seal does not open in this context. Services do not tell damage from another context.
    #[error(
        "key {reference} does not unwrap this: it was wrapped for another cluster or filesystem, or is damaged; \
         take the wrapped key from another drive"
    )]
    WrongContext {
        /// The key.
        reference: String,
    },
    /// Not something this service made.
    #[error(
        "{length} bytes are no key wrapped by {provider}: check that the KMS provider is the one that wrapped it"
    )]
    Malformed {
        /// The kind of service.
        provider: Provider,
        /// Bytes found.
        length: usize,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes to wrap a key with: check the kernel's random source")]
    NoRandomness,
    /// The key file of the local provider.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
}

impl KmsError {
    /// Whether the same call may succeed later though nothing changes in Weft: the service comes back, the key is
    /// enabled, the file is mounted. Otherwise what was asked is wrong, and stays so.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::KeyDisabled { .. } | Self::NoRandomness => true,
            Self::OtherKey { .. } | Self::WrongContext { .. } | Self::Malformed { .. } => false,
            Self::KeyFile(error) => error.is_retryable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_away_is_worth_another_try() {
        let (provider, reference) = (Provider::Local, "k1".to_owned());
        let source = "connection refused".into();
        let away = KmsError::Unreachable { provider, reference: reference.clone(), source };
        assert_eq!(
            away.to_string(),
            "local does not answer for key k1: check the network and the service's address"
        );
        assert_eq!(away.source().expect("a cause").to_string(), "connection refused");
        let disabled = KmsError::KeyDisabled { provider, reference };
        assert_eq!(
            disabled.to_string(),
            "local has disabled key k1: enable it again to unlock what it wraps"
        );
        let random = KmsError::NoRandomness;
        assert!(random.to_string().contains("check the kernel's random source"));
        assert!(away.is_retryable() && disabled.is_retryable() && random.is_retryable());
    }
}
