//! Keys wrapped under keys.

use core::fmt;

use weft_types::{DataKeyId, FilesystemId, KeyVersion};

use crate::cipher::{Cipher, NONCE_BYTES, Nonce, TAG_BYTES};
use crate::context::Context;
use crate::secret::{DataKey, KEY_BYTES, MetadataKey, NameKey, Secret};

/// A key as the KMS wrapped it: opaque, and only the KMS opens it. Not secret.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct KmsWrapped(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

impl KmsWrapped {
    /// What the KMS answered.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What to send to the KMS.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KmsWrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsWrapped({} bytes)", self.0.len())
    }
}

/// One version of a filesystem's key: wraps every other key of the filesystem. Itself wrapped by the KMS.
///
/// On the heap, wiped on drop, never printed, not `Clone`.
pub struct FilesystemKey {
    filesystem: FilesystemId,
    version: KeyVersion,
    secret: Secret,
}

/// A key under a filesystem key. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct WrappedKey {
    /// The version of the filesystem key that opens it.
    #[n(0)]
    pub version: KeyVersion,
    #[cbor(n(1), with = "minicbor::bytes")]
    nonce: [u8; NONCE_BYTES],
    #[cbor(n(2), with = "minicbor::bytes")]
    sealed: [u8; KEY_BYTES + TAG_BYTES],
}

/// Why a wrapped key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Another version of the filesystem key is needed.
    #[error("the key is wrapped under version {wrapped} of the filesystem key, not under version {given}")]
    OtherVersion {
        /// The version it is wrapped under.
        wrapped: KeyVersion,
        /// The version at hand.
        given: KeyVersion,
    },
    /// Damaged, or wrapped for another filesystem, kind or data key id, or under another key.
    #[error("the wrapped key is damaged or was wrapped for another use")]
    NotAuthentic,
}

/// What a wrapped key is, as part of its seal.
#[derive(Clone, Copy)]
enum Kind {
    Metadata,
    Name,
    Data(DataKeyId),
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Name => "name",
            Self::Data(_) => "data",
        }
    }

    /// 0, which no data key has, for the keys that a filesystem has one of.
    const fn id(self) -> u64 {
        match self {
            Self::Metadata | Self::Name => 0,
            Self::Data(id) => id.get(),
        }
    }
}

impl FilesystemKey {
    /// A new key. `random` fills the bytes from a cryptographically strong source.
    pub fn generate(
        filesystem: FilesystemId,
        version: KeyVersion,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Self {
        Self { filesystem, version, secret: Secret::filled(|bytes| random(bytes)) }
    }

    /// The key with these bytes, as the KMS unwrapped them. The caller wipes its own copy.
    pub fn from_bytes(filesystem: FilesystemId, version: KeyVersion, bytes: &[u8; KEY_BYTES]) -> Self {
        Self { filesystem, version, secret: Secret::filled(|secret| secret.copy_from_slice(bytes)) }
    }

    /// The bytes, to be wrapped by the KMS. Copies are the caller's to wipe.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.secret.expose()
    }

    /// The filesystem whose key it is.
    pub const fn filesystem(&self) -> FilesystemId {
        self.filesystem
    }

    /// Its version.
    pub const fn version(&self) -> KeyVersion {
        self.version
    }

    /// Wraps a file's key for its row.
    pub fn wrap_data_key(&self, id: DataKeyId, key: &DataKey, nonce: Nonce) -> WrappedKey {
        self.wrap(Kind::Data(id), key.expose(), nonce)
    }

    /// Opens a file's key. The id is that of the row it stands in: a wrap moved to another row does not open.
    pub fn unwrap_data_key(&self, id: DataKeyId, wrapped: &WrappedKey) -> Result<DataKey, UnwrapError> {
        self.unwrap(Kind::Data(id), wrapped).map(DataKey)
    }

    /// Wraps the filesystem's metadata key.
    pub fn wrap_metadata_key(&self, key: &MetadataKey, nonce: Nonce) -> WrappedKey {
        self.wrap(Kind::Metadata, key.expose(), nonce)
    }

    /// Opens the filesystem's metadata key.
    pub fn unwrap_metadata_key(&self, wrapped: &WrappedKey) -> Result<MetadataKey, UnwrapError> {
        self.unwrap(Kind::Metadata, wrapped).map(MetadataKey)
    }

    /// Wraps the filesystem's name key.
    pub fn wrap_name_key(&self, key: &NameKey, nonce: Nonce) -> WrappedKey {
        self.wrap(Kind::Name, key.expose(), nonce)
    }

    /// Opens the filesystem's name key.
    pub fn unwrap_name_key(&self, wrapped: &WrappedKey) -> Result<NameKey, UnwrapError> {
        self.unwrap(Kind::Name, wrapped).map(NameKey)
    }

    fn wrap(&self, kind: Kind, key: &[u8; KEY_BYTES], nonce: Nonce) -> WrappedKey {
        let context = self.context(kind);
        let mut sealed = [0; KEY_BYTES + TAG_BYTES];
        let cipher = Cipher::derive(self.secret.expose(), &[], &context);
        cipher.seal_into(*nonce.bytes(), context.as_ref(), key, &mut sealed);
        WrappedKey { version: self.version, nonce: *nonce.bytes(), sealed }
    }

    fn unwrap(&self, kind: Kind, wrapped: &WrappedKey) -> Result<Secret, UnwrapError> {
        if wrapped.version != self.version {
            return Err(UnwrapError::OtherVersion { wrapped: wrapped.version, given: self.version });
        }
        let context = self.context(kind);
        let cipher = Cipher::derive(self.secret.expose(), &[], &context);
        let mut opened = Ok(());
        let secret = Secret::filled(|bytes| {
            opened = cipher.open_into(wrapped.nonce, context.as_ref(), &wrapped.sealed, bytes);
        });
        opened.map(|()| secret).map_err(|_| UnwrapError::NotAuthentic)
    }

    /// Both the derivation and the seal of a wrap depend on all of this. Each key is wrapped under a derived key of
    /// its own, so that random nonces stay safe over any number of files.
    fn context(&self, kind: Kind) -> Context {
        Context::of("weft wrapped key")
            .field(&self.filesystem.to_bytes())
            .field(&self.version.get().to_be_bytes())
            .field(kind.word().as_bytes())
            .field(&kind.id().to_be_bytes())
    }
}

impl fmt::Debug for FilesystemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilesystemKey({}, version {})", self.filesystem, self.version)
    }
}

#[cfg(test)]
mod tests;
