//! Where the tests of two mounts look.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use weft_e2e::{Cluster, run};

/// Two folders that show the same files.
#[derive(Debug, Clone)]
pub struct Mounts {
    /// One mount.
    pub a: PathBuf,
    /// The other, or the same.
    pub b: PathBuf,
}

impl Mounts {
    /// The mounts of a cluster: the one that it has, and another one of the same filesystem.
    ///
    /// # Panics
    /// When there cannot be another one.
    pub fn of(cluster: &Cluster) -> Self {
        let b = cluster.scratch().join("another");
        std::fs::create_dir(&b).expect("a new folder");
        run(&mut cluster.weft(&["mount", "default", &b.to_string_lossy()])).success();
        Self { a: cluster.mount(), b }
    }

    /// A folder of this name on both, made on the first.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Self {
        std::fs::create_dir(self.a.join(name)).expect("a new folder");
        Self { a: self.a.join(name), b: self.b.join(name) }
    }
}

/// Opens a folder and those above it to other users, who are part of some tests: temporary folders are closed to them.
///
/// # Panics
/// When one that is closed cannot be opened.
pub fn open_to_others(folder: &Path) {
    for folder in folder.ancestors() {
        let mode = folder.metadata().expect("a folder of the test").permissions().mode();
        if mode & 0o055 != 0o055 {
            std::fs::set_permissions(folder, Permissions::from_mode(mode | 0o055)).expect("root may");
        }
    }
}
