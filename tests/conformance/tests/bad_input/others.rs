//! What another user may not do.

use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::Row;
use crate::calls::open;

/// A user and a group who own nothing.
const STRANGER: u32 = 54_321;

/// Does something on a thread of its own as a stranger, without any capability.
fn stranger(folder: &Path, attempt: fn(&Path) -> Result<(), Errno>) -> Result<(), Errno> {
    let folder = folder.to_owned();
    let thread = std::thread::spawn(move || {
        let (uid, gid) = (Uid::from_raw(STRANGER), Gid::from_raw(STRANGER));
        set_thread_groups(&[]).expect("root may");
        set_thread_res_gid(gid, gid, gid).expect("root may");
        set_thread_res_uid(uid, uid, uid).expect("root may");
        attempt(&folder)
    });
    thread.join().expect("the stranger came back")
}

fn touch(path: &Path, nanos: i64) -> Result<(), Errno> {
    let time = Timespec { tv_sec: 1, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())
}

/// A row about what a stranger attempts.
macro_rules! stranger {
    ($what:literal, $attempt:expr, $errno:ident) => {
        ($what, |folder| stranger(folder, $attempt), Errno::$errno)
    };
}

pub(crate) const ROWS: [Row; 20] = [
    stranger!("open another's file", |f| open(&f.join("secret"), OFlags::RDONLY).map(drop), ACCESS),
    stranger!("write another's file", |f| open(&f.join("f"), OFlags::WRONLY).map(drop), ACCESS),
    stranger!(
        "truncate another's file",
        |f| open(&f.join("f"), OFlags::WRONLY | OFlags::TRUNC).map(drop),
        ACCESS
    ),
    stranger!(
        "open below another's closed directory",
        |f| open(&f.join("closed/f"), OFlags::RDONLY).map(drop),
        ACCESS
    ),
    stranger!(
        "stat below another's closed directory",
        |f| rustix::fs::stat(f.join("closed/f")).map(drop),
        ACCESS
    ),
    stranger!(
        "list another's closed directory",
        |f| open(&f.join("closed"), OFlags::RDONLY).map(drop),
        ACCESS
    ),
    stranger!(
        "create in another's directory",
        |f| open(&f.join("x"), OFlags::CREATE | OFlags::WRONLY).map(drop),
        ACCESS
    ),
    stranger!("mkdir in another's directory", |f| rustix::fs::mkdir(f.join("x"), Mode::RWXU), ACCESS),
    stranger!("symlink in another's directory", |f| rustix::fs::symlink("f", f.join("x")), ACCESS),
    stranger!("unlink in another's directory", |f| rustix::fs::unlink(f.join("f")), ACCESS),
    stranger!("rename in another's directory", |f| rustix::fs::rename(f.join("f"), f.join("x")), ACCESS),
    stranger!(
        "unlink another's file in a sticky directory",
        |f| rustix::fs::unlink(f.join("sticky/roots")),
        PERM
    ),
    stranger!(
        "rename another's file in a sticky directory",
        |f| rustix::fs::rename(f.join("sticky/roots"), f.join("sticky/x")),
        PERM
    ),
    stranger!("chmod another's file", |f| rustix::fs::chmod(f.join("f"), Mode::RWXU), PERM),
    stranger!(
        "chown another's file",
        |f| rustix::fs::chown(f.join("f"), Some(Uid::from_raw(STRANGER)), None),
        PERM
    ),
    stranger!(
        "give a file away",
        |f| {
            open(&f.join("sticky/mine"), OFlags::CREATE | OFlags::WRONLY)?;
            rustix::fs::chown(f.join("sticky/mine"), Some(Uid::ROOT), None)
        },
        PERM
    ),
    stranger!("set another's times", |f| touch(&f.join("f"), 0), PERM),
    stranger!("set another's times to now", |f| touch(&f.join("f"), UTIME_NOW), ACCESS),
    stranger!(
        "mknod of a device",
        |f| rustix::fs::mknodat(CWD, f.join("sticky/x"), FileType::CharacterDevice, Mode::RWXU, 259),
        PERM
    ),
    stranger!(
        "set another's attribute",
        |f| rustix::fs::setxattr(f.join("f"), "user.v", b"v", XattrFlags::empty()),
        ACCESS
    ),
];
