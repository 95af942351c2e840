//! Which processes use a mount, found without asking the mounted filesystem: it may be dead or slow.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::process;

/// A process that keeps a mount busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Its id.
    pub pid: u32,
    /// Its command.
    pub command: String,
    /// One of the things it uses.
    pub what: PathBuf,
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({}): {}", self.pid, self.command, self.what.display())
    }
}

/// The processes, other than this one, with an open file, a mapping, a working directory, a root or a program on this
/// mount; by process id. Only those that this user may look into.
pub(crate) fn users_of(mount: &Mount) -> Vec<User> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut pids: Vec<_> = pids.filter(|pid| *pid != std::process::id()).collect();
    pids.sort_unstable();
    let user =
        |pid| what_is_used(pid, mount).map(|what| User { pid, command: process::command_name(pid), what });
    pids.into_iter().filter_map(user).collect()
}

fn what_is_used(pid: u32, mount: &Mount) -> Option<PathBuf> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    open_file(&proc, mount).or_else(|| linked(&proc, mount)).or_else(|| mapped(&proc, mount))
}

/// An open descriptor on the mount: the kernel names the mount of each.
fn open_file(proc: &Path, mount: &Mount) -> Option<PathBuf> {
    let descriptors = fs::read_dir(proc.join("fdinfo")).ok()?.flatten();
    let mut on_it = descriptors.filter(|entry| {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        mount_id(&info) == Some(mount.id)
    });
    let descriptor = on_it.next()?;
    Some(fs::read_link(proc.join("fd").join(descriptor.file_name())).unwrap_or_else(|_| mount.at.clone()))
}

fn mount_id(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// A working directory, root or program below the mount.
fn linked(proc: &Path, mount: &Mount) -> Option<PathBuf> {
    let links = ["cwd", "root", "exe"].into_iter().filter_map(|link| fs::read_link(proc.join(link)).ok());
    links.into_iter().find(|target| target.starts_with(&mount.at))
}

/// A mapping of a file on the mount's device.
fn mapped(proc: &Path, mount: &Mount) -> Option<PathBuf> {
    let maps = fs::read(proc.join("maps")).ok()?;
    maps.split(|&byte| byte == b'\n').find_map(|line| mapping_on(line, mount.device))
}

/// The path of a line of `/proc/<pid>/maps` whose device is this one.
fn mapping_on(line: &[u8], device: (u32, u32)) -> Option<PathBuf> {
    let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    let found = std::str::from_utf8(fields.nth(3)?).ok()?;
    let (major, minor) = found.split_once(':')?;
    let hex = |text| u32::from_str_radix(text, 16).ok();
    if (hex(major)?, hex(minor)?) != device {
        return None;
    }
    let path = fields.nth(1)?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::mounts::MountTable;
    use std::process::{Command, Stdio};

    #[test]
    fn a_mapping_is_found_by_its_device() {
        let line = b"7f0000000000-7f0000001000 r-xp 00000000 00:2c 1234                       /mnt/lib.so";
        assert_eq!(mapping_on(line, (0, 44)), Some(PathBuf::from("/mnt/lib.so")));
        assert_eq!(mapping_on(line, (0, 45)), None);
        assert_eq!(mapping_on(b"7f00-7f01 rw-p 00000000 00:00 0 ", (0, 0)), None);
        assert_eq!(mapping_on(b"", (0, 0)), None);
    }

    #[test]
    fn the_mount_of_a_descriptor_is_read() {
        assert_eq!(mount_id("pos:\t0\nflags:\t02\nmnt_id:\t90\nino:\t7\n"), Some(90));
        assert_eq!(mount_id("pos:\t0\n"), None);
    }

    #[test]
    fn a_process_with_an_open_file_is_found_on_its_mount() {
        let table = MountTable::read().expect("the kernel answers");
        let proc = table.at(Path::new("/proc")).expect("proc is mounted").clone();
        let script = "exec 3</proc/version; echo ready; read line";
        let mut shell = Command::new("sh");
        let mut child =
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).expect("it says so");
        let found = users_of(&proc).into_iter().find(|user| user.pid == child.id());
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert_eq!(found.map(|user| user.what), Some(PathBuf::from("/proc/version")));
    }
}
