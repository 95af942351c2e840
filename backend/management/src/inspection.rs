//! Reading the cluster store without opening it: what a recovery makes a cluster's files of.

use tokio::runtime::Handle;
use weft_engine::store::{LookError, Looked, look_at_store};
use weft_layout::ClusterMap;
use weft_pki::{ClusterAuthority, Credentials};
use weft_transport::{Pool, PoolSettings};
use weft_types::StoreVersion;

use crate::contents::Contents;
use crate::process::{ManagementConfig, StartError, store_settings};

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
    /// There is no way to it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The drives that answer are not enough.
    #[error(transparent)]
    Look(#[from] LookError),
}

/// Reads the store from the drives that answer; nothing on them changes. Waits for ever when none of them holds a copy.
///
/// # Errors
/// [`InspectError`]; [`LookError::TooFew`] and [`LookError::Behind`] are what
/// [`recover_accepting_loss`](crate::recover_accepting_loss) goes past.
pub async fn inspect(config: ManagementConfig, credentials: &Credentials) -> Result<StoreView, InspectError> {
    let pool = Pool::new(Handle::current(), credentials, PoolSettings::default()).map_err(StartError::Calls)?;
    let settings = store_settings(config, &pool).await?;
    let looked: Result<Looked<Contents>, LookError> = look_at_store(&settings).await;
    pool.close().await;
    let Looked { header, contents, answered } = looked?;
    let authority = ClusterAuthority::from_pem(contents.authority.expose()).map_err(StartError::Authority)?;
    let voters = contents.voters.all();
    Ok(StoreView {
        map: contents.map,
        authority,
        version: header.version,
        voters: voters.len(),
        voters_read: voters.intersection(&answered).count(),
    })
}
