//! Starting programs that outlive this one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of a log's end is looked at for a last word.
const TAIL_BYTES: u64 = 16 << 10;

/// After how many milliseconds the allocator gives back what was freed. By itself it waits for a second, and a mount that writes and
/// reads at the disk's speed has more than its budget then (measured: 463 to 663 MiB of 512; with this 385).
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "100");

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// It is nowhere.
    #[error("{name} is neither beside {} nor in PATH", beside.display())]
    NotFound {
        /// The program.
        name: &'static str,
        /// Beside which program it should be.
        beside: PathBuf,
    },
    /// Its log cannot be written.
    #[error("cannot write {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The host does not run it.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

impl LaunchError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some(
                "build it with `make build`, or install all three programs with `make install`".to_owned(),
            ),
            Self::Log { .. } | Self::Run { .. } => None,
        }
    }
}

/// The program of this process.
pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// A program of the same installation: beside this one, else in PATH.
///
/// # Errors
/// [`LaunchError::NotFound`]
pub(crate) fn sibling(name: &'static str) -> Result<PathBuf, LaunchError> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().map(|folder| folder.join(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = beside.into_iter().chain(in_path).find(|candidate| candidate.is_file());
    found.ok_or(LaunchError::NotFound { name, beside: own })
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Child,
    log: PathBuf,
    log_start: u64,
}

/// Starts a program in a session of its own, without a terminal, in the root folder; what it prints goes to the end of
/// a log.
///
/// # Errors
/// [`LaunchError`]
pub(crate) fn detached(
    program: &Path,
    arguments: &[&std::ffi::OsStr],
    log: &Path,
) -> Result<Launched, LaunchError> {
    let no_log = |source| LaunchError::Log { path: log.to_owned(), source };
    let mut options = OpenOptions::new();
    let out = options.append(true).create(true).mode(0o600).open(log).map_err(no_log)?;
    let log_start = out.metadata().map_err(no_log)?.len();
    let err = out.try_clone().map_err(no_log)?;
    // The kernel gives a session of its own only to a process that asks for it itself, so this program does, and then
    // becomes the other.
    let mut command = Command::new(own_program());
    command.arg("detached").arg("--").arg(program).args(arguments);
    command.current_dir("/").stdin(Stdio::null()).stdout(out).stderr(err);
    if std::env::var_os(PURGE_DELAY.0).is_none() {
        command.env(PURGE_DELAY.0, PURGE_DELAY.1);
    }
    let child = command.spawn();
    let child = child.map_err(|source| LaunchError::Run { program: program.to_owned(), source })?;
    Ok(Launched { child, log: log.to_owned(), log_start })
}

/// Becomes a program in a session of its own. Returns only when that fails.
pub(crate) fn become_detached(program: &[std::ffi::OsString]) -> io::Error {
    // A leader of a process group cannot leave it; it has no need to, as it is nobody's background job then.
    let _ = rustix::process::setsid();
    match program.split_first() {
        Some((program, arguments)) => Command::new(program).args(arguments).exec(),
        None => io::ErrorKind::InvalidInput.into(),
    }
}

impl Launched {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without asking, and waits for that. One that has ended already is left alone.
    pub(crate) fn kill(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }

    /// When it has ended: its last words, or how it ended.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let words = last_words(&self.log, self.log_start).filter(|words| !words.is_empty());
        Some(words.unwrap_or_else(|| format!("it ended with {status}")))
    }
}

/// What a program said last in its log: its error line, else its last line.
fn last_words(log: &Path, start: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(start.max(len.saturating_sub(TAIL_BYTES)))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let word = lines().rev().find_map(error_of);
    word.or_else(|| lines().next_back()).map(str::to_owned)
}

/// The cause in a program's error line.
pub(crate) fn error_of(line: &str) -> Option<&str> {
    ["weftd: ", "weft: ", "error: "].into_iter().find_map(|start| line.strip_prefix(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_those_of_this_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let before = "weftd: an old fault\n";
        std::fs::write(&log, format!("{before}INFO opening\nweftd: no such device; look\nINFO bye\n"))
            .expect("write");
        assert_eq!(last_words(&log, before.len() as u64).as_deref(), Some("no such device; look"));
        std::fs::write(&log, format!("{before}INFO opening\n\n")).expect("write");
        assert_eq!(last_words(&log, before.len() as u64).as_deref(), Some("INFO opening"));
        std::fs::write(&log, before).expect("write");
        assert_eq!(last_words(&log, before.len() as u64), None);
    }
}
