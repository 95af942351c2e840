//! Containers as they are: what their run state claims, held against the processes of this host.

use core::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use weft_resources::{ClusterDir, ContainerName, MountedAs, Phase, RunState};
use weft_types::Role;

use crate::host::files::{self, FileError};
use crate::host::process::Process;

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Its process opens files and ports.
    Starting,
    /// It serves.
    Running,
    /// It finishes what is under way.
    Stopping,
    /// It was never started, or was stopped.
    Stopped,
    /// Its process ended without being told to.
    Died,
    /// It gave up; the reason is in [`Observed::reason`].
    Failed,
}

impl State {
    /// The word for output.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Died => "died",
            Self::Failed => "failed",
        }
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Its name.
    pub name: ContainerName,
    /// What its processes do.
    pub roles: Vec<Role>,
    /// Its process, when it is alive.
    pub process: Option<Process>,
    /// What it is doing.
    pub state: State,
    /// Where its first process serves.
    pub address: Option<SocketAddr>,
    /// Where a frontend has its filesystem mounted, or had.
    pub mount: Option<PathBuf>,
    /// What it has mounted there, or had.
    pub mounted: Option<MountedAs>,
    /// Why it gave up.
    pub reason: Option<String>,
}

impl Observed {
    /// Whether it serves now.
    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }
}

/// Looks at a container of which nothing but the name is known.
///
/// # Errors
/// [`FileError`] when the files that tell cannot be read.
pub(crate) fn observe(dir: &ClusterDir, name: &ContainerName) -> Result<Observed, FileError> {
    match files::read_document(&dir.run_state(name)) {
        Ok(run) => Ok(judge(name, run, Process::is_alive)),
        Err(FileError::Document(_)) => observe_without_state(dir, name),
        Err(error) => Err(error),
    }
}

/// Looks at a container whose run state is damaged: whoever holds its lock runs it, and the process id stands in a
/// file of its own.
fn observe_without_state(dir: &ClusterDir, name: &ContainerName) -> Result<Observed, FileError> {
    let stopped = judge(name, None, Process::is_alive);
    if files::try_lock(&dir.lock_file(name))?.is_some() {
        return Ok(stopped);
    }
    let text = files::read(&dir.pid_file(name))?.unwrap_or_default();
    let pid = String::from_utf8_lossy(&text).trim().parse().ok();
    let process = pid.and_then(Process::of_pid);
    let state = if process.is_some() { State::Running } else { State::Died };
    Ok(Observed { process, state, ..stopped })
}

/// The id of the process that wrote a container's run state.
pub(crate) fn writer(dir: &ClusterDir, name: &ContainerName) -> Option<u32> {
    let run: RunState = files::read_document(&dir.run_state(name)).ok()??;
    Some(run.pid)
}

fn judge(name: &ContainerName, run: Option<RunState>, is_alive: impl Fn(Process) -> bool) -> Observed {
    let Some(run) = run else {
        let (name, state) = (name.clone(), State::Stopped);
        return Observed {
            name,
            roles: Vec::new(),
            process: None,
            state,
            address: None,
            mount: None,
            mounted: None,
            reason: None,
        };
    };
    let process = Process { pid: run.pid, start_ticks: run.start_ticks };
    let process = Some(process).filter(|process| is_alive(*process));
    let (state, reason) = match (run.state, process) {
        (Phase::Failed(reason), _) => (State::Failed, Some(reason)),
        (_, None) => (State::Died, None),
        (Phase::Starting, Some(_)) => (State::Starting, None),
        (Phase::Running, Some(_)) => (State::Running, None),
        (Phase::Stopping, Some(_)) => (State::Stopping, None),
    };
    let RunState { roles, address, mount, mounted, .. } = run;
    Observed { name: name.clone(), roles, process, state, address, mount, mounted, reason }
}

/// The frontends that were started in this directory, by name; those that ended cleanly left no state behind.
pub(crate) fn frontends_started(dir: &ClusterDir) -> Vec<ContainerName> {
    let mut names: Vec<_> = started(dir).into_iter().filter(is_frontend).collect();
    names.sort_by_key(|name| (name.as_str().len(), name.clone()));
    names
}

/// All containers that were started in this directory and left a run state.
pub(crate) fn started(dir: &ClusterDir) -> Vec<ContainerName> {
    let entries = std::fs::read_dir(dir.root().join("run")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let file = entry.file_name();
        file.to_str()?.strip_suffix(".json")?.parse().ok()
    });
    names.collect()
}

/// Whether a container of this name is a mount.
pub(crate) fn is_frontend(name: &ContainerName) -> bool {
    name.as_str().starts_with(FRONTEND)
}

/// What the names of mounts' containers start with.
const FRONTEND: &str = "frontend";

/// The name of a mount's container by its number; `frontend0` is the one that `weft up` mounts.
pub(crate) fn frontend(number: u32) -> ContainerName {
    format!("{FRONTEND}{number}").parse().expect("a word and a number make a name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_types::ClusterId;

    fn run(state: Phase) -> RunState {
        RunState {
            format: 1,
            container: ContainerName::drive(0),
            cluster: ClusterId::from_bytes([1; 16]),
            roles: vec![Role::Drive],
            pid: 77,
            start_ticks: 2200,
            address: None,
            mount: None,
            mounted: None,
            state,
        }
    }

    #[test]
    fn a_claim_counts_only_while_its_process_lives() {
        let reason = || Phase::Failed("no room; make some".to_owned());
        let rows = [
            (Some(Phase::Starting), true, State::Starting),
            (Some(Phase::Running), true, State::Running),
            (Some(Phase::Stopping), true, State::Stopping),
            (Some(Phase::Running), false, State::Died),
            (Some(Phase::Starting), false, State::Died),
            (Some(reason()), false, State::Failed),
            (Some(reason()), true, State::Failed),
            (None, true, State::Stopped),
        ];
        for (phase, alive, state) in rows {
            let observed = judge(&ContainerName::drive(0), phase.clone().map(run), |_| alive);
            assert_eq!(observed.state, state, "{phase:?} {alive}");
            assert_eq!(observed.process.is_some(), alive && phase.is_some(), "{phase:?} {alive}");
        }
        assert_eq!(frontend(0), ContainerName::frontend0());
    }

    #[test]
    fn a_damaged_run_state_hides_no_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dir, name) = (ClusterDir::new(folder.path()), ContainerName::drive(0));
        std::fs::create_dir(dir.root().join("run")).expect("mkdir");
        std::fs::write(dir.run_state(&name), "{").expect("write");
        std::fs::write(dir.pid_file(&name), format!("{}\n", std::process::id())).expect("write");
        assert_eq!(observe(&dir, &name).expect("told").state, State::Stopped, "nobody holds the lock");
        let _lock = files::try_lock(&dir.lock_file(&name)).expect("a file").expect("free");
        let observed = observe(&dir, &name).expect("told");
        assert_eq!((observed.state, observed.process), (State::Running, Process::current()));
    }

    #[test]
    fn started_frontends_are_listed_by_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = ClusterDir::new(folder.path());
        assert!(frontends_started(&dir).is_empty());
        std::fs::create_dir(dir.root().join("run")).expect("mkdir");
        for file in
            ["frontend10.json", "frontend2.json", "drive0.json", "frontend0.pid", "../x.json", "X.json"]
        {
            let _ = std::fs::write(dir.root().join("run").join(file), "");
        }
        assert_eq!(frontends_started(&dir), [frontend(2), frontend(10)]);
    }
}
