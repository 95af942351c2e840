//! Locks between processes: `fcntl` by process and by open file, and `flock`.
//!
//! The parts are Python, since no safe interface has locks on ranges. Each is held against the host's own filesystem as well:
//! it is about Linux, not about this one.

use weft_conformance::{Mounts, needs, shell};
use weft_e2e::Cluster;

/// What all parts use: two processes, each with an end of a socket, by which they take turns. Children open the file where the
/// second path says, which may be another mount.
const COMMON: &str = r#"
import errno, fcntl, os, signal, socket, struct, sys, time
SETLK, SETLKW, GETLK = fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_GETLK
OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
R, W, U = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
signal.alarm(60)

def lock(fd, command, kind, start=0, length=0):
    answer = fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, 0, start, length, 0))
    kind, _, start, length, pid = struct.unpack("hhqqi4x", answer)
    return kind, start, length, pid

def refused(errnos, do, *arguments):
    try: do(*arguments)
    except OSError as error: assert error.errno in errnos, error
    else: raise AssertionError("it was granted")

def busy(fd, kind, start=0, length=0, command=SETLK):
    refused((errno.EAGAIN, errno.EACCES), lock, fd, command, kind, start, length)

def flock_busy(fd, kind):
    refused((errno.EWOULDBLOCK,), fcntl.flock, fd, kind | fcntl.LOCK_NB)

def fork(child):
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        global path
        path = sys.argv[2]
        signal.alarm(60)
        code = 1
        try:
            child(theirs)
            code = 0
        except BaseException:
            import traceback; traceback.print_exc()
        finally: os._exit(code)
    theirs.close()
    return pid, ours

def ended(pid, code=0):
    assert os.waitpid(pid, 0)[1] == code

def hears(end, word):
    assert end.recv(len(word), socket.MSG_WAITALL) == word, "the other one is gone"

def wait_asleep(pid):
    seen = 0
    while seen < 20:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
        assert state != "Z", "it ended and does not wait"
        seen = seen + 1 if state == "S" else 0
        time.sleep(0.01)

path = sys.argv[1]
def opened(): return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
fd = opened()
"#;

/// A part's name and what it does.
type Part = (&'static str, &'static str);

const PARTS: [Part; 9] = [
    (
        "ranges exclude other processes, and the one in the way is named",
        r#"
lock(fd, SETLK, W, 10, 10)
lock(fd, SETLK, R, 30, 10)
def other(end):
    fd = opened()
    kind, start, length, pid = lock(fd, GETLK, W, 0, 0)
    # Processes of another mount may be another host's: their numbers say nothing here.
    holder = os.getppid() if sys.argv[1] == sys.argv[2] else 0
    assert (kind, start, length, pid) == (W, 10, 10, holder), (kind, start, length, pid)
    busy(fd, R, 19, 1)
    busy(fd, W, 30, 1)
    lock(fd, SETLK, R, 35, 20)
    lock(fd, SETLK, W, 0, 10)
    lock(fd, SETLK, W, 20, 10)
    assert lock(fd, GETLK, W, 100, 5)[0] == U
pid, _ = fork(other)
ended(pid)
lock(fd, SETLK, U, 12, 3)
def after(end):
    fd = opened()
    lock(fd, SETLK, W, 12, 3)
    busy(fd, W, 11, 1)
    busy(fd, W, 15, 1)
pid, _ = fork(after)
ended(pid)
"#,
    ),
    (
        "locks of a process go when it closes any descriptor of the file",
        r#"
lock(fd, SETLK, W)
os.close(opened())
def other(end): lock(opened(), SETLK, W)
pid, _ = fork(other)
ended(pid)
"#,
    ),
    (
        "who waits for a range gets it when the holder lets go",
        r#"
lock(fd, SETLK, W, 0, 4)
def other(end):
    fd = opened()
    end.send(b"1")
    lock(fd, SETLKW, W, 2, 4)
    end.send(b"2")
    hears(end, b"3")
pid, end = fork(other)
hears(end, b"1")
wait_asleep(pid)
end.setblocking(False)
refused((errno.EAGAIN,), end.recv, 1)
end.setblocking(True)
lock(fd, SETLK, U, 0, 4)
hears(end, b"2")
busy(fd, W, 2, 1)
end.send(b"3")
ended(pid)
lock(fd, SETLK, W, 2, 1)
"#,
    ),
    (
        "locks of a process that is killed go to who waits",
        r#"
def holder(end):
    fd, another = opened(), opened()
    lock(fd, SETLK, W)
    fcntl.flock(another, fcntl.LOCK_EX)
    end.send(b"1")
    signal.pause()
held, end = fork(holder)
hears(end, b"1")
def waiter(end):
    fd = opened()
    end.send(b"1")
    lock(fd, SETLKW, W)
    fcntl.flock(fd, fcntl.LOCK_EX)
waits, end = fork(waiter)
hears(end, b"1")
wait_asleep(waits)
os.kill(held, signal.SIGKILL)
ended(held, signal.SIGKILL)
ended(waits)
"#,
    ),
    (
        "two that would wait for each other: one hears EDEADLK",
        r#"
lock(fd, SETLK, W, 0, 1)
def other(end):
    fd = opened()
    lock(fd, SETLK, W, 1, 1)
    end.send(b"1")
    lock(fd, SETLKW, W, 0, 1)
pid, end = fork(other)
hears(end, b"1")
wait_asleep(pid)
refused((errno.EDEADLK,), lock, fd, SETLKW, W, 1, 1)
lock(fd, SETLK, U, 0, 1)
ended(pid)
"#,
    ),
    (
        "who gives up waiting does not get the lock later",
        r#"
lock(fd, SETLK, W)
class Gave(Exception): pass
def give_up(*_): raise Gave
def other(end):
    fd = opened()
    signal.signal(signal.SIGUSR1, give_up)
    end.send(b"1")
    try: lock(fd, SETLKW, W)
    except Gave: pass
    else: raise AssertionError("granted")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    end.send(b"2")
    hears(end, b"3")
gave, first = fork(other)
def killed(end):
    fd = opened()
    end.send(b"1")
    lock(fd, SETLKW, W)
dead, second = fork(killed)
hears(first, b"1")
hears(second, b"1")
wait_asleep(gave)
wait_asleep(dead)
os.kill(gave, signal.SIGUSR1)
hears(first, b"2")
os.kill(dead, signal.SIGKILL)
ended(dead, signal.SIGKILL)
lock(fd, SETLK, U)
def free(end): lock(opened(), SETLK, W)
pid, _ = fork(free)
ended(pid)
first.send(b"3")
ended(gave)
"#,
    ),
    (
        "flock: shared and exclusive, converted, handed to children, gone with the last descriptor",
        r#"
other = opened()
fcntl.flock(fd, fcntl.LOCK_SH)
fcntl.flock(other, fcntl.LOCK_SH)
flock_busy(other, fcntl.LOCK_EX)
fcntl.flock(fd, fcntl.LOCK_UN)
fcntl.flock(other, fcntl.LOCK_EX)
flock_busy(fd, fcntl.LOCK_SH)
# Independent of ranges.
lock(fd, SETLK, W)
def child(end):
    os.close(fd)
    hears(end, b"1")
    flock_busy(opened(), fcntl.LOCK_SH)
    os.close(other)
    end.send(b"2")
    hears(end, b"3")
pid, end = fork(child)
os.close(other)
flock_busy(fd, fcntl.LOCK_SH)
end.send(b"1")
hears(end, b"2")
# The kernel tells of the last close after it returned.
fcntl.flock(fd, fcntl.LOCK_EX)
end.send(b"3")
ended(pid)
"#,
    ),
    (
        "flock: who waits gets it",
        r#"
fcntl.flock(fd, fcntl.LOCK_EX)
def other(end):
    fd = opened()
    end.send(b"1")
    fcntl.flock(fd, fcntl.LOCK_EX)
    end.send(b"2")
    hears(end, b"3")
pid, end = fork(other)
os.close(opened())
hears(end, b"1")
wait_asleep(pid)
fcntl.flock(fd, fcntl.LOCK_UN)
hears(end, b"2")
flock_busy(fd, fcntl.LOCK_EX)
end.send(b"3")
ended(pid)
"#,
    ),
    (
        "locks of open files: between descriptors of one process, kept over other closes, gone with the last",
        r#"
one, two = opened(), opened()
lock(one, OFD_SETLK, W, 0, 8)
busy(two, R, 4, 1, OFD_SETLK)
busy(two, R, 4, 1, SETLK)
kind, start, length, pid = lock(two, OFD_GETLK, W, 0, 0)
assert (kind, start, length, pid) == (W, 0, 8, -1), (kind, start, length, pid)
os.close(fd)
os.close(opened())
busy(two, W, 0, 1, OFD_SETLK)
def child(end):
    end.send(b"1")
    hears(end, b"2")
pid, end = fork(child)
hears(end, b"1")
os.close(one)
busy(two, W, 0, 1, OFD_SETLK)
end.send(b"2")
ended(pid)
lock(two, OFD_SETLKW, W, 0, 8)
"#,
    ),
];

fn hold(mounts: &Mounts) -> Vec<&'static str> {
    let failed = |(number, (what, script)): (usize, &Part)| {
        let path = |folder: &std::path::Path| folder.join(format!("locks-{number}"));
        let mut command = weft_e2e::program("python3", &["-c", &format!("{COMMON}{script}")]);
        let outcome = weft_e2e::run(command.args([path(&mounts.a), path(&mounts.b)]));
        if outcome.code != 0 {
            println!("{what}: {} {}{}", outcome.code, outcome.stdout, outcome.stderr);
        }
        (outcome.code != 0).then_some(*what)
    };
    PARTS.iter().enumerate().filter_map(failed).collect()
}

#[test]
fn locks_exclude_other_processes_until_they_let_go_or_end() {
    needs(&["python3"]);
    let cluster = Cluster::up();
    let folder = cluster.mount();
    assert_eq!(hold(&Mounts { a: folder.clone(), b: folder }), Vec::<&str>::new());
    let mounts = Mounts::of(&cluster).folder("across");
    assert_eq!(hold(&mounts), Vec::<&str>::new(), "across mounts");
}

#[test]
fn the_hosts_own_filesystem_locks_the_same() {
    needs(&["python3"]);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_owned();
    assert_eq!(hold(&Mounts { a: folder.clone(), b: folder }), Vec::<&str>::new());
}

/// `flock(1)` as scripts use it: one at a time in the section, on whichever mount.
#[test]
fn scripts_that_count_under_flock_lose_nothing() {
    needs(&["flock"]);
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    let script = r#"
        echo 0 > count
        for folder in "$1" "$2" "$1" "$2"; do
            cd "$folder"
            (for turn in $(seq 25); do flock lock sh -c 'read n < count; echo $((n + 1)) > count'; done) &
        done
        wait
        cat count
    "#;
    let folders = [&mounts.a, &mounts.b].map(|folder| folder.to_string_lossy().into_owned());
    assert_eq!(shell(&mounts.a, script, &[&folders[0], &folders[1]]).stdout.trim(), "100");
}
