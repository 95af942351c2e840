//! Times change when something is done to a file, and at no other moment.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, StatxFlags, StatxTimestamp, XattrFlags, statx};
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
    assert!(moved.is_empty(), "{moved:?}");
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

fn set_accessed(path: &Path, seconds: u64) {
    let times = fs::FileTimes::new().set_accessed(UNIX_EPOCH + Duration::from_secs(seconds));
    File::open(path).expect("open").set_times(times).expect("set");
}

/// Reads past the page cache, so that the read reaches the filesystem.
fn read_directly(path: &Path) {
    let path = path.to_string_lossy();
    weft_e2e::run(&mut weft_e2e::program("dd", &["iflag=direct", &format!("if={path}"), "of=/dev/null"]))
        .success();
}

#[test]
fn reads_set_the_access_time_when_it_is_older_than_a_change_or_a_day() {
    let cluster = Cluster::up();
    let path = cluster.mount().join("file");
    fs::write(&path, vec![7; 5000]).expect("written");
    let accessed = || {
        let found = statx(CWD, &path, AtFlags::STATX_FORCE_SYNC, StatxFlags::ATIME).expect("statx");
        (found.stx_atime.tv_sec, found.stx_atime.tv_nsec)
    };
    let (modified, changed) = {
        set_accessed(&path, 1);
        assert_eq!(accessed(), (1, 0));
        times(&path)
    };
    read_directly(&path);
    let first = accessed();
    assert!(first > modified, "a read is later than the write: {first:?}");
    assert_eq!(times(&path), (modified, changed), "to read is no change");
    read_directly(&path);
    assert_eq!(accessed(), first, "it is newer than both, and from today");
    fs::write(&path, "changed").expect("written");
    read_directly(&path);
    assert!(accessed() > first, "it was older than the change");
}

#[test]
fn the_birth_time_is_told_and_stays() {
    let cluster = Cluster::up();
    let path = cluster.mount().join("file");
    let born = || {
        let found = statx(CWD, &path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BTIME).expect("statx");
        assert!(StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME), "it is told");
        (found.stx_btime.tv_sec, found.stx_btime.tv_nsec)
    };
    fs::write(&path, "x").expect("written");
    let first = born();
    let (modified, _) = times(&path);
    assert!(first <= modified && first.0 + 60 > modified.0, "{first:?} is not before {modified:?}");
    for (name, way) in &WAYS {
        way(&path).expect("done");
        assert_eq!(born(), first, "{name}");
    }
    File::open(&path).expect("open").sync_all().expect("fsync");
    assert_eq!(born(), first);
}
