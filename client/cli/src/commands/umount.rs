//! `weft umount`

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::arguments::UmountArguments;
use crate::behind::{self, Behind};
use crate::cluster;
use crate::error::CommandError;
use crate::host::mounts;
use crate::output;
use crate::unmount::{self, UnmountError};

/// Why nothing was unmounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UmountError {
    /// There is no Weft filesystem.
    #[error("{} is not mounted by weft", .0.display())]
    NotMounted(PathBuf),
    /// It stays.
    #[error(transparent)]
    Unmount(#[from] UnmountError),
}

impl UmountError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::NotMounted(_) => Some("`weft container list` shows what is mounted".to_owned()),
            Self::Unmount(error) => error.next_step("`weft umount --lazy`"),
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    path: PathBuf,
    unmounted: bool,
    /// The process that goes on for what is open or unwritten, of a mount that was detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
}

/// Unmounts a filesystem. Everything written is durable on return, unless it was detached.
///
/// # Errors
/// [`CommandError`]
pub(crate) fn run(dir: &Path, options: &UmountArguments, json: bool) -> Result<(), CommandError> {
    let done = unmount_at(dir, options)?;
    if json {
        return Ok(output::json(&done)?);
    }
    let at = mounts::shown(&done.path);
    let said = match done.process {
        None => format!("{at} is unmounted"),
        Some(pid) => {
            format!(
                "{at} is detached; process {pid} writes what is unwritten and ends when nothing of it is open"
            )
        }
    };
    Ok(output::line(said)?)
}

fn unmount_at(dir: &Path, options: &UmountArguments) -> Result<Done, UmountError> {
    let not_mounted = || UmountError::NotMounted(options.path.clone());
    let at = mounts::real_path(&options.path).map_err(|_| not_mounted())?;
    let table = unmount::table()?;
    let mount = table.at(&at).filter(|mount| mount.is_weft()).ok_or_else(not_mounted)?;
    let behind = behind::behind(Some(&cluster::directory(dir)), mount).map_err(UnmountError::from)?;
    let process = behind.as_ref().and_then(|behind| behind.frontend.process);
    let done = |process| Done { path: at.clone(), unmounted: true, process };
    // Asked only when nobody is known to serve it: one that hangs would not answer.
    if behind.is_none() && unmount::bury_mount(&at)? {
        unmount::forget_dead(&cluster::directory(dir), &at)?;
        return Ok(done(None));
    }
    let refused = |source| UnmountError::Refused { at: at.clone(), source };
    match behind {
        _ if options.lazy => mounts::detach(&at).map_err(refused)?,
        Some(Behind { dir, frontend }) => unmount::end(&dir, &frontend, false)?,
        // Of a user or a namespace that is not seen from here: its process writes what is unwritten, and nobody waits for it.
        None => mounts::unmount(&at).map_err(refused)?,
    }
    Ok(done(process.filter(|_| options.lazy).map(|process| process.pid)))
}
