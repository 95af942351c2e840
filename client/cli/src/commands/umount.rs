//! `weft umount`

use std::path::{Path, PathBuf};

use crate::arguments::UmountArguments;
use crate::cluster;
use crate::error::CommandError;
use crate::host::mounts;
use crate::output;
use crate::stop;
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

/// Unmounts a filesystem. Everything written is durable on return, unless it was detached while in use.
///
/// # Errors
/// [`CommandError`]
pub(crate) fn run(dir: &Path, options: &UmountArguments, json: bool) -> Result<(), CommandError> {
    let at = unmount_at(dir, options)?;
    let done = serde_json::json!({ "path": at, "unmounted": true });
    if json {
        Ok(output::json(&done)?)
    } else {
        Ok(output::line(format!("{} is unmounted", mounts::shown(&at)))?)
    }
}

fn unmount_at(dir: &Path, options: &UmountArguments) -> Result<PathBuf, UmountError> {
    let not_mounted = || UmountError::NotMounted(options.path.clone());
    let at = mounts::real_path(&options.path).map_err(|_| not_mounted())?;
    if unmount::table()?.at(&at).is_none_or(|mount| !mount.is_weft()) {
        return Err(not_mounted());
    }
    let dir = cluster::directory(dir);
    let frontends = stop::frontends_at(&dir, &at).map_err(UnmountError::from)?;
    // Asked only when nobody here serves it: one that hangs would not answer.
    if frontends.is_empty() && unmount::bury_mount(&at)? {
        return Ok(at);
    }
    let refused = |source| UnmountError::Refused { at: at.clone(), source };
    if options.lazy {
        mounts::detach(&at).map_err(refused)?;
        return Ok(at);
    }
    for frontend in &frontends {
        unmount::end(&dir, frontend, false)?;
    }
    // A mount of another cluster's directory: its process writes what is unwritten, and nobody here waits for it.
    if frontends.is_empty() {
        mounts::unmount(&at).map_err(refused)?;
    }
    Ok(at)
}
