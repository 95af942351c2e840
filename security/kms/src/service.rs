//! What Weft asks of a key management service.

use core::fmt;
use core::pin::Pin;

use weft_keys::{KEY_BYTES, KmsWrapped};
use zeroize::Zeroize;

use crate::context::EncryptionContext;
use crate::error::KmsError;

/// The kinds of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A key in a file: protects against lost drives, not against whoever reads the file.
    Local,
}

impl Provider {
    /// The word used in resource files, drive headers and output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An answer that a service takes its time for. Dropping it cancels the call.
pub type KmsFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KmsError>> + Send + 'a>>;

/// A key in clear, on its way from the service to a key of its own type. Wiped on drop, never printed.
pub struct UnwrappedKey(Box<[u8; KEY_BYTES]>);

impl UnwrappedKey {
    /// Takes the bytes over from a service's answer; `None` unless they are 32. The caller wipes its own copy.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new([0; KEY_BYTES]));
        (bytes.len() == KEY_BYTES).then(|| {
            key.0.copy_from_slice(bytes);
            key
        })
    }

    /// The bytes, to make a key of.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl Drop for UnwrappedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for UnwrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnwrappedKey(..)")
    }
}

/// A service that holds the KMS key and wraps keys under it.
///
/// Futures never block for long: a provider that must wait for a network does so without holding the thread.
pub trait KeyManagement: fmt::Debug + Send + Sync {
    /// The kind of service.
    fn provider(&self) -> Provider;

    /// Which key of the service: stands in clear on every drive, so that a person finds it again. Not secret.
    fn key_reference(&self) -> String;

    /// Wraps a key for this use.
    fn wrap<'a>(
        &'a self,
        key: &'a [u8; KEY_BYTES],
        context: &'a EncryptionContext,
    ) -> KmsFuture<'a, KmsWrapped>;

    /// Opens a key that was wrapped for this use.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a KmsWrapped,
        context: &'a EncryptionContext,
    ) -> KmsFuture<'a, UnwrappedKey>;

    /// Whether the service is there and would still unwrap: asked from time to time while keys are in use.
    fn check(&self) -> KmsFuture<'_, ()>;
}
