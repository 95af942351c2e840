//! A workload that remembers, outside of the filesystem, what it was promised.
//!
//! Bytes are promised once an fsync of their file has returned; names once the call that changed them has. Whatever
//! was under way when the cluster died may have happened or not. Nothing else may have changed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// Longest file, so that overwrites meet.
const FILE_BYTES: u64 = 600_000;
/// Files of one workload.
const FILES_MAX: usize = 24;
/// Longest single write.
const WRITE_BYTES: u64 = 120_000;

/// What one file holds, as far as it was promised.
#[derive(Debug, Clone, Default)]
struct Content {
    /// Its bytes after the last fsync that returned.
    durable: Vec<u8>,
    /// Writes since then, in their order; some of them, or parts of them, may be there.
    pending: Vec<(u64, Vec<u8>)>,
}

/// A name operation that was begun and not answered.
#[derive(Debug, Clone)]
enum Begun {
    Create(String),
    Remove(String),
    Rename(String, String),
}

/// One stream of operations in a folder of its own.
#[derive(Debug)]
pub struct Workload {
    folder: PathBuf,
    random: Random,
    files: BTreeMap<String, Content>,
    begun: Option<Begun>,
    next_name: u64,
    fsyncs: u64,
    operations: u64,
}

impl Workload {
    /// A workload in a folder that it makes.
    ///
    /// # Errors
    /// Those of making the folder.
    pub fn begin(folder: PathBuf, seed: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        File::open(&folder)?.sync_all()?;
        let (files, random) = (BTreeMap::new(), Random::new(seed));
        Ok(Self { folder, random, files, begun: None, next_name: 0, fsyncs: 0, operations: 0 })
    }

    /// Operations done so far, and how many of them were an fsync.
    pub const fn done(&self) -> (u64, u64) {
        (self.operations, self.fsyncs)
    }

    /// Does one operation.
    ///
    /// # Errors
    /// What the filesystem says: after it, the outcome of this operation is unknown.
    pub fn step(&mut self) -> io::Result<()> {
        match self.random.below(10) {
            _ if self.files.is_empty() => self.create()?,
            0 if self.files.len() < FILES_MAX => self.create()?,
            1 => self.rename()?,
            2 if self.files.len() > FILES_MAX / 2 => self.remove()?,
            _ => self.write()?,
        }
        self.operations += 1;
        Ok(())
    }

    fn some_file(&mut self) -> String {
        let at = self.random.below(self.files.len() as u64);
        self.files.keys().nth(at as usize).expect("there is one").clone()
    }

    fn fresh_name(&mut self) -> String {
        self.next_name += 1;
        format!("f{:05}", self.next_name)
    }

    fn create(&mut self) -> io::Result<()> {
        let name = self.fresh_name();
        self.begun = Some(Begun::Create(name.clone()));
        File::create_new(self.folder.join(&name))?;
        self.begun = None;
        self.files.insert(name, Content::default());
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        let name = self.some_file();
        self.begun = Some(Begun::Remove(name.clone()));
        fs::remove_file(self.folder.join(&name))?;
        self.begun = None;
        self.files.remove(&name);
        Ok(())
    }

    /// Renames a file to a new name, or over another file.
    fn rename(&mut self) -> io::Result<()> {
        let from = self.some_file();
        let over = self.random.below(2) == 0 && self.files.len() > 2;
        let to = if over { self.some_file() } else { self.fresh_name() };
        if from == to {
            return Ok(());
        }
        self.begun = Some(Begun::Rename(from.clone(), to.clone()));
        fs::rename(self.folder.join(&from), self.folder.join(&to))?;
        self.begun = None;
        let content = self.files.remove(&from).expect("it was there");
        self.files.insert(to, content);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let name = self.some_file();
        let file = OpenOptions::new().write(true).open(self.folder.join(&name))?;
        for _ in 0..=self.random.below(3) {
            let len = 1 + if self.random.below(3) == 0 {
                self.random.below(WRITE_BYTES)
            } else {
                self.random.below(5000)
            };
            let at = self.random.below(FILE_BYTES - len);
            let bytes = self.random.bytes(len as usize);
            let content = self.files.get_mut(&name).expect("it is there");
            content.pending.push((at, bytes.clone()));
            file.write_all_at(&bytes, at)?;
        }
        if self.random.below(2) == 0 {
            file.sync_all()?;
            self.files.get_mut(&name).expect("it is there").settle();
            self.fsyncs += 1;
        }
        Ok(())
    }

    /// Looks at everything after the cluster came back, and goes on from what is there.
    ///
    /// # Errors
    /// A promise that was not kept, or what the filesystem says.
    pub fn verify(&mut self) -> Result<(), String> {
        let found = list(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        self.settle_names(&found)?;
        let expected: Vec<_> = self.files.keys().cloned().collect();
        if expected != found {
            return Err(format!("names: expected {expected:?}, found {found:?}"));
        }
        for (name, content) in &mut self.files {
            let bytes = fs::read(self.folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
            content.check(&bytes).map_err(|what| format!("{name}: {what}"))?;
            *content = Content { durable: bytes, pending: Vec::new() };
        }
        Ok(())
    }

    /// Decides by what is there whether the operation that was under way has happened.
    fn settle_names(&mut self, found: &[String]) -> Result<(), String> {
        let there = |name: &String| found.contains(name);
        match self.begun.take() {
            Some(Begun::Create(name)) if there(&name) => {
                self.files.insert(name, Content::default());
            }
            Some(Begun::Remove(name)) if !there(&name) => {
                self.files.remove(&name);
            }
            Some(Begun::Rename(from, to)) if !there(&from) => {
                let content = self.files.remove(&from).ok_or("a name is gone")?;
                self.files.insert(to, content);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Content {
    /// An fsync has returned.
    fn settle(&mut self) {
        for (at, bytes) in self.pending.drain(..) {
            let (at, end) = (at as usize, at as usize + bytes.len());
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[at..end].copy_from_slice(&bytes);
        }
    }

    /// Every byte is the promised one, or one of a write that was not promised yet.
    fn check(&self, found: &[u8]) -> Result<(), String> {
        if found.len() < self.durable.len() {
            return Err(format!("{} bytes were promised, {} are there", self.durable.len(), found.len()));
        }
        for (at, byte) in found.iter().enumerate() {
            let promised = self.durable.get(at).copied().unwrap_or(0);
            let at = at as u64;
            let pending = |(from, bytes): &(u64, Vec<u8>)| {
                at.checked_sub(*from)
                    .and_then(|at| bytes.get(at as usize))
                    .is_some_and(|pending| pending == byte)
            };
            if *byte != promised && !self.pending.iter().any(pending) {
                return Err(format!("byte {at} is {byte}, {promised} was promised"));
            }
        }
        let longest = self.pending.iter().map(|(at, bytes)| *at as usize + bytes.len()).max().unwrap_or(0);
        if found.len() > longest.max(self.durable.len()) {
            return Err(format!("{} bytes are there, which nobody wrote", found.len()));
        }
        Ok(())
    }
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_that_keeps_all_passes_and_one_that_loses_an_fsynced_byte_does_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut workload = Workload::begin(dir.path().join("w"), 7).expect("begins");
        for _ in 0..300 {
            workload.step().expect("done");
        }
        workload.verify().expect("all is there");
        let (name, content) =
            workload.files.iter().max_by_key(|(_, content)| content.durable.len()).expect("a file");
        let mut bytes = content.durable.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(workload.folder.join(name), bytes).expect("changed");
        workload.verify().expect_err("a promise was not kept");
    }

    #[test]
    fn a_name_that_comes_back_is_found_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut workload = Workload::begin(dir.path().join("w"), 8).expect("begins");
        for _ in 0..50 {
            workload.step().expect("done");
        }
        fs::write(workload.folder.join("f99999"), "x").expect("made");
        workload.verify().expect_err("nobody made it");
    }
}
