//! `run/<name>.json`: what a container that was started has come to.

use core::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_types::{ClusterId, Role};

use crate::{ContainerName, Document};

/// Written by the process that runs the container: first when it has the container's lock, then when it serves, and
/// once more when it gives up. Removed on a clean stop.
///
/// It is a claim of the past: the process is alive only when `/proc/<pid>/stat` still has the same start time
/// ([`start_ticks`]); a killed one leaves its last state behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// [`Document::FORMAT`] of whoever wrote it.
    pub format: u32,
    /// Which container.
    pub container: ContainerName,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// What its processes do.
    pub roles: Vec<Role>,
    /// The process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot, as field 22 of `/proc/<pid>/stat` says.
    pub start_ticks: u64,
    /// Where its first process serves; absent for a frontend.
    pub address: Option<SocketAddr>,
    /// Where a frontend has its filesystem mounted.
    pub mount: Option<PathBuf>,
    /// What a frontend has mounted there; absent before it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted: Option<MountedAs>,
    /// How far it has come.
    pub state: Phase,
}

/// What the kernel shows of a frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountedAs {
    /// The mount's device number, major and minor: it tells one mount from another that was at its place before.
    pub device: (u32, u32),
    /// The options that it was mounted with, as they were typed.
    pub options: String,
}

/// How far a container has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It opens its files and its ports.
    Starting,
    /// Every one of its processes serves.
    Running,
    /// It was told to stop and finishes what is under way.
    Stopping,
    /// It gave up, for this reason: one line, with the next step.
    Failed(String),
}

impl Document for RunState {
    const KIND: &'static str = "run state file";
    const FORMAT: u32 = 1;
    const REMEDY: &'static str = "remove it: it is written again when the container starts";
}

/// The start time of a process in clock ticks since boot, out of the text of `/proc/<pid>/stat`. Together with the
/// process id it names one process for as long as the host is up.
pub fn start_ticks(stat: &str) -> Option<u64> {
    // The second field is the command in parentheses and may hold anything, parentheses and spaces too.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, to_json};
    use std::path::Path;

    #[test]
    fn the_start_time_is_found_behind_any_command() {
        let fields: Vec<_> = (4..=52).map(|field| (field * 100).to_string()).collect();
        for command in ["weftd", "a) b", "x (y) z", ") 1 2 3", ""] {
            let stat = format!("77 ({command}) S {}\n", fields.join(" "));
            assert_eq!(start_ticks(&stat), Some(2200), "{command}");
        }
        assert_eq!(start_ticks("77 (weftd"), None);
        assert_eq!(start_ticks("77 (weftd) S 1 2"), None);
    }

    #[test]
    fn every_phase_survives_its_text() {
        for state in
            [Phase::Starting, Phase::Running, Phase::Stopping, Phase::Failed("port taken".to_owned())]
        {
            let run = RunState {
                format: 1,
                container: ContainerName::compute0(),
                cluster: ClusterId::from_bytes([1; 16]),
                roles: vec![Role::Management, Role::Compute],
                pid: 77,
                start_ticks: 2200,
                address: Some(([127, 0, 0, 1], 7400).into()),
                mount: None,
                mounted: Some(MountedAs { device: (0, 44), options: "ro".to_owned() }),
                state,
            };
            assert_eq!(parse::<RunState>(Path::new("r"), to_json(&run).as_bytes()).expect("reads"), run);
        }
    }
}
