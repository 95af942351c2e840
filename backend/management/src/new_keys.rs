//! The keys of a new cluster and of a new filesystem.

use weft_keys::{ClusterKey, FilesystemKey, KmsWrapped, MetadataKey, NameKey};
use weft_kms::{EncryptionContext, KeyManagement, KmsError};
use weft_types::{ClusterId, FilesystemId, KeyVersion, Timestamp};

use crate::filesystem::{FilesystemKeyRow, FilesystemRow};
use crate::random;

/// A filesystem with an id and keys of its own: version 1 of the filesystem key, wrapped by the KMS for this cluster
/// and filesystem, and the metadata and name keys wrapped under it. No key in clear outlasts this call.
pub(crate) async fn filesystem(
    kms: &dyn KeyManagement,
    cluster: ClusterId,
    name: String,
    created: Timestamp,
) -> Result<FilesystemRow, KmsError> {
    let (id, version) = (FilesystemId::from_bytes(random::array()), KeyVersion::new(1));
    let key = FilesystemKey::generate(id, version, &mut random::fill);
    let context = EncryptionContext::of_filesystem(cluster, id);
    let wrapped = kms.wrap(key.expose(), &context).await?;
    Ok(FilesystemRow {
        id,
        name,
        created,
        deleting: false,
        keys: vec![FilesystemKeyRow { version, wrapped }],
        metadata_key: key.wrap_metadata_key(&MetadataKey::generate(&mut random::fill), random::nonce()),
        name_key: key.wrap_name_key(&NameKey::generate(&mut random::fill), random::nonce()),
        shards: Vec::new(),
        sessions: Vec::new(),
    })
}

/// A cluster key, and what the KMS makes of it.
pub(crate) async fn cluster(
    kms: &dyn KeyManagement,
    cluster: ClusterId,
) -> Result<(ClusterKey, KmsWrapped), KmsError> {
    let key = ClusterKey::generate(&mut random::fill);
    let wrapped = kms.wrap(key.expose(), &EncryptionContext::of_cluster(cluster)).await?;
    Ok((key, wrapped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_kms::LocalKms;

    #[tokio::test]
    async fn a_new_filesystem_opens_through_the_kms_and_only_as_itself() {
        let dir = tempfile::tempdir().expect("tempdir");
        let kms = LocalKms::create(&dir.path().join("key")).expect("created");
        let here = ClusterId::from_bytes([1; 16]);
        let make = || filesystem(&kms, here, "home".to_owned(), Timestamp::default());
        let (row, other) = (make().await.expect("made"), make().await.expect("made"));
        assert_ne!(row.id, other.id);
        let wrapped = &row.keys[0].wrapped;
        let context = EncryptionContext::of_filesystem(here, row.id);
        let bytes = kms.unwrap(wrapped, &context).await.expect("unwraps");
        let key = FilesystemKey::from_bytes(row.id, KeyVersion::new(1), bytes.expose());
        key.unwrap_metadata_key(&row.metadata_key).expect("opens");
        key.unwrap_name_key(&row.name_key).expect("opens");
        assert!(key.unwrap_metadata_key(&row.name_key).is_err());
        for elsewhere in [
            EncryptionContext::of_filesystem(here, other.id),
            EncryptionContext::of_filesystem(ClusterId::from_bytes([2; 16]), row.id),
            EncryptionContext::of_cluster(here),
        ] {
            assert!(kms.unwrap(wrapped, &elsewhere).await.is_err());
        }
    }
}
