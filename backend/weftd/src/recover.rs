//! Making a cluster's files on this host again, from its drives' devices and its KMS key alone.

mod devices;
mod place;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use weft_engine::store::{LookError, ShownVersion};
use weft_kms::{KeyManagement, KmsConfig, KmsError};
use weft_layout::DriveEntry;
use weft_management::{
    InspectError, ManagementConfig, StartError, StoreView, inspect, recover_accepting_loss,
};
use weft_pki::{Validity, ValidityError};
use weft_resources::{ClusterDir, RecoverSpec, Recovered, RecoveredDrive};
use weft_types::{ByteCount, DriveId, Timestamp};

use crate::blueprint::{Blueprint, BlueprintError};
use crate::files::FileError;
use crate::private::{PrivateDrives, PrivateError};
use devices::{DevicesError, Found};
use place::{Place, PlaceError};

/// Why a cluster was not recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// The directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The devices cannot be used.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The KMS key cannot be used.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The drives cannot be reached.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The cluster store is not enough.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Nothing could be made of what is left of the store.
    #[error("the cluster store was not recovered")]
    Store(#[source] StartError),
    /// A drive does not open to be changed.
    #[error(transparent)]
    Drive(#[from] weft_drive::StartError),
    /// The host's clock says what no certificate can.
    #[error("the cluster's certificates cannot be dated")]
    Validity(#[from] ValidityError),
    /// The files cannot be made.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The host gives no runtime.
    #[error("the host gives no event loop")]
    Host(#[source] io::Error),
}

impl RecoverError {
    /// What to do about it, where the cause does not say so.
    const fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Inspect(InspectError::Look(LookError::TooFew { .. } | LookError::Behind(_))) => Some(
                "name the other drives' devices too; when they are lost for good, go on with --accept-loss: \
                 what only they know is lost",
            ),
            Self::Inspect(InspectError::Look(LookError::NoCopy)) => {
                Some("name the devices of the drives that vote, as many as there are")
            }
            Self::Inspect(InspectError::Kms(_)) => {
                Some("name the key file of this very cluster with --kms-key")
            }
            Self::Blueprint(_) | Self::File(_) => {
                Some("make room in that directory, or check its permissions")
            }
            _ => None,
        }
    }
}

/// The error as one line: the chain of causes, then what to do.
pub(crate) fn explained(error: &RecoverError) -> anyhow::Error {
    let first = core::error::Error::source(error);
    let causes = core::iter::successors(first, |cause| cause.source());
    let line = causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"));
    match error.next_step() {
        Some(step) => anyhow::anyhow!("{line}; {step}"),
        None => anyhow::anyhow!("{line}"),
    }
}

/// Recovers a cluster: reads what its drives hold and writes its files. Nothing on the devices changes, unless a loss
/// is accepted and necessary.
///
/// # Errors
/// [`RecoverError`]
pub(crate) fn recover(spec: &RecoverSpec) -> Result<Recovered, RecoverError> {
    let place = Place::look(&spec.directory)?;
    let kms = KmsConfig::Local { key_file: spec.kms_key.clone() }.open()?;
    let kms: Arc<dyn KeyManagement> = Arc::from(kms);
    let mut found = Found::read(&spec.devices)?;
    place.check_cluster(found.cluster)?;
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_unix(since_epoch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RecoverError::Host)?;
    let read = |found: &Found| {
        let copies = Arc::new(found.copies());
        runtime.block_on(inspect(copies, found.drives(), found.cluster, &*kms))
    };
    let (view, accepted) = match read(&found) {
        Err(InspectError::Look(missing @ (LookError::TooFew { .. } | LookError::Behind(_))))
            if spec.accept_loss =>
        {
            runtime.block_on(go_on_without(&found, Arc::clone(&kms), now))?;
            found = Found::read(&spec.devices)?;
            (read(&found)?, Some(missing))
        }
        other => (other?, None),
    };
    let devices = device_paths(&place, &view, &found);
    let mount =
        spec.mount.clone().or_else(|| place.mount()).unwrap_or_else(|| PathBuf::from(ClusterDir::MOUNT));
    let created = place.created().unwrap_or(now);
    place.prepare(&spec.kms_key)?;
    let blueprint = Blueprint {
        dir: place.dir(),
        map: &view.map,
        authority: &view.authority,
        validity: Validity::of_a_node(now)?,
        created,
        devices: &devices,
        drive_size: ByteCount::new(found.largest),
        mount: &mount,
    };
    let state = blueprint.build()?;
    place.complete(&state)?;
    let present = |drive: &DriveEntry| RecoveredDrive {
        drive: drive.id,
        container: drive.name.parse().expect("the blueprint has read it"),
        device: found.path(drive.id).cloned(),
    };
    Ok(Recovered {
        cluster: found.cluster,
        state,
        store_version: ShownVersion(view.version).to_string(),
        voters_read: u32::try_from(view.voters_read).unwrap_or(u32::MAX),
        voters: u32::try_from(view.voters).unwrap_or(u32::MAX),
        drives: view.map.drives.iter().map(present).collect(),
        warnings: warnings(&view, &found, accepted),
    })
}

/// Makes the newest copy on these drives the one that counts.
async fn go_on_without(
    found: &Found,
    kms: Arc<dyn KeyManagement>,
    now: Timestamp,
) -> Result<(), RecoverError> {
    let private = PrivateDrives::serve(found.cluster, found.open()?, now)?;
    let config = ManagementConfig { cluster: found.cluster, drives: private.peers(), kms };
    let recovered = recover_accepting_loss(config, private.credentials()).await;
    private.close().await;
    recovered.map(drop).map_err(RecoverError::Store)
}

/// Where each drive's device is: where it was found, else where it was.
fn device_paths(place: &Place, view: &StoreView, found: &Found) -> BTreeMap<DriveId, PathBuf> {
    let path = |drive: &DriveEntry| {
        let here = found.path(drive.id).map(|path| place.relative(path));
        Some((drive.id, here.or_else(|| place.known_device(&drive.name))?))
    };
    view.map.drives.iter().filter_map(path).collect()
}

fn warnings(view: &StoreView, found: &Found, accepted: Option<LookError>) -> Vec<String> {
    let missing: Vec<_> = view.map.drives.iter().filter(|drive| found.path(drive.id).is_none()).collect();
    let mut lines = found.unusable.clone();
    let parity = usize::from(view.map.protection.parity());
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|drive| drive.name.as_str()).collect();
        let means = if missing.len() > parity {
            format!("files of which more than {parity} parts were on them cannot be read without them")
        } else {
            format!("the others have all data; {} more may be lost", parity - missing.len())
        };
        lines.push(format!("{} not found: {means}", names.join(", ")));
    }
    if let Some(missing) = accepted {
        lines.push(format!(
            "{missing}: changes that only the missing drives know are lost, such as newest filesystems, sessions, and \
             where the newest metadata lies"
        ));
        lines.push(
            "drives that were not found must never be started with the files that the cluster had before: they would \
             serve what is no longer so"
                .to_owned(),
        );
    }
    lines
}

/// Whether a path lies below a folder, and where in it.
fn below(folder: &Path, path: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    path.strip_prefix(folder).ok().map(Path::to_owned)
}
