//! The litmus of coherence: after a change on one mount returned, the other never answers the old state.
//!
//! Each round changes one thing through one mount and looks at it through the other, which had looked at the old state
//! before and may have it cached, the absence of a name included. The mounts change places from round to round.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;

use crate::Mounts;

/// What a run of rounds came to.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Rounds that were done, each of one change.
    pub rounds: u64,
    /// What they took.
    pub took: Duration,
}

impl Report {
    /// Rounds in a second.
    pub fn rate(&self) -> f64 {
        self.rounds as f64 / self.took.as_secs_f64()
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
}

const KINDS: [Kind; 13] = [
    ("create", create),
    ("write", write),
    ("write and close", write_and_close),
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
];

/// Runs rounds in an empty folder of two mounts, each kind of change in turn.
///
/// # Errors
/// The first old answer.
pub fn run(folder: &Mounts, rounds: u64) -> Result<Report, String> {
    let began = Instant::now();
    fs::write(folder.a.join("file"), number_bytes(0)).map_err(|error| error.to_string())?;
    for number in 0..rounds {
        let (here, there) = if (number / KINDS.len() as u64).is_multiple_of(2) {
            (&folder.a, &folder.b)
        } else {
            (&folder.b, &folder.a)
        };
        let (name, kind) = KINDS[(number % KINDS.len() as u64) as usize];
        kind(Round { here, there, number: number + 1 })
            .map_err(|what| format!("round {number}, {name}: {what}"))?;
    }
    Ok(Report { rounds, took: began.elapsed() })
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
    let _ = fs::remove_file(round.here.join("new"));
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
    let _ = fs::remove_file(round.here.join(new));
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
    let _ = fs::remove_file(round.here.join("linked"));
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
    let _ = fs::remove_file(round.here.join("symbolic"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_filesystem_is_coherent_and_two_are_not() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let of = |a: &Path, b: &Path| Mounts { a: a.to_owned(), b: b.to_owned() };
        let report = run(&of(one.path(), one.path()), 500).expect("coherent");
        assert_eq!(report.rounds, 500);
        let apart = of(one.path(), two.path());
        for (name, kind) in KINDS {
            fs::write(two.path().join("file"), number_bytes(0)).expect("written");
            fs::write(one.path().join("file"), number_bytes(0)).expect("written");
            let round = Round { here: &apart.a, there: &apart.b, number: 77 };
            kind(round).expect_err(name);
        }
    }
}
