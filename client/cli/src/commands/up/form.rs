//! Forming a cluster by the `weftd` beside this program.

use core::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use weft_layout::Protection;
use weft_resources::{ClusterDir, FormSpec, Formed, MIN_DRIVE_BYTES, Ports};
use weft_types::ByteCount;

use crate::arguments::UpArguments;
use crate::cluster::{self, Cluster};
use crate::commands::mount::{self, MountPointError};
use crate::host::ports::{self, PortError};
use crate::host::weftd::{self, WeftdError};

/// Drives of a new cluster, when nothing else is said and the protection needs no more.
const DRIVES: u32 = 6;
/// The first port of a new cluster, when nothing else is said.
const PORT_BASE: u16 = 7400;
/// Where the processes of a cluster on one host listen.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Why no cluster was formed. Nothing is left of the attempt that the next one would not clear.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// A stripe needs more drives.
    #[error("{drives} drives are too few for protection {protection}, which needs {}", protection.width())]
    TooFewDrives {
        /// How many were asked for.
        drives: u32,
        /// What they should hold.
        protection: Protection,
    },
    /// A drive would hold nothing.
    #[error("a drive of {0} is too small: the least is {MIN_DRIVE_BYTES}")]
    DriveTooSmall(ByteCount),
    /// There are not so many ports.
    #[error("{drives} drives need the UDP ports {base} to {}, and the last port is 65535", u32::from(*base) + 1 + drives)]
    PortsEnd {
        /// The first port.
        base: u16,
        /// How many drives.
        drives: u32,
    },
    /// A port is taken.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The mount point cannot be used.
    #[error(transparent)]
    Point(#[from] MountPointError),
    /// `weftd` did not form it.
    #[error("no cluster was formed: {0}")]
    Weftd(#[source] WeftdError),
}

impl FormError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::TooFewDrives { protection, .. } => {
                Some(format!("use --drives {} or more, or a narrower --protection", protection.width()))
            }
            Self::DriveTooSmall(_) => Some("use a larger --drive-size, or leave it out".to_owned()),
            Self::PortsEnd { .. } | Self::Port(_) => Some("choose other ports with --port-base".to_owned()),
            Self::Point(error) => error.next_step(),
            Self::Weftd(error) => error.next_step(),
        }
    }
}

/// Forms a cluster; nothing of it runs yet. Everything that can be refused is, before anything is made.
///
/// # Errors
/// [`FormError`]
pub(super) fn form(path: &Path, options: &UpArguments) -> Result<Cluster, FormError> {
    let spec = spec(path, options)?;
    let ports = Ports { host: spec.host, base: spec.port_base };
    let drives = (0..spec.drives).map(|index| ports.drive(index));
    let addresses: Option<Vec<_>> =
        [Some(ports.management()), ports.compute()].into_iter().chain(drives).collect();
    let addresses = addresses.ok_or(FormError::PortsEnd { base: spec.port_base, drives: spec.drives })?;
    ports::check_free(addresses)?;
    match mount::check_point(&spec.directory.join(&spec.mount)) {
        Ok(_) | Err(MountPointError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let formed: Formed = weftd::ask("form", &spec).map_err(FormError::Weftd)?;
    Ok(Cluster { dir: cluster::directory(&spec.directory), file: formed.state })
}

fn spec(path: &Path, options: &UpArguments) -> Result<FormSpec, FormError> {
    let protection = options.protection.unwrap_or_else(default_protection);
    let width = u32::from(protection.width());
    let drives = options.drives.unwrap_or(DRIVES.max(width));
    if drives < width {
        return Err(FormError::TooFewDrives { drives, protection });
    }
    if let Some(size) = options.drive_size.filter(|size| *size < MIN_DRIVE_BYTES) {
        return Err(FormError::DriveTooSmall(size));
    }
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Ok(FormSpec {
        directory: cluster::directory(path).root().to_owned(),
        protection: protection.to_string(),
        drives,
        drive_size: options.drive_size,
        host: HOST,
        port_base: options.port_base.unwrap_or(PORT_BASE),
        mount: options.mount.as_ref().map_or_else(|| PathBuf::from(ClusterDir::MOUNT), absolute),
    })
}

fn default_protection() -> Protection {
    Protection::new(4, 2).expect("4+2 is offered")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: UpArguments) -> Result<FormSpec, FormError> {
        spec(Path::new("/srv/weft"), &options)
    }

    #[test]
    fn a_wide_protection_brings_its_drives() {
        let none = UpArguments::default;
        let wide = Some("8+2".parse().expect("a protection"));
        assert_eq!(of(none()).expect("a spec").drives, 6);
        assert_eq!(of(UpArguments { protection: wide, ..none() }).expect("a spec").drives, 10);
        let error = of(UpArguments { drives: Some(5), ..none() }).expect_err("too few");
        assert!(error.to_string().contains('5') && error.to_string().contains('6'), "{error}");
    }

    #[test]
    fn a_tiny_drive_is_refused_with_numbers() {
        let size = Some(ByteCount::new(1024));
        let error = of(UpArguments { drive_size: size, ..UpArguments::default() }).expect_err("tiny");
        let line = crate::error::with_next_step(&error, error.next_step());
        assert!(
            line.contains("1.00 KiB") && line.contains("64.0 MiB") && line.contains("--drive-size"),
            "{line}"
        );
    }

    #[test]
    fn ports_that_do_not_exist_are_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("weft-data");
        let options = UpArguments { port_base: Some(65_530), ..UpArguments::default() };
        let error = form(&dir, &options).expect_err("no such ports");
        assert!(matches!(error, FormError::PortsEnd { .. }), "{error}");
        assert!(error.to_string().contains("65537"), "{error}");
        assert!(!dir.exists());
    }
}
