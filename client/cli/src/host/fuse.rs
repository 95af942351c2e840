//! Whether this host can mount by FUSE.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The kernel's side of FUSE.
const DEVICE: &str = "/dev/fuse";
/// Mounts for those who are not root.
const HELPER: &str = "fusermount3";

/// Why this host cannot mount.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuseHostError {
    /// There is no device.
    #[error(
        "{DEVICE} does not exist: the kernel's FUSE module is not loaded, or not visible in this container"
    )]
    Missing,
    /// Something else has its name.
    #[error("{DEVICE} is not a character device, so nothing can be mounted")]
    NotADevice,
    /// The device cannot be opened.
    #[error("{DEVICE} cannot be opened")]
    Closed(#[source] io::Error),
    /// Not root, and no helper.
    #[error("only root can mount here: {HELPER} is not installed")]
    NotRoot,
}

impl FuseHostError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> String {
        let step = match self {
            Self::Missing => {
                "load it with `modprobe fuse`; for a container, add the device (`--device /dev/fuse`)"
            }
            Self::NotADevice => "remove it and load the kernel's module with `modprobe fuse`",
            Self::Closed(_) => "run as root; for a container, allow the device (`--device /dev/fuse`)",
            Self::NotRoot => "run as root, or install the package fuse3",
        };
        step.to_owned()
    }
}

/// Looks whether a mount can be made, before anything else is done for it.
///
/// # Errors
/// [`FuseHostError`]
pub(crate) fn check() -> Result<(), FuseHostError> {
    check_device(Path::new(DEVICE))?;
    if rustix::process::geteuid().is_root() || helper_exists() { Ok(()) } else { Err(FuseHostError::NotRoot) }
}

fn check_device(device: &Path) -> Result<(), FuseHostError> {
    let kind = match std::fs::metadata(device) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FuseHostError::Missing),
        other => other.map_err(FuseHostError::Closed)?.file_type(),
    };
    if !kind.is_char_device() {
        return Err(FuseHostError::NotADevice);
    }
    OpenOptions::new().read(true).write(true).open(device).map(drop).map_err(FuseHostError::Closed)
}

fn helper_exists() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(HELPER).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_called_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = folder.path().join("fuse");
        assert!(matches!(check_device(&device), Err(FuseHostError::Missing)));
        std::fs::write(&device, "").expect("write");
        assert!(matches!(check_device(&device), Err(FuseHostError::NotADevice)));
        check_device(Path::new("/dev/null")).expect("a character device that opens");
    }
}
