//! The devices of a cluster that is recovered.

use core::future::{Future, ready};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use weft_drive::offline::{OfflineError, StoreFound, read_store};
use weft_drive::{DriveConfig, DriveIdentity, DriveProcess, DriveSettings, StartError};
use weft_engine::store::{StoreCallError, StoreDrives};
use weft_types::{ClusterId, DriveId};
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreTaken};

/// Why the devices cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevicesError {
    /// None of them is a drive's.
    #[error("none of the devices can be used: {0}")]
    None(String),
    /// They are not of one cluster.
    #[error(
        "{} is of cluster {one}, and {} of cluster {other}; name the devices of one cluster",
        one_path.display(), other_path.display()
    )]
    OtherCluster {
        /// A device.
        one_path: PathBuf,
        /// Its cluster.
        one: ClusterId,
        /// Another device.
        other_path: PathBuf,
        /// Its cluster.
        other: ClusterId,
    },
    /// A drive is there twice.
    #[error(
        "{} and {} both say that they are drive {drive}; name only the one that was used last",
        one.display(), other.display()
    )]
    Twice {
        /// The drive.
        drive: DriveId,
        /// A device.
        one: PathBuf,
        /// Another device.
        other: PathBuf,
    },
}

/// A device of a drive.
#[derive(Debug)]
struct Device {
    path: PathBuf,
    found: StoreFound,
}

/// The drives that were found, read and closed again.
#[derive(Debug)]
pub(crate) struct Found {
    devices: BTreeMap<DriveId, Device>,
    /// Whose they are.
    pub(crate) cluster: ClusterId,
    /// Bytes of the largest device.
    pub(crate) largest: u64,
    /// Why the others cannot be used, a line each.
    pub(crate) unusable: Vec<String>,
}

impl Found {
    /// Reads what the devices have of the cluster store. Nothing on them changes.
    ///
    /// # Errors
    /// [`DevicesError`]
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, DevicesError> {
        // A drive that was closed badly is read through: all at the same time.
        let read: Vec<_> = thread::scope(|scope| {
            let reading: Vec<_> = paths.iter().map(|path| scope.spawn(|| read_store(path))).collect();
            reading.into_iter().map(|one| one.join().expect("reading does not panic")).collect()
        });
        let mut unusable = Vec::new();
        let mut devices: Vec<Device> = Vec::new();
        for (path, read) in paths.iter().zip(read) {
            match read {
                Ok(found) => devices.push(Device { path: path.clone(), found }),
                Err(error) => unusable.push(line(path, &error)),
            }
        }
        let Some(cluster) = devices.first().map(|device| device.found.identity.cluster) else {
            return Err(DevicesError::None(unusable.join("; ")));
        };
        check(&devices)?;
        let largest = devices.iter().map(|device| size(&device.path)).max().unwrap_or_default();
        let devices = devices.into_iter().map(|device| (device.found.identity.drive, device)).collect();
        Ok(Self { devices, cluster, largest, unusable })
    }

    /// The drives.
    pub(crate) fn drives(&self) -> Vec<DriveId> {
        self.devices.keys().copied().collect()
    }

    /// Where a drive's device is; `None` when it was not found.
    pub(crate) fn path(&self, drive: DriveId) -> Option<&PathBuf> {
        self.devices.get(&drive).map(|device| &device.path)
    }

    /// What was read, as calls to drives that are served would bring it.
    pub(crate) fn copies(&self) -> Copies {
        let copy = |(drive, device): (&DriveId, &Device)| {
            (*drive, (device.found.held.clone(), device.found.bytes.clone()))
        };
        Copies(self.devices.iter().map(copy).collect())
    }

    /// Opens the drives to change them.
    ///
    /// # Errors
    /// [`StartError`] of the first that does not open.
    pub(crate) fn open(&self) -> Result<Vec<(DriveIdentity, DriveProcess)>, StartError> {
        let open = |device: &Device| {
            let identity = device.found.identity;
            let (path, settings) = (device.path.clone(), DriveSettings::default());
            let process = DriveProcess::open(&DriveConfig { path, identity, create: None, settings })?;
            Ok((identity, process))
        };
        self.devices.values().map(open).collect()
    }
}

/// What the drives had when they were read; nothing can be put on it.
#[derive(Debug)]
pub(crate) struct Copies(BTreeMap<DriveId, (StoreHeld, Bytes)>);

impl StoreDrives for Copies {
    fn open(
        &self,
        drive: DriveId,
        _: OpenStore,
    ) -> impl Future<Output = Result<(StoreHeld, Bytes), StoreCallError>> + Send + 'static {
        let none = || StoreCallError::NoAnswer { reason: "its device was not found".to_owned() };
        ready(self.0.get(&drive).cloned().ok_or_else(none))
    }

    fn put(
        &self,
        _: DriveId,
        _: PutStore,
        _: Bytes,
    ) -> impl Future<Output = Result<StoreTaken, StoreCallError>> + Send + 'static {
        ready(Err(StoreCallError::NoAnswer { reason: "it is only read".to_owned() }))
    }
}

fn check(devices: &[Device]) -> Result<(), DevicesError> {
    let mut seen: BTreeMap<DriveId, &PathBuf> = BTreeMap::new();
    for device in devices {
        let (identity, first) = (device.found.identity, &devices[0]);
        if identity.cluster != first.found.identity.cluster {
            return Err(DevicesError::OtherCluster {
                one_path: first.path.clone(),
                one: first.found.identity.cluster,
                other_path: device.path.clone(),
                other: identity.cluster,
            });
        }
        if let Some(one) = seen.insert(identity.drive, &device.path) {
            let (one, other) = (one.clone(), device.path.clone());
            return Err(DevicesError::Twice { drive: identity.drive, one, other });
        }
    }
    Ok(())
}

/// Bytes of a file or a block device; 0 of one that cannot be looked at.
fn size(path: &Path) -> u64 {
    File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0))).unwrap_or_default()
}

fn line(path: &Path, error: &OfflineError) -> String {
    let first = core::error::Error::source(error);
    let causes = core::iter::successors(first, |cause| cause.source());
    let line = causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"));
    let path = path.display().to_string();
    if line.contains(&path) { line } else { format!("{path}: {line}") }
}
