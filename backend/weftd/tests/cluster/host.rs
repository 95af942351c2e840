//! A cluster's directory and its processes, for one test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_pki::{Credentials, NodeIdentity};
use weft_resources::{
    ClusterDir, ClusterFile, ContainerName, FormSpec, Formed, Phase, Ports, RecoverSpec, Recovered, RunState,
    parse,
};
use weft_transport::{Bulk, CallError, Peer, Pool, PoolSettings};
use weft_types::{ByteCount, Role};
use weft_wire::Call;
use weft_wire::management::{
    CreateFilesystem, DeleteFilesystem, FilesystemInfo, FilesystemRefusal, GetMap, GetStatus,
    ListFilesystems, Status,
};

/// How long a container may take to serve, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test asks for.
pub(crate) struct Offer {
    pub(crate) protection: &'static str,
    pub(crate) drive_size: u64,
    pub(crate) drives: u32,
}

impl Default for Offer {
    fn default() -> Self {
        Self { protection: "2+1", drive_size: 64 << 20, drives: 3 }
    }
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// The last line of its standard error.
    pub(crate) line: String,
}

/// A directory for one cluster, and what runs of it. Dropping it kills what runs.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    ports: Ports,
    running: BTreeMap<ContainerName, Child>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let ports = Ports { host: [127, 0, 0, 1].into(), base: free_port_base() };
        Self { folder, ports, running: BTreeMap::new() }
    }

    pub(crate) fn dir(&self) -> ClusterDir {
        ClusterDir::new(self.folder.path().join("cluster"))
    }

    pub(crate) fn drive_address(&self, index: u32) -> SocketAddr {
        self.ports.drive(index).expect("a port")
    }

    pub(crate) fn device(&self, index: u32) -> PathBuf {
        self.dir().resolve(&ClusterDir::device(&ContainerName::drive(index)))
    }

    pub(crate) fn credentials(&self, name: &str) -> PathBuf {
        self.dir().root().join(format!("pki/{name}.pem"))
    }

    /// Forms a cluster, or gives the line that says why not.
    pub(crate) fn form(&self, offer: &Offer) -> Result<Formed, String> {
        let spec = FormSpec {
            directory: self.dir().root().to_owned(),
            protection: offer.protection.to_owned(),
            drives: offer.drives,
            drive_size: Some(ByteCount::new(offer.drive_size)),
            host: self.ports.host,
            port_base: self.ports.base,
            mount: ClusterDir::MOUNT.into(),
        };
        ask("form", &spec)
    }

    /// Makes the cluster's files again out of devices, or gives the line that says why not.
    pub(crate) fn recover(
        &self,
        devices: &[PathBuf],
        kms_key: &Path,
        accept_loss: bool,
    ) -> Result<Recovered, String> {
        let (devices, kms_key) = (devices.to_vec(), kms_key.to_owned());
        let directory = self.dir().root().to_owned();
        ask("recover", &RecoverSpec { directory, devices, kms_key, accept_loss, mount: None })
    }

    /// A folder beside the cluster's directory.
    pub(crate) fn aside(&self) -> &Path {
        self.folder.path()
    }

    /// Ends everything as a crash does.
    pub(crate) fn kill_all(&mut self) {
        while let Some((name, _)) = self.running.first_key_value() {
            let name = name.clone();
            self.kill(&name);
        }
    }

    /// Every container that weftd runs, in the order in which they are started.
    pub(crate) fn names(&self) -> Vec<ContainerName> {
        let path = self.dir().cluster_file();
        let state: ClusterFile = parse(&path, &fs::read(&path).expect("read")).expect("a cluster");
        state.containers.into_iter().filter(|entry| entry.is_backend()).map(|entry| entry.name).collect()
    }

    pub(crate) fn start_all(&mut self) {
        let names = self.names();
        self.start_these(&names);
    }

    /// Starts containers, management among them perhaps, which waits for drives, and waits until all serve.
    pub(crate) fn start_these(&mut self, names: &[ContainerName]) {
        let pids: Vec<_> = names.iter().map(|name| self.spawn(name)).collect();
        names.iter().zip(pids).for_each(|(name, pid)| self.wait_until_it_serves(name, pid));
    }

    /// Starts a container and waits until it serves.
    pub(crate) fn start(&mut self, name: &ContainerName) {
        let pid = self.spawn(name);
        self.wait_until_it_serves(name, pid);
    }

    fn spawn(&mut self, name: &ContainerName) -> u32 {
        let file = self.dir().container_file(name);
        let log = fs::File::create(self.dir().log_file(name)).expect("a log");
        let child = weftd(&["run", file.to_str().expect("text")]).stderr(log).spawn().expect("starts");
        let pid = child.id();
        self.running.insert(name.clone(), child);
        pid
    }

    fn wait_until_it_serves(&self, name: &ContainerName, pid: u32) {
        let serves = || {
            let state = self.run_state(name).filter(|state| state.pid == pid);
            assert!(!matches!(&state, Some(RunState { state: Phase::Failed(_), .. })), "{state:?}");
            state.is_some_and(|state| state.state == Phase::Running)
        };
        wait(&format!("{name} serves"), PATIENCE, || serves().then_some(()));
    }

    /// Runs a container that cannot run.
    pub(crate) fn run_to_end(&self, name: &ContainerName) -> Ended {
        let file = self.dir().container_file(name);
        let mut child = weftd(&["run", file.to_str().expect("text")]).spawn().expect("starts");
        let status = wait("the process ends", PATIENCE, || child.try_wait().expect("a child"));
        let mut text = Vec::new();
        child.stderr.take().expect("piped").read_to_end(&mut text).expect("read");
        Ended { code: status.code(), line: last_line(&text) }
    }

    /// Ends a container as a crash does.
    pub(crate) fn kill(&mut self, name: &ContainerName) {
        let mut child = self.running.remove(name).expect("runs");
        child.kill().expect("killed");
        child.wait().expect("ends");
    }

    /// Tells a container to stop; whether it ended as it should.
    pub(crate) fn stop(&mut self, name: &ContainerName) -> bool {
        let mut child = self.running.remove(name).expect("runs");
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).expect("signalled");
        wait("the process ends", PATIENCE, || child.try_wait().expect("a child")).success()
    }

    pub(crate) fn run_state(&self, name: &ContainerName) -> Option<RunState> {
        let path = self.dir().run_state(name);
        Some(parse(&path, &fs::read(&path).ok()?).expect("never half written"))
    }

    /// A client with the administrator's credentials.
    pub(crate) fn admin(&self) -> Client {
        self.client(&self.dir().admin_credentials())
    }

    /// A client with a node's credentials.
    pub(crate) fn client(&self, credentials: &Path) -> Client {
        let text = fs::read_to_string(credentials).expect("read");
        let path = self.dir().cluster_file();
        let state: ClusterFile = parse(&path, &fs::read(&path).expect("read")).expect("a cluster");
        Client::new(&Credentials::from_pem(&text).expect("credentials"), &state)
    }

    /// Files of the cluster that hold these bytes.
    pub(crate) fn files_with(&self, marker: &[u8]) -> Vec<PathBuf> {
        let mut open = vec![self.dir().root().to_owned()];
        let mut found = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("listed") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    open.push(path);
                } else if fs::read(&path).expect("read").windows(marker.len()).any(|bytes| bytes == marker) {
                    found.push(path);
                }
            }
        }
        found
    }

    pub(crate) fn truncate(&self, path: &Path, bytes: u64) -> ContainerName {
        fs::OpenOptions::new().write(true).open(path).expect("opens").set_len(bytes).expect("cut");
        ContainerName::drive(0)
    }

    pub(crate) fn remove(&self, path: &Path) -> ContainerName {
        fs::remove_file(path).expect("removed");
        ContainerName::drive(0)
    }

    pub(crate) fn edit(&self, path: &Path, from: &str, to: &str) -> ContainerName {
        let text = fs::read_to_string(path).expect("read");
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).expect("written");
        ContainerName::drive(0)
    }

    pub(crate) fn swap(&self, a: &Path, b: &Path) -> ContainerName {
        let aside = self.folder.path().join("aside");
        for (from, to) in [(a, aside.as_path()), (b, a), (&aside, b)] {
            fs::rename(from, to).expect("renamed");
        }
        ContainerName::drive(0)
    }

    pub(crate) fn rename_container(&self, from: &str, to: &str) -> ContainerName {
        let [from, to]: [ContainerName; 2] = [from, to].map(|name| name.parse().expect("a name"));
        fs::rename(self.dir().container_file(&from), self.dir().container_file(&to)).expect("renamed");
        to
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Calls management and compute as one node.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    pool: Pool,
    management: Peer,
}

impl Client {
    fn new(credentials: &Credentials, state: &ClusterFile) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let pool = Pool::new(runtime.handle().clone(), credentials, PoolSettings::default()).expect("a pool");
        let identity =
            NodeIdentity { cluster: state.cluster, role: Role::Management, node: state.management.node };
        Self { runtime, pool, management: Peer { identity, address: state.management.address } }
    }

    pub(crate) fn call<C: Call>(&self, call: &C) -> Result<C::Reply, CallError<C::Refusal>> {
        self.call_to(&self.management, call)
    }

    pub(crate) fn call_to<C: Call>(&self, peer: &Peer, call: &C) -> Result<C::Reply, CallError<C::Refusal>> {
        let call = self.pool.call(peer, call, Bulk::none(), Duration::from_secs(10));
        self.runtime.block_on(call).map(|(reply, _)| reply)
    }

    /// The compute process, as the map has it.
    pub(crate) fn compute(&self) -> Peer {
        let map = self.call(&GetMap { known: None }).expect("a map").map.expect("a map");
        let entry = &map.computes[0];
        let identity = NodeIdentity { cluster: map.cluster, role: Role::Compute, node: entry.node };
        Peer { identity, address: entry.address.parse().expect("an address") }
    }

    /// The status, once it is as wanted.
    #[track_caller]
    pub(crate) fn wait_status(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Status {
        let mut last = None;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            last = self.call(&GetStatus {}).ok();
            match last {
                Some(status) if wanted(&status) => return status,
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        panic!("{what}: not within {patience:?}; last: {last:#?}");
    }

    pub(crate) fn create_filesystem(&self, name: &str) -> Result<FilesystemInfo, FilesystemRefusal> {
        refused(self.call(&CreateFilesystem { name: name.to_owned() }))
    }

    pub(crate) fn delete_filesystem(&self, name: &str) -> Result<(), FilesystemRefusal> {
        refused(self.call(&DeleteFilesystem { name: name.to_owned() })).map(|_| ())
    }

    pub(crate) fn list_filesystems(&self) -> Vec<FilesystemInfo> {
        self.call(&ListFilesystems {}).expect("listed").filesystems
    }
}

/// What the operation said; that it was not carried out fails the test.
#[track_caller]
fn refused<T, R: std::fmt::Debug>(answer: Result<T, CallError<R>>) -> Result<T, R> {
    match answer {
        Ok(reply) => Ok(reply),
        Err(CallError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}: {other:?}"),
    }
}

/// Has `weftd` do what a spec says, and gives its answer or its last line.
fn ask<S: Serialize, A: DeserializeOwned>(command: &str, spec: &S) -> Result<A, String> {
    let mut child = weftd(&[command, "--spec", "-"]).stdin(Stdio::piped()).spawn().expect("starts");
    let spec = serde_json::to_vec(spec).expect("json");
    child.stdin.take().expect("piped").write_all(&spec).expect("written");
    let output = child.wait_with_output().expect("ends");
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("prints what it did"));
    }
    Err(last_line(&output.stderr))
}

fn weftd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weftd"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("WEFT_LOG", "info");
    command
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim_end().lines().next_back().unwrap_or_default().to_owned()
}

/// Looks again and again until there is something; the deadline turns a hang into a failure.
#[track_caller]
pub(crate) fn wait<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match look() {
            Some(found) => return found,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    panic!("{what}: not within {patience:?}");
}

/// The first of six ports in a row that nobody uses now.
fn free_port_base() -> u16 {
    let first = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let candidates =
        (0..500_u16).map(|step| 20_000 + (first.wrapping_mul(7).wrapping_add(step * 8)) % 12_000);
    let free = |base: &u16| (*base..base + 6).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
    candidates.into_iter().find(free).expect("six free ports")
}
