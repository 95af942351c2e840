//! What lies under the path: whose processes work for it, and how they are made to forget.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise, syncfs};
use serde::Serialize;

use crate::error::Cause;
use crate::processes::{Ledger, ProcessUse, cpu_ticks, peak_bytes};

/// What a bench asks of the cluster behind the path.
pub trait Ground {
    /// What its processes have used so far; nothing where the path is nobody's mount.
    fn processes(&mut self) -> Vec<ProcessUse>;

    /// Unmounts, stops the drives and all others, starts and mounts again.
    ///
    /// # Errors
    /// [`RestartError`]
    fn restart(&mut self) -> Result<(), RestartError>;
}

/// Why a cluster was not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// It goes on as it was; why is said in a few words.
    #[error("{0}")]
    Impossible(String),
    /// It did not come back.
    #[error(transparent)]
    Broken(Cause),
}

/// A path that no process of a cluster works for.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainGround;

impl Ground for PlainGround {
    fn processes(&mut self) -> Vec<ProcessUse> {
        Vec::new()
    }

    fn restart(&mut self) -> Result<(), RestartError> {
        Ok(())
    }
}

/// What one process has used so far; `None` when it is gone, or when another one has its id by now.
pub fn process_use(container: &str, pid: u32, start_ticks: u64) -> Option<ProcessUse> {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
    if weft_resources::start_ticks(&stat) != Some(start_ticks) {
        return None;
    }
    let peak_bytes = peak_bytes(&String::from_utf8_lossy(&read("status")?)).unwrap_or_default();
    let cpu_ticks = cpu_ticks(&stat)?;
    Some(ProcessUse { container: container.to_owned(), pid, start_ticks, cpu_ticks, peak_bytes })
}

/// How much was forgotten before a cold workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warmth {
    /// The processes behind the path are new ones, or there are none.
    pub restarted: bool,
    /// Which of the kernel's pages were dropped.
    pub pages: Pages,
    /// Why not more.
    pub why: Option<String>,
}

/// Which of the kernel's pages were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pages {
    /// All of this host, names and attributes too.
    All,
    /// Those of the large file.
    LargeFile,
    /// None.
    None,
}

impl Warmth {
    /// In a word, or a few.
    pub const fn word(&self) -> &'static str {
        match (self.restarted, self.pages) {
            (true, Pages::All) => "cold",
            (true, _) => "cold but for the host's pages",
            (false, Pages::All | Pages::LargeFile) => "pages dropped only",
            (false, Pages::None) => "warm",
        }
    }
}

/// Why a small bench restarts no second time.
const ONCE: &str = "a small bench restarts the cluster only once";

/// Forgets as much as can be forgotten about what is below `root`.
pub(crate) fn chill(
    ground: &mut dyn Ground,
    ledger: &mut Ledger,
    (root, large): (&Path, &Path),
    restart: bool,
) -> Result<Warmth, Cause> {
    // What a process has used is lost with it.
    ledger.note(&ground.processes());
    let mut why = Vec::new();
    let restart = if restart { ground.restart() } else { Err(RestartError::Impossible(ONCE.to_owned())) };
    let restarted = match restart {
        Ok(()) => true,
        Err(RestartError::Impossible(cause)) => {
            why.push(cause);
            false
        }
        Err(RestartError::Broken(cause)) => return Err(cause),
    };
    ledger.note(&ground.processes());
    let pages = drop_pages(root, large);
    if pages != Pages::All {
        why.push("only root may drop all pages".to_owned());
    }
    let why = (!why.is_empty()).then(|| why.join("; "));
    Ok(Warmth { restarted, pages, why })
}

fn drop_pages(root: &Path, large: &Path) -> Pages {
    // Dirty pages stay. Where this fails the next steps do less, and the row says so.
    if let Ok(folder) = File::open(root) {
        let _ = syncfs(&folder);
    }
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
        return Pages::All;
    }
    let dropped = File::open(large).is_ok_and(|file| fadvise(&file, 0, None, Advice::DontNeed).is_ok());
    if dropped { Pages::LargeFile } else { Pages::None }
}

/// How long is waited at most for what a run left behind to be done.
const AFTERMATH_MAX: Duration = Duration::from_secs(3);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// A cluster that uses no more than this between two looks is quiet: a tenth of a core keeps up its heartbeats.
const QUIET_TICKS: u64 = 1;

/// Waits until the processes behind the path are quiet, so that what a run left to be done later counts as its own, and
/// not as the next one's.
pub(crate) fn settle(ground: &mut dyn Ground, ledger: &mut Ledger) {
    let end = std::time::Instant::now() + AFTERMATH_MAX;
    while std::time::Instant::now() < end {
        let processes = ground.processes();
        ledger.note(&processes);
        let before = ledger.cpu_ticks();
        if processes.is_empty() {
            return;
        }
        std::thread::sleep(GLANCE);
        ledger.note(&ground.processes());
        if ledger.cpu_ticks() - before <= QUIET_TICKS {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_claims_no_more_than_was_done() {
        let rows = [
            (true, Pages::All, "cold"),
            (true, Pages::None, "cold but for the host's pages"),
            (false, Pages::All, "pages dropped only"),
            (false, Pages::LargeFile, "pages dropped only"),
            (false, Pages::None, "warm"),
        ];
        for (restarted, pages, word) in rows {
            assert_eq!(Warmth { restarted, pages, why: None }.word(), word);
        }
    }

    #[test]
    fn this_process_is_told_from_another_of_its_id() {
        let pid = std::process::id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("this runs");
        let start = weft_resources::start_ticks(&stat).expect("a start");
        let found = process_use("me", pid, start).expect("it runs");
        assert!(found.peak_bytes > 0);
        assert_eq!(process_use("me", pid, start + 1), None);
    }

    struct Refuses;

    impl Ground for Refuses {
        fn processes(&mut self) -> Vec<ProcessUse> {
            Vec::new()
        }

        fn restart(&mut self) -> Result<(), RestartError> {
            Err(RestartError::Impossible("others use it".to_owned()))
        }
    }

    #[test]
    fn what_could_not_be_done_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ledger = Ledger::default();
        let warmth = chill(&mut Refuses, &mut ledger, (folder.path(), folder.path()), true).expect("goes on");
        assert!(!warmth.restarted && warmth.word() != "cold");
        assert!(warmth.why.is_some_and(|why| why.contains("others use it")));
    }
}
