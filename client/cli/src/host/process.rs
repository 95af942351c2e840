//! Processes of this host, named so that a reused process id is never taken for another.

use core::time::Duration;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use weft_resources::start_ticks;

use super::waiting;

/// One process for as long as the host is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Process {
    /// The process that has this id now.
    pub(crate) fn of_pid(pid: u32) -> Option<Self> {
        let stat = read_stat(pid)?;
        if has_ended(&stat) {
            return None;
        }
        Some(Self { pid, start_ticks: start_ticks(&stat)? })
    }

    /// This process.
    pub(crate) fn current() -> Option<Self> {
        Self::of_pid(std::process::id())
    }

    /// Whether it runs; one that has ended and that nobody has waited for does not.
    pub(crate) fn is_alive(self) -> bool {
        Self::of_pid(self.pid) == Some(self)
    }

    /// Whether it was stopped (SIGSTOP, or by a debugger), and does nothing until it is continued.
    pub(crate) fn is_stopped(self) -> bool {
        self.is_alive() && read_stat(self.pid).is_some_and(|stat| has_state(&stat, ['T', 't']))
    }

    /// Sends a signal. One that has ended already needs none.
    ///
    /// # Errors
    /// What the kernel says, such as EPERM.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            other => other?,
        };
        // The handle is held: from here on the id cannot become another's.
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&handle, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Waits until it has ended; false when it has not within `patience`.
    pub(crate) fn wait_until_gone(self, patience: Duration) -> bool {
        waiting::poll(patience, || (!self.is_alive()).then_some(())).is_some()
    }
}

/// The command of a process as the kernel keeps it: at most 15 bytes.
pub(crate) fn command_name(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

fn read_stat(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the state in the text of `/proc/<pid>/stat` is that of a process that will not run again.
fn has_ended(stat: &str) -> bool {
    has_state(stat, ['Z', 'X'])
}

fn has_state(stat: &str, states: [char; 2]) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(states))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_of_its_id_is_not() {
        let me = Process::current().expect("this runs");
        assert!(me.is_alive());
        assert!(!Process { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }

    #[test]
    fn a_killed_child_is_gone_before_anyone_waits_for_it() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        let process = Process::of_pid(child.id()).expect("it runs");
        process.signal(Signal::KILL).expect("killed");
        assert!(process.wait_until_gone(Duration::from_secs(10)));
        process.signal(Signal::TERM).expect("nothing to do");
        child.wait().expect("reaped");
        assert_eq!(Process::of_pid(child.id()), None);
    }

    #[test]
    fn a_stopped_process_is_seen_as_such() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        let process = Process::of_pid(child.id()).expect("it runs");
        assert!(!process.is_stopped());
        process.signal(Signal::STOP).expect("stopped");
        let stopped = || process.is_stopped().then_some(());
        assert!(waiting::poll(Duration::from_secs(10), stopped).is_some());
        process.signal(Signal::KILL).expect("killed");
        child.wait().expect("reaped");
        assert!(!process.is_stopped());
    }

    #[test]
    fn a_command_with_parentheses_does_not_hide_the_state() {
        assert!(has_ended("1 (a) S b) Z 1 2"));
        assert!(!has_ended("1 (a) Z b) S 1 2"));
    }
}
