//! A drive as a process of a container: its device, its threads, its service.

use std::ffi::OsString;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weft_pki::AuthorityVerifier;
use weft_transport::{Router, Server};
use weft_types::StoreVersion;

use crate::custody::{Custody, LoadError, Loaded, WriteItems};
use crate::drive::{AnyDevice, Drive, DriveSettings, DriveThreads};
use crate::keeper::Keeper;
use crate::service;
use crate::store::{FormatError, FormatOptions, OpenError, Store};
use crate::superblock::{DriveIdentity, HeaderSalt};
use weft_device::{FileDevice, OpenDeviceError, OpenOptions, Opened};

/// A device that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewDevice {
    /// Bytes of the sparse file, at least [`MIN_DEVICE_BYTES`](crate::MIN_DEVICE_BYTES).
    pub size: u64,
    /// 32 bytes from a cryptographically strong random source.
    pub salt: HeaderSalt,
}

/// What a drive process is told.
#[derive(Debug, Clone)]
pub struct DriveConfig {
    /// The device's file.
    pub path: PathBuf,
    /// Whose it must be.
    pub identity: DriveIdentity,
    /// How to make it when it does not exist; without this a missing file is an error.
    pub create: Option<NewDevice>,
    /// How much the drive takes on at once.
    pub settings: DriveSettings,
}

/// Why a drive process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such file, and none is to be made.
    #[error("there is no device at {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be opened.
    #[error(transparent)]
    Device(#[from] OpenDeviceError),
    /// A new device could not be formatted.
    #[error("cannot format {}", .path.display())]
    Format {
        /// The device.
        path: PathBuf,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// The device cannot be used.
    #[error("cannot use {}", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// It cannot say what it promised.
    #[error("cannot serve {}", .path.display())]
    Custody {
        /// The device.
        path: PathBuf,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The host refused.
    #[error("cannot {action} {}", .path.display())]
    Host {
        /// What was tried, as in "cannot *rename*".
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// A drive that is open and at work.
#[derive(Debug)]
pub struct DriveProcess {
    keeper: Keeper,
    threads: DriveThreads,
}

impl DriveProcess {
    /// Opens the device, or makes it, and replays it. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`StartError`]. A device that was begun and not finished does not stand in the way of the next attempt.
    pub fn open(config: &DriveConfig) -> Result<Self, StartError> {
        let Opened { device, mode, warning } = open_device(config)?;
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        let path = || config.path.clone();
        let mut store = Store::open(device, config.identity)
            .map_err(|source| StartError::Open { path: path(), source })?;
        let custody = load(&mut store, config)?;
        let usage = store.reader().usage();
        tracing::info!(
            drive = %config.identity.drive, shards = usage.shards, items = usage.items, used = %usage.used, io = %mode,
            "drive opened"
        );
        let (drive, threads) = Drive::start(store, config.identity, config.settings)
            .map_err(|source| StartError::Host { action: "start threads for", path: path(), source })?;
        drive.tell_medium(mode, warning);
        Ok(Self { keeper: Keeper::new(custody, drive), threads })
    }

    /// A handle, for heartbeats and for callers in this process.
    pub fn drive(&self) -> Drive {
        self.keeper.items().clone()
    }

    /// To be told what heartbeats are answered.
    pub fn store_ear(&self) -> StoreEar {
        StoreEar { keeper: self.keeper.clone(), writing: Arc::default() }
    }

    /// What a [`Server`] of this drive answers. `authority` is the cluster's, which signs the grants.
    pub fn router(&self, authority: &AuthorityVerifier) -> Router {
        service::router(&self.keeper, authority)
    }

    /// Serves until `shutdown` is done, then finishes what is at work and closes the drive. All that was answered is
    /// durable whether or not this returns.
    pub async fn serve(self, server: Server, shutdown: impl Future<Output = ()>) {
        server.serve(shutdown).await;
        self.close();
    }

    /// Finishes what waits and ends the threads.
    pub fn close(self) {
        drop(self.keeper);
        self.threads.close();
    }
}

/// Takes in which version of the cluster store there is, by the answers to a drive's heartbeats. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreEar {
    keeper: Keeper,
    writing: Arc<AtomicBool>,
}

impl StoreEar {
    /// Remembers a version, so that the drive takes no older store: durable soon, unless the drive fails or is
    /// overloaded. So tell it with every answer. Returns at once: a device that is slow must not silence the drive.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn hear(&self, version: StoreVersion) {
        if self.writing.swap(true, Ordering::AcqRel) {
            return;
        }
        let ear = self.clone();
        tokio::spawn(async move {
            ear.keeper.hear(version).await;
            ear.writing.store(false, Ordering::Release);
        });
    }
}

/// What the drive keeps besides shards; damage to one of two copies is repaired.
fn load(store: &mut Store<AnyDevice>, config: &DriveConfig) -> Result<Custody, StartError> {
    let Loaded { custody, repairs } = Custody::load(config.identity, store)
        .map_err(|source| StartError::Custody { path: config.path.clone(), source })?;
    if !repairs.is_empty() {
        tracing::warn!(drive = %config.identity.drive, writes = repairs.len(), "what was damaged is written again");
        if let Err(error) = store.write(&repairs) {
            tracing::warn!(error = &error as &dyn std::error::Error, "what was damaged stays so");
        }
    }
    Ok(custody)
}

fn open_device(config: &DriveConfig) -> Result<Opened, StartError> {
    match (fs::metadata(&config.path), config.create) {
        (Err(error), Some(new)) if error.kind() == ErrorKind::NotFound => {
            create_device(&config.path, config.identity, new)?;
        }
        (Err(error), None) if error.kind() == ErrorKind::NotFound => {
            return Err(StartError::Missing(config.path.clone()));
        }
        // Of a path that cannot be looked at, opening says why.
        _ => {}
    }
    Ok(weft_device::open(&config.path, &OpenOptions::default())?)
}

/// Formats under another name first: what has the device's name is a whole device, whenever the host stops.
fn create_device(path: &Path, identity: DriveIdentity, new: NewDevice) -> Result<(), StartError> {
    let mut begun = OsString::from(path);
    begun.push(".new");
    let begun = PathBuf::from(begun);
    let host = |action, source| StartError::Host { action, path: path.to_owned(), source };
    if begun.exists() {
        // Fails when another process is at it.
        drop(FileDevice::open(&begun)?);
        fs::remove_file(&begun).map_err(|source| host("remove an unfinished", source))?;
    }
    let device = FileDevice::create(&begun, new.size)?;
    let options = FormatOptions { identity, salt: new.salt, segment_bytes: None };
    if let Err(source) = Store::format(&device, options) {
        // The next attempt removes it otherwise.
        let _ = fs::remove_file(&begun);
        return Err(StartError::Format { path: path.to_owned(), source });
    }
    fs::rename(&begun, path).map_err(|source| host("rename", source))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| host("make durable", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MIN_DEVICE_BYTES;
    use weft_types::{ClusterId, DriveId, Incarnation};

    fn config(folder: &Path, size: u64) -> DriveConfig {
        DriveConfig {
            path: folder.join("device"),
            identity: DriveIdentity {
                cluster: ClusterId::from_bytes([1; 16]),
                drive: DriveId::from_bytes([2; 16]),
                incarnation: Incarnation::new(1),
            },
            create: Some(NewDevice { size, salt: HeaderSalt([3; 32]) }),
            settings: DriveSettings::default(),
        }
    }

    #[test]
    fn a_device_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().expect("tempdir");
        let config = config(folder.path(), MIN_DEVICE_BYTES);
        let missing = DriveConfig { create: None, ..config.clone() };
        assert!(matches!(DriveProcess::open(&missing), Err(StartError::Missing(_))));

        // Left behind by a host that stopped in the middle.
        fs::write(folder.path().join("device.new"), b"half").expect("written");
        let process = DriveProcess::open(&config).expect("made");
        assert!(!folder.path().join("device.new").exists());
        assert!(matches!(DriveProcess::open(&config), Err(StartError::Device(OpenDeviceError::InUse(_)))));
        process.close();
        DriveProcess::open(&missing).expect("found").close();

        let mut other = missing;
        other.identity.cluster = ClusterId::from_bytes([9; 16]);
        let refused = DriveProcess::open(&other).expect_err("another cluster's");
        assert!(matches!(refused, StartError::Open { source: OpenError::OtherCluster { .. }, .. }));
    }

    #[tokio::test]
    async fn what_was_heard_and_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("tempdir");
        let config = config(folder.path(), MIN_DEVICE_BYTES);
        let process = DriveProcess::open(&config).expect("made");
        process.keeper.hear(StoreVersion::new(7)).await;
        process.close();
        let process = DriveProcess::open(&config).expect("found");
        let held = process.keeper.custody().store_held([None, None]).0;
        assert_eq!(held.seen, StoreVersion::new(7));

        // One of two copies is lost, and written again.
        let items = process.drive().list_items(&[], None, 10);
        assert_eq!(items.len(), 2);
        process.drive().delete_items(vec![items[0].0.clone()]).await.expect("deleted");
        process.close();
        let process = DriveProcess::open(&config).expect("found");
        assert_eq!(process.drive().list_items(&[], None, 10), items);

        // What it does not understand may be what it promised.
        for (key, _) in &items {
            process.drive().put_item(key.clone(), vec![0xff; 20].into()).await.expect("put");
        }
        process.close();
        let process = DriveProcess::open(&config).map(DriveProcess::close);
        assert!(matches!(process, Err(StartError::Custody { source: LoadError::Damaged { .. }, .. })));
    }

    #[test]
    fn a_device_that_cannot_be_made_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("tempdir");
        let refused = DriveProcess::open(&config(folder.path(), 4096)).expect_err("too small");
        assert!(matches!(refused, StartError::Format { source: FormatError::TooSmall { .. }, .. }));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
        let nowhere = config(&folder.path().join("nowhere"), MIN_DEVICE_BYTES);
        assert!(matches!(DriveProcess::open(&nowhere), Err(StartError::Device(OpenDeviceError::Io { .. }))));
    }

    #[test]
    fn a_file_that_is_no_device_is_left_alone() {
        let folder = tempfile::tempdir().expect("tempdir");
        let config = config(folder.path(), MIN_DEVICE_BYTES);
        fs::write(&config.path, b"a letter").expect("written");
        assert!(matches!(DriveProcess::open(&config), Err(StartError::Open { .. })));
        assert_eq!(fs::read(&config.path).expect("read"), b"a letter");
    }
}
