//! Rooms are small, and nothing is left lying about.

use std::path::{Path, PathBuf};

use weft_house::rust_files;

/// Longest source file, in lines. A longer one holds more than one idea.
const FILE_LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().expect("the workspace exists")
}

fn sources() -> Vec<(PathBuf, String)> {
    let wings = ["protocol", "security", "backend", "client", "gateway", "tests"];
    let files = wings.iter().flat_map(|wing| rust_files(&root().join(wing)));
    files
        .map(|file| (file.clone(), std::fs::read_to_string(&file).expect("a source file is readable")))
        .collect()
}

#[test]
fn no_file_is_longer_than_one_idea() {
    for (file, source) in sources() {
        let lines = source.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", file.display());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    // Written apart, so that this file does not find itself.
    let marks = [
        ["to", "do!("].concat(),
        ["unimpl", "emented!("].concat(),
        ["FIX", "ME"].concat(),
        ["#[ig", "nore"].concat(),
    ];
    for (file, source) in sources() {
        let mark = marks.iter().find(|mark| source.contains(mark.as_str()));
        assert_eq!(mark, None, "{} is unfinished", file.display());
    }
}

#[test]
fn no_room_is_called_utils() {
    for (file, _) in sources() {
        let vague = ["utils", "util", "helpers", "misc", "common"];
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(!vague.contains(&name.as_str()), "{} says nothing about what is in it", file.display());
    }
}

/// The project stands alone: no file refers to a folder outside of it.
#[test]
fn nothing_refers_to_a_folder_outside() {
    let outside = [["../", "shared"].concat(), ["/wo", "rk/"].concat()];
    let documents = std::fs::read_dir(root().join("docs")).expect("docs exist");
    let documents = documents.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file());
    let loose = ["README.md", "Makefile", ".ci/run"].map(|name| root().join(name));
    let texts = documents.chain(loose).filter(|path| path.exists());
    let texts = texts.map(|path| (path.clone(), std::fs::read_to_string(path).expect("a text")));
    for (file, text) in texts.chain(sources()) {
        let found = outside.iter().find(|folder| text.contains(folder.as_str()));
        assert_eq!(found, None, "{} refers to a folder outside of the project", file.display());
    }
}
