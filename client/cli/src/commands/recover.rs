//! `weft cluster recover`: a cluster made again from its drives' devices and its KMS key alone.

use std::path::{Path, PathBuf};

use weft_resources::{RecoverSpec, Recovered, RecoveredDrive};

use crate::arguments::RecoverArguments;
use crate::cluster;
use crate::commands::mount::{self, MountPointError};
use crate::error::CommandError;
use crate::host::mounts;
use crate::host::weftd::{self, WeftdError};
use crate::output;
use crate::progress::Progress;

/// Why no cluster was recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// A device that was named cannot be one.
    #[error("{} is not there", mounts::shown(.0))]
    NoDevice(PathBuf),
    /// The KMS key is not there.
    #[error("the KMS key {} is not there", mounts::shown(.0))]
    NoKey(PathBuf),
    /// The mount point cannot be used.
    #[error(transparent)]
    Point(#[from] MountPointError),
    /// `weftd` did not do it.
    #[error("the cluster was not recovered: {0}")]
    Weftd(#[source] WeftdError),
}

impl RecoverError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::NoDevice(_) => Some("name the devices that are there with --devices".to_owned()),
            Self::NoKey(_) => {
                Some("name the file with --kms-key: without the key nothing can be read".to_owned())
            }
            Self::Point(error) => error.next_step(),
            Self::Weftd(error) => error.next_step(),
        }
    }
}

/// Makes the cluster's directory again. `weft up` starts it afterwards.
///
/// # Errors
/// [`CommandError`]; the devices are as they were, and so is the directory unless the last step failed.
pub(crate) fn run(path: &Path, options: &RecoverArguments, json: bool) -> Result<(), CommandError> {
    let spec = spec(path, options)?;
    let progress = Progress::new("reading the devices");
    let recovered: Recovered = weftd::ask("recover", &spec).map_err(RecoverError::Weftd)?;
    drop(progress);
    if json { Ok(output::json(&recovered)?) } else { show(path, &recovered) }
}

fn spec(path: &Path, options: &RecoverArguments) -> Result<RecoverSpec, RecoverError> {
    let real = |path: &PathBuf| path.canonicalize().ok();
    let devices = options.devices.iter().map(|path| real(path).ok_or(RecoverError::NoDevice(path.clone())));
    let mount = options.mount.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    if let Some(mount) = &mount {
        match mount::check_point(mount) {
            Ok(_) | Err(MountPointError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(RecoverSpec {
        directory: cluster::directory(path).root().to_owned(),
        devices: devices.collect::<Result<_, _>>()?,
        kms_key: real(&options.kms_key).ok_or_else(|| RecoverError::NoKey(options.kms_key.clone()))?,
        accept_loss: options.accept_loss,
        mount,
    })
}

fn show(path: &Path, recovered: &Recovered) -> Result<(), CommandError> {
    let Recovered { cluster, store_version, voters_read, voters, drives, warnings, .. } = recovered;
    let found = drives.iter().filter(|drive| drive.device.is_some()).count();
    output::line(format_args!(
        "weft: cluster {} is recovered from {found} of {} drives; version {store_version} of its store was found, \
         {voters_read} of {voters} voting drives were read",
        cluster,
        drives.len(),
    ))?;
    for drive in drives {
        output::line(line(drive))?;
    }
    for warning in warnings {
        output::line(format_args!("warning: {warning}"))?;
    }
    let dir = mounts::shown(cluster::directory(path).root());
    Ok(output::line(format_args!("\nStart it with `weft --dir {dir} up`"))?)
}

fn line(drive: &RecoveredDrive) -> String {
    let name = drive.container.as_str();
    match &drive.device {
        Some(device) => format!("  {name:<10}{}", mounts::shown(device)),
        None => format!("  {name:<10}missing: it counts as down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_resources::ContainerName;
    use weft_types::DriveId;

    #[test]
    fn what_is_not_there_is_named_before_anything_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let (device, key) = (folder.path().join("device"), folder.path().join("key"));
        let options = RecoverArguments {
            devices: vec![device.clone()],
            kms_key: key.clone(),
            accept_loss: false,
            mount: None,
        };
        let dir = folder.path().join("weft-data");
        let error = spec(&dir, &options).expect_err("no device");
        assert!(matches!(&error, RecoverError::NoDevice(path) if *path == device), "{error}");
        std::fs::write(&device, "").expect("written");
        let error = spec(&dir, &options).expect_err("no key");
        assert!(matches!(&error, RecoverError::NoKey(path) if *path == key), "{error}");
        std::fs::write(&key, "").expect("written");
        let spec = spec(&dir, &options).expect("a spec");
        assert!(spec.devices[0].is_absolute() && spec.directory.is_absolute());
    }

    #[test]
    fn a_missing_drive_is_said() {
        let drive = |device| RecoveredDrive {
            drive: DriveId::from_bytes([1; 16]),
            container: ContainerName::drive(3),
            device,
        };
        assert!(line(&drive(None)).contains("missing"));
        assert!(line(&drive(Some("/dev/sdx".into()))).contains("/dev/sdx"));
    }
}
