//! What `weft up` says when everything serves.

use std::path::{Path, PathBuf};

use serde::Serialize;
use weft_resources::ContainerName;
use weft_types::ClusterId;

use crate::cluster::{self, Cluster};
use crate::host::mounts;
use crate::output::{self, OutputError};

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
}

impl Report {
    pub(super) fn new(cluster: &Cluster, formed: bool, started: Vec<ContainerName>, mounted: bool) -> Self {
        Self {
            cluster: cluster.file.cluster,
            dir: cluster.dir.root().to_owned(),
            mount: cluster.mount_point(),
            protection: cluster.file.protection.clone(),
            drives: cluster.file.drives,
            formed,
            started,
            mounted,
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
        output::line(format!("weft: {done}: {drives} drives, {protection}, mounted at {mount}\n"))?;
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
