//! A core that the kernel shows at a path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{Session, SessionUnmounter};
use weft_core::Core;

use crate::adapter::Adapter;
use crate::{MountOptions, kernel};

/// Why the kernel does not show the filesystem.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// `/dev/fuse` cannot be used.
    #[error("/dev/fuse cannot be used; load it with `modprobe fuse`, and run as root")]
    Device(#[source] io::Error),
    /// The kernel refused the mount.
    #[error("the kernel refused to mount at {path}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The connection to the kernel broke while the filesystem was mounted.
    #[error("the connection to the kernel broke")]
    Session(#[source] io::Error),
}

/// A filesystem that the kernel shows, not serving yet.
pub struct Mounted {
    session: Session<Adapter>,
    unmounter: SessionUnmounter,
}

/// Takes the mount away, from any thread.
pub struct Unmounter(SessionUnmounter);

impl Mounted {
    /// Mounts at a path. Requests wait until [`serve`](Self::serve).
    ///
    /// # Errors
    /// [`FuseError`] when the device or the mount point cannot be used.
    pub fn new(
        core: Arc<Core>,
        filesystem: &str,
        at: &Path,
        options: &MountOptions,
    ) -> Result<Self, FuseError> {
        let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
        drop(device.map_err(FuseError::Device)?);
        let config = kernel::session(options.for_kernel(filesystem));
        let refused = |source| FuseError::Mount { path: at.to_owned(), source };
        let mut session = Session::new(Adapter::new(core), at, &config).map_err(refused)?;
        let unmounter = session.unmount_callable();
        kernel::raise_read_ahead(at);
        Ok(Self { session, unmounter })
    }

    /// What takes the mount away while [`serve`](Self::serve) runs.
    pub fn unmounter(&mut self) -> Unmounter {
        Unmounter(self.session.unmount_callable())
    }

    /// Answers the kernel until the filesystem is unmounted, by whomever.
    ///
    /// # Errors
    /// [`FuseError::Session`] when the connection broke in another way.
    pub fn serve(self) -> Result<(), FuseError> {
        let Self { session, unmounter } = self;
        let ended = session.run().map_err(FuseError::Session);
        drop(unmounter);
        ended
    }
}

impl Unmounter {
    /// Asks the kernel to take the mount away. Busy mounts stay.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn unmount(&mut self) -> io::Result<()> {
        self.0.unmount()
    }
}
