//! The litmus of coherence: after a change on one mount returned, the other never answers the old state.
//!
//! Each round changes one thing through one mount and looks at it through the other, which had looked at the old state
//! before and may have it cached, the absence of a name included. Kinds of changes and the mount that changes are random.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;
use weft_e2e::Random;

use crate::{Mapping, Mounts};

/// What the rounds of one kind took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// The kind of change.
    pub kind: &'static str,
    /// Its rounds.
    pub rounds: u64,
    /// All of them: the change, the looks before and after it, and what was made for it.
    pub time: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Took {
    const fn nothing(kind: &'static str) -> Self {
        Self { kind, rounds: 0, time: Duration::ZERO, longest: Duration::ZERO }
    }

    fn add(&mut self, rounds: u64, time: Duration, longest: Duration) {
        self.rounds += rounds;
        self.time += time;
        self.longest = self.longest.max(longest);
    }

    /// Microseconds of a round in the mean.
    pub fn micros(&self) -> u128 {
        self.time.as_micros() / u128::from(self.rounds.max(1))
    }
}

impl fmt::Display for Took {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, longest) = (self.time.as_secs_f64(), self.longest.as_millis());
        let Self { kind, rounds, .. } = self;
        write!(
            out,
            "{kind}: {rounds} rounds in {seconds:.1} s, {} us each, at most {longest} ms",
            self.micros()
        )
    }
}

/// What a run of rounds came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// By kinds.
    pub kinds: Vec<Took>,
}

impl Report {
    /// All rounds together.
    pub fn all(&self) -> Took {
        let mut all = Took::nothing("all");
        self.kinds.iter().for_each(|kind| all.add(kind.rounds, kind.time, kind.longest));
        all
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kinds.iter().chain([&self.all()]).try_for_each(|kind| writeln!(out, "{kind}"))
    }
}

/// What a look may find wrong.
type Verdict = Result<(), String>;

/// One kind of change: its name, and what one round of it does in the folder as its mount and as the other one see it.
type Kind = (&'static str, fn(Round<'_>) -> Verdict);

/// One round: the folder on the mount that changes, the same folder on the mount that looks, a number of its own.
#[derive(Debug, Clone, Copy)]
struct Round<'a> {
    here: &'a Path,
    there: &'a Path,
    number: u64,
    /// A file of its own for each mount that changes: what a mount may only do while no other one writes.
    own: &'static str,
}

const KINDS: [Kind; 16] = [
    ("create", create),
    ("write", write),
    ("write and close", write_and_close),
    ("write under a mapping", write_under_a_mapping),
    ("write by a mapping", write_by_a_mapping),
    ("append", append),
    ("truncate", truncate),
    ("chmod", change_mode),
    ("utimens", change_time),
    ("rename", rename),
    ("rename over", rename_over),
    ("link", link),
    ("symlink", symbolic_link),
    ("xattr", attribute),
    ("unlink", unlink),
    ("mkdir and rmdir", folder),
];

/// Runs rounds in an empty folder of two mounts, of random kinds.
///
/// # Errors
/// The first old answer.
pub fn run(folder: &Mounts, rounds: u64, seed: u64) -> Result<Report, String> {
    let mut random = Random::new(seed);
    prepare(folder).map_err(|error| error.to_string())?;
    let mut took = KINDS.map(|(name, _)| Took::nothing(name));
    for number in 1..=rounds {
        let (here, there, own) = if random.below(2) == 0 {
            (&folder.a, &folder.b, OWN[0])
        } else {
            (&folder.b, &folder.a, OWN[1])
        };
        let kind = random.below(KINDS.len() as u64) as usize;
        let (name, change) = KINDS[kind];
        let began = Instant::now();
        change(Round { here, there, number, own })
            .map_err(|what| format!("round {number}, {name} through {}: {what}", here.display()))?;
        took[kind].add(1, began.elapsed(), began.elapsed());
    }
    Ok(Report { kinds: took.to_vec() })
}

/// The files that only one mount ever opens for writing.
const OWN: [&str; 2] = ["own-a", "own-b"];

/// The files that changes find.
fn prepare(folder: &Mounts) -> io::Result<()> {
    for name in ["file", OWN[0], OWN[1]] {
        fs::write(folder.a.join(name), number_bytes(0))?;
    }
    Ok(())
}

fn number_bytes(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// Fails with what was done when it was refused.
fn done<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Verdict {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}")) }
}

/// Removes what an earlier round may have left.
fn clear(path: &Path) -> Verdict {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => done("remove", Err(error)),
        _ => Ok(()),
    }
}

fn is_there(path: &Path) -> Result<bool, String> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("lstat: {error}")),
    }
}

fn lists(folder: &Path, name: &str) -> Result<bool, String> {
    let mut entries = done("list", fs::read_dir(folder))?;
    entries.try_fold(false, |found, entry| Ok(found | (done("list", entry)?.file_name() == name)))
}

fn writer(path: &Path) -> Result<File, String> {
    done("open", OpenOptions::new().write(true).open(path))
}

fn create(round: Round<'_>) -> Verdict {
    clear(&round.here.join("new"))?;
    same("absent before", &false, &is_there(&round.there.join("new"))?)?;
    done("create", File::create_new(round.here.join("new")))?;
    same("there", &true, &is_there(&round.there.join("new"))?)?;
    same("listed", &true, &lists(round.there, "new")?)
}

fn write(round: Round<'_>) -> Verdict {
    let reader = done("open", File::open(round.there.join("file")))?;
    let mut bytes = [0; 8];
    done("read", reader.read_exact_at(&mut bytes, 0))?;
    let file = writer(&round.here.join("file"))?;
    done("write", file.write_all_at(&number_bytes(round.number), 0))?;
    done("read", reader.read_exact_at(&mut bytes, 0))?;
    same("bytes through an open file", &number_bytes(round.number), &bytes)
}

fn write_and_close(round: Round<'_>) -> Verdict {
    let path = round.there.join("file");
    done("read", fs::read(&path))?;
    let mut file = done("open", OpenOptions::new().write(true).truncate(true).open(round.here.join("file")))?;
    done("write", file.write_all(&number_bytes(round.number)))?;
    drop(file);
    same("bytes", &number_bytes(round.number).to_vec(), &done("read", fs::read(path))?)
}

/// A mapping that was looked through before shows what was written to the file.
fn write_under_a_mapping(round: Round<'_>) -> Verdict {
    let reader = done("open", File::open(round.there.join("file")))?;
    let mapping = done("map", Mapping::to_read(&reader, 8))?;
    let _ = mapping.read(0, 8);
    let file = writer(&round.here.join("file"))?;
    done("write", file.write_all_at(&number_bytes(round.number), 0))?;
    same("bytes through a mapping", &number_bytes(round.number).to_vec(), &mapping.read(0, 8))
}

fn write_by_a_mapping(round: Round<'_>) -> Verdict {
    let reader = done("open", File::open(round.there.join(round.own)))?;
    let mut bytes = [0; 8];
    done("read", reader.read_exact_at(&mut bytes, 0))?;
    let file = OpenOptions::new().read(true).write(true).open(round.here.join(round.own));
    let mapping = done("map", Mapping::of(&done("open", file)?, 8))?;
    mapping.write(0, &number_bytes(round.number));
    done("msync", mapping.sync())?;
    done("read", reader.read_exact_at(&mut bytes, 0))?;
    same("bytes after msync", &number_bytes(round.number), &bytes)
}

fn append(round: Round<'_>) -> Verdict {
    let path = round.there.join("file");
    let before = done("stat", fs::metadata(&path))?.len();
    let mut file = done("open", OpenOptions::new().append(true).open(round.here.join("file")))?;
    done("append", file.write_all(&number_bytes(round.number)))?;
    same("length", &(before + 8), &done("stat", fs::metadata(&path))?.len())?;
    let mut bytes = Vec::new();
    done("read", done("open", File::open(&path))?.read_to_end(&mut bytes))?;
    same("the end", &Some(&number_bytes(round.number)[..]), &bytes.get(before as usize..))
}

fn truncate(round: Round<'_>) -> Verdict {
    let path = round.there.join("file");
    done("stat", fs::metadata(&path))?;
    let len = 8 + round.number % 5000;
    done("truncate", writer(&round.here.join("file"))?.set_len(len))?;
    same("length", &len, &done("stat", fs::metadata(&path))?.len())?;
    same("bytes", &len, &(done("read", fs::read(&path))?.len() as u64))
}

fn change_mode(round: Round<'_>) -> Verdict {
    let path = round.there.join("file");
    done("stat", fs::metadata(&path))?;
    let mode = 0o600 | (round.number as u32 & 0o177);
    done("chmod", fs::set_permissions(round.here.join("file"), Permissions::from_mode(mode)))?;
    same("mode", &mode, &(done("stat", fs::metadata(&path))?.permissions().mode() & 0o7777))
}

fn change_time(round: Round<'_>) -> Verdict {
    let path = round.there.join("file");
    done("stat", fs::metadata(&path))?;
    let time = std::time::UNIX_EPOCH + Duration::from_secs(round.number);
    done("utimens", writer(&round.here.join("file"))?.set_modified(time))?;
    same("time", &(round.number as i64), &done("stat", fs::metadata(&path))?.mtime())
}

fn rename(round: Round<'_>) -> Verdict {
    let (old, new) = ("old", "moved");
    clear(&round.here.join(new))?;
    done("create", fs::write(round.here.join(old), "x"))?;
    same("before", &(true, false), &(is_there(&round.there.join(old))?, is_there(&round.there.join(new))?))?;
    done("rename", fs::rename(round.here.join(old), round.here.join(new)))?;
    same("after", &(false, true), &(is_there(&round.there.join(old))?, is_there(&round.there.join(new))?))
}

fn rename_over(round: Round<'_>) -> Verdict {
    let path = round.there.join("target");
    let _ = fs::read(&path);
    done("create", fs::write(round.here.join("source"), number_bytes(round.number)))?;
    done("rename", fs::rename(round.here.join("source"), round.here.join("target")))?;
    same("bytes", &number_bytes(round.number).to_vec(), &done("read", fs::read(&path))?)
}

fn link(round: Round<'_>) -> Verdict {
    clear(&round.here.join("linked"))?;
    let path = round.there.join("file");
    let before = done("stat", fs::metadata(&path))?.nlink();
    same("absent before", &false, &is_there(&round.there.join("linked"))?)?;
    done("link", fs::hard_link(round.here.join("file"), round.here.join("linked")))?;
    same("links", &(before + 1), &done("stat", fs::metadata(&path))?.nlink())?;
    same("there", &true, &is_there(&round.there.join("linked"))?)
}

fn symbolic_link(round: Round<'_>) -> Verdict {
    let path = round.there.join("symbolic");
    let _ = fs::read_link(&path);
    clear(&round.here.join("symbolic"))?;
    same("absent before", &false, &is_there(&path)?)?;
    let target = format!("target-{}", round.number);
    done("symlink", symlink(&target, round.here.join("symbolic")))?;
    same("target", &target, &done("readlink", fs::read_link(&path))?.to_string_lossy().into_owned())
}

fn attribute(round: Round<'_>) -> Verdict {
    let path = round.there.join("file");
    let mut value = [0; 8];
    let _ = rustix::fs::getxattr(&path, "user.litmus", &mut value);
    let expected = number_bytes(round.number);
    let set = rustix::fs::setxattr(round.here.join("file"), "user.litmus", &expected, XattrFlags::empty());
    done("setxattr", set.map_err(io::Error::from))?;
    let got = rustix::fs::getxattr(&path, "user.litmus", &mut value);
    done("getxattr", got.map_err(io::Error::from))?;
    same("value", &expected, &value)
}

fn unlink(round: Round<'_>) -> Verdict {
    let name = "gone";
    done("create", fs::write(round.here.join(name), "x"))?;
    same("there before", &true, &is_there(&round.there.join(name))?)?;
    done("unlink", fs::remove_file(round.here.join(name)))?;
    same("absent", &false, &is_there(&round.there.join(name))?)?;
    same("listed", &false, &lists(round.there, name)?)
}

fn folder(round: Round<'_>) -> Verdict {
    let (here, there) = (round.here.join("folder"), round.there.join("folder"));
    same("absent before", &false, &is_there(&there)?)?;
    let links = done("stat", fs::metadata(round.there))?.nlink();
    done("mkdir", fs::create_dir(&here))?;
    same("a new folder is empty", &false, &lists(&there, "x")?)?;
    same("links of its parent", &(links + 1), &done("stat", fs::metadata(round.there))?.nlink())?;
    done("create in it", fs::write(there.join("x"), "x"))?;
    done("remove in it", fs::remove_file(here.join("x")))?;
    done("rmdir", fs::remove_dir(&there))?;
    same("absent after", &false, &is_there(&here)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_filesystem_is_coherent_and_two_are_not() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let of = |a: &Path, b: &Path| Mounts { a: a.to_owned(), b: b.to_owned() };
        let report = run(&of(one.path(), one.path()), 1000, 7).expect("coherent");
        assert_eq!(report.all().rounds, 1000);
        assert!(report.kinds.iter().all(|kind| kind.rounds > 20), "{report}");
        let apart = of(one.path(), two.path());
        for (name, kind) in KINDS {
            for folder in [one.path(), two.path()] {
                prepare(&of(folder, folder)).expect("written");
            }
            let round = Round { here: &apart.a, there: &apart.b, number: 77, own: OWN[0] };
            kind(round).expect_err(name);
        }
    }
}
