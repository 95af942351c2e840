//! Unmounting so that nothing is lost.

use core::time::Duration;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::Signal;
use weft_resources::ClusterDir;
use weft_types::ByteCount;

use crate::container::{self, Observed};
use crate::frontend::ending::{FLUSH_PATIENCE, STALL_PATIENCE};
use crate::frontend::unwritten_file;
use crate::host::files::{self, FileError};
use crate::host::mounts::{self, MountTable};
use crate::host::users::{self, User};
use crate::host::waiting;
use crate::stop::{self, StopError};

/// How many users of a mount are named.
const USERS_NAMED: usize = 4;
/// How long the process behind a mount may take to say what is unwritten, beyond the writing itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// How long the process behind a mount may take to end, beyond the writing itself.
const END_PATIENCE: Duration = stop::SHORT_PATIENCE;

/// Why a filesystem was not unmounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnmountError {
    /// Its users are named.
    #[error("{} is in use by {}", mounts::shown(at), named(users))]
    InUse {
        /// Where it is mounted.
        at: PathBuf,
        /// Who uses it.
        users: Vec<User>,
    },
    /// Some of what was written lies in memory only.
    #[error("{bytes} written to {} cannot be stored", mounts::shown(at))]
    Unwritten {
        /// Where it is mounted.
        at: PathBuf,
        /// How much.
        bytes: ByteCount,
    },
    /// The process behind it says nothing.
    #[error("the process behind {} (process {pid}) does not answer", mounts::shown(at))]
    Silent {
        /// Where it is mounted.
        at: PathBuf,
        /// The process.
        pid: u32,
    },
    /// The process behind it was stopped.
    #[error("the process behind {} (process {pid}) is stopped", mounts::shown(at))]
    Stopped {
        /// Where it is mounted.
        at: PathBuf,
        /// The process.
        pid: u32,
    },
    /// The kernel refuses.
    #[error("{} cannot be unmounted", mounts::shown(at))]
    Refused {
        /// Where it is mounted.
        at: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The mount table cannot be read.
    #[error("the mount table cannot be read")]
    Table(#[source] io::Error),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The process behind it did not end, or lost data.
    #[error(transparent)]
    Stop(#[from] StopError),
}

impl UnmountError {
    /// What to do about it; `force` is the option that does it all the same.
    pub(crate) fn next_step(&self, force: &str) -> Option<String> {
        match self {
            Self::InUse { .. } => Some(format!("end what uses it, or use {force} to detach it all the same")),
            Self::Unwritten { .. } => Some(format!(
                "see `weft status`; `weft up` starts what is missing; {force} gives the data up"
            )),
            Self::Silent { .. } => Some(format!("see `weft status`, or use {force} to give it up")),
            Self::Stopped { pid, .. } => {
                Some(format!("continue it with `kill -CONT {pid}`, or use {force} to give it up"))
            }
            Self::Stop(error) => error.next_step(),
            Self::Refused { .. } | Self::Table(_) | Self::File(_) => None,
        }
    }
}

fn named(users: &[User]) -> String {
    let names: Vec<_> = users.iter().take(USERS_NAMED).map(User::to_string).collect();
    let more = users.len().saturating_sub(USERS_NAMED);
    match (names.is_empty(), more) {
        (true, _) => "an operation that does not end, or a process of another namespace".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{}, and {more} more", names.join(", ")),
    }
}

/// The mount table.
///
/// # Errors
/// [`UnmountError::Table`]
pub(crate) fn table() -> Result<MountTable, UnmountError> {
    MountTable::read().map_err(UnmountError::Table)
}

/// Looks whether anybody uses the mount of a frontend.
///
/// # Errors
/// [`UnmountError::InUse`]
pub(crate) fn check_unused(frontend: &Observed) -> Result<(), UnmountError> {
    let Some(at) = &frontend.mount else { return Ok(()) };
    let table = table()?;
    let Some(mount) = table.at(at).filter(|mount| frontend.serves(mount)) else { return Ok(()) };
    let users = users::users_of(mount);
    if users.is_empty() { Ok(()) } else { Err(UnmountError::InUse { at: at.clone(), users }) }
}

/// Lets a frontend write what is unwritten, unmounts it, and waits until its process has ended. With `force`, users
/// and what cannot be written are given up.
///
/// # Errors
/// [`UnmountError`], also when the process says that data was lost; unless it is [`UnmountError::Stop`], the filesystem is still mounted and served.
pub(crate) fn end(dir: &ClusterDir, frontend: &Observed, force: bool) -> Result<(), UnmountError> {
    if frontend.process.is_none() {
        return bury(dir, frontend);
    }
    let at = frontend.mount.clone().unwrap_or_default();
    let is_mounted = table()?.at(&at).is_some_and(|mount| frontend.serves(mount));
    if !force {
        check_goes_on(frontend)?;
    }
    if is_mounted && !force {
        check_unused(frontend)?;
        check_written(dir, frontend)?;
    }
    if is_mounted {
        take_away(frontend, &at, force)?;
    }
    // It ends by itself when nothing is mounted any more. One that serves files of a detached mount, or that mounts
    // only now, has to be told.
    if force || !is_mounted {
        signal(frontend, Signal::TERM)?;
    }
    stop::wait(frontend, if force { END_PATIENCE } else { FLUSH_PATIENCE + END_PATIENCE }, force)?;
    let ended = container::observe(dir, &frontend.name)?;
    bury(dir, &ended)?;
    match ended.reason {
        Some(reason) if !force => Err(StopError::Failed { container: ended.name, reason }.into()),
        _ => Ok(()),
    }
}

/// Looks whether the process behind a mount can answer at all.
///
/// # Errors
/// [`UnmountError::Stopped`]
pub(crate) fn check_goes_on(frontend: &Observed) -> Result<(), UnmountError> {
    match frontend.process.filter(|process| process.is_stopped()) {
        Some(process) => {
            Err(UnmountError::Stopped { at: frontend.mount.clone().unwrap_or_default(), pid: process.pid })
        }
        None => Ok(()),
    }
}

fn take_away(frontend: &Observed, at: &std::path::Path, force: bool) -> Result<(), UnmountError> {
    match mounts::unmount(at) {
        Ok(()) => Ok(()),
        Err(_) if force => {
            mounts::detach(at).map_err(|source| UnmountError::Refused { at: at.to_owned(), source })
        }
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            // Somebody came in between, or hides from this namespace.
            check_unused(frontend)?;
            Err(UnmountError::InUse { at: at.to_owned(), users: Vec::new() })
        }
        Err(source) => Err(UnmountError::Refused { at: at.to_owned(), source }),
    }
}

/// Asks a frontend to heed what its mount was changed to and to write, and what is left.
///
/// # Errors
/// [`UnmountError::Unwritten`], [`UnmountError::Silent`]
pub(crate) fn check_written(dir: &ClusterDir, frontend: &Observed) -> Result<(), UnmountError> {
    let Some(process) = frontend.process.filter(|_| frontend.is_running()) else { return Ok(()) };
    let at = || frontend.mount.clone().unwrap_or_default();
    let answer = unwritten_file(dir, &frontend.name);
    files::remove(&answer)?;
    signal(frontend, Signal::USR1)?;
    let said = || {
        let text = files::read(&answer).ok()?;
        let bytes = text.and_then(|text| String::from_utf8_lossy(&text).trim().parse().ok());
        match bytes {
            Some(bytes) => Some(Some(ByteCount::new(bytes))),
            None if !process.is_alive() => Some(Some(ByteCount::new(0))),
            None => None,
        }
    };
    let left = waiting::poll(STALL_PATIENCE + ANSWER_PATIENCE, said).flatten();
    files::remove(&answer)?;
    match left {
        None => Err(UnmountError::Silent { at: at(), pid: process.pid }),
        Some(bytes) if bytes.get() > 0 => Err(UnmountError::Unwritten { at: at(), bytes }),
        Some(_) => Ok(()),
    }
}

fn signal(frontend: &Observed, signal: Signal) -> Result<(), UnmountError> {
    let Some(process) = frontend.process else { return Ok(()) };
    let refused = |source| StopError::Signal { container: frontend.name.clone(), pid: process.pid, source };
    Ok(process.signal(signal).map_err(refused)?)
}

/// Removes what is left of a frontend whose process has ended: a mount that nobody serves, and its run state.
fn bury(dir: &ClusterDir, frontend: &Observed) -> Result<(), UnmountError> {
    if let Some(at) = &frontend.mount {
        bury_mount(at)?;
    }
    Ok(stop::forget(dir, &frontend.name)?)
}

/// Removes the run states of frontends whose processes are dead and that were mounted at this path.
///
/// # Errors
/// [`UnmountError::File`]
pub(crate) fn forget_dead(dir: &ClusterDir, at: &std::path::Path) -> Result<(), UnmountError> {
    for name in stop::dead_frontends_at(dir, at)? {
        stop::forget(dir, &name)?;
    }
    Ok(())
}

/// Detaches a Weft mount whose process is dead; true when there was one. Any other mount stays.
///
/// # Errors
/// [`UnmountError::Refused`]
pub(crate) fn bury_mount(at: &std::path::Path) -> Result<bool, UnmountError> {
    let is_ours = table()?.at(at).is_some_and(mounts::Mount::is_weft);
    if !is_ours || !mounts::is_dead(at) {
        return Ok(false);
    }
    mounts::detach(at).map_err(|source| UnmountError::Refused { at: at.to_owned(), source })?;
    Ok(true)
}
