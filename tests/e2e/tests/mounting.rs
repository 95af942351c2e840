//! Mounting as hosts do it: options, mount(8) and fstab, remounting; and unmounting whatever is dead or in use.
//!
//! Two tests, each with one cluster and step by step.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weft_e2e::{Cluster, Container, Outcome, program, run, wait_until, weft_binary};

const EROFS: i32 = 30;
const ENOTCONN: i32 = 107;
/// How long anything may take that waits for nobody.
const SOON: Duration = Duration::from_secs(8);

/// `mount.weft` where mount(8) looks for it, until this is dropped.
struct Helpers(Vec<PathBuf>);

impl Helpers {
    fn linked() -> Self {
        let names = ["mount.weft", "mount.fuse.weft"].map(|name| Path::new("/sbin").join(name));
        let links = names.map(|link| {
            // Those that a killed test left behind, or an installation, are another binary's.
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(weft_binary(), &link).expect("root links into /sbin");
            link
        });
        Self(links.into())
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.iter().for_each(|link| drop(fs::remove_file(link)));
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The words that hold for what is mounted at a path, the kernel's for all of it included.
fn words(at: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the table");
    let at = text(at);
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(&at));
    let fields: Vec<_> = line.unwrap_or_default().split(' ').collect();
    let (own, all) = (fields.get(5).copied().unwrap_or_default(), fields.last().copied().unwrap_or_default());
    format!(",{own},{all},")
}

fn is_mounted(at: &Path) -> bool {
    words(at) != ",,,"
}

fn point(cluster: &Cluster, name: &str) -> PathBuf {
    let point = cluster.scratch().join(name);
    fs::create_dir_all(&point).expect("makes");
    point.canonicalize().expect("is there")
}

fn weft_mount(cluster: &Cluster, at: &Path, options: &str) -> Outcome {
    run(&mut cluster.weft(&["mount", "default", &text(at), "-o", options]))
}

fn weft_umount(cluster: &Cluster, at: &Path, lazy: bool) -> Outcome {
    let arguments = ["umount", &text(at), "--lazy"];
    run(&mut cluster.weft(if lazy { &arguments } else { &arguments[..2] }))
}

/// The container that serves a path.
fn serving(cluster: &Cluster, at: &Path) -> Option<Container> {
    let rows = cluster.json(&["container", "list"]);
    let name = rows.as_array()?.iter().find(|row| row["mount"] == text(at))?["name"].as_str()?.to_owned();
    Some(cluster.container(&name))
}

fn pid(container: &Container) -> Pid {
    Pid::from_raw(container.pid.expect("it runs")).expect("a pid")
}

fn is_gone(process: Pid) -> bool {
    rustix::process::test_kill_process(process).is_err()
        || fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()))
            .map_or(true, |stat| stat.contains(") Z "))
}

fn wait_gone(process: Pid) {
    wait_until("the mount's process ends", Duration::from_secs(30), || is_gone(process).then_some(()));
}

#[track_caller]
fn refused<T>(result: std::io::Result<T>, errno: i32) {
    assert_eq!(result.err().expect("refused").raw_os_error(), Some(errno));
}

/// Runs something that must be over soon.
#[track_caller]
fn soon<T>(what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = what();
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    done
}

#[test]
fn mounts_are_made_and_changed_by_mount() {
    let cluster = Cluster::up();
    let helpers = Helpers::linked();
    by_fstab(&cluster);
    remounts(&cluster);
    refusals(&cluster);
    caches(&cluster);
    drop(helpers);
    cluster.down();
}

/// mount(8) with a table of its own.
fn mount_by(table: &Path, arguments: &[&str]) -> Outcome {
    run(Command::new("mount").arg("--fstab").arg(table).args(arguments))
}

fn by_fstab(cluster: &Cluster) {
    println!("step fstab");
    let (at, table) = (point(cluster, "fstab"), cluster.scratch().join("table"));
    let dir = text(&cluster.dir());
    let options = format!("dir={dir},nodev,noatime,memory=256MiB,_netdev,nofail,x-weft.test=1");
    fs::write(&table, format!("weft:default {} weft {options} 0 0\n", at.display())).expect("writes");
    mount_by(&table, &["-f", &text(&at)]).success();
    assert!(!is_mounted(&at), "-f mounts nothing");
    mount_by(&table, &[&text(&at)]).success();
    let words_then = words(&at);
    assert!(words_then.contains(",noatime,") && words_then.contains(",nodev,"), "{words_then}");
    assert!(words_then.contains(",allow_other,"), "{words_then}");
    mount_by(&table, &["-a"]).success();
    assert_eq!(words(&at), words_then, "it is mounted once");

    fs::write(at.join("f"), "written").expect("writes");
    let read_at = fs::metadata(at.join("f")).expect("stat").atime_nsec();
    assert_eq!(fs::read_to_string(at.join("f")).expect("reads"), "written");
    assert_eq!(fs::metadata(at.join("f")).expect("stat").atime_nsec(), read_at, "noatime");
    assert_eq!(fs::read_to_string(cluster.mount().join("f")).expect("reads"), "written");

    let server = serving(cluster, &at).expect("a container");
    run(&mut program("umount", &[&text(&at)])).success();
    assert!(!is_mounted(&at));
    wait_gone(pid(&server));
    assert!(serving(cluster, &at).is_none());
    run(&mut program("mount", &["-t", "weft", "weft:default", &text(&at), "-o", &format!("dir={dir}")]))
        .success();
}

fn remounts(cluster: &Cluster) {
    println!("step remount");
    let at = point(cluster, "fstab");
    // Nothing in the table: mount(8) asks the kernel what is there.
    let table = cluster.scratch().join("empty");
    fs::write(&table, "").expect("writes");
    let remount = |options: &str| mount_by(&table, &["-o", &format!("remount,{options}"), &text(&at)]);
    let mut open = File::create(at.join("open")).expect("creates");
    open.write_all(b"not synced").expect("writes");
    remount("ro").refused(32, &["in use for writing", "close"]);
    drop(open);
    remount("ro,nosuid").success();
    let now = words(&at);
    assert!(now.contains(",ro,") && now.contains(",nosuid,") && !now.contains(",rw,"), "{now}");
    refused(File::create(at.join("g")), EROFS);
    refused(OpenOptions::new().write(true).open(at.join("open")), EROFS);
    let server = serving(cluster, &at).expect("a container");
    // What was written is on the drives: it outlives the process.
    kill_process(pid(&server), Signal::KILL).expect("it is ours");
    weft_mount(cluster, &at, "nosuid").success();
    assert_eq!(fs::read_to_string(at.join("open")).expect("reads"), "not synced");

    remount("ro").success();
    remount("rw").success();
    fs::write(at.join("g"), "again").expect("writes");
    assert!(words(&at).contains(",nosuid,"), "what is not said stays");
    remount("suid,noexec,noatime").success();
    let now = words(&at);
    assert!(!now.contains(",nosuid,") && now.contains(",noexec,") && now.contains(",noatime,"), "{now}");
    let times = |name: &str| fs::metadata(at.join(name)).expect("stat").atime_nsec();
    let before = times("g");
    assert_eq!(fs::read_to_string(at.join("g")).expect("reads"), "again");
    assert_eq!(times("g"), before, "no times of access are kept any more");
    remount("relatime").success();
    fs::write(at.join("h"), "h").expect("writes");
    let before = times("h");
    cluster.forget_caches();
    assert_eq!(fs::read_to_string(at.join("h")).expect("reads"), "h");
    assert_ne!(times("h"), before, "they are kept again");

    remount("memory=1GiB").refused(32, &["memory", "cannot be changed", "unmount"]);
    remount("readcache").refused(32, &["cache", "cannot be changed"]);
    remount("fast").refused(1, &["'fast'", "writecache"]);
    weft_umount(cluster, &at, false).success();
    weft_mount(cluster, &at, "ro").success();
    remount("rw").refused(32, &["only read", "unmount"]);
    weft_umount(cluster, &at, false).success();
}

fn refusals(cluster: &Cluster) {
    println!("step refusals");
    let at = text(&point(cluster, "fstab"));
    let dir = text(&cluster.dir());
    let helper = |source: &str, options: &str| {
        let mut command = Command::new(weft_binary());
        command.arg0("/sbin/mount.weft").args([source, &at, "-o", options]).env_remove("WEFT_DIR");
        run(&mut command)
    };
    helper("weft:default", "rw").refused(1, &["which cluster", "dir="]);
    helper("default", &format!("dir={dir}")).refused(1, &["weft:default"]);
    helper("weft:default", &format!("dir={dir},fast")).refused(1, &["'fast'", "memory=SIZE"]);
    helper("weft:default", "dir=/nowhere").refused(32, &["no cluster in /nowhere", "weft up"]);
    helper("weft:other", &format!("dir={dir}")).refused(32, &["\"other\"", "weft fs list"]);
    weft_mount(cluster, Path::new(&at), "memory=1MiB").refused(2, &["memory=1MiB", "128 MiB"]);
    weft_mount(cluster, Path::new(&at), "fast").refused(2, &["'fast'", "readahead=SIZE"]);
    assert!(!is_mounted(Path::new(&at)));
}

/// What the kernel and the mount keep, by mount option.
fn caches(cluster: &Cluster) {
    println!("step caches");
    let at = point(cluster, "caches");
    let contents = vec![7_u8; 300_000];
    let pages = |file: &Path| {
        let said = run(&mut program("fincore", &["-n", "-b", "-o", "PAGES", &text(file)])).success().stdout;
        said.trim().parse::<u64>().unwrap_or(0)
    };
    weft_mount(cluster, &at, "forcedirect,readahead=0,noallow_other").success();
    assert!(!words(&at).contains(",allow_other,"));
    fs::write(at.join("direct"), &contents).expect("writes");
    assert!(fs::read(at.join("direct")).expect("reads") == contents);
    assert_eq!(pages(&at.join("direct")), 0, "the kernel keeps pages");
    fs::copy("/bin/true", at.join("true")).expect("copies");
    assert!(Command::new(at.join("true")).status().expect("a mapped program runs").success());
    weft_umount(cluster, &at, false).success();

    for options in ["readcache", "sync"] {
        weft_mount(cluster, &at, options).success();
        let mut file = File::create(at.join(options)).expect("creates");
        file.write_all(&contents).expect("writes");
        // Nothing synced it, and nobody writes it back any more.
        kill_process(pid(&serving(cluster, &at).expect("a container")), Signal::KILL).expect("it is ours");
        drop(file);
        weft_mount(cluster, &at, options).success();
        assert!(fs::read(at.join(options)).expect("reads") == contents, "{options}");
        weft_umount(cluster, &at, false).success();
    }
}

#[test]
fn what_is_dead_or_in_use_is_taken_over_or_taken_away() {
    let cluster = Cluster::up();
    takes_over(&cluster);
    in_use(&cluster);
    stopped(&cluster);
    without_the_cluster(&cluster);
    let _ = cluster.start();
    cluster.down();
}

fn takes_over(cluster: &Cluster) {
    println!("step takeover");
    let at = point(cluster, "dead");
    weft_mount(cluster, &at, "").success();
    fs::write(at.join("a"), "a").expect("writes");
    let mut open = File::options().read(true).write(true).open(at.join("a")).expect("opens");
    open.sync_all().expect("syncs");
    let server = serving(cluster, &at).expect("a container");
    kill_process(pid(&server), Signal::KILL).expect("it is ours");
    let said = weft_mount(cluster, &at, "").success();
    assert!(said.stdout.contains("process was dead"), "{}", said.stdout);
    assert_eq!(fs::read_to_string(at.join("a")).expect("reads"), "a");
    let mut file = File::create(at.join("b")).expect("creates");
    file.write_all(b"b").and_then(|()| file.sync_all()).expect("writes");
    drop(file);
    refused(open.read(&mut [0; 1]), ENOTCONN);
    let again = serving(cluster, &at).expect("a container");
    assert_eq!(again.name, server.name, "it has the place of the one that died");
    drop(open);

    // `weft up` does the same, and a dead mount can be unmounted too.
    kill_process(pid(&again), Signal::KILL).expect("it is ours");
    let own = cluster.container("frontend0");
    kill_process(pid(&own), Signal::KILL).expect("it is ours");
    cluster.start().success();
    assert_eq!(fs::read_to_string(cluster.mount().join("b")).expect("reads"), "b");
    soon(|| weft_umount(cluster, &at, false)).success();
    assert!(!is_mounted(&at));
    weft_umount(cluster, &at, false).refused(1, &["not mounted"]);
    assert!(cluster.containers().iter().all(|container| container.state != "died"));
}

fn in_use(cluster: &Cluster) {
    println!("step in use");
    let at = point(cluster, "used");
    weft_mount(cluster, &at, "").success();
    let mut holder = Command::new("sleep").arg("1000").current_dir(&at).spawn().expect("sleep starts");
    soon(|| weft_umount(cluster, &at, false)).refused(1, &["in use by", "sleep", "--lazy"]);
    let _ = holder.kill();
    let _ = holder.wait();
    let path = at.join("open");
    let mut open =
        File::options().create(true).truncate(true).read(true).write(true).open(path).expect("creates");
    open.write_all(b"before").expect("writes");
    let first = pid(&serving(cluster, &at).expect("a container"));
    let said = soon(|| weft_umount(cluster, &at, true)).success();
    assert!(said.stdout.contains("is detached"), "{}", said.stdout);
    assert!(!is_mounted(&at));
    open.write_all(b" after").expect("it is served on");
    open.seek(SeekFrom::Start(0)).expect("seeks");
    let mut contents = String::new();
    open.read_to_string(&mut contents).expect("reads");
    assert_eq!(contents, "before after");

    // Another mount at the same place, which is not confused with the first one.
    weft_mount(cluster, &at, "").success();
    assert_eq!(fs::read_to_string(at.join("open")).expect("reads"), "before after");
    weft_umount(cluster, &at, false).success();
    assert!(!is_gone(first), "the first goes on for what is open");
    drop(open);
    wait_gone(first);
    assert_eq!(fs::read_to_string(cluster.mount().join("open")).expect("reads"), "before after");
}

fn stopped(cluster: &Cluster) {
    println!("step stopped");
    let at = point(cluster, "stopped");
    weft_mount(cluster, &at, "").success();
    fs::write(at.join("c"), "c").expect("writes");
    let server = pid(&serving(cluster, &at).expect("a container"));
    kill_process(server, Signal::STOP).expect("it is ours");
    let continues = format!("kill -CONT {}", server.as_raw_nonzero());
    soon(|| weft_umount(cluster, &at, false)).refused(1, &["is stopped", &continues, "--lazy"]);
    soon(|| weft_mount(cluster, &at, "")).refused(1, &["already mounted"]);
    soon(|| weft_umount(cluster, &at, true)).success();
    assert!(!is_mounted(&at));
    kill_process(server, Signal::CONT).expect("it is ours");
    wait_gone(server);
}

/// All drives stand still: nothing can be stored.
fn without_the_cluster(cluster: &Cluster) {
    println!("step without the cluster");
    let at = point(cluster, "without");
    weft_mount(cluster, &at, "").success();
    let drives = cluster.containers().into_iter().filter(|container| container.name.starts_with("drive"));
    let drives: Vec<Pid> = drives.map(|drive| pid(&drive)).collect();
    let tell = |signal| drives.iter().for_each(|drive| kill_process(*drive, signal).expect("it is ours"));
    let mut file = File::create(at.join("lost")).expect("creates");
    tell(Signal::STOP);
    file.write_all(b"lost").expect("into memory");
    drop(file);
    let server = pid(&serving(cluster, &at).expect("a container"));
    let begun = Instant::now();
    let said = weft_umount(cluster, &at, false);
    assert!(
        said.code == 1 && begun.elapsed() < Duration::from_secs(40),
        "{said:?} after {:?}",
        begun.elapsed()
    );
    if is_mounted(&at) {
        soon(|| weft_umount(cluster, &at, true)).success();
    }
    assert!(!is_mounted(&at));
    tell(Signal::CONT);
    wait_until("the mount's process ends", Duration::from_secs(90), || is_gone(server).then_some(()));
}
