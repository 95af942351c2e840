//! A mixed load: everything that makes a mount remember, hold back, fetch, and forget.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, XattrFlags, copy_file_range, fallocate};
use weft_e2e::Random;

use crate::model::pattern;
use crate::{Mapping, Mounts};

/// One job: its name, and what it does in a folder that is its worker's.
type Job = (&'static str, fn(&mut Worker) -> io::Result<()>);

const JOBS: [Job; 9] = [
    ("small files", small_files),
    ("a big file", big_file),
    ("random blocks", random_blocks),
    ("direct reads", direct_reads),
    ("a copy", copy),
    ("a mapping", mapping),
    ("a large directory", large_directory),
    ("attributes", attributes),
    ("the other mount", other_mount),
];

/// Bytes of the file that is overwritten in places.
const WORN_BYTES: u64 = 48 << 20;
/// Bytes of one request.
const REQUEST_BYTES: usize = 1 << 20;

/// Somebody who does one job after another.
#[derive(Debug)]
pub struct Worker {
    folder: Mounts,
    large: PathBuf,
    random: Random,
    bytes: Vec<u8>,
    jobs: u64,
}

impl Worker {
    /// A worker in a new folder of this name; all workers list the same large directory.
    ///
    /// # Errors
    /// Those of making what jobs find.
    pub fn begin(mounts: &Mounts, name: &str, large: &Path, seed: u64) -> io::Result<Self> {
        let folder = mounts.folder(name);
        let bytes = pattern(seed as u8, REQUEST_BYTES);
        let worker = Self { folder, large: large.to_owned(), random: Random::new(seed), bytes, jobs: 0 };
        write_whole(&worker.at("worn"), WORN_BYTES, &worker.bytes)?;
        Ok(worker)
    }

    /// Does one job.
    ///
    /// # Errors
    /// Its name, and what the filesystem said.
    pub fn step(&mut self) -> Result<(), String> {
        let (name, job) = JOBS[self.random.below(JOBS.len() as u64) as usize];
        self.jobs += 1;
        job(self).map_err(|error| format!("{name}: {error}"))
    }

    /// Jobs done so far.
    pub const fn jobs(&self) -> u64 {
        self.jobs
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.a.join(name)
    }

    /// A place for this many bytes in the worn file.
    fn place(&mut self, len: u64) -> u64 {
        self.random.below(WORN_BYTES - len)
    }
}

/// Makes a directory of so many empty files.
///
/// # Errors
/// What the filesystem says.
pub fn make_large_directory(at: &Path, names: u64) -> io::Result<()> {
    fs::create_dir(at)?;
    (0..names).try_for_each(|number| File::create_new(at.join(format!("entry-{number:06}"))).map(drop))
}

fn write_whole(path: &Path, len: u64, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    (0..len / bytes.len() as u64).try_for_each(|_| file.write_all(bytes))
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("{what} is not what was written"))
}

fn small_files(worker: &mut Worker) -> io::Result<()> {
    let folder = worker.at("small");
    fs::create_dir(&folder)?;
    let lens: Vec<_> = (0..150).map(|_| worker.random.below(12_000) as usize).collect();
    for (number, len) in lens.iter().enumerate() {
        fs::write(folder.join(number.to_string()), &worker.bytes[..*len])?;
    }
    for (number, len) in lens.iter().enumerate() {
        if fs::read(folder.join(number.to_string()))? != worker.bytes[..*len] {
            return Err(wrong("a small file"));
        }
    }
    fs::remove_dir_all(folder)
}

fn big_file(worker: &mut Worker) -> io::Result<()> {
    let path = worker.at("big");
    write_whole(&path, 64 << 20, &worker.bytes)?;
    let mut file = File::open(&path)?;
    let mut bytes = vec![0; REQUEST_BYTES];
    for _ in 0..64 {
        file.read_exact(&mut bytes)?;
        if bytes != worker.bytes {
            return Err(wrong("a big file"));
        }
    }
    fs::remove_file(path)
}

/// Many small extents: what compaction is for.
fn random_blocks(worker: &mut Worker) -> io::Result<()> {
    let file = open(&worker.at("worn"), OFlags::empty())?;
    for _ in 0..500 {
        let at = worker.place(4096);
        file.write_all_at(&worker.bytes[..4096], at)?;
    }
    let at = worker.place(1 << 20);
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, 300_000)?;
    file.sync_all()
}

fn direct_reads(worker: &mut Worker) -> io::Result<()> {
    let file = open(&worker.at("worn"), OFlags::DIRECT)?;
    let mut bytes = vec![0; REQUEST_BYTES];
    for _ in 0..60 {
        let len = [4096, 65_536, REQUEST_BYTES][worker.random.below(3) as usize];
        let at = worker.place(len as u64);
        file.read_exact_at(&mut bytes[..len], at)?;
    }
    Ok(())
}

fn copy(worker: &mut Worker) -> io::Result<()> {
    let (from, to) = (File::open(worker.at("worn"))?, File::create(worker.at("copy"))?);
    let mut left = WORN_BYTES as usize;
    while left > 0 {
        left -= match copy_file_range(&from, None, &to, None, left)? {
            0 => return Err(wrong("a copy")),
            more => more,
        };
    }
    open(&worker.at("copy"), OFlags::empty())?.write_all_at(&worker.bytes, 12_345_678)?;
    fs::remove_file(worker.at("copy"))
}

fn mapping(worker: &mut Worker) -> io::Result<()> {
    let file = open(&worker.at("worn"), OFlags::empty())?;
    let mapping = Mapping::of(&file, WORN_BYTES as usize)?;
    for _ in 0..200 {
        let at = worker.place(5000) as usize;
        mapping.write(at, &worker.bytes[..5000]);
        if mapping.read(at, 5000) != worker.bytes[..5000] {
            return Err(wrong("a mapping"));
        }
    }
    mapping.sync()
}

fn large_directory(worker: &mut Worker) -> io::Result<()> {
    for entry in fs::read_dir(&worker.large)? {
        let entry = entry?;
        if worker.random.below(10) == 0 {
            entry.metadata()?;
        }
    }
    Ok(())
}

fn attributes(worker: &mut Worker) -> io::Result<()> {
    let path = worker.at("attributed");
    fs::write(&path, "x")?;
    for number in 0..20 {
        let value = &worker.bytes[..1 + worker.random.below(8000) as usize];
        rustix::fs::setxattr(&path, format!("user.{number}"), value, XattrFlags::empty())?;
        fs::rename(&path, worker.at("renamed"))?;
        fs::rename(worker.at("renamed"), &path)?;
    }
    fs::remove_file(path)
}

/// What one mount wrote is read, written and removed on the other.
fn other_mount(worker: &mut Worker) -> io::Result<()> {
    let there = worker.folder.b.join("shared");
    for number in 0..20 {
        let len = 100_000 + number * 10_000;
        fs::write(worker.at("shared"), &worker.bytes[..len])?;
        if fs::read(&there)? != worker.bytes[..len] {
            return Err(wrong("a file on the other mount"));
        }
        fs::write(&there, &worker.bytes[..len / 2])?;
        if fs::read(worker.at("shared"))? != worker.bytes[..len / 2] {
            return Err(wrong("a file of the other mount"));
        }
        fs::remove_file(&there)?;
    }
    let mut bytes = vec![0; REQUEST_BYTES];
    let place = worker.place(REQUEST_BYTES as u64);
    File::open(worker.folder.b.join("worn"))?.read_exact_at(&mut bytes, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_can_be_done_again_and_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mounts = Mounts { a: folder.path().to_owned(), b: folder.path().to_owned() };
        let large = folder.path().join("large");
        make_large_directory(&large, 50).expect("made");
        let mut worker = Worker::begin(&mounts, "worker", &large, 1).expect("begins");
        // A disk's own filesystem may demand offsets that are aligned, and have no room for attributes of this size.
        let anywhere = |name: &str| !["direct reads", "attributes"].contains(&name);
        for (name, job) in JOBS.iter().filter(|(name, _)| anywhere(name)) {
            for _ in 0..2 {
                job(&mut worker).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
        worker.step().expect("done");
        assert_eq!(worker.jobs(), 1);
    }
}
