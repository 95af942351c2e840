//! A filesystem's keys, as its owner holds them.

use std::collections::BTreeMap;
use std::fmt;

use weft_keys::{DataKey, FilesystemKey, MetadataKey, Nonce, UnwrapError, WrappedKey};
use weft_kms::{EncryptionContext, KeyManagement, KmsError};
use weft_meta::{KeyMaker, NameHasher, NewKey};
use weft_types::{ClusterId, DataKeyId, FilesystemId, Inode, KeyVersion, NameHash};
use weft_wire::KeyBytes;
use weft_wire::management::Ownership;
use weft_wire::meta::MetaError;

use crate::sources::Sources;

/// Why an ownership's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The KMS does not unwrap a filesystem key.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The ownership came without a filesystem key.
    #[error("the filesystem has no filesystem key of version {0}")]
    Missing(KeyVersion),
    /// The metadata key or the name key is not one.
    #[error("the filesystem's {0} key cannot be read")]
    Unreadable(&'static str),
    /// The metadata key or the name key does not open.
    #[error("the filesystem's {0} key does not open")]
    Sealed(&'static str, #[source] UnwrapError),
}

/// The keys of one filesystem. Wiped when dropped.
pub struct Keys {
    /// By version; never empty.
    filesystem: BTreeMap<KeyVersion, FilesystemKey>,
    metadata: MetadataKey,
    names: weft_keys::NameHasher,
    sources: Sources,
}

impl Keys {
    /// The keys of a filesystem in the clear. New data keys are drawn from `sources`, and wrapped under `filesystem`.
    pub fn new(
        filesystem: FilesystemKey,
        metadata: MetadataKey,
        name: &weft_keys::NameKey,
        sources: Sources,
    ) -> Self {
        let filesystem = BTreeMap::from([(filesystem.version(), filesystem)]);
        Self { filesystem, metadata, names: weft_keys::NameHasher::new(name), sources }
    }

    /// Unwraps what management gave, through the KMS. New data keys are drawn from `sources`.
    ///
    /// # Errors
    /// [`KeysError`]
    pub async fn unwrap(
        ownership: &Ownership,
        cluster: ClusterId,
        kms: &dyn KeyManagement,
        sources: Sources,
    ) -> Result<Self, KeysError> {
        let id = ownership.filesystem.id;
        let context = EncryptionContext::of_filesystem(cluster, id);
        let mut filesystem = BTreeMap::new();
        for wrap in &ownership.filesystem_keys {
            let wrapped = weft_keys::KmsWrapped::from_bytes(wrap.wrapped.to_vec());
            let key = kms.unwrap(&wrapped, &context).await?;
            filesystem.insert(wrap.version, FilesystemKey::from_bytes(id, wrap.version, key.expose()));
        }
        let metadata =
            opened(&filesystem, "metadata", &ownership.metadata_key, FilesystemKey::unwrap_metadata_key)?;
        let name = opened(&filesystem, "name", &ownership.name_key, FilesystemKey::unwrap_name_key)?;
        Ok(Self { filesystem, metadata, names: weft_keys::NameHasher::new(&name), sources })
    }

    /// The key that seals rows.
    pub(crate) const fn metadata(&self) -> &MetadataKey {
        &self.metadata
    }

    /// The filesystem whose keys they are.
    pub(crate) fn filesystem(&self) -> FilesystemId {
        self.newest().filesystem()
    }

    fn newest(&self) -> &FilesystemKey {
        self.filesystem.last_key_value().expect("there is a filesystem key").1
    }

    fn open(&self, id: DataKeyId, wrapped: &[u8]) -> Option<DataKey> {
        let wrapped: WrappedKey = minicbor::decode(wrapped).ok()?;
        self.filesystem.get(&wrapped.version)?.unwrap_data_key(id, &wrapped).ok()
    }
}

fn opened<K>(
    filesystem: &BTreeMap<KeyVersion, FilesystemKey>,
    kind: &'static str,
    bytes: &[u8],
    unwrap: impl FnOnce(&FilesystemKey, &WrappedKey) -> Result<K, UnwrapError>,
) -> Result<K, KeysError> {
    let wrapped: WrappedKey = minicbor::decode(bytes).map_err(|_| KeysError::Unreadable(kind))?;
    let key = filesystem.get(&wrapped.version).ok_or(KeysError::Missing(wrapped.version))?;
    unwrap(key, &wrapped).map_err(|error| KeysError::Sealed(kind, error))
}

#[cfg(test)]
impl Keys {
    /// The same keys for the same id, each time.
    pub(crate) fn of_a_test(id: FilesystemId) -> Self {
        let key = FilesystemKey::from_bytes(id, KeyVersion::new(1), &[7; 32]);
        let name = weft_keys::NameKey::from_bytes(&[9; 32]);
        Self::new(key, MetadataKey::from_bytes(&[8; 32]), &name, Sources::of_the_host())
    }
}

impl KeyMaker for Keys {
    fn fresh(&self, id: DataKeyId) -> Result<NewKey, MetaError> {
        let key = DataKey::generate(&mut |bytes: &mut [u8]| self.sources.fill(bytes));
        let wrapped = self.newest().wrap_data_key(id, &key, Nonce::from_random(self.sources.array()));
        let wrapped = minicbor::to_vec(wrapped).expect("a vector takes all bytes");
        Ok(NewKey { key: KeyBytes::new(*key.expose()), wrapped })
    }

    fn unwrap(&self, id: DataKeyId, wrapped: &[u8]) -> Result<KeyBytes, MetaError> {
        self.open(id, wrapped).map(|key| KeyBytes::new(*key.expose())).ok_or(MetaError::Damaged)
    }
}

impl NameHasher for Keys {
    fn hash(&self, parent: Inode, name: &[u8]) -> NameHash {
        self.names.hash(parent, name)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.filesystem())
    }
}
