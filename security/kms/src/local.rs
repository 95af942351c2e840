//! The local provider: a KMS key in a file.

use core::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use weft_keys::{KEY_BYTES, KmsWrapped, TAG_BYTES};
use zeroize::Zeroizing;

use crate::context::EncryptionContext;
use crate::error::KmsError;
use crate::service::{KeyManagement, KmsFuture, Provider, UnwrappedKey};

mod key_file;

pub use key_file::{KeyFileError, LocalKeyId};

use key_file::KeyFile;

/// The first byte of everything wrapped; another format takes another.
const FORMAT: u8 = 1;

/// Format, key id, nonce, ciphertext, tag.
const WRAPPED_BYTES: usize = 1 + LocalKeyId::BYTES + NONCE_LEN + KEY_BYTES + TAG_BYTES;

/// Wraps keys with AES-256-GCM under a key that it read from a file, with the context as authenticated data.
///
/// The default of a cluster on one host. It protects what is on drives that are lost or sold, as long as the file
/// is not among them; it protects nothing from whoever can read the file, and `weft status` says so.
pub struct LocalKms {
    path: PathBuf,
    id: LocalKeyId,
    key: RandomizedNonceKey,
}

impl LocalKms {
    /// Makes a key and its file, which must not exist. On return both the file and its name are durable; after a crash
    /// the file is whole or absent. Blocks on the disk.
    pub fn create(path: &Path) -> Result<Self, KmsError> {
        let file = KeyFile::generate().ok_or(KmsError::NoRandomness)?;
        file.write_new(path)?;
        Ok(Self::with_key(path, &file))
    }

    /// Reads a key file that only its owner can read. Blocks on the disk.
    pub fn open(path: &Path) -> Result<Self, KmsError> {
        Ok(Self::with_key(path, &KeyFile::read(path)?))
    }

    /// The key's id: tells a key file from another.
    pub const fn key_id(&self) -> LocalKeyId {
        self.id
    }

    fn with_key(path: &Path, file: &KeyFile) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, file.key()).expect("AES-256 takes 32 bytes");
        Self { path: path.to_owned(), id: file.id(), key }
    }

    fn wrap_now(&self, key: &[u8; KEY_BYTES], context: &EncryptionContext) -> Result<KmsWrapped, KmsError> {
        let mut body = Zeroizing::new(Vec::with_capacity(KEY_BYTES + TAG_BYTES));
        body.extend_from_slice(key);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(context.to_aad()), &mut *body)
            .map_err(|_| KmsError::NoRandomness)?;
        let mut wrapped = Vec::with_capacity(WRAPPED_BYTES);
        wrapped.push(FORMAT);
        wrapped.extend_from_slice(&self.id.to_bytes());
        wrapped.extend_from_slice(nonce.as_ref());
        wrapped.extend_from_slice(&body);
        Ok(KmsWrapped::from_bytes(wrapped))
    }

    fn unwrap_now(
        &self,
        wrapped: &KmsWrapped,
        context: &EncryptionContext,
    ) -> Result<UnwrappedKey, KmsError> {
        let bytes = wrapped.as_bytes();
        let malformed = || KmsError::Malformed { provider: Provider::Local, length: bytes.len() };
        let rest = bytes.strip_prefix(&[FORMAT]).ok_or_else(malformed)?;
        let (id, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(malformed)?;
        if sealed.len() != KEY_BYTES + TAG_BYTES {
            return Err(malformed());
        }
        if LocalKeyId::from_bytes(*id) != self.id {
            return Err(KmsError::OtherKey {
                wrapped_under: format!("local key {}", LocalKeyId::from_bytes(*id)),
                configured: self.key_reference(),
            });
        }
        let mut body = Zeroizing::new(sealed.to_vec());
        let opened = self
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(context.to_aad()), &mut body)
            .map_err(|_| KmsError::WrongContext { reference: self.key_reference() })?;
        UnwrappedKey::from_slice(opened).ok_or_else(malformed)
    }

    fn check_now(&self) -> Result<(), KmsError> {
        let found = KeyFile::read(&self.path)?.id();
        if found == self.id {
            return Ok(());
        }
        Err(KmsError::OtherKey {
            wrapped_under: self.key_reference(),
            configured: format!("{found}@{}", self.path.display()),
        })
    }
}

impl KeyManagement for LocalKms {
    fn provider(&self) -> Provider {
        Provider::Local
    }

    /// `<key id>@<path>`.
    fn key_reference(&self) -> String {
        format!("{}@{}", self.id, self.path.display())
    }

    fn wrap<'a>(
        &'a self,
        key: &'a [u8; KEY_BYTES],
        context: &'a EncryptionContext,
    ) -> KmsFuture<'a, KmsWrapped> {
        Box::pin(async move { self.wrap_now(key, context) })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a KmsWrapped,
        context: &'a EncryptionContext,
    ) -> KmsFuture<'a, UnwrappedKey> {
        Box::pin(async move { self.unwrap_now(wrapped, context) })
    }

    /// Reads the key file again: a file that is gone counts as a key that is gone. Blocks for that one small read.
    fn check(&self) -> KmsFuture<'_, ()> {
        Box::pin(async move { self.check_now() })
    }
}

impl fmt::Debug for LocalKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKms({})", self.key_reference())
    }
}

#[cfg(test)]
mod tests;
