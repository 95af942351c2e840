//! The process behind a mount.

pub(crate) mod ending;
mod session;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use weft_core::{Core, MountError, Unwritten};
use weft_fuse::{FuseError, MountOptions, Mounted};
use weft_pki::CredentialsError;
use weft_resources::{ClusterDir, ContainerName, Document, MountedAs, Phase, RunState};
use weft_types::Role;

use crate::cluster::{Cluster, ClusterError};
use crate::error::with_next_step;
use crate::host::files::{self, FileError};
use crate::host::mounts::{Mount, MountTable};
use crate::host::process::Process;
use crate::start::MountPlan;
use ending::Ending;

/// Why a mount was not made, or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrontendError {
    /// The container runs already.
    #[error("container {0} runs already")]
    Locked(ContainerName),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The certificate is none.
    #[error("{} cannot be used", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CredentialsError,
    },
    /// There is no such filesystem.
    #[error("there is no filesystem {0:?}")]
    NoSuchFilesystem(String),
    /// The filesystem cannot be opened.
    #[error("{filesystem} cannot be mounted")]
    Open {
        /// The filesystem.
        filesystem: String,
        /// Why.
        #[source]
        source: Box<MountError>,
    },
    /// The kernel does not mount it, or broke the connection.
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// Data is lost.
    #[error("data was lost when {} was unmounted", at.display())]
    Lost {
        /// Where it was mounted.
        at: PathBuf,
        /// How much.
        #[source]
        source: Unwritten,
    },
    /// Nothing can wait for signals.
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
}

impl FrontendError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Cluster(error) => return error.next_step(),
            Self::Locked(_) => "see `weft container list`",
            Self::Credentials { .. } => "restore it from a backup",
            Self::NoSuchFilesystem(_) => "see `weft fs list`, or make it with `weft fs create`",
            Self::Open { .. } => "see `weft status` and `weft logs compute0`",
            Self::Lost { .. } => "see `weft logs`: it names the files",
            Self::File(_) | Self::Fuse(_) | Self::Signals(_) => return None,
        };
        Some(step.to_owned())
    }
}

/// Mounts, and serves until the filesystem is unmounted or a signal says so. What it has come to stands in the
/// container's run state.
///
/// # Errors
/// [`FrontendError`]; the run state says it too.
pub(crate) fn run(cluster: &Cluster, plan: &MountPlan) -> Result<(), FrontendError> {
    harden();
    let lock = files::try_lock(&cluster.dir.lock_file(&plan.container))?;
    let _lock = lock.ok_or_else(|| FrontendError::Locked(plan.container.clone()))?;
    let claim = Claim::new(cluster, plan);
    claim.write(Phase::Starting)?;
    let outcome = serve(cluster, plan, &claim);
    match &outcome {
        Ok(()) => claim.remove()?,
        Err(error) => claim.write(Phase::Failed(with_next_step(error, error.next_step())))?,
    }
    outcome
}

fn serve(cluster: &Cluster, plan: &MountPlan, claim: &Claim) -> Result<(), FrontendError> {
    let options = MountOptions::parse(&plan.options).unwrap_or_default();
    let core = session::open(cluster, plan, &options)?;
    let mounted = match Mounted::new(Arc::clone(&core), &plan.filesystem, &plan.at, &options) {
        Ok(mounted) => mounted,
        Err(error) => {
            let _ = claim.write(Phase::Stopping);
            // Nothing was written through it: there is nothing to lose.
            let _ = core.runtime().block_on(core.unmount(ending::FLUSH_PATIENCE));
            return Err(error.into());
        }
    };
    let claim = &claim.mounted(&plan.options);
    let ending = Arc::new(Ending::new(core, claim.clone()));
    ending::watch(Arc::clone(&ending))?;
    claim.write(Phase::Running)?;
    tracing::info!(filesystem = plan.filesystem, at = %plan.at.display(), "mounted");
    let served = mounted.serve();
    let finished = ending.finish();
    served?;
    finished
}

/// What this process says of itself in its container's run state.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    dir: ClusterDir,
    run: RunState,
}

impl Claim {
    fn new(cluster: &Cluster, plan: &MountPlan) -> Self {
        let run = RunState {
            format: RunState::FORMAT,
            container: plan.container.clone(),
            cluster: cluster.file.cluster,
            roles: vec![Role::Frontend],
            pid: std::process::id(),
            start_ticks: Process::current().map_or(0, |process| process.start_ticks),
            address: None,
            mount: Some(plan.at.clone()),
            mounted: None,
            state: Phase::Starting,
        };
        Self { dir: cluster.dir.clone(), run }
    }

    /// With what the kernel shows at the path now.
    fn mounted(&self, options: &str) -> Self {
        let mount = MountTable::read().ok().and_then(|table| table.at(self.at()).cloned());
        let mounted = mount.map(|mount| MountedAs { device: mount.device, options: options.to_owned() });
        Self { dir: self.dir.clone(), run: RunState { mounted, ..self.run.clone() } }
    }

    /// The mount, while it is in the tree: not another one that was made at its path since.
    fn mount(&self) -> Option<Mount> {
        let device = self.run.mounted.as_ref()?.device;
        MountTable::read().ok()?.at(self.at()).filter(|mount| mount.device == device).cloned()
    }

    /// Where the filesystem is mounted.
    fn at(&self) -> &Path {
        self.run.mount.as_deref().unwrap_or(Path::new("/"))
    }

    fn write(&self, state: Phase) -> Result<(), FileError> {
        let name = &self.run.container;
        files::write(&self.dir.pid_file(name), format!("{}\n", self.run.pid).as_bytes())?;
        files::write_document(&self.dir.run_state(name), &RunState { state, ..self.run.clone() })
    }

    fn tell_unwritten(&self, bytes: u64) -> Result<(), FileError> {
        files::write(&unwritten_file(&self.dir, &self.run.container), bytes.to_string().as_bytes())
    }

    fn remove(&self) -> Result<(), FileError> {
        files::remove(&self.dir.pid_file(&self.run.container))?;
        files::remove(&self.dir.run_state(&self.run.container))
    }
}

/// Where the process behind a mount says, asked by SIGUSR1, how many bytes it could not write.
pub(crate) fn unwritten_file(dir: &ClusterDir, name: &ContainerName) -> PathBuf {
    dir.run_state(name).with_extension("unwritten")
}

/// Keys are in this memory: it goes into no core file and to no debugger. And many files may be open at once.
fn harden() {
    let files = getrlimit(Resource::Nofile);
    let files = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let cores = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let dumps = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    for (what, outcome) in [("open files", files), ("core files", cores), ("dumps", dumps)] {
        if let Err(error) = outcome {
            tracing::warn!(%error, what, "the host does not bound this as wanted");
        }
    }
}

/// Logs go to standard error, which is the container's log; `WEFT_LOG` says how much.
pub(crate) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
}

/// The mounted filesystem, by its library.
type SharedCore = Arc<Core>;
