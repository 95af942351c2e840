//! `weft up`: forms a cluster where there is none, starts what does not run, mounts.

mod backend;
mod form;
mod mounting;
mod options;
mod report;
mod serving;

use std::io;
use std::path::Path;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::AdminError;
use crate::arguments::{DownArguments, UpArguments};
use crate::cluster::{self, Cluster, ClusterError, Presence};
use crate::commands::down::{self, DownError};
use crate::commands::mount::{MountCommandError, MountPointError};
use crate::error::CommandError;
use crate::host::files::FileError;
use crate::host::fuse::{self, FuseHostError};
use crate::host::launch::LaunchError;
use crate::host::ports::PortError;
use crate::progress::Progress;
use crate::start::StartError;
use crate::stop::StopError;
use crate::unmount::UnmountError;
use form::FormError;
use options::Conflict;
use report::Report;

/// Why there is no running, mounted cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// What was typed differs from the cluster that is there.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The host cannot mount.
    #[error(transparent)]
    Fuse(#[from] FuseHostError),
    /// No cluster was formed.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A port that a container needs is taken.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A program is missing.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A container does not serve; without it nothing does.
    #[error(transparent)]
    Start(StartError),
    /// More drives do not serve than the cluster can do without.
    #[error(
        "{} do not serve, and the cluster can do without {spare} drives at most; the first: {first}",
        drives.join(", ")
    )]
    TooFewDrives {
        /// Those that do not.
        drives: Vec<String>,
        /// How many it can do without.
        spare: usize,
        /// Why the first of them does not, with the next step.
        first: String,
    },
    /// A container that was ending did not.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Management does not answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Processes run, but management does not hear of them.
    #[error("management has not heard of {0}")]
    Unheard(String),
    /// The filesystem `default` cannot be made.
    #[error("{0}")]
    Filesystem(String),
    /// The place for the mount cannot be used.
    #[error(transparent)]
    Point(#[from] MountPointError),
    /// The folder for the mount cannot be made.
    #[error("the mount point {} cannot be made", path.display())]
    MakePoint {
        /// The path.
        path: std::path::PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// A dead mount cannot be taken away.
    #[error(transparent)]
    Unmount(#[from] UnmountError),
    /// The mount was not made.
    #[error(transparent)]
    Mount(#[from] MountCommandError),
    /// Another command is at work.
    #[error(transparent)]
    Turn(#[from] DownError),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
}

impl UpError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Conflict(_) => {
                Some("leave the option out to resume it, or form another one with --dir".to_owned())
            }
            Self::Fuse(error) => Some(error.next_step()),
            Self::Form(error) => error.next_step(),
            Self::Cluster(error) => error.next_step(),
            Self::Port(error) => {
                let port = match error {
                    PortError::Taken(address) | PortError::Refused { address, .. } => address.port(),
                };
                Some(format!(
                    "find its process with `ss -lunp sport = :{port}` and end it, then `weft up` again"
                ))
            }
            Self::Launch(error) => error.next_step(),
            Self::Start(error) => error.next_step(),
            Self::Stop(error) => error.next_step(),
            Self::Admin(error) => error.next_step(),
            Self::Unheard(_) => Some("see `weft logs`".to_owned()),
            Self::Point(error) => error.next_step(),
            Self::Unmount(error) => error.next_step("`weft down --force`"),
            Self::Mount(error) => error.next_step(),
            Self::Turn(error) => error.next_step(),
            Self::TooFewDrives { .. } => Some(
                "bring their devices back and `weft up` again; when they are lost for good, see `weft cluster recover`"
                    .to_owned(),
            ),
            Self::File(_)
            | Self::Filesystem(_)
            | Self::MakePoint { .. }
            | Self::Signals(_) => None,
        }
    }
}

/// Forms or resumes a cluster, and mounts its filesystem `default`. It is served on return, though drives may be missing,
/// which is said. With `foreground`, stays
/// until a signal comes, and stops everything then.
///
/// # Errors
/// [`CommandError`]; `weft up` can be tried again.
pub(crate) fn run(path: &Path, options: &UpArguments, json: bool) -> Result<(), CommandError> {
    // From here on a signal ends the wait and not this program.
    let foreground = if options.foreground { Some(Foreground::new()?) } else { None };
    let Up { report, too_few } = bring_up(path, options)?;
    report.show(path, json)?;
    match foreground {
        None => too_few.map_or(Ok(()), |error| Err(error.into())),
        Some(foreground) => {
            foreground.wait();
            down::run(path, &DownArguments::default(), json)
        }
    }
}

/// A cluster that is up.
struct Up {
    report: Report,
    /// More drives are missing than it can do without; what can be served is.
    too_few: Option<UpError>,
}

fn bring_up(path: &Path, options: &UpArguments) -> Result<Up, UpError> {
    let progress = Progress::new("looking");
    let (cluster, formed) = match cluster::presence(path)? {
        Presence::Formed(cluster) => {
            options::check(&cluster, options)?;
            (*cluster, false)
        }
        Presence::Absent | Presence::HalfFormed => {
            fuse::check()?;
            progress.now("forming a cluster");
            (form::form(path, options)?, true)
        }
    };
    let _turn = down::take_turn(&cluster.dir)?;
    if !mounting::is_served(&cluster)? {
        fuse::check()?;
        mounting::check_point(&cluster)?;
    }
    let started = backend::start(&cluster, formed, &progress)?;
    let served = serve(&cluster, &progress);
    if served.is_err() && formed {
        // Nobody has seen it run yet: the next attempt begins from rest.
        backend::stop(&cluster, &started.names)?;
    }
    let mounted = served?;
    let few = started.failed.len() > backend::spare(&cluster);
    let too_few = few.then(|| backend::too_few(&cluster, &started.failed));
    Ok(Up { report: Report::new(&cluster, formed, started, mounted), too_few })
}

/// Starts and mounts a cluster that was stopped. It is served on return, as far as its drives came back.
///
/// # Errors
/// [`UpError`]; `weft up` can be tried.
pub(crate) fn resume(cluster: &Cluster) -> Result<(), UpError> {
    let progress = Progress::hidden();
    let _turn = down::take_turn(&cluster.dir)?;
    let started = backend::start(cluster, false, &progress)?;
    serve(cluster, &progress)?;
    let few = started.failed.len() > backend::spare(cluster);
    if few { Err(backend::too_few(cluster, &started.failed)) } else { Ok(()) }
}

/// From running containers to a mount; true when it was made now.
fn serve(cluster: &Cluster, progress: &Progress) -> Result<bool, UpError> {
    serving::wait(cluster, progress)?;
    progress.now("mounting");
    mounting::mount(cluster)
}

/// A wait for the person, or the init system, to end it.
struct Foreground {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Foreground {
    fn new() -> Result<Self, UpError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(UpError::Signals)?;
        let _entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(UpError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(UpError::Signals)?;
        drop(_entered);
        Ok(Self { runtime, terminate, interrupt })
    }

    fn wait(mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        });
    }
}
