//! A mount that does not answer for longer than its lease goes on afterwards, and says what it lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use weft_e2e::{Cluster, run, wait_until};

/// A process that stands still, until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn container(cluster: &Cluster, name: &str) -> Self {
        let pid = cluster.container(name).pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::STOP).expect("it is ours");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("it is ours");
    }
}

/// A file with these bytes, committed and open.
fn made(path: &Path, bytes: &[u8]) -> File {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(true).open(path).expect("creates");
    file.write_all(bytes).expect("writes");
    file.sync_all().expect("commits");
    file
}

fn all_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_mount_that_stood_still_for_too_long_goes_on_and_says_what_it_lost() {
    let cluster = Cluster::up();
    let (first, second) = (cluster.mount(), cluster.scratch().join("second"));
    fs::create_dir(&second).expect("makes");
    run(&mut cluster.weft(&["mount", "default", &second.to_string_lossy()])).success();
    let mut contested = made(&first.join("contested"), b"as both know it");
    let own = made(&first.join("own"), b"as it was");
    let mut removed = made(&first.join("removed"), b"bytes");
    let process = cluster.container("frontend0").pid;
    contested.write_all_at(b"IN VAIN", 0).expect("goes into memory");
    own.write_all_at(b"AS IT WILL BE", 0).expect("goes into memory");

    let stopped = Stopped::container(&cluster, "frontend0");
    // It waits until the session of the other mount is ended, since that does not let go of the file.
    fs::write(second.join("contested"), b"changed meanwhile").expect("writes in the end");
    fs::remove_file(second.join("removed")).expect("removes");
    fs::write(second.join("new"), b"not seen before").expect("writes");
    drop(stopped);

    let refused = contested.sync_all().expect_err("what was written is lost");
    assert_eq!(refused.raw_os_error(), Some(5), "{refused}");
    contested.sync_all().expect("it was said once");
    assert_eq!(all_of(&mut contested).expect("reads"), b"changed meanwhile");
    assert_eq!(fs::read(first.join("new")).expect("reads"), b"not seen before");
    assert!(!first.join("removed").exists());
    let gone = wait_until("its handle says that it is no more", Duration::from_secs(20), || {
        all_of(&mut removed).err()
    });
    assert_eq!(gone.raw_os_error(), Some(116), "{gone}");

    own.sync_all().expect("nobody has changed it: what was written is kept");
    assert_eq!(fs::read(second.join("own")).expect("reads"), b"AS IT WILL BE");
    contested.write_all_at(b"AFTERWARDS", 0).expect("writes");
    assert_eq!(fs::read(second.join("contested")).expect("reads"), b"AFTERWARDSanwhile");
    assert_eq!(cluster.container("frontend0").pid, process, "the same process serves on");
    drop((contested, own, removed));
    cluster.down();
}
