//! Real input: a tree of files that somebody made for another purpose, and its comparison to the last bit.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::random::Random;
use crate::{Outcome, run};

/// How large a tree must be.
#[derive(Debug, Clone, Copy)]
pub struct TreeSize {
    /// At least this many files.
    pub files: u64,
    /// At least this many bytes in them.
    pub bytes: u64,
}

/// A tree to copy: part of what is installed, and what a seed generates where that is too small.
pub struct SourceTree {
    path: PathBuf,
}

impl SourceTree {
    /// Makes a tree of at least this size in `folder`: the installed Rust toolchain copied by hard links or
    /// copies, then generated files until it is large enough. The seed is printed.
    pub fn make(folder: &Path, size: TreeSize) -> Self {
        let path = folder.join("source");
        std::fs::create_dir_all(&path).expect("the folder is ours");
        let mut have = TreeSize { files: 0, bytes: 0 };
        if let Some(toolchain) = toolchain() {
            copy_part(&toolchain, &path.join("toolchain"), size, &mut have);
        }
        let seed = std::env::var("WEFT_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_u64);
        println!("tree: {} files, {} bytes installed; the rest from seed {seed}", have.files, have.bytes);
        generate(&path.join("generated"), size, have, seed);
        oddities(&path.join("odd"));
        Self { path }
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn toolchain() -> Option<PathBuf> {
    let outcome = run(Command::new("rustc").args(["--print", "sysroot"]));
    Some(PathBuf::from(outcome.stdout.trim())).filter(|path| outcome.code == 0 && path.is_dir())
}

/// Small files are what most of a documentation is made of: beyond the number asked for, none of these is taken.
const SMALL_BYTES: u64 = 64 << 10;

/// Copies files of the toolchain until files and bytes suffice: a tenth more bytes than asked are never taken.
fn copy_part(from: &Path, to: &Path, size: TreeSize, have: &mut TreeSize) {
    let mut open = vec![from.to_owned()];
    while let Some(folder) = open.pop() {
        let target = to.join(folder.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(&target).expect("created");
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            } else if meta.is_file() && wanted(meta.len(), size, have) {
                std::fs::copy(entry.path(), target.join(entry.file_name())).expect("copied");
                have.files += 1;
                have.bytes += meta.len();
            }
        }
    }
}

fn wanted(len: u64, size: TreeSize, have: &TreeSize) -> bool {
    let enough_files = have.files >= size.files;
    have.bytes + len <= size.bytes + size.bytes / 10 && !(enough_files && len < SMALL_BYTES)
}

/// Files from a seed: mostly small, as in a source tree, until count and bytes suffice.
fn generate(folder: &Path, size: TreeSize, have: TreeSize, seed: u64) {
    let mut random = Random::new(seed);
    let missing = size.files.saturating_sub(have.files).max(64);
    let mut bytes_left = size.bytes.saturating_sub(have.bytes);
    for number in 0..missing {
        let parent = folder.join(format!("d{:02}/e{:02}", number / 2000, number / 50 % 40));
        std::fs::create_dir_all(&parent).expect("created");
        let fair = bytes_left / (missing - number);
        let len = if number % 97 == 0 { fair * 20 } else { random.next() % (2 * fair + 6000) };
        let content = random.bytes(usize::try_from(len).expect("fits"));
        bytes_left = bytes_left.saturating_sub(len);
        std::fs::write(parent.join(format!("f{number}")), content).expect("written");
    }
}

/// What a tree may hold besides plain files: links, modes, times, attributes, holes, odd names.
fn oddities(folder: &Path) {
    std::fs::create_dir_all(folder.join("empty folder")).expect("created");
    let script = r#"
        cd "$1"
        printf 'hard' > hard; ln hard hard2; ln -s hard soft; ln -s /nowhere/at/all dangling
        printf 'x' > "$(printf 'na\nme with \t odd \377 bytes')"
        : > empty; truncate -s 5M hole; printf 'end' >> hole
        printf 'm' > mode; chmod 4711 mode; mkdir -m 1777 sticky; mkfifo fifo; mknod null c 1 3
        printf 't' > old; touch -d '1965-03-04 05:06:07.123456789' old
        printf 'o' > owned; chown 1234:4321 owned
        printf 'a' > attributed; setfattr -n user.color -v blue attributed; setfattr -n trusted.t -v 1 attributed
    "#;
    run(Command::new("bash").args(["-euc", script, "bash"]).arg(folder)).success();
}

/// `cp -a` of a tree.
pub fn copy_tree(from: &Path, to: &Path) -> Outcome {
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

/// The differences between two trees as `rsync` sees them in contents, names, modes, times, owners, links,
/// attributes: empty when there are none.
pub fn compare(left: &Path, right: &Path) -> Outcome {
    let slash = |path: &Path| format!("{}/", path.display());
    run(Command::new("rsync")
        .args(["-aHAXn", "--checksum", "--delete", "--itemize-changes"])
        .args([slash(left), slash(right)]))
}
