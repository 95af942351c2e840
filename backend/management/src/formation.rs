//! The first version of a cluster's store.

use bytes::Bytes;
use weft_engine::store::{StoreContents, StoreCopy, StoreHeader, first_version, term_of};
use weft_kms::{KeyManagement, KmsError};
use weft_layout::ClusterMap;
use weft_pki::ClusterAuthority;
use weft_types::{Epoch, StoreVersion};
use weft_wire::ownership::DriveHome;

use crate::contents::Contents;
use crate::secret_text::SecretText;
use crate::voters::choose_voters;
use crate::{new_keys, random};

/// The store of a new cluster, to be put on its voting drives as [`PutStore`](weft_wire::store::PutStore) would.
#[derive(Debug, Clone)]
pub struct Founded {
    /// The first copy: the same bytes for every voter.
    pub copy: Bytes,
    /// Its term.
    pub term: Epoch,
    /// Its version.
    pub version: StoreVersion,
    /// The drives that are to hold it: a majority of them at least, before management can start.
    pub voters: Vec<DriveHome>,
}

/// Makes the store of a new cluster, sealed under a new cluster key that the KMS has wrapped: the map, and the
/// authority, whose key is nowhere else. Nothing is durable before the copy is on the drives.
///
/// # Errors
/// The KMS did not wrap the cluster key.
pub async fn found(
    map: ClusterMap,
    authority: &ClusterAuthority,
    kms: &dyn KeyManagement,
) -> Result<Founded, KmsError> {
    let cluster = map.cluster;
    let (key, wrapped) = new_keys::cluster(kms, cluster).await?;
    let voters = choose_voters(&map);
    let contents = Contents::new(map, SecretText::new(authority.to_pem()), voters.clone());
    let version = first_version(Epoch::new(1));
    let header = StoreHeader {
        cluster,
        version,
        kms_provider: kms.provider().to_string(),
        kms_key: kms.key_reference(),
        cluster_key: wrapped,
    };
    let copy = StoreCopy::seal(header, &key, &contents.to_bytes(), random::nonce()).encode();
    Ok(Founded { copy, term: term_of(version), version, voters: voters.current })
}
