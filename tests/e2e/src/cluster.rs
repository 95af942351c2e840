//! One cluster for one test.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::{Outcome, run, wait_until, weft_binary};

/// How a test wants its cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Such as `4+2`.
    pub protection: &'static str,
    /// Number of drives.
    pub drives: usize,
    /// Size of each drive, as `--drive-size` takes it.
    pub drive_size: &'static str,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { protection: "4+2", drives: 6, drive_size: "2GiB" }
    }
}

/// A cluster in a folder of its own, with ports of its own. Dropping it stops every process and removes the folder.
pub struct Cluster {
    folder: tempfile::TempDir,
    port_base: u16,
    options: ClusterOptions,
}

/// A row of `weft container list --json`.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its name, such as `drive0`.
    pub name: String,
    /// What it does.
    pub roles: Vec<String>,
    /// Its process, when it runs.
    pub pid: Option<i32>,
    /// Its state.
    pub state: String,
}

impl Cluster {
    /// A folder and ports, nothing started.
    pub fn prepared(options: ClusterOptions) -> Self {
        let parent = std::env::var_os("WEFT_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder =
            tempfile::Builder::new().prefix("weft-e2e-").tempdir_in(parent).expect("a temporary folder");
        Self { folder, port_base: free_port_base(), options }
    }

    /// A running, mounted cluster of six drives.
    pub fn up() -> Self {
        Self::up_with(ClusterOptions::default())
    }

    /// A running, mounted cluster.
    pub fn up_with(options: ClusterOptions) -> Self {
        let cluster = Self::prepared(options);
        cluster.start().success();
        cluster
    }

    /// `weft up` with this cluster's options.
    pub fn start(&self) -> Outcome {
        run(&mut self.up_command())
    }

    /// The command line of [`start`](Self::start), to be added to.
    pub fn up_command(&self) -> Command {
        let mut command = self.weft(&["up", "--port-base", &self.port_base.to_string()]);
        command.args(["--protection", self.options.protection, "--drive-size", self.options.drive_size]);
        command.args(["--drives", &self.options.drives.to_string()]);
        command
    }

    /// `weft` with arguments, about this cluster.
    pub fn weft(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(weft_binary());
        command.args(arguments).env("WEFT_DIR", self.dir()).env_remove("RUST_LOG");
        command
    }

    /// Runs `weft` with arguments and `--json`, and reads the answer.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let outcome = run(self.weft(arguments).arg("--json")).success();
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|e| panic!("{}: {e}: {}", outcome.line, outcome.stdout))
    }

    /// The cluster's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("weft-data")
    }

    /// The folder that holds the cluster's folder, for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Where the filesystem is mounted.
    pub fn mount(&self) -> PathBuf {
        self.dir().join("mnt")
    }

    /// The first port of the cluster.
    pub fn port_base(&self) -> u16 {
        self.port_base
    }

    /// The containers of the cluster.
    pub fn containers(&self) -> Vec<Container> {
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let rows = self.json(&["container", "list"]);
        let rows = rows.as_array().expect("container list is an array");
        rows.iter()
            .map(|row| Container {
                name: text(row, "name"),
                roles: row["roles"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|r| r.as_str().map(str::to_owned))
                    .collect(),
                pid: row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()),
                state: text(row, "state"),
            })
            .collect()
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Container {
        self.containers()
            .into_iter()
            .find(|c| c.name == name)
            .unwrap_or_else(|| panic!("no container {name}"))
    }

    /// Kills a container's process with SIGKILL and waits until it is gone.
    pub fn kill(&self, name: &str) {
        let pid = self.container(name).pid.unwrap_or_else(|| panic!("{name} does not run"));
        kill_pid(pid);
    }

    /// Kills every container's process with SIGKILL, one right after the other, and waits until all are gone.
    pub fn kill_all(&self) {
        let pids: Vec<_> = self.containers().into_iter().filter_map(|container| container.pid).collect();
        for pid in &pids {
            let process = rustix::process::Pid::from_raw(*pid).expect("a pid");
            // It may have ended with the others.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        for pid in pids {
            wait_until("a killed process is gone", Duration::from_secs(10), || is_gone(pid).then_some(()));
        }
    }

    /// The device of a drive's container.
    pub fn device(&self, name: &str) -> PathBuf {
        self.dir().join("drives").join(name).join("device")
    }

    /// Removes every index of metadata, as if the disk of the compute process had been replaced.
    pub fn forget_indexes(&self) {
        let _ = std::fs::remove_dir_all(self.dir().join("compute0"));
    }

    /// Takes a mount away whose process is dead.
    pub fn unmount_lazily(&self) {
        if is_mounted(&self.mount()) {
            run(Command::new("umount").arg("-l").arg(self.mount())).success();
        }
    }

    /// `weft down`, then the mount and every process are gone.
    #[track_caller]
    pub fn down(&self) {
        run(&mut self.weft(&["down"])).success();
        assert!(!is_mounted(&self.mount()), "down left the mount");
    }

    /// Drops what the kernel has cached, so that the next read asks Weft.
    pub fn forget_caches(&self) {
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3").expect("root may drop caches");
    }

    /// Waits until `weft status` says healthy.
    pub fn wait_healthy(&self) {
        wait_until("status is healthy", Duration::from_secs(30), || {
            self.json(&["status"])["healthy"].as_bool().filter(|healthy| *healthy)
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
        let _ = run(&mut self.weft(&["down", "--force", "--destroy"]));
        if is_mounted(&self.mount()) {
            let _ = run(Command::new("umount").arg("-l").arg(self.mount()));
        }
    }
}

impl Cluster {
    /// Prints the end of every log: the folder goes with the test.
    fn keep_logs(&self) {
        let Ok(logs) = std::fs::read_dir(self.dir().join("logs")) else { return };
        for log in logs.flatten() {
            let text = std::fs::read_to_string(log.path()).unwrap_or_default();
            let tail: Vec<_> = text.lines().rev().take(15).collect();
            eprintln!("--- {}", log.path().display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Kills a process with SIGKILL and waits until it is gone.
pub(crate) fn kill_pid(pid: i32) {
    let process = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("the process is ours");
    wait_until("a killed process is gone", Duration::from_secs(10), || is_gone(pid).then_some(()));
}

/// Whether the process has ended: a zombie that nobody has waited for counts as gone, once its last thread has let go of
/// its files and ports.
fn is_gone(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    if threads > 1 {
        return false;
    }
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

/// Whether something is mounted at this path.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts are readable");
    let path = path.to_string_lossy();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(&path))
}

/// A base below the ports that the kernel hands out, with 32 UDP ports free on loopback.
fn free_port_base() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 250).expect("below 250") * 40;
    let bases = (0..250_u16).map(|step| 20_000 + (first - 20_000 + step * 40) % 10_000);
    let is_free = |base: &u16| (*base..*base + 32).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
    bases.into_iter().find(is_free).expect("some ports are free")
}
