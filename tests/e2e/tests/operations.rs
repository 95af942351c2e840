//! Every operation that the mount offers, as an application sees it.
//!
//! One test on one cluster, step by step: a cluster for each would take longer than what it shows is worth.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use weft_e2e::{Cluster, program, run};

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const ENAMETOOLONG: i32 = 36;
const ENOTEMPTY: i32 = 39;
const ENODATA: i32 = 61;

/// A step's name, which is its folder's, and what it does there.
type Step = (&'static str, fn(&Path));

#[track_caller]
fn refused<T>(result: std::io::Result<T>, errno: i32) {
    let error = result.err().expect("refused").raw_os_error();
    assert_eq!(error, Some(errno));
}

#[test]
fn every_operation_does_what_posix_says() {
    let cluster = Cluster::up();
    let steps: [Step; 14] = [
        ("files", files),
        ("truncate", truncation),
        ("holes", holes),
        ("append", append),
        ("privileges", privileges),
        ("directories", directories),
        ("listing", listing),
        ("links", links),
        ("renames", renames),
        ("special", special_files),
        ("attributes", attributes),
        ("xattrs", xattrs),
        ("orphans", open_unlinked),
        ("mapped", mapped_and_executed),
    ];
    for (name, step) in steps {
        println!("step {name}");
        let folder = cluster.mount().join(name);
        fs::create_dir(&folder).expect("mkdir");
        step(&folder);
    }
    permissions(&cluster.mount());
    survives_restart(&cluster);
}

fn files(folder: &Path) {
    let path = folder.join("f");
    refused(File::open(&path), ENOENT);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("create");
    refused(OpenOptions::new().write(true).create_new(true).open(&path), EEXIST);
    refused(fs::read(folder), EISDIR);
    refused(File::open(path.join("below")), ENOTDIR);
    refused(File::create(folder.join("n".repeat(256))), ENAMETOOLONG);
    File::create(folder.join("n".repeat(255))).expect("a name of 255 bytes");
    file.write_all(b"hello world").expect("write");
    file.seek(SeekFrom::Start(6)).expect("seek");
    file.write_all(b"weft!").expect("write");
    assert_eq!(fs::read(&path).expect("read"), b"hello weft!", "seen before it is synced");
    file.sync_data().expect("fdatasync");
    file.sync_all().expect("fsync");
    File::open(folder).expect("open").sync_all().expect("fsync of a directory");
    let mut sync = rustix_open_sync(&folder.join("sync"));
    sync.write_all(b"durable").expect("O_SYNC write");
    // Many sizes around blocks, stripes and extents.
    for len in [0, 1, 4095, 4096, 4097, 16_384, 100_000, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_000_001] {
        let content: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
        let path = folder.join(format!("len{len}"));
        fs::write(&path, &content).expect("write");
        assert!(fs::read(&path).expect("read") == content, "{len} bytes before sync");
        File::open(&path).expect("open").sync_all().expect("fsync");
        let at = len as u64 / 2;
        let mut byte = [0];
        let got = File::open(&path).expect("open").read_at(&mut byte, at).expect("read");
        assert_eq!(byte[..got], content[len / 2..(len / 2 + 1).min(len)], "middle of {len} bytes");
    }
}

fn rustix_open_sync(path: &Path) -> File {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::SYNC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).expect("open O_SYNC").into()
}

fn truncation(folder: &Path) {
    let path = folder.join("f");
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 253) as u8).collect();
    fs::write(&path, &content).expect("write");
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("open");
    file.sync_all().expect("fsync");
    file.set_len(100_001).expect("shorten");
    file.set_len(200_000).expect("lengthen");
    let got = fs::read(&path).expect("read");
    assert!(
        got[..100_001] == content[..100_001]
            && got[100_001..].iter().all(|&b| b == 0)
            && got.len() == 200_000
    );
    file.write_all_at(b"x", 150_000).expect("write");
    file.set_len(150_000).expect("shorten again");
    file.sync_all().expect("fsync");
    assert_eq!(fs::metadata(&path).expect("stat").len(), 150_000);
    File::create(&path).expect("O_TRUNC");
    assert_eq!(fs::metadata(&path).expect("stat").len(), 0);
    file.set_len(u64::MAX >> 1).expect("the longest file");
    assert_eq!(fs::metadata(&path).expect("stat").len(), u64::MAX >> 1);
    file.set_len(0).expect("back to nothing");
}

fn holes(folder: &Path) {
    let file = File::create_new(folder.join("f")).expect("create");
    file.write_all_at(b"end", 5 << 30).expect("write far out");
    file.sync_all().expect("fsync");
    let meta = file.metadata().expect("stat");
    assert_eq!(meta.len(), (5 << 30) + 3);
    assert!(meta.blocks() * 512 < 1 << 20, "a hole takes no room: {} blocks", meta.blocks());
    let mut middle = vec![1; 10_000];
    File::open(folder.join("f")).expect("open").read_exact_at(&mut middle, 3 << 30).expect("read");
    assert!(middle.iter().all(|&b| b == 0));
}

/// Whoever may not set them takes set-user-id bits away by writing.
fn privileges(at: &Path) {
    let path = at.join("f");
    for how in ["printf x > \"$1\"", "printf x >> \"$1\"", "printf x 1<> \"$1\""] {
        fs::write(&path, "before").expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).expect("chmod");
        // Opened by root: the folders above are not for everybody.
        let script = how.replace("printf", "setpriv --reuid=1234 --regid=1234 --clear-groups printf");
        run(program("bash", &["-euc", &script, "bash"]).arg(&path)).success();
        let mode = fs::metadata(&path).expect("stat").mode() & 0o7777;
        assert_eq!(mode, 0o777, "{how}");
    }
}

fn append(folder: &Path) {
    let path = folder.join("log");
    let open = || OpenOptions::new().append(true).create(true).open(&path).expect("open");
    let (mut one, mut two) = (open(), open());
    for n in 0..200 {
        writeln!(one, "one {n}").expect("append");
        writeln!(two, "two {n}").expect("append");
    }
    let text = fs::read_to_string(&path).expect("read");
    assert_eq!(text.lines().count(), 400);
    assert_eq!(text.lines().filter(|line| line.starts_with("one")).count(), 200);
}

fn directories(folder: &Path) {
    let links = |path: &Path| fs::metadata(path).expect("stat").nlink();
    assert_eq!(links(folder), 2);
    fs::create_dir_all(folder.join("a/b/c")).expect("mkdir -p");
    assert_eq!((links(folder), links(&folder.join("a"))), (3, 3));
    refused(fs::create_dir(folder.join("a")), EEXIST);
    refused(fs::remove_dir(folder.join("a")), ENOTEMPTY);
    refused(fs::remove_file(folder.join("a")), EISDIR);
    File::create(folder.join("f")).expect("create");
    refused(fs::remove_dir(folder.join("f")), ENOTDIR);
    refused(fs::create_dir(folder.join("nowhere/d")), ENOENT);
    fs::remove_dir_all(folder.join("a")).expect("rm -r");
    assert_eq!(links(folder), 2);
    let up = fs::metadata(folder.join("..")).expect("stat ..");
    assert_eq!(up.ino(), fs::metadata(folder.parent().expect("a parent")).expect("stat").ino());
}

fn listing(folder: &Path) {
    const NAMES: usize = 3000;
    for n in 0..NAMES {
        File::create(folder.join(format!("name-{n}"))).expect("create");
    }
    let mut seen = std::collections::BTreeSet::new();
    for (n, entry) in fs::read_dir(folder).expect("opendir").enumerate() {
        let entry = entry.expect("readdir");
        assert!(seen.insert(entry.file_name()), "{:?} came twice", entry.file_name());
        // Names that come and go meanwhile must not move the others.
        fs::remove_file(entry.path()).expect("unlink");
        if n % 3 == 0 {
            File::create(folder.join(format!("late-{n}"))).expect("create");
        }
    }
    let kept = seen.iter().filter(|name| name.to_string_lossy().starts_with("name-")).count();
    assert_eq!(kept, NAMES, "every name that was there all the time is listed once");
}

fn links(folder: &Path) {
    fs::write(folder.join("a"), "x").expect("write");
    fs::hard_link(folder.join("a"), folder.join("b")).expect("link");
    refused(fs::hard_link(folder.join("a"), folder.join("b")), EEXIST);
    let (a, b) =
        (fs::metadata(folder.join("a")).expect("stat"), fs::metadata(folder.join("b")).expect("stat"));
    assert_eq!((a.ino(), a.nlink(), b.nlink()), (b.ino(), 2, 2));
    fs::remove_file(folder.join("a")).expect("unlink");
    assert_eq!(fs::metadata(folder.join("b")).expect("stat").nlink(), 1);
    assert_eq!(fs::read(folder.join("b")).expect("read"), b"x");
    let target = "t".repeat(4000);
    symlink(&target, folder.join("s")).expect("symlink");
    assert_eq!(fs::read_link(folder.join("s")).expect("readlink").to_string_lossy(), target);
    assert_eq!(fs::symlink_metadata(folder.join("s")).expect("lstat").len(), 4000);
    refused(fs::read_link(folder.join("b")), EINVAL);
}

fn renames(folder: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let at = |name: &str| folder.join(name);
    fs::write(at("a"), "a").expect("write");
    fs::write(at("b"), "b").expect("write");
    let refuse = renameat_with(CWD, at("a"), CWD, at("b"), RenameFlags::NOREPLACE);
    assert_eq!(refuse, Err(rustix::io::Errno::EXIST));
    renameat_with(CWD, at("a"), CWD, at("b"), RenameFlags::EXCHANGE).expect("exchange");
    assert_eq!(
        (fs::read(at("a")).expect("read"), fs::read(at("b")).expect("read")),
        (b"b".to_vec(), b"a".to_vec())
    );
    fs::rename(at("a"), at("b")).expect("replace");
    assert_eq!(fs::read(at("b")).expect("read"), b"b");
    refused(fs::metadata(at("a")), ENOENT);
    fs::create_dir_all(at("d/e")).expect("mkdir");
    refused(fs::rename(at("d"), at("d/e/f")), EINVAL);
    refused(fs::rename(at("b"), at("d")), EISDIR);
    refused(fs::rename(at("d"), at("b")), ENOTDIR);
    fs::create_dir(at("empty")).expect("mkdir");
    fs::rename(at("d"), at("empty")).expect("replace an empty directory");
    assert!(at("empty/e").is_dir());
    fs::create_dir(at("full")).expect("mkdir");
    fs::write(at("full/f"), "").expect("write");
    refused(fs::rename(at("empty"), at("full")), ENOTEMPTY);
    // Dirty data moves with its file.
    let mut file = File::create(at("dirty")).expect("create");
    file.write_all(b"dirty").expect("write");
    fs::rename(at("dirty"), at("moved")).expect("rename");
    assert_eq!(fs::read(at("moved")).expect("read"), b"dirty");
}

fn special_files(folder: &Path) {
    let make = |name: &str, arguments: &[&str]| {
        let path = folder.join(name).to_string_lossy().into_owned();
        run(program("mknod", &[&[path.as_str()], arguments].concat()).current_dir(folder)).success();
        fs::metadata(path).expect("stat")
    };
    assert!(make("fifo", &["p"]).file_type().is_fifo());
    let null = make("null", &["c", "1", "3"]);
    assert!(null.file_type().is_char_device() && null.rdev() == 0x103);
    assert!(make("disk", &["b", "7", "200"]).file_type().is_block_device());
    let listener = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("a socket's name");
    assert!(fs::metadata(folder.join("socket")).expect("stat").file_type().is_socket());
    drop(listener);
}

fn attributes(folder: &Path) {
    let path = folder.join("f");
    fs::write(&path, "x").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).expect("chmod");
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o7777, 0o4751);
    std::os::unix::fs::chown(&path, Some(1234), Some(4321)).expect("chown");
    let meta = fs::metadata(&path).expect("stat");
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1234, 4321, 0o751),
        "chown clears set-user-id"
    );
    let text = path.to_string_lossy().into_owned();
    run(&mut program("touch", &["-d", "1965-03-04 05:06:07.123456789 UTC", &text])).success();
    let meta = fs::metadata(&path).expect("stat");
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-152_391_233, 123_456_789));
    // A time set after a write is not overtaken by the data on its way.
    let mut file = OpenOptions::new().write(true).open(&path).expect("open");
    file.write_all(b"later").expect("write");
    let set = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    file.set_modified(set).expect("utimens");
    drop(file);
    File::open(&path).expect("open").sync_all().expect("fsync");
    assert_eq!(fs::metadata(&path).expect("stat").mtime(), 1000);
    let before = fs::metadata(&path).expect("stat").ctime_nsec();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    assert_ne!(fs::metadata(&path).expect("stat").ctime_nsec(), before, "chmod changes ctime");
}

fn xattrs(folder: &Path) {
    let path = folder.join("f");
    fs::write(&path, "x").expect("write");
    let mut buffer = vec![0_u8; 70_000];
    let get = |name: &str, buffer: &mut Vec<u8>| rustix::fs::getxattr(&path, name, buffer.as_mut_slice());
    use rustix::fs::XattrFlags;
    assert_eq!(get("user.a", &mut buffer).map_err(rustix::io::Errno::raw_os_error), Err(ENODATA));
    rustix::fs::setxattr(&path, "user.a", b"value", XattrFlags::CREATE).expect("set");
    let again = rustix::fs::setxattr(&path, "user.a", b"value", XattrFlags::CREATE);
    assert_eq!(again, Err(rustix::io::Errno::EXIST));
    let missing = rustix::fs::setxattr(&path, "user.b", b"", XattrFlags::REPLACE);
    assert_eq!(missing, Err(rustix::io::Errno::NODATA));
    rustix::fs::setxattr(&path, "user.b", &vec![7; 60_000], XattrFlags::empty()).expect("a large value");
    rustix::fs::setxattr(&path, "trusted.c", b"", XattrFlags::empty()).expect("an empty value");
    assert_eq!(get("user.a", &mut buffer), Ok(5));
    assert_eq!(get("user.b", &mut buffer), Ok(60_000));
    let len = rustix::fs::listxattr(&path, &mut buffer[..]).expect("list");
    let listed: Vec<u8> = buffer[..len].to_vec();
    let mut names: Vec<_> = listed.split(|&b| b == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    assert_eq!(names, [&b"trusted.c"[..], b"user.a", b"user.b"]);
    rustix::fs::removexattr(&path, "user.a").expect("remove");
    assert_eq!(rustix::fs::removexattr(&path, "user.a"), Err(rustix::io::Errno::NODATA));
}

fn open_unlinked(folder: &Path) {
    let path = folder.join("f");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("create");
    file.write_all(b"before").expect("write");
    fs::remove_file(&path).expect("unlink");
    refused(fs::metadata(&path), ENOENT);
    file.write_all(b" after").expect("write");
    file.sync_all().expect("fsync");
    file.seek(SeekFrom::Start(0)).expect("seek");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!((text.as_str(), file.metadata().expect("fstat").nlink()), ("before after", 0));
}

fn mapped_and_executed(folder: &Path) {
    let script = r#"
import mmap, os, sys
path = sys.argv[1]
with open(path, "wb") as f: f.write(b"a" * 100000)
with open(path, "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
    assert m[50000:50003] == b"aaa"
    m[50000:50003] = b"xyz"
    m.flush()
    m.close()
    os.fsync(f.fileno())
with open(path, "rb") as f:
    assert f.read()[49999:50004] == b"axyza"
"#;
    let path = folder.join("mapped").to_string_lossy().into_owned();
    run(&mut program("python3", &["-c", script, &path])).success();
    fs::copy("/bin/true", folder.join("true")).expect("copy");
    assert!(Command::new(folder.join("true")).status().expect("executes").success());
}

fn permissions(mount: &Path) {
    let folder = mount.join("permissions");
    fs::create_dir(&folder).expect("mkdir");
    fs::write(folder.join("mine"), "x").expect("write");
    fs::set_permissions(folder.join("mine"), fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("chmod");
    let as_other = |script: &str| {
        let at = folder.to_string_lossy().into_owned();
        run(&mut program(
            "setpriv",
            &["--reuid=1234", "--regid=1234", "--clear-groups", "sh", "-c", script, "sh", &at],
        ))
    };
    if !reachable(mount) {
        println!("permissions: an ancestor of the mount is closed to other users; opened for the test");
    }
    assert_ne!(as_other("cat $1/mine").code, 0, "another user's file");
    as_other("echo theirs > $1/theirs && test -w $1/theirs").success();
    let theirs = fs::metadata(folder.join("theirs")).expect("stat");
    assert_eq!((theirs.uid(), theirs.gid()), (1234, 1234));
}

/// Opens the temporary folder above the mount, which is private, to other users.
fn reachable(mount: &Path) -> bool {
    let scratch = mount.ancestors().nth(2).expect("the mount is two below the scratch folder");
    let open = fs::metadata(scratch).expect("stat").mode() & 0o005 == 0o005;
    for folder in [scratch, mount.parent().expect("the cluster's folder")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    open
}

fn survives_restart(cluster: &Cluster) {
    let list = |cluster: &Cluster| {
        let mount = cluster.mount().to_string_lossy().into_owned();
        run(&mut program("find", &[&mount, "-printf", "%P %y %m %n %U %G %s %T@ %l\n"])).success().stdout
    };
    // `orphans` and directory times are settled: nothing is open any more.
    let before = list(cluster);
    cluster.down();
    cluster.start().success();
    assert!(list(cluster) == before, "what stat shows changed over a restart");
}
