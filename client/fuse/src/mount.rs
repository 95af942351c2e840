//! A core that the kernel shows at a path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_core::Core;
use weft_fusedev::protocol::TooOld;
use weft_fusedev::{Notifier, Session, SessionError, Unmounter};

use crate::adapter::Adapter;
use crate::cache::Cache;
use crate::opening::Opening;
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
    /// The kernel is older than what is understood here.
    #[error(transparent)]
    Kernel(TooOld),
    /// The connection to the kernel broke while the filesystem was mounted.
    #[error("the connection to the kernel broke")]
    Session(#[source] io::Error),
}

/// A filesystem that the kernel shows, not serving yet. Dropped without serving, it is taken away.
pub struct Mounted {
    session: Session,
    adapter: Arc<Adapter>,
}

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
        let session = Session::mount(at, &options.for_kernel(filesystem), &kernel::terms());
        let session = session.map_err(|error| explained(error, at))?;
        tracing::debug!(agreement = ?session.agreement(), "agreed with the kernel");
        kernel::set_read_ahead(at, options.read_ahead);
        core.bound_read_ahead(options.read_ahead);
        core.serve_kernel(Arc::new(Cache(session.notifier())));
        Ok(Self { session, adapter: Arc::new(Adapter::new(core, Opening::of(options))) })
    }

    /// What takes the mount away while [`serve`](Self::serve) runs.
    pub fn unmounter(&self) -> Unmounter {
        self.session.unmounter()
    }

    /// What tells the kernel that something changed.
    pub fn notifier(&self) -> Notifier {
        self.session.notifier()
    }

    /// Answers the kernel until the filesystem is unmounted, by whomever.
    ///
    /// # Errors
    /// [`FuseError::Session`] when the connection broke in another way.
    pub fn serve(self) -> Result<(), FuseError> {
        let served = self.session.serve(&self.adapter, kernel::THREADS);
        served.map_err(|error| match error {
            SessionError::Mount(source) | SessionError::Broken(source) => FuseError::Session(source),
            SessionError::TooOld(source) => FuseError::Kernel(source),
        })
    }
}

fn explained(error: SessionError, at: &Path) -> FuseError {
    match error {
        SessionError::Mount(source) | SessionError::Broken(source) => {
            FuseError::Mount { path: at.to_owned(), source }
        }
        SessionError::TooOld(source) => FuseError::Kernel(source),
    }
}
