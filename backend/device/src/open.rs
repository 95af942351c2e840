//! Opening a path as a device, as well as the host lets us.

use std::fmt;
use std::fs::{File, OpenOptions as FileOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::uring::UringDevice;
use crate::{BLOCK, Device, FileDevice};

/// How long one IO may take unless it is said otherwise.
pub const STALL_AFTER: Duration = Duration::from_secs(10);

/// Why a path cannot serve as a device.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeviceError {
    /// Another process has it open, or this one has, already; a block device may also be mounted.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It is neither a regular file nor a block device.
    #[error("{} is neither a regular file nor a block device", .0.display())]
    Unsuitable(PathBuf),
    /// The host refused.
    #[error("cannot open {}", .path.display())]
    Io {
        /// The file or block device.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// How a device is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Makes a sparse file of so many bytes, which must not exist yet. `None` opens what exists.
    pub create: Option<u64>,
    /// Goes around the host's page cache where the host can.
    pub direct: bool,
    /// Submits through `io_uring` where the host lets us.
    pub uring: bool,
    /// An IO that takes longer than this fails with `TimedOut`: a read then, anything else when the host gives it back.
    pub stall_after: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { create: None, direct: true, uring: true, stall_after: STALL_AFTER }
    }
}

/// How the bytes of a device travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoMode {
    /// Around the page cache; reads through `io_uring`.
    Direct,
    /// Through the page cache.
    Buffered,
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Buffered => "buffered",
        })
    }
}

/// A device that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The device, whose size is a multiple of [`BLOCK`].
    pub device: Arc<dyn Device>,
    /// How its bytes travel.
    pub mode: IoMode,
    /// One line for whoever runs this host, when it is not as was asked for.
    pub warning: Option<String>,
}

/// Opens a regular file, which is locked against others, or a block device, which is opened exclusively. Where the
/// host refuses `io_uring` or direct IO, it is served through the page cache, and a warning names the cause.
///
/// # Errors
/// [`OpenDeviceError`].
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenDeviceError> {
    let failed = |source| OpenDeviceError::Io { path: path.to_owned(), source };
    let (file, size) = claim(path, options.create)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut warning = None;
    if options.direct && options.uring {
        match direct(&file, size, &name, options.stall_after) {
            Ok(device) => return Ok(Opened { device: Arc::new(device), mode: IoMode::Direct, warning }),
            Err(Refused { what, source }) => {
                warning = Some(format!(
                    "{} is served through the page cache, slower and with every byte in memory twice: \
                     this host refuses {what} ({source})",
                    path.display()
                ));
            }
        }
    }
    let device = FileDevice::over(file, size).and_then(|device| device.bounded(&name, options.stall_after));
    let device = device.map_err(failed)?;
    Ok(Opened { device: Arc::new(device), mode: IoMode::Buffered, warning })
}

/// What the host refused.
struct Refused {
    what: &'static str,
    source: io::Error,
}

fn direct(file: &File, size: u64, name: &str, stall_after: Duration) -> Result<UringDevice, Refused> {
    let refused = |what| move |source| Refused { what, source };
    let flags = fcntl_getfl(file).map_err(|errno| Refused { what: "direct IO", source: errno.into() })?;
    let set = |flags| fcntl_setfl(file, flags).map_err(io::Error::from);
    set(flags | OFlags::DIRECT).map_err(refused("direct IO on this file"))?;
    let started = file
        .try_clone()
        .and_then(|file| UringDevice::start(file, size, name, stall_after))
        .map_err(refused("io_uring"))
        // Some accept the flag and refuse the reads.
        .and_then(|device| try_out(&device).map(|()| device).map_err(refused("direct IO on this file")));
    if started.is_err() {
        set(flags).map_err(refused("buffered IO again"))?;
    }
    started
}

/// Whether the first block can be read at all; what else is wrong with it shows where it matters.
fn try_out(device: &UringDevice) -> io::Result<()> {
    if device.size() == 0 {
        return Ok(());
    }
    match device.read_at(&mut [0; BLOCK], 0) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Err(error),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}

/// Opens it so that nobody else does, and gives the bytes it has, in whole blocks.
fn claim(path: &Path, create: Option<u64>) -> Result<(File, u64), OpenDeviceError> {
    let failed = |source| OpenDeviceError::Io { path: path.to_owned(), source };
    let mut options = FileOptions::new();
    options.read(true).write(true);
    if create.is_some() {
        options.create_new(true);
    } else {
        // Looked at before it is opened: opening some kinds of files waits, or does something.
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if kind.is_block_device() {
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        } else if !kind.is_file() {
            return Err(OpenDeviceError::Unsuitable(path.to_owned()));
        }
    }
    let mut file = options.open(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::BUSY) => OpenDeviceError::InUse(path.to_owned()),
        _ => failed(error),
    })?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_file() {
        lock(&file, path)?;
    } else if !kind.is_block_device() {
        return Err(OpenDeviceError::Unsuitable(path.to_owned()));
    }
    if let Some(size) = create {
        file.set_len(size).map_err(failed)?;
    }
    // The end of a block device is its size; its metadata say nothing.
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    Ok((file, size - size % BLOCK as u64))
}

/// Locks it as long as it is open.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), OpenDeviceError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenDeviceError::InUse(path.to_owned()),
        TryLockError::Error(source) => OpenDeviceError::Io { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests;
