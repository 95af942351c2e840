//! Making a mount, and taking it away.

mod helper;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::channel::Channel;
use crate::mountinfo::device_at;

/// What the kernel is told of a mount. It checks permissions by mode, owner and groups, for users of all kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// What is mounted, as the table of mounts shows it.
    pub source: String,
    /// The type is shown as `fuse.` and this.
    pub subtype: String,
    /// Nothing is changed.
    pub read_only: bool,
    /// Set-user-id and set-group-id bits count.
    pub suid: bool,
    /// Device nodes open devices.
    pub dev: bool,
    /// Files can be executed.
    pub exec: bool,
    /// Reads set times of access. The filesystem keeps them, or does not: the kernel only shows it.
    pub access_times: bool,
    /// Users other than the one who mounts may use it.
    pub allow_other: bool,
}

impl MountOptions {
    /// The words for those who are not on by default.
    fn words(&self) -> Vec<&'static str> {
        let words = [
            (self.read_only, "ro"),
            (!self.suid, "nosuid"),
            (!self.dev, "nodev"),
            (!self.exec, "noexec"),
            (!self.access_times, "noatime"),
        ];
        words.into_iter().filter_map(|(on, word)| on.then_some(word)).collect()
    }

    fn flags(&self) -> MountFlags {
        let flag = |word| match word {
            "ro" => MountFlags::RDONLY,
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            _ => MountFlags::NOATIME,
        };
        self.words().into_iter().map(flag).collect()
    }
}

/// Mounts, by the system call, or where only root may do that by the helper program of FUSE.
pub(crate) fn mount(at: &Path, options: &MountOptions) -> io::Result<Channel> {
    let channel = Channel::open()?;
    match mount_by_call(&channel, at, options) {
        Err(Errno::PERM) => helper::mount(at, options).map(Channel::of),
        done => done.map(|()| channel).map_err(Into::into),
    }
}

fn mount_by_call(channel: &Channel, at: &Path, options: &MountOptions) -> Result<(), Errno> {
    /// The mount point must be a directory.
    const S_IFDIR: u32 = 0o040_000;
    let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let data = format!(
        "fd={},rootmode={S_IFDIR:o},user_id={},group_id={},default_permissions{}",
        channel.as_fd().as_raw_fd(),
        user.0,
        user.1,
        if options.allow_other { ",allow_other" } else { "" }
    );
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let kind = format!("fuse.{}", options.subtype);
    rustix::mount::mount(&*options.source, at, kind, options.flags(), &*data)
}

/// Takes a mount away, from any thread and as often as one likes: never another one at the same path.
#[derive(Debug, Clone)]
pub struct Unmounter {
    at: PathBuf,
    device: Option<String>,
}

impl Unmounter {
    /// Of what is mounted at a path now.
    pub(crate) fn of(at: PathBuf) -> Self {
        let device = device_at(&at);
        Self { at, device }
    }

    /// Takes the mount away. One that is in use stays: `EBUSY`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn unmount(&self) -> io::Result<()> {
        self.take_away(UnmountFlags::empty(), &["-u"])
    }

    /// Takes the mount out of the tree at once; it ends with its last user.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn detach(&self) -> io::Result<()> {
        self.take_away(UnmountFlags::DETACH, &["-u", "-z"])
    }

    fn take_away(&self, flags: UnmountFlags, for_helper: &[&str]) -> io::Result<()> {
        if device_at(&self.at) != self.device {
            return Ok(());
        }
        match rustix::mount::unmount(&self.at, flags) {
            Err(Errno::PERM) => helper::unmount(&self.at, for_helper),
            done => Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_as_flags() {
        let open = MountOptions {
            source: "weft:a".to_owned(),
            subtype: "weft".to_owned(),
            read_only: false,
            suid: true,
            dev: true,
            exec: true,
            access_times: true,
            allow_other: true,
        };
        assert_eq!(open.flags(), MountFlags::empty());
        let closed = MountOptions {
            read_only: true,
            suid: false,
            dev: false,
            exec: false,
            access_times: false,
            ..open
        };
        let all = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        assert_eq!(closed.flags(), all | MountFlags::NOATIME);
    }
}
