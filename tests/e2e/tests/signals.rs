//! Nobody who waits for us is unkillable; and only who is killed goes away with nothing done.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weft_e2e::{Cluster, program, wait_until};

/// How long a process may take to die.
const PATIENCE: Duration = Duration::from_secs(1);

/// Signal 10, as a bit of a mask.
const USR1: u64 = 1 << 9;

/// Every drive stands still, until this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn drives(cluster: &Cluster) -> Self {
        let drives = cluster.containers().into_iter().filter(|container| container.name.starts_with("drive"));
        let stopped = Self(drives.filter_map(|drive| Pid::from_raw(drive.pid?)).collect());
        assert_eq!(stopped.0.len(), 6);
        stopped.send(Signal::STOP);
        stopped
    }

    fn send(&self, signal: Signal) {
        self.0.iter().for_each(|drive| kill_process(*drive, signal).expect("the drive is ours"));
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.send(Signal::CONT);
    }
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn send(child: &Child, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(process, signal).expect("it is ours");
}

/// Where in the kernel a process waits for an answer of ours.
const FOR_AN_ANSWER: &str = "request_wait_answer";
/// Where it waits for all answers that a direct read or write takes.
const FOR_ALL_ANSWERS: &str = "fuse_direct_IO";
/// Where it waits for a page that we are to fill.
const FOR_A_PAGE: &str = "folio_wait_bit_common";

/// Waits until a process waits there, and goes on to.
fn wait_blocked(child: &Child, what: &str, place: &str) {
    let path = format!("/proc/{}/wchan", child.id());
    let is_there = || fs::read_to_string(&path).is_ok_and(|at| at == place);
    let mut glances = 0;
    wait_until(&format!("{what} waits for us"), Duration::from_secs(5), || {
        glances = if is_there() { glances + 1 } else { 0 };
        (glances == 10).then_some(())
    });
}

/// Whether a process has this signal coming and has not taken it.
fn has_pending(child: &Child, mask: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let pending = |line: &str| u64::from_str_radix(line.strip_prefix("ShdPnd:")?.trim(), 16).ok();
    status.lines().find_map(pending).is_some_and(|pending| pending & mask != 0)
}

/// The processes that are blocked in us while drives stand still: each waits in another operation. Those that change names
/// have directories of their own, which the kernel locks for them.
fn blocked(mount: &Path) -> Vec<(&'static str, Child)> {
    let path = |name: &str| mount.join(name).to_string_lossy().into_owned();
    let dd = |arguments: &[String]| {
        let mut command = program("dd", &["bs=64k", "count=1"]);
        command.args(arguments);
        command
    };
    let to =
        |name: &str, how: &str| ["if=/dev/zero".to_owned(), format!("of={}", path(name)), how.to_owned()];
    let rows = [
        ("a direct read", FOR_ALL_ANSWERS, dd(&[format!("if={}", path("a")), "iflag=direct".to_owned()])),
        ("a read", FOR_A_PAGE, program("cat", &[&path("b")])),
        ("a synchronous write", FOR_AN_ANSWER, dd(&to("c", "oflag=sync"))),
        ("an fsync", FOR_AN_ANSWER, dd(&to("d", "conv=fsync,notrunc"))),
        ("a mkdir", FOR_AN_ANSWER, program("mkdir", &[&path("one/made")])),
        ("a rename", FOR_AN_ANSWER, program("mv", &[&path("two/e"), &path("two/f")])),
    ];
    let rows = rows.map(|(what, place, command)| (what, place, start(command)));
    rows.iter().for_each(|(what, place, child)| wait_blocked(child, what, place));
    rows.into_iter().map(|(what, _, child)| (what, child)).collect()
}

fn kill_all(children: Vec<(&'static str, Child)>) {
    children.iter().for_each(|(_, child)| send(child, Signal::KILL));
    let killed = Instant::now();
    for (what, mut child) in children {
        let left = PATIENCE.saturating_sub(killed.elapsed());
        wait_until(&format!("{what} dies"), left, || child.try_wait().expect("it is our child"));
    }
}

fn prepare(cluster: &Cluster) -> Vec<u8> {
    let contents: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    for directory in ["one", "two"] {
        fs::create_dir(cluster.mount().join(directory)).expect("makes");
    }
    for name in ["a", "b", "c", "d", "two/e"] {
        let mut file = fs::File::create(cluster.mount().join(name)).expect("creates");
        file.write_all(&contents).expect("writes");
        // The mount itself remembers only what is not committed, or was read.
        file.sync_all().expect("commits");
    }
    cluster.forget_caches();
    contents
}

/// The mount goes on as if nobody had been killed.
fn check_works(mount: &Path, contents: &[u8]) {
    for name in ["a", "b"] {
        assert!(fs::read(mount.join(name)).expect("reads") == contents, "{name} has other bytes");
    }
    let file = fs::File::create(mount.join("after")).expect("creates");
    file.sync_all().expect("commits");
    fs::remove_file(mount.join("after")).expect("removes");
    // What was begun for who was killed was done as a whole or not at all, and can be done away with.
    assert!(mount.join("two/e").exists() != mount.join("two/f").exists());
    if mount.join("one/made").exists() {
        fs::remove_dir(mount.join("one/made")).expect("removes");
    }
}

#[test]
fn who_waits_for_us_dies_of_sigkill() {
    let cluster = Cluster::up();
    let contents = prepare(&cluster);
    let stopped = Stopped::drives(&cluster);
    kill_all(blocked(&cluster.mount()));
    drop(stopped);
    check_works(&cluster.mount(), &contents);
    cluster.down();
}

/// The kernel tells of the first signal alone.
#[test]
fn a_signal_that_came_before_makes_no_difference() {
    let cluster = Cluster::up();
    let contents = prepare(&cluster);
    let stopped = Stopped::drives(&cluster);
    let start_syncing = |name: &str| {
        let to = format!("of={}", cluster.mount().join(name).display());
        // It has a handler for SIGUSR1, which is called when fsync returns.
        let child = start(program("dd", &["if=/dev/zero", &to, "bs=64k", "count=1", "conv=fsync,notrunc"]));
        wait_blocked(&child, "an fsync", FOR_AN_ANSWER);
        send(&child, Signal::USR1);
        wait_until("the signal is there", PATIENCE, || has_pending(&child, USR1).then_some(()));
        child
    };
    let (mut patient, killed) = (start_syncing("c"), start_syncing("d"));
    kill_all(vec![("an fsync", killed)]);
    assert!(has_pending(&patient, USR1), "a signal that does not kill interrupts no fsync");
    drop(stopped);
    let status = wait_until("the other fsync ends", Duration::from_secs(60), || {
        patient.try_wait().expect("it is our child")
    });
    assert!(status.success(), "{status}");
    check_works(&cluster.mount(), &contents);
    cluster.down();
}
