//! A process that ends with the test that started it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use weft_e2e::wait_until;

/// A process that was started. Dropping it kills it, and every process that descends from it, with SIGKILL.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
}

impl Running {
    /// Starts a program; what it says on standard output is read line by line with [`line`](Self::line).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Self { child, line }
    }

    /// Waits for a line of its standard output that contains these words.
    ///
    /// # Panics
    /// When its output ends before.
    pub fn line(&mut self, words: &str) -> String {
        let output = self.child.stdout.as_mut().expect("the output is piped");
        // A reader of one byte: what follows the line stays for the next call.
        let mut reader = BufReader::with_capacity(1, output);
        let mut line = String::new();
        while reader.read_line(&mut line).expect("the output is text") > 0 {
            if line.contains(words) {
                return line;
            }
            line.clear();
        }
        panic!("{} ended without saying {words:?}", self.line);
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        !is_gone(self.number())
    }

    /// Stops it where it is; [`go_on`](Self::go_on) lets it run again. False when it has ended.
    ///
    /// # Panics
    /// When it does not stop within a minute: what it has begun in the kernel is done first.
    pub fn hold(&self) -> bool {
        self.signal(Signal::STOP);
        wait_until("a process is stopped or over", Duration::from_secs(60), || {
            let state = state(self.number());
            matches!(state, None | Some('T' | 'Z')).then_some(state == Some('T'))
        })
    }

    /// Lets it run again.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.number()).expect("a pid");
        // It may have ended.
        let _ = kill_process(pid, signal);
    }

    fn number(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Kills it and its descendants with SIGKILL, one right after the other, and waits until all are gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not succeed.
    pub fn finish(mut self) {
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "{}: {status}", self.line);
    }

    fn end(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        let mut pids = vec![self.number()];
        descendants(&mut pids);
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // It may have ended with its parent.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        for pid in &pids[1..] {
            wait_until("a killed process is gone", Duration::from_secs(30), || is_gone(*pid).then_some(()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Adds the children of those listed, theirs, and so on.
fn descendants(pids: &mut Vec<i32>) {
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
}

/// Whether the process has ended; one that nobody has waited for counts as gone.
fn is_gone(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

/// The letter by which the kernel says what a process does; none when there is no such process.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_its_descendants() {
        let mut shell = Command::new("sh");
        let mut running = Running::start(shell.args(["-c", "sleep 1000 & echo child $!; wait"]));
        let line = running.line("child");
        let pid: i32 = line.trim().rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
        assert!(!is_gone(pid));
        drop(running);
        assert!(is_gone(pid));
    }

    #[test]
    fn a_process_is_held_and_goes_on() {
        let mut shell = Command::new("sh");
        let mut running = Running::start(shell.args(["-c", "while echo line; do true; done"]));
        running.line("line");
        assert!(running.hold() && running.is_running());
        running.go_on();
        running.line("line");
        running.kill();
        let over = Running::start(&mut Command::new("true"));
        wait_until("it ends", Duration::from_secs(10), || (!over.is_running()).then_some(()));
        assert!(!over.hold());
        over.finish();
    }
}
