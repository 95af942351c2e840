//! Reading the cluster store without opening it: what a recovery makes a cluster's files of.

use std::sync::Arc;

use weft_engine::store::{
    LookError, Looked, StoreCopy, StoreDrives, StoreHeader, StoreSettings, look_at_store,
};
use weft_keys::ClusterKey;
use weft_kms::{EncryptionContext, KeyManagement, KmsError};
use weft_layout::ClusterMap;
use weft_pki::{AuthorityError, ClusterAuthority};
use weft_types::{ClusterId, DriveId, StoreVersion};
use weft_wire::store::OpenStore;

use crate::contents::Contents;
use crate::random;

/// What the newest copy of the cluster store says.
pub struct StoreView {
    /// The cluster map.
    pub map: ClusterMap,
    /// The cluster's certificate authority.
    pub authority: ClusterAuthority,
    /// The version of the copy.
    pub version: StoreVersion,
    /// How many drives vote on the store.
    pub voters: usize,
    /// How many of them were read.
    pub voters_read: usize,
}

/// Why the store was not read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The KMS does not unwrap the cluster key.
    #[error("the cluster key cannot be unwrapped")]
    Kms(#[source] KmsError),
    /// The authority in the store cannot vouch for anyone.
    #[error("the cluster store holds no usable certificate authority")]
    Authority(#[source] AuthorityError),
    /// The drives that answer are not enough.
    #[error(transparent)]
    Look(#[from] LookError),
}

/// Reads the store from the drives that answer; nothing on them changes, and nobody is waited for.
///
/// # Errors
/// [`InspectError`]; [`LookError::TooFew`] and [`LookError::Behind`] are what
/// [`recover_accepting_loss`](crate::recover_accepting_loss) goes past.
pub async fn inspect<D: StoreDrives>(
    drives: Arc<D>,
    places: Vec<DriveId>,
    cluster: ClusterId,
    kms: &dyn KeyManagement,
) -> Result<StoreView, InspectError> {
    let key = cluster_key(&*drives, &places, cluster, kms).await?;
    let nonces = Box::new(random::nonce);
    let settings = StoreSettings { drives, places, cluster, key, nonces, seed: 0 };
    let Looked { header, contents, answered } = look_at_store::<D, Contents>(&settings).await?;
    let authority =
        ClusterAuthority::from_pem(contents.authority.expose()).map_err(InspectError::Authority)?;
    let voters = contents.voters.all();
    Ok(StoreView {
        map: contents.map,
        authority,
        version: header.version,
        voters: voters.len(),
        voters_read: voters.intersection(&answered).count(),
    })
}

/// The cluster key, by the newest copy whose key the KMS unwraps.
async fn cluster_key<D: StoreDrives>(
    drives: &D,
    places: &[DriveId],
    cluster: ClusterId,
    kms: &dyn KeyManagement,
) -> Result<ClusterKey, InspectError> {
    let mut headers: Vec<StoreHeader> = Vec::new();
    for drive in places {
        if let Ok((_, copy)) = drives.open(*drive, OpenStore { term: None }).await {
            headers.extend(StoreCopy::decode(&copy).ok().map(|copy| copy.header));
        }
    }
    headers.retain(|header| header.cluster == cluster);
    headers.sort_by_key(|header| core::cmp::Reverse(header.version));
    let context = EncryptionContext::of_cluster(cluster);
    let mut refused = None;
    for header in headers {
        match kms.unwrap(&header.cluster_key, &context).await {
            Ok(key) => return Ok(ClusterKey::from_bytes(key.expose())),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.map_or(InspectError::Look(LookError::NoCopy), InspectError::Kms))
}
