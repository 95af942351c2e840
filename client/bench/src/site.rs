//! The bench's own directory: one large file, trees of small ones, and nothing left of them at the end.

mod large;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};

use weft_types::ByteCount;

use crate::error::During;
use crate::parameters::Parameters;
use crate::pattern::{Pattern, mixed};
use crate::stop::Stop;
use crate::{BenchError, Need};

pub(crate) use large::{DirectFile, Large, open_direct};
pub(crate) use trees::{TreeKey, Trees};

/// Where a bench works.
pub(crate) struct Site {
    root: PathBuf,
    keep: bool,
    /// How much is measured.
    pub(crate) parameters: Parameters,
    /// Whether to end early.
    pub(crate) stop: Stop,
    /// The large file.
    pub(crate) large: Large,
    /// The small files.
    pub(crate) trees: Trees,
}

impl Site {
    /// A directory below `path` with a name that nobody else has. With `keep` it stays.
    pub(crate) fn new(
        path: &Path,
        parameters: Parameters,
        keep: bool,
        stop: Stop,
    ) -> Result<Self, BenchError> {
        let tag = mixed(parameters.seed ^ mixed(std::process::id().into()) ^ now());
        let root = path.join(format!(".weft-bench-{tag:016x}"));
        fs::create_dir(&root).during("make", &root)?;
        let pattern = Pattern::new(parameters.seed);
        let large = Large::new(root.join("large"), pattern, parameters.blocks());
        let trees = Trees::new(root.clone(), pattern, parameters.files);
        Ok(Self { root, keep, parameters, stop, large, trees })
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes everything, unless it is kept.
    pub(crate) fn remove(&self) -> Result<(), BenchError> {
        if self.keep {
            return Ok(());
        }
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.during("remove", &self.root),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Whoever wants to know whether it went calls `remove` before.
        let _ = self.remove();
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 30 ^ u64::from(since.subsec_nanos())
}

/// Refuses a path that is no directory, or that has too little room.
pub(crate) fn check(path: &Path, need: Need) -> Result<(), BenchError> {
    let unusable = |source| BenchError::Path { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(unusable)?.is_dir() {
        return Err(BenchError::NotADirectory(path.to_owned()));
    }
    let space = rustix::fs::statvfs(path).map_err(|errno| unusable(errno.into()))?;
    let free = ByteCount::new(space.f_bavail.saturating_mul(space.f_frsize));
    if free < need.total() {
        return Err(BenchError::NoRoom { path: path.to_owned(), free, need });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_room_is_refused_with_the_arithmetic() {
        let folder = tempfile::tempdir().expect("a folder");
        let need = Parameters { size: ByteCount::new(1 << 60), ..Parameters::full(1) }.need();
        let error = check(folder.path(), need).expect_err("no such disk").to_string();
        assert!(error.contains("2 x 1.00 EiB") && error.contains("6 x 5000 files"), "{error}");
        check(folder.path(), Parameters::small(1).need()).expect("room enough");
    }

    #[test]
    fn only_a_directory_will_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
        fs::write(&file, "").expect("write");
        let need = Parameters::small(1).need();
        assert!(matches!(check(&missing, need), Err(BenchError::Path { .. })));
        assert!(matches!(check(&file, need), Err(BenchError::NotADirectory(_))));
    }

    #[test]
    fn nothing_is_left_unless_it_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let site =
            |keep| Site::new(folder.path(), Parameters::small(1), keep, Stop::default()).expect("a site");
        let gone = site(false);
        fs::write(gone.root().join("x"), "x").expect("write");
        let path = gone.root().to_owned();
        drop(gone);
        assert!(!path.exists());
        let kept = site(true);
        let path = kept.root().to_owned();
        drop(kept);
        assert!(path.exists());
    }
}
