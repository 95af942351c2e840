//! The first version of a cluster's store.

use std::path::Path;

use weft_engine::{StoreError, StoreFile, StoreHeader};
use weft_kms::{KeyManagement, KmsError};
use weft_layout::ClusterMap;
use weft_pki::ClusterAuthority;
use weft_types::StoreVersion;

use crate::contents::Contents;
use crate::secret_text::SecretText;
use crate::{new_keys, random};

/// Why a cluster store was not made.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The KMS did not wrap the cluster key.
    #[error("the cluster key cannot be wrapped")]
    Kms(#[from] KmsError),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the store of a new cluster in `dir`, sealed under a new cluster key that the KMS has wrapped: the map, and the
/// authority, whose key is nowhere else. Durable on return. Blocks on the disk.
///
/// # Errors
/// [`FoundError`]; then there is no store.
pub async fn found(
    dir: &Path,
    map: ClusterMap,
    authority: &ClusterAuthority,
    kms: &dyn KeyManagement,
) -> Result<(), FoundError> {
    let cluster = map.cluster;
    let (key, wrapped) = new_keys::cluster(kms, cluster).await?;
    let contents = Contents::new(map, SecretText::new(authority.to_pem()));
    let header = StoreHeader {
        cluster,
        version: StoreVersion::default(),
        kms_provider: kms.provider().to_string(),
        kms_key: kms.key_reference(),
        cluster_key: wrapped,
    };
    StoreFile::create(dir, header, key, &contents.encode(), random::nonce())?;
    Ok(())
}
