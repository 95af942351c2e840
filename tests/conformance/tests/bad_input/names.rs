//! Names and paths that cannot be.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use crate::Row;

fn long(folder: &Path) -> std::path::PathBuf {
    folder.join("n".repeat(256))
}

/// Longer than PATH_MAX, each name short, and the folder itself: `./././f`.
fn deep(folder: &Path) -> std::path::PathBuf {
    folder.join(format!("{}f", "./".repeat(2048)))
}

fn open(path: &Path, flags: OFlags) -> Result<(), Errno> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RWXU).map(drop)
}

fn rename(from: std::path::PathBuf, to: std::path::PathBuf) -> Result<(), Errno> {
    rustix::fs::rename(from, to)
}

fn link(from: std::path::PathBuf, to: std::path::PathBuf) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())
}

fn set(path: std::path::PathBuf, name: &str, len: usize) -> Result<(), Errno> {
    rustix::fs::setxattr(path, name, &vec![b'v'; len], XattrFlags::empty())
}

pub(crate) const ROWS: [Row; 49] = [
    ("create a name of 256 bytes", |f| open(&long(f), OFlags::CREATE | OFlags::WRONLY), Errno::NAMETOOLONG),
    ("open a name of 256 bytes", |f| open(&long(f), OFlags::RDONLY), Errno::NAMETOOLONG),
    ("stat a name of 256 bytes", |f| rustix::fs::stat(long(f)).map(drop), Errno::NAMETOOLONG),
    ("mkdir a name of 256 bytes", |f| rustix::fs::mkdir(long(f), Mode::RWXU), Errno::NAMETOOLONG),
    ("rmdir a name of 256 bytes", |f| rustix::fs::rmdir(long(f)), Errno::NAMETOOLONG),
    ("unlink a name of 256 bytes", |f| rustix::fs::unlink(long(f)), Errno::NAMETOOLONG),
    ("symlink a name of 256 bytes", |f| rustix::fs::symlink("f", long(f)), Errno::NAMETOOLONG),
    ("link to a name of 256 bytes", |f| link(f.join("f"), long(f)), Errno::NAMETOOLONG),
    ("rename to a name of 256 bytes", |f| rename(f.join("f"), long(f)), Errno::NAMETOOLONG),
    (
        "mkfifo a name of 256 bytes",
        |f| rustix::fs::mknodat(CWD, long(f), FileType::Fifo, Mode::RWXU, 0),
        Errno::NAMETOOLONG,
    ),
    ("open a path beyond PATH_MAX", |f| open(&deep(f), OFlags::RDONLY), Errno::NAMETOOLONG),
    ("mkdir a path beyond PATH_MAX", |f| rustix::fs::mkdir(deep(f), Mode::RWXU), Errno::NAMETOOLONG),
    ("rename to a path beyond PATH_MAX", |f| rename(f.join("f"), deep(f)), Errno::NAMETOOLONG),
    ("symlink to 4096 bytes", |f| rustix::fs::symlink("t".repeat(4096), f.join("s")), Errno::NAMETOOLONG),
    ("symlink to nothing", |f| rustix::fs::symlink("", f.join("s")), Errno::NOENT),
    ("open nothing", |_| open(Path::new(""), OFlags::RDONLY), Errno::NOENT),
    ("open below a file", |f| open(&f.join("f/x"), OFlags::RDONLY), Errno::NOTDIR),
    ("open a file with a slash at its end", |f| open(&f.join("f/"), OFlags::RDONLY), Errno::NOTDIR),
    ("open a file as a directory", |f| open(&f.join("f"), OFlags::DIRECTORY), Errno::NOTDIR),
    ("open a link to itself", |f| open(&f.join("l"), OFlags::RDONLY), Errno::LOOP),
    ("open a link that is not to be followed", |f| open(&f.join("l"), OFlags::NOFOLLOW), Errno::LOOP),
    ("create below what is missing", |f| open(&f.join("x/y"), OFlags::CREATE | OFlags::WRONLY), Errno::NOENT),
    (
        "create with a slash at its end",
        |f| open(&f.join("x/"), OFlags::CREATE | OFlags::WRONLY),
        Errno::ISDIR,
    ),
    ("mkdir over a file", |f| rustix::fs::mkdir(f.join("f"), Mode::RWXU), Errno::EXIST),
    ("mkdir over a link to nothing", |f| rustix::fs::mkdir(f.join("l"), Mode::RWXU), Errno::EXIST),
    ("rmdir of a file", |f| rustix::fs::rmdir(f.join("f")), Errno::NOTDIR),
    ("rmdir of what is not empty", |f| rustix::fs::rmdir(f.join("d")), Errno::NOTEMPTY),
    ("rmdir of .", |f| rustix::fs::rmdir(f.join("e/.")), Errno::INVAL),
    ("rmdir of ..", |f| rustix::fs::rmdir(f.join("e/..")), Errno::NOTEMPTY),
    ("unlink of a directory", |f| rustix::fs::unlink(f.join("e")), Errno::ISDIR),
    ("unlink of what is missing", |f| rustix::fs::unlink(f.join("x")), Errno::NOENT),
    ("link of a directory", |f| link(f.join("d"), f.join("x")), Errno::PERM),
    ("link over a file", |f| link(f.join("f"), f.join("g")), Errno::EXIST),
    ("link to another filesystem", |f| link(f.join("f"), "/dev/weft".into()), Errno::XDEV),
    ("rename to another filesystem", |f| rename(f.join("f"), "/dev/weft".into()), Errno::XDEV),
    ("rename of a directory over a file", |f| rename(f.join("d"), f.join("f")), Errno::NOTDIR),
    ("rename of a file over a directory", |f| rename(f.join("f"), f.join("e")), Errno::ISDIR),
    ("rename over what is not empty", |f| rename(f.join("e"), f.join("d")), Errno::NOTEMPTY),
    ("rename of a directory into itself", |f| rename(f.join("d"), f.join("d/x")), Errno::INVAL),
    ("rename of .", |f| rename(f.join("e/."), f.join("x")), Errno::BUSY),
    ("rename of a file to a name with a slash", |f| rename(f.join("f"), f.join("x/")), Errno::NOTDIR),
    (
        "rename with both flags",
        |f| {
            let flags = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(CWD, f.join("f"), CWD, f.join("g"), flags)
        },
        Errno::INVAL,
    ),
    (
        "rename with a flag that nobody has",
        |f| {
            let flags = RenameFlags::from_bits_retain(1 << 7);
            rustix::fs::renameat_with(CWD, f.join("f"), CWD, f.join("g"), flags)
        },
        Errno::INVAL,
    ),
    ("xattr name of 256 bytes", |f| set(f.join("f"), &format!("user.{}", "n".repeat(251)), 1), Errno::RANGE),
    ("xattr without a name", |f| set(f.join("f"), "", 1), Errno::RANGE),
    ("xattr of no namespace", |f| set(f.join("f"), "name", 1), Errno::OPNOTSUPP),
    ("xattr over 64 KiB", |f| set(f.join("f"), "user.v", (64 << 10) + 1), Errno::TOOBIG),
    (
        "xattr into too little room",
        |f| {
            set(f.join("f"), "user.w", 100)?;
            rustix::fs::getxattr(f.join("f"), "user.w", &mut [0; 99]).map(drop)
        },
        Errno::RANGE,
    ),
    (
        "xattr that is missing",
        |f| rustix::fs::getxattr(f.join("f"), "user.v", &mut [0; 9]).map(drop),
        Errno::NODATA,
    ),
];
