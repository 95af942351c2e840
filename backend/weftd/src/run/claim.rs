//! A container's place among what runs: its lock, and the files that say how far it has come.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use weft_resources::{ClusterDir, Container, ContainerName, Document, Phase, Process, RunState, start_ticks};

use crate::files::{self, FileError};

/// Why a container's place was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// It runs already.
    #[error("container {0} is running already")]
    Running(ContainerName),
    /// The host refuses.
    #[error("cannot use {}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The state could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The place of a container that this process runs. Its lock goes with the process, however that ends.
pub(crate) struct Claim {
    dir: ClusterDir,
    state: RunState,
    _lock: File,
}

impl Claim {
    /// Takes the lock, and says that the container is starting.
    pub(crate) fn take(dir: &ClusterDir, container: &Container) -> Result<Self, ClaimError> {
        let path = dir.lock_file(&container.name);
        let host = |path: &PathBuf, source| ClaimError::Host { path: path.clone(), source };
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = opened.map_err(|source| host(&path, source))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => ClaimError::Running(container.name.clone()),
            other => host(&path, other.into()),
        })?;
        let stat = PathBuf::from("/proc/self/stat");
        let text = std::fs::read_to_string(&stat).map_err(|source| host(&stat, source))?;
        let ticks = start_ticks(&text).ok_or_else(|| host(&stat, io::ErrorKind::InvalidData.into()))?;
        let state = RunState {
            format: RunState::FORMAT,
            container: container.name.clone(),
            cluster: container.cluster,
            roles: container.processes.iter().map(Process::role).collect(),
            pid: std::process::id(),
            start_ticks: ticks,
            address: container.processes.first().and_then(Process::listen),
            mount: None,
            mounted: None,
            state: Phase::Starting,
        };
        let claim = Self { dir: dir.clone(), state, _lock: lock };
        claim.write()?;
        files::write(&dir.pid_file(&container.name), format!("{}\n", std::process::id()).as_bytes())?;
        Ok(claim)
    }

    /// Says how far the container has come. When the host does not take it, the container goes on.
    pub(crate) fn set(&mut self, phase: Phase) {
        tracing::info!(container = %self.state.container, state = ?phase, "the container's state changed");
        self.state.state = phase;
        if let Err(error) = self.write() {
            tracing::error!(
                error = &error as &dyn core::error::Error,
                "the container's state was not written"
            );
        }
    }

    /// Leaves the reason behind for which the container gave up.
    pub(crate) fn fail(&mut self, line: &str) {
        self.set(Phase::Failed(line.to_owned()));
    }

    /// Leaves no trace of a container that stopped as it was told.
    pub(crate) fn release(self) {
        let name = &self.state.container;
        for path in [self.dir.run_state(name), self.dir.pid_file(name)] {
            if let Err(error) = files::remove(&path) {
                tracing::warn!(%error, path = %path.display(), "a file of a stopped container is left behind");
            }
        }
    }

    fn write(&self) -> Result<(), FileError> {
        files::write_document(&self.dir.run_state(&self.state.container), &self.state)
    }
}

/// From now on a panic, in whichever thread, ends this process at once and leaves its reason behind: a container is
/// never half alive. Whatever was answered is durable without an orderly stop.
pub(crate) fn announce_panics(claim: &Claim) {
    let (path, state) = (claim.dir.run_state(&claim.state.container), claim.state.clone());
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        earlier(panic);
        let reason = Phase::Failed(format!("{panic}").replace('\n', " "));
        // Nothing is left to be done when this fails too.
        let _ = files::write_document(&path, &RunState { state: reason, ..state.clone() });
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use weft_resources::{Kms, Peer, parse};
    use weft_types::{ClusterId, NodeId};

    /// Names the directory to the child process of the test below.
    const CHILD: &str = "WEFT_TEST_PANIC_IN";

    fn claim(root: &Path) -> Result<Claim, ClaimError> {
        let container = Container {
            format: Container::FORMAT,
            name: ContainerName::drive(0),
            cluster: ClusterId::from_bytes([1; 16]),
            directory: "..".into(),
            management: Peer { node: NodeId::from_bytes([2; 16]), address: ([127, 0, 0, 1], 1).into() },
            kms: Kms::Local { key_file: "key".into() },
            processes: Vec::new(),
        };
        Claim::take(&ClusterDir::new(root), &container)
    }

    fn state(root: &Path) -> Option<Phase> {
        let path = ClusterDir::new(root).run_state(&ContainerName::drive(0));
        let state: RunState = parse(&path, &std::fs::read(&path).ok()?).expect("whole");
        Some(state.state)
    }

    #[test]
    fn a_container_is_claimed_once_and_released_without_a_trace() {
        let root = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(root.path().join("run")).expect("made");
        let mut first = claim(root.path()).expect("claimed");
        assert!(matches!(claim(root.path()), Err(ClaimError::Running(_))));
        first.set(Phase::Running);
        assert_eq!(state(root.path()), Some(Phase::Running));
        first.release();
        assert_eq!(state(root.path()), None);
        claim(root.path()).expect("claimed again");
    }

    /// The child's part: a panic where nobody would look, in a task of a thread's event loop.
    fn panic_in_a_task(root: &Path) {
        let mut claim = claim(root).expect("claimed");
        claim.set(Phase::Running);
        announce_panics(&claim);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async { tokio::spawn(async { panic!("lost\nits way") }).await.is_err() })
        });
        assert!(thread.join().is_err(), "the process has ended before");
    }

    #[test]
    fn a_panic_anywhere_ends_the_process_and_leaves_its_reason() {
        if let Some(root) = std::env::var_os(CHILD) {
            return panic_in_a_task(Path::new(&root));
        }
        let root = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(root.path().join("run")).expect("made");
        let this = "run::claim::tests::a_panic_anywhere_ends_the_process_and_leaves_its_reason";
        let child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", this])
            .env(CHILD, root.path())
            .output()
            .expect("runs");
        assert_eq!(child.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{child:?}");
        let state = state(root.path()).expect("left");
        assert!(matches!(&state, Phase::Failed(line) if line.contains("lost its way")), "{state:?}");
    }
}
