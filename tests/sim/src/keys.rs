//! The keys of every simulated cluster: fixed ones, so that what is sealed under them is the same in every run.

use std::sync::{Arc, LazyLock};

use weft_keys::{KEY_BYTES, KmsWrapped};
use weft_kms::{EncryptionContext, KeyManagement, KmsError, KmsFuture, Provider, UnwrappedKey};
use weft_pki::ClusterAuthority;

/// The authority's key guards nothing but simulated clusters. Its PEM text lies in their stores, and its length would
/// differ from one key to the next.
const AUTHORITY: &str = include_str!("authority.pem");

/// The authority of every simulated cluster.
pub(crate) fn authority() -> &'static ClusterAuthority {
    static READ: LazyLock<ClusterAuthority> =
        LazyLock::new(|| ClusterAuthority::from_pem(AUTHORITY).expect("an authority"));
    &READ
}

/// A key management service that wraps by a mask which depends on the use alone.
#[derive(Debug)]
struct Masking;

/// What wraps the keys of every simulated cluster.
pub(crate) fn kms() -> Arc<dyn KeyManagement> {
    Arc::new(Masking)
}

fn masked(key: &[u8], context: &EncryptionContext) -> Option<[u8; KEY_BYTES]> {
    let mask = blake3::hash(format!("{context:?}").as_bytes());
    let mut masked: [u8; KEY_BYTES] = key.try_into().ok()?;
    masked.iter_mut().zip(mask.as_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    Some(masked)
}

impl KeyManagement for Masking {
    fn provider(&self) -> Provider {
        Provider::Local
    }

    fn key_reference(&self) -> String {
        "simulated".to_owned()
    }

    fn wrap<'a>(
        &'a self,
        key: &'a [u8; KEY_BYTES],
        context: &'a EncryptionContext,
    ) -> KmsFuture<'a, KmsWrapped> {
        let wrapped = masked(key, context).expect("it has the length of a key");
        Box::pin(async move { Ok(KmsWrapped::from_bytes(wrapped.to_vec())) })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a KmsWrapped,
        context: &'a EncryptionContext,
    ) -> KmsFuture<'a, UnwrappedKey> {
        let bytes = wrapped.as_bytes();
        let key = masked(bytes, context).and_then(|key| UnwrappedKey::from_slice(&key));
        let malformed = KmsError::Malformed { provider: Provider::Local, length: bytes.len() };
        Box::pin(async move { key.ok_or(malformed) })
    }

    fn check(&self) -> KmsFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
