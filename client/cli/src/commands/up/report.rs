//! What `weft up` says when everything serves.

use std::path::{Path, PathBuf};

use serde::Serialize;
use weft_resources::ContainerName;
use weft_types::ClusterId;

use super::backend::{self, Started};
use crate::cluster::{self, Cluster};
use crate::error;
use crate::host::mounts;
use crate::output::{self, OutputError};
use crate::start::StartError;

/// What was done, and what there is now.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    cluster: ClusterId,
    dir: PathBuf,
    mount: PathBuf,
    protection: String,
    drives: u32,
    /// The cluster is new.
    formed: bool,
    /// These containers were started.
    started: Vec<ContainerName>,
    /// The filesystem was mounted now.
    mounted: bool,
    /// Drives that do not serve.
    missing: Vec<Missing>,
    /// How many more may be lost before data is unreachable; absent when some may be already.
    losses_survived: Option<usize>,
}

/// A drive that does not serve.
#[derive(Debug, Serialize)]
struct Missing {
    container: ContainerName,
    /// Why, with the next step.
    reason: String,
}

impl Report {
    pub(super) fn new(cluster: &Cluster, formed: bool, started: Started, mounted: bool) -> Self {
        let Started { names: started, failed } = started;
        let losses_survived = backend::spare(cluster).checked_sub(failed.len());
        let reason = |error: &StartError| error::with_next_step(error, error.next_step());
        let missing =
            failed.into_iter().map(|(container, error)| Missing { container, reason: reason(&error) });
        let missing = missing.collect();
        Self {
            cluster: cluster.file.cluster,
            dir: cluster.dir.root().to_owned(),
            mount: cluster.mount_point(),
            protection: cluster.file.protection.clone(),
            drives: cluster.file.drives,
            formed,
            started,
            mounted,
            missing,
            losses_survived,
        }
    }

    /// Prints it, with what to try next; `path` is the directory as it was typed.
    ///
    /// # Errors
    /// [`OutputError`]
    pub(super) fn show(&self, path: &Path, json: bool) -> Result<(), OutputError> {
        if json {
            return output::json(self);
        }
        let Self { protection, drives, .. } = self;
        let (mount, dir) = (quoted(&mounts::shown(&self.mount)), quoted(&mounts::shown(&self.dir)));
        let done = match (self.formed, self.started.is_empty() && !self.mounted) {
            (true, _) => "a new encrypted cluster is up",
            (false, true) => "the cluster was up already",
            (false, false) => "the cluster is up again, with its data",
        };
        let weft = weft_command(path);
        output::line(format!("weft: {done}: {drives} drives, {protection}, mounted at {mount}"))?;
        for line in self.warnings() {
            output::line(format_args!("warning: {line}"))?;
        }
        output::line("")?;
        output::line(format!(
            "Try next:\n  \
             cp -a /usr/share/doc {mount}/\n  \
             df -h {mount}\n  \
             {weft} status\n  \
             kill -9 $(cat {dir}/run/drive2.pid)   # lose a drive: reads go on, and `{weft} up` brings it back\n  \
             {weft} down   # stop; the data stays"
        ))
    }
}

impl Report {
    /// What is missing, a line each, and what that means.
    fn warnings(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.missing.iter().map(said).collect();
        if !self.missing.is_empty() {
            let means = match self.losses_survived {
                None => "what had too many of its parts on the missing drives cannot be read",
                Some(0) => {
                    "everything is served from the other drives; when one more is lost, data is unreachable"
                }
                Some(1) => "everything is served from the other drives; 1 more may be lost",
                Some(_) => "everything is served from the other drives; more may be lost",
            };
            lines.push(means.to_owned());
        }
        lines
    }
}

fn said(missing: &Missing) -> String {
    let Missing { container, reason } = missing;
    // Most reasons name their container.
    if reason.contains(container.as_str()) { reason.clone() } else { format!("{container}: {reason}") }
}

/// The command as it was typed, with what it takes to mean this cluster.
fn weft_command(path: &Path) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "weft".to_owned());
    let by_environment = std::env::var_os("WEFT_DIR")
        .is_some_and(|dir| cluster::directory(Path::new(&dir)) == cluster::directory(path));
    let by_default = std::env::var_os("WEFT_DIR").is_none() && path == Path::new("weft-data");
    let program = quoted(&program);
    let dir = quoted(&path.to_string_lossy());
    if by_environment || by_default { program } else { format!("{program} --dir {dir}") }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+:@,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_drive_is_said_with_what_it_means() {
        let mut report = Report {
            cluster: ClusterId::from_bytes([1; 16]),
            dir: PathBuf::from("/d"),
            mount: PathBuf::from("/m"),
            protection: "4+2".to_owned(),
            drives: 6,
            formed: false,
            started: Vec::new(),
            mounted: true,
            missing: Vec::new(),
            losses_survived: Some(2),
        };
        assert!(report.warnings().is_empty());
        let missing = |name: u32, reason: &str| Missing {
            container: ContainerName::drive(name),
            reason: reason.to_owned(),
        };
        report.missing = vec![missing(1, "no device; bring it back"), missing(4, "drive4: no device")];
        report.losses_survived = Some(0);
        let lines = report.warnings();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[..2], ["drive1: no device; bring it back", "drive4: no device"]);
        assert!(lines[2].contains("unreachable"), "{}", lines[2]);
    }

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        let rows = [
            ("weft-data/mnt", "weft-data/mnt"),
            ("my data", "'my data'"),
            ("it's", "'it'\\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ];
        for (word, text) in rows {
            assert_eq!(quoted(word), text);
        }
    }
}
