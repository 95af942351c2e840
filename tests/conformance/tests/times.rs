//! Times change when something is done to a file, and at no other moment.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, StatxFlags, StatxTimestamp, XattrFlags, statx};
use weft_conformance::exceptions::exceptions;
use weft_e2e::Cluster;

/// Modification and change as the filesystem has them now, past what the kernel has cached.
fn times(path: &Path) -> ((i64, u32), (i64, u32)) {
    let found = statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS).expect("statx");
    let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
    (time(found.stx_mtime), time(found.stx_ctime))
}

/// What is done to a file that was just written and closed.
type Way = (&'static str, fn(&Path) -> io::Result<()>);

const WAYS: [Way; 6] = [
    ("written", |_| Ok(())),
    ("written, times set", |path| File::open(path)?.set_modified(UNIX_EPOCH + Duration::from_secs(1))),
    ("written, mode set", |path| fs::set_permissions(path, Permissions::from_mode(0o600))),
    ("written, owner set", |path| chown(path, Some(1), Some(1))),
    ("written, attribute set", |path| Ok(rustix::fs::setxattr(path, "user.a", b"1", XattrFlags::empty())?)),
    ("written again", |path| OpenOptions::new().append(true).open(path)?.write_all(b"more")),
];

/// Writing back is no operation: who compares times to see whether a file changed (tar, git, backups) would say it did.
#[test]
fn writing_back_changes_no_time() {
    let cluster = Cluster::up();
    let mut moved = Vec::new();
    for (name, way) in WAYS {
        let path = cluster.mount().join(name);
        fs::write(&path, vec![7; 5000]).expect("written");
        way(&path).expect("done");
        let before = times(&path);
        File::open(&path).expect("open").sync_all().expect("fsync");
        if times(&path) != before {
            println!("{name}: {before:?} became {:?}", times(&path));
            moved.push(name);
        }
    }
    if exceptions("software").contains("ctime") {
        assert!(!moved.is_empty(), "ctime is listed as an exception and stands still");
    } else {
        assert!(moved.is_empty(), "{moved:?}");
    }
}

/// Each change is later than the one before.
#[test]
fn every_change_shows_in_the_change_time() {
    let cluster = Cluster::up();
    let path = cluster.mount().join("file");
    fs::write(&path, "x").expect("written");
    for (name, way) in &WAYS[1..] {
        // A clock's tick lies between two changes.
        File::open(&path).expect("open").sync_all().expect("fsync");
        let before = times(&path).1;
        way(&path).expect("done");
        assert!(times(&path).1 > before, "{name}");
    }
}
