//! The model's operations done for real, on two folders that must show the same files.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::Mounts;
use crate::model::{
    Access, Action, Attributes, Kind, Model, Open, Outcome, RenameHow, SLOTS, SetHow, Side, Step, pattern,
};

/// Does the steps for real and on the model, and then looks at all that is there from both sides.
///
/// The folder must be empty and of root; file mode creation mask 0 is set for the whole process.
///
/// # Errors
/// The first difference.
pub fn agree(steps: &[Step], mounts: &Mounts) -> Result<(), String> {
    rustix::process::umask(Mode::empty());
    let mut model = Model::default();
    let mut real = Real { mounts, slots: Default::default() };
    for (number, step) in steps.iter().enumerate() {
        compare(&mut model, &mut real, step).map_err(|what| format!("step {number}: {what}"))?;
    }
    for step in last_looks(&model) {
        compare(&mut model, &mut real, &step).map_err(|what| format!("at the end: {what}"))?;
    }
    same_inodes(&model, mounts)
}

fn compare(model: &mut Model, real: &mut Real<'_>, step: &Step) -> Result<(), String> {
    let expected = model.apply(&step.action);
    let found = real.apply(step);
    if expected.is_met_by(&found) {
        return Ok(());
    }
    Err(format!("{step:?}\n  expected {}\n  found    {}", brief(&expected), brief(&found)))
}

/// Of many bytes their number and the first ones.
fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Bytes(bytes) if bytes.len() > 32 => {
            let sum =
                bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            format!("{} bytes, sum {sum:x}, {:?}...", bytes.len(), &bytes[..32])
        }
        _ => format!("{outcome:?}"),
    }
}

/// Everything that can be seen of the model's state, from both sides.
fn last_looks(model: &Model) -> Vec<Step> {
    let mut actions: Vec<_> = (0..SLOTS)
        .flat_map(|slot| [Action::StatOpen { slot }, Action::Read { slot, at: 0, len: 1 << 18 }])
        .collect();
    actions.push(Action::List { path: ".".to_owned() });
    for (path, id) in model.paths() {
        let path = || path.clone();
        actions.push(Action::Stat { path: path(), follow: false });
        match model.kind(id) {
            Kind::File => actions.push(Action::ReadAll { path: path() }),
            Kind::Directory => actions.push(Action::List { path: path() }),
            Kind::Symlink => actions.push(Action::ReadLink { path: path() }),
            Kind::Socket => {}
        }
        if model.kind(id) != Kind::Symlink {
            actions.push(Action::ListXattrs { path: path() });
            let names = model.xattrs(id).keys().cloned();
            actions.extend(names.map(|name| Action::GetXattr { path: path(), name }));
        }
    }
    let both = |action: Action| [Side::A, Side::B].map(|side| Step { side, action: action.clone() });
    actions.into_iter().flat_map(both).collect()
}

/// Two paths lead to one inode exactly if they do so in the model.
fn same_inodes(model: &Model, mounts: &Mounts) -> Result<(), String> {
    let mut seen: Vec<(crate::model::Id, u64)> = Vec::new();
    for (path, id) in model.paths() {
        for folder in [&mounts.a, &mounts.b] {
            let at = folder.join(&path);
            let inode = rustix::fs::lstat(&at).map_err(|error| format!("{}: {error}", at.display()))?.st_ino;
            if seen.iter().any(|(other, number)| (*other == id) != (*number == inode)) {
                return Err(format!("{path} has the inode {inode}, which is another file's or not its own"));
            }
            seen.push((id, inode));
        }
    }
    Ok(())
}

struct Real<'a> {
    mounts: &'a Mounts,
    slots: [Option<OwnedFd>; SLOTS],
}

impl Real<'_> {
    fn apply(&mut self, step: &Step) -> Outcome {
        let folder = match step.side {
            Side::A => self.mounts.a.clone(),
            Side::B => self.mounts.b.clone(),
        };
        self.attempt(&folder, &step.action).unwrap_or_else(|errno| Outcome::Refused(errno.raw_os_error()))
    }

    fn attempt(&mut self, folder: &Path, action: &Action) -> Result<Outcome, Errno> {
        match action {
            Action::Open { slot, path, how } => {
                self.slots[*slot] = None;
                self.slots[*slot] = Some(open(&folder.join(path), *how)?);
                Ok(Outcome::Done)
            }
            Action::Close { slot } => {
                let outcome = if self.slots[*slot].is_some() { Outcome::Done } else { Outcome::NotOpen };
                self.slots[*slot] = None;
                Ok(outcome)
            }
            Action::Write { slot, .. }
            | Action::Read { slot, .. }
            | Action::ResizeOpen { slot, .. }
            | Action::ModeOpen { slot, .. }
            | Action::StatOpen { slot }
            | Action::Sync { slot } => self.slots[*slot]
                .as_ref()
                .map_or(Ok(Outcome::NotOpen), |descriptor| with_descriptor(descriptor, action)),
            Action::ReadAll { .. } | Action::Stat { .. } | Action::ReadLink { .. } | Action::List { .. } => {
                look(folder, action)
            }
            Action::SetXattr { .. }
            | Action::GetXattr { .. }
            | Action::ListXattrs { .. }
            | Action::RemoveXattr { .. } => with_xattrs(folder, action),
            _ => change(folder, action).map(|()| Outcome::Done),
        }
    }
}

fn open(path: &Path, how: Open) -> Result<OwnedFd, Errno> {
    let flag = |yes: bool, flag: OFlags| if yes { flag } else { OFlags::empty() };
    let access = match how.access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::Both => OFlags::RDWR,
    };
    let flags = access
        | OFlags::CLOEXEC
        | flag(how.create.is_some(), OFlags::CREATE)
        | flag(how.exclusive, OFlags::EXCL)
        | flag(how.truncate, OFlags::TRUNC)
        | flag(how.append, OFlags::APPEND)
        | flag(how.directory, OFlags::DIRECTORY)
        | flag(how.no_follow, OFlags::NOFOLLOW);
    rustix::fs::open(path, flags, mode(how.create.unwrap_or(0)))
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

fn with_descriptor(descriptor: &OwnedFd, action: &Action) -> Result<Outcome, Errno> {
    match action {
        Action::Write { at, len, fill, .. } => {
            rustix::io::pwrite(descriptor, &pattern(*fill, *len), *at).map(Outcome::Count)
        }
        Action::Read { at, len, .. } => read(descriptor, *at, *len).map(Outcome::Bytes),
        Action::ResizeOpen { len, .. } => rustix::fs::ftruncate(descriptor, *len).map(|()| Outcome::Done),
        Action::ModeOpen { mode: bits, .. } => {
            rustix::fs::fchmod(descriptor, mode(*bits)).map(|()| Outcome::Done)
        }
        Action::StatOpen { .. } => Ok(Outcome::Attributes(attributes(&rustix::fs::fstat(descriptor)?))),
        _ => rustix::fs::fsync(descriptor).map(|()| Outcome::Done),
    }
}

/// Reads until there is nothing more or enough: a read may give less.
fn read(descriptor: impl AsFd, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        match rustix::io::pread(&descriptor, &mut bytes[have..], at + have as u64)? {
            0 => break,
            more => have += more,
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

fn attributes(found: &Stat) -> Attributes {
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Socket => Kind::Socket,
        _ => Kind::File,
    };
    let has_size = matches!(kind, Kind::File | Kind::Symlink);
    Attributes {
        kind,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        links: found.st_nlink,
        size: has_size.then(|| found.st_size.unsigned_abs()),
        modified: Some((found.st_mtime, u32::try_from(found.st_mtime_nsec).unwrap_or(u32::MAX))),
    }
}

fn look(folder: &Path, action: &Action) -> Result<Outcome, Errno> {
    let at = |path: &String| folder.join(path);
    match action {
        Action::Stat { path, follow: true } => {
            Ok(Outcome::Attributes(attributes(&rustix::fs::stat(at(path))?)))
        }
        Action::Stat { path, .. } => Ok(Outcome::Attributes(attributes(&rustix::fs::lstat(at(path))?))),
        Action::ReadLink { path } => {
            Ok(Outcome::Bytes(rustix::fs::readlink(at(path), Vec::new())?.into_bytes()))
        }
        Action::List { path } => list(&at(path)).map(Outcome::Names),
        Action::ReadAll { path } => {
            let mut file =
                File::from(rustix::fs::open(at(path), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok(Outcome::Bytes(bytes))
        }
        _ => unreachable!("only looks come here"),
    }
}

fn list(path: &PathBuf) -> Result<Vec<String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

fn change(folder: &Path, action: &Action) -> Result<(), Errno> {
    let at = |path: &String| folder.join(path);
    let none = AtFlags::empty();
    match action {
        Action::MakeDirectory { path, mode: bits } => rustix::fs::mkdir(at(path), mode(*bits)),
        Action::MakeSocket { path, mode: bits } => {
            rustix::fs::mknodat(CWD, at(path), FileType::Socket, mode(*bits), 0)
        }
        Action::Symlink { target, path } => rustix::fs::symlink(target, at(path)),
        Action::Link { from, to } => rustix::fs::linkat(CWD, at(from), CWD, at(to), none),
        Action::Unlink { path } => rustix::fs::unlink(at(path)),
        Action::RemoveDirectory { path } => rustix::fs::rmdir(at(path)),
        Action::Rename { from, to, how } => {
            let flags = match how {
                RenameHow::Replace => RenameFlags::empty(),
                RenameHow::NoReplace => RenameFlags::NOREPLACE,
                RenameHow::Exchange => RenameFlags::EXCHANGE,
            };
            rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags)
        }
        // By a descriptor the standard library knows no truncate(2); opening a socket would say ENXIO.
        Action::Resize { path, len } => resize(&at(path), *len),
        Action::Mode { path, mode: bits } => rustix::fs::chmod(at(path), mode(*bits)),
        Action::Owner { path, uid, gid } => {
            rustix::fs::chown(at(path), Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
        }
        Action::Modified { path, seconds, nanos } => {
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: *seconds, tv_nsec: i64::from(*nanos) },
            };
            rustix::fs::utimensat(CWD, at(path), &times, none)
        }
        _ => unreachable!("only changes come here"),
    }
}

/// As truncate(2) does: what is not a file is told apart before anything is opened.
fn resize(path: &Path, len: u64) -> Result<(), Errno> {
    match attributes(&rustix::fs::stat(path)?).kind {
        Kind::Directory => Err(Errno::ISDIR),
        Kind::Socket => Err(Errno::INVAL),
        Kind::File | Kind::Symlink => {
            let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::ftruncate(file, len)
        }
    }
}

fn with_xattrs(folder: &Path, action: &Action) -> Result<Outcome, Errno> {
    let at = |path: &String| folder.join(path);
    match action {
        Action::SetXattr { path, name, value, how } => {
            let flags = match how {
                SetHow::Any => XattrFlags::empty(),
                SetHow::Create => XattrFlags::CREATE,
                SetHow::Replace => XattrFlags::REPLACE,
            };
            rustix::fs::setxattr(at(path), name.as_str(), value, flags).map(|()| Outcome::Done)
        }
        Action::GetXattr { path, name } => {
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::getxattr(at(path), name.as_str(), value.as_mut_slice())?;
            value.truncate(len);
            Ok(Outcome::Bytes(value))
        }
        Action::ListXattrs { path } => {
            let mut list = vec![0; 1 << 16];
            let len = rustix::fs::listxattr(at(path), list.as_mut_slice())?;
            let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
            let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            // The host's own labels are nothing that a step set.
            names.retain(|name| !name.starts_with("security."));
            names.sort();
            Ok(Outcome::Names(names))
        }
        Action::RemoveXattr { path, name } => {
            rustix::fs::removexattr(at(path), name.as_str()).map(|()| Outcome::Done)
        }
        _ => unreachable!("only extended attributes come here"),
    }
}
