//! `mount -o remount`: what a mount allows, changed while it is there.

use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountFlags;
use weft_fuse::{MountOptions, OptionError};

use crate::behind::{self, Behind};
use crate::cluster;
use crate::container::Observed;
use crate::host::files::FileError;
use crate::host::mounts::{self, Mount};
use crate::host::users::{self, User};
use crate::host::waiting;
use crate::unmount::{self, UnmountError};

/// The kernel tells of a last close after it returned: so long a mount may seem to be in use.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);
/// How many users of a mount are named.
const USERS_NAMED: usize = 4;

/// Why a mount is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemountError {
    /// There is no Weft filesystem.
    #[error("{} is not mounted by weft", .0.display())]
    NotMounted(PathBuf),
    /// Its process is dead, or hides from this user.
    #[error("no process is found behind {}", .0.display())]
    NoProcess(PathBuf),
    /// A word is no option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// It holds for as long as the filesystem is mounted.
    #[error("{what} of {} cannot be changed while it is mounted", at.display())]
    Fixed {
        /// Where it is mounted.
        at: PathBuf,
        /// Which option.
        what: &'static str,
    },
    /// The cluster knows the mount as one that only reads.
    #[error("{} was mounted to only read", .0.display())]
    OpenedToRead(PathBuf),
    /// Files are open for writing.
    #[error("{} is in use for writing{}", at.display(), named(users))]
    InUse {
        /// Where it is mounted.
        at: PathBuf,
        /// Who may write.
        users: Vec<User>,
    },
    /// The kernel refuses.
    #[error("the kernel does not change how {} is mounted", at.display())]
    Refused {
        /// Where it is mounted.
        at: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something written cannot be stored, or nobody says so.
    #[error(transparent)]
    Written(#[from] UnmountError),
}

impl RemountError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::NotMounted(_) => "`weft container list` shows what is mounted",
            Self::NoProcess(_) => "`weft mount` at the same path takes over from a dead one; or run as root",
            Self::Fixed { .. } | Self::OpenedToRead(_) => "unmount it, and mount it with the new options",
            Self::InUse { .. } => "close what is open for writing",
            Self::Refused { .. } => "run as root",
            Self::Written(error) => return error.next_step("`weft umount --lazy`"),
            Self::Option(_) | Self::File(_) => return None,
        };
        Some(step.to_owned())
    }
}

fn named(users: &[User]) -> String {
    let names: Vec<_> = users.iter().take(USERS_NAMED).map(User::to_string).collect();
    if names.is_empty() { String::new() } else { format!(", perhaps by {}", names.join(", ")) }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The cluster's directory, when it was named.
    pub dir: Option<&'a Path>,
    /// What is mounted there, such as `weft:default`.
    pub source: &'a str,
    /// Where.
    pub path: &'a Path,
    /// Mount options: those that are to hold from now on.
    pub options: &'a str,
}

/// Changes what the mount at a path allows: `ro` and `rw`, `nosuid`, `nodev`, `noexec` and `noatime` and their opposites. Before
/// it only reads, all that was written is durable.
///
/// # Errors
/// [`RemountError`]
pub(crate) fn remount(asked: &Asked<'_>) -> Result<(), RemountError> {
    let Asked { dir, source, path, options } = *asked;
    let at = mounts::real_path(path).map_err(|_| RemountError::NotMounted(path.to_owned()))?;
    let table = unmount::table()?;
    let mount = table.at(&at).filter(|mount| mount.is_weft());
    let mount = mount.ok_or_else(|| RemountError::NotMounted(path.to_owned()))?;
    let named = dir.map(cluster::directory);
    let behind = behind::behind(named.as_ref(), mount)?;
    let Behind { dir, frontend } = behind.ok_or_else(|| RemountError::NoProcess(at.clone()))?;
    if named.is_some_and(|named| named != dir) {
        return Err(RemountError::Fixed { at, what: "the cluster" });
    }
    if mount.source.to_str() != Some(source) {
        return Err(RemountError::Fixed { at, what: "the filesystem" });
    }
    unmount::check_goes_on(&frontend)?;
    let made = as_made(&frontend);
    let now = as_it_is(&made, mount);
    let wanted = as_listed(&now, options)?;
    if let Some(what) = now.fixed_difference(&wanted) {
        return Err(RemountError::Fixed { at, what });
    }
    if made.read_only && !wanted.read_only {
        return Err(RemountError::OpenedToRead(at));
    }
    if wanted.read_only && !now.read_only {
        unmount::check_written(&dir, &frontend)?;
    }
    change(mount, &wanted)?;
    // Its process heeds what it reads from the kernel's table now, and writes what came in between.
    Ok(unmount::check_written(&dir, &frontend)?)
}

/// The options that it was mounted with.
fn as_made(frontend: &Observed) -> MountOptions {
    let typed = frontend.mounted.as_ref().map_or("", |mounted| &mounted.options);
    MountOptions::parse(typed).unwrap_or_default()
}

/// The same, with what the kernel says by now.
fn as_it_is(made: &MountOptions, mount: &Mount) -> MountOptions {
    MountOptions {
        read_only: mount.has("ro"),
        suid: !mount.has("nosuid"),
        dev: !mount.has("nodev"),
        exec: !mount.has("noexec"),
        access_times: !mount.has("noatime"),
        allow_other: Some(mount.has("allow_other")),
        ..made.clone()
    }
}

/// As a list says: what can be changed is as by default where it says nothing, since `mount(8)` tells all that is to hold,
/// with what it found in its table or the kernel's; and leaves out the words for what is so by default.
fn as_listed(now: &MountOptions, list: &str) -> Result<MountOptions, OptionError> {
    let MountOptions { read_only, suid, dev, exec, access_times, .. } = MountOptions::default();
    let rest = MountOptions { read_only, suid, dev, exec, access_times, ..now.clone() };
    rest.with(&without_kernels(list))
}

/// Without the words that `mount(8)` takes from the kernel's table.
fn without_kernels(list: &str) -> String {
    const NAMES: [&str; 6] = ["remount", "user_id", "group_id", "rootmode", "max_read", "blksize"];
    let is_kernels = |word: &&str| NAMES.contains(&word.split('=').next().unwrap_or_default());
    list.split(',').filter(|word| !is_kernels(word)).collect::<Vec<_>>().join(",")
}

fn change(mount: &Mount, wanted: &MountOptions) -> Result<(), RemountError> {
    let flags = [
        (wanted.read_only, MountFlags::RDONLY),
        (!wanted.suid, MountFlags::NOSUID),
        (!wanted.dev, MountFlags::NODEV),
        (!wanted.exec, MountFlags::NOEXEC),
        (!wanted.access_times, MountFlags::NOATIME),
        // Without one of the two it stays as it is.
        (wanted.access_times, MountFlags::RELATIME),
    ];
    let flags = flags.into_iter().filter_map(|(on, flag)| on.then_some(flag)).collect::<MountFlags>();
    let attempt = || match rustix::mount::mount_remount(&mount.at, flags, c"") {
        Err(Errno::BUSY) => None,
        done => Some(done),
    };
    let at = mount.at.clone();
    match waiting::poll(CLOSING_PATIENCE, attempt) {
        Some(done) => done.map_err(|error| RemountError::Refused { at, source: error.into() }),
        None => Err(RemountError::InUse { at, users: users::users_of(mount) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_left_out() {
        let list = "rw,remount,user_id=0,group_id=0,nosuid,max_read=131072,blksize=512,x-a=remount";
        assert_eq!(without_kernels(list), "rw,nosuid,x-a=remount");
    }

    #[test]
    fn a_list_says_all_that_can_be_changed() {
        let now = MountOptions::parse("ro,nosuid,noatime,memory=1GiB").expect("options");
        let wanted = as_listed(&now, "rw,remount,noexec,user_id=0").expect("options");
        assert_eq!(wanted, MountOptions::parse("noexec,memory=1GiB").expect("options"));
        assert_eq!(now.fixed_difference(&wanted), None);
        let other = as_listed(&now, "memory=2GiB").expect("options");
        assert_eq!(now.fixed_difference(&other), Some("memory"));
    }

    #[test]
    fn what_is_not_mounted_is_not_remounted() {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = Asked { dir: None, source: "weft:default", path: folder.path(), options: "ro" };
        let error = remount(&asked).expect_err("nothing is mounted");
        assert!(matches!(error, RemountError::NotMounted(_)), "{error}");
        assert!(error.next_step().is_some());
    }
}
