//! A core that the kernel shows at a path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{Config, Session, SessionACL, SessionUnmounter};
use weft_core::Core;

use crate::MountOptions;
use crate::adapter::Adapter;

/// Threads that read requests. Two keep both a reader and a writer moving; more wake each other (measured: the
/// second thread with a descriptor of its own adds a third to four jobs' rate).
const THREADS: usize = 2;
/// What the kernel reads ahead of a sequential reader, in KiB. Its default, 128, would keep stripes waiting.
const READ_AHEAD_KIB: u32 = 4096;

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
        let mut config = Config::default();
        config.mount_options = options.for_kernel(filesystem);
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let refused = |source| FuseError::Mount { path: at.to_owned(), source };
        let mut session = Session::new(Adapter::new(core), at, &config).map_err(refused)?;
        let unmounter = session.unmount_callable();
        raise_read_ahead(at);
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

/// The kernel caps what a FUSE filesystem may ask for at its own default; root may raise it afterwards. Where that
/// is not possible, reading is slower and right.
fn raise_read_ahead(at: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(device) = device_of(&mounts, at) else { return };
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = std::fs::write(&setting, READ_AHEAD_KIB.to_string()) {
        tracing::info!(%error, setting, "the kernel's readahead stays at its default");
    }
}

/// `major:minor` of what is mounted last at a path, out of the text of `/proc/self/mountinfo`. Asking the mount
/// itself would wait for an answer that nobody gives yet.
fn device_of<'a>(mounts: &'a str, at: &Path) -> Option<&'a str> {
    let at = at.to_str()?.replace(' ', "\\040");
    let here = mounts.lines().rev().find(|line| line.split(' ').nth(4) == Some(&at))?;
    here.split(' ').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_path_is_found() {
        let mounts = "36 35 98:0 / /mnt rw - ext4 /dev/a rw\n\
                      41 36 0:52 / /mnt rw - fuse.weft weft:default rw\n\
                      42 36 0:53 / /mnt/a\\040b rw - fuse.weft weft:default rw\n";
        assert_eq!(device_of(mounts, Path::new("/mnt")), Some("0:52"));
        assert_eq!(device_of(mounts, Path::new("/mnt/a b")), Some("0:53"));
        assert_eq!(device_of(mounts, Path::new("/other")), None);
    }
}
