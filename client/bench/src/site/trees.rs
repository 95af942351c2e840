//! Trees of small files: for each number of threads and each run one, with a directory for each thread.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::BenchError;
use crate::crew;
use crate::error::During;
use crate::parameters::FILE;
use crate::pattern::{Pattern, Place};
use crate::stop::Stop;
use crate::workload::Threads;

/// Which tree: of so many threads, for this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TreeKey {
    /// For how many threads.
    pub(crate) threads: Threads,
    /// For which run.
    pub(crate) run: usize,
}

/// All trees that are there.
pub(crate) struct Trees {
    root: PathBuf,
    pattern: Pattern,
    files: usize,
    there: BTreeMap<TreeKey, Tree>,
}

/// One tree, whether its files are there or not.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: PathBuf,
    number: u64,
    pattern: Pattern,
    threads: usize,
    per_thread: usize,
    /// How often its files were renamed.
    renamed: u32,
}

impl Trees {
    pub(super) fn new(root: PathBuf, pattern: Pattern, files: usize) -> Self {
        Self { root, pattern, files, there: BTreeMap::new() }
    }

    /// Makes a tree's directories without files; what was there of it goes.
    pub(crate) fn make_empty(&mut self, key: TreeKey) -> Result<Tree, BenchError> {
        let tree = self.plan(key);
        self.there.remove(&key);
        remove(&tree.root)?;
        for thread in 0..tree.threads {
            let folder = tree.folder(thread);
            fs::create_dir_all(&folder).during("make", &folder)?;
        }
        Ok(tree)
    }

    /// Takes note that the files of a tree are there.
    pub(crate) fn made(&mut self, key: TreeKey, tree: Tree) {
        self.there.insert(key, tree);
    }

    /// The tree with its files, which are made unless they are there.
    pub(crate) fn ensure(&mut self, key: TreeKey, stop: &Stop) -> Result<Tree, BenchError> {
        if let Some(tree) = self.there.get(&key) {
            return Ok(tree.clone());
        }
        let tree = self.make_empty(key)?;
        let make = |thread| {
            for index in 0..tree.per_thread {
                stop.check()?;
                tree.create(thread, index, &mut vec![0; FILE])?;
            }
            Ok(crew::Tally::default())
        };
        crew::run(tree.threads, make, || Ok(()))?;
        self.made(key, tree.clone());
        Ok(tree)
    }

    /// Takes note that the files of a tree are gone.
    pub(crate) fn unmade(&mut self, key: TreeKey) {
        self.there.remove(&key);
    }

    /// The tree as it is when it was made just now.
    pub(crate) fn plan(&self, key: TreeKey) -> Tree {
        let threads = key.threads.get();
        Tree {
            root: self.root.join(format!("t{threads}-run{}", key.run)),
            number: 1 + key.run as u64 * 2 + u64::from(key.threads == Threads::Four),
            pattern: self.pattern,
            threads,
            per_thread: self.files.div_ceil(threads),
            renamed: 0,
        }
    }
}

impl Tree {
    /// Threads, and directories.
    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    /// Files in each directory.
    pub(crate) const fn per_thread(&self) -> usize {
        self.per_thread
    }

    /// A thread's directory.
    pub(crate) fn folder(&self, thread: usize) -> PathBuf {
        self.root.join(thread.to_string())
    }

    /// A file, by its name of now.
    pub(crate) fn file(&self, thread: usize, index: usize) -> PathBuf {
        self.folder(thread)
            .join(format!("{}{index}", if self.renamed.is_multiple_of(2) { "f" } else { "renamed-" }))
    }

    /// The same tree after its files were renamed once more.
    pub(crate) fn renamed(&self) -> Self {
        Self { renamed: self.renamed + 1, ..self.clone() }
    }

    /// Creates a file, writes it and closes it.
    pub(crate) fn create(&self, thread: usize, index: usize, buffer: &mut [u8]) -> Result<(), BenchError> {
        let path = self.file(thread, index);
        self.pattern.fill(self.place(thread, index), buffer);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(buffer));
        written.during("create", &path)
    }

    /// Fails unless a file's bytes are those that were written.
    pub(crate) fn check(&self, thread: usize, index: usize, bytes: &[u8]) -> Result<(), BenchError> {
        if bytes.len() == FILE && self.pattern.matches(self.place(thread, index), bytes) {
            return Ok(());
        }
        Err(BenchError::WrongBytes { path: self.file(thread, index), offset: 0 })
    }

    fn place(&self, thread: usize, index: usize) -> Place {
        Place { file: self.number, block: (thread * self.per_thread + index) as u64, generation: 0 }
    }
}

fn remove(path: &Path) -> Result<(), BenchError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.during("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TreeKey = TreeKey { threads: Threads::Four, run: 0 };

    #[test]
    fn a_tree_is_made_once_and_its_files_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trees = Trees::new(folder.path().to_owned(), Pattern::new(1), 10);
        let tree = trees.ensure(KEY, &Stop::default()).expect("made");
        assert_eq!((tree.threads(), tree.per_thread()), (4, 3));
        let bytes = fs::read(tree.file(3, 2)).expect("read");
        tree.check(3, 2, &bytes).expect("right");
        assert!(tree.check(3, 1, &bytes).is_err() && tree.check(3, 2, &bytes[1..]).is_err());
        fs::remove_file(tree.file(3, 2)).expect("removed");
        trees.ensure(KEY, &Stop::default()).expect("there");
        assert!(!tree.file(3, 2).exists(), "it was not made again");
        trees.unmade(KEY);
        trees.ensure(KEY, &Stop::default()).expect("made again");
        assert!(tree.file(3, 2).exists());
    }

    #[test]
    fn renamed_files_are_found_by_their_new_names() {
        let mut trees = Trees::new(PathBuf::from("/x"), Pattern::new(1), 10);
        let tree = trees.plan(KEY);
        assert_ne!(tree.file(0, 1), tree.renamed().file(0, 1));
        assert_eq!(tree.file(0, 1), tree.renamed().renamed().file(0, 1));
        trees.made(KEY, tree.renamed());
        let found = trees.ensure(KEY, &Stop::default()).expect("there");
        assert_eq!(found.file(0, 1), tree.renamed().file(0, 1));
    }
}
