//! Bad input: for each the errno that the standard, or where it says nothing Linux, names.

mod calls;
mod locks;
mod names;
mod others;
mod ranges;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use weft_conformance::exceptions::{differences, exceptions};
use weft_conformance::{is_long, open_to_others};
use weft_e2e::Cluster;

/// What is done wrongly, how, and what it is refused with.
pub(crate) type Row = (&'static str, fn(&Path) -> Result<(), Errno>, Errno);

/// What the rows find in their folder, made by root: files `f` and `g` of 5 bytes, a directory `d` with a file in it, an
/// empty one `e`, a symbolic link `l` to itself, a fifo `p`, a file `secret` that only root may read.
fn furnish(folder: &Path) {
    fs::create_dir_all(folder.join("d")).expect("made");
    fs::create_dir(folder.join("e")).expect("made");
    for name in ["f", "g", "d/f", "secret"] {
        fs::write(folder.join(name), "hello").expect("written");
    }
    let script = "chmod 755 . d; chmod 600 secret; ln -s l l; mkfifo p; mkdir -m 1777 sticky; echo x > sticky/roots; mkdir -m 700 closed; echo x > closed/f";
    weft_conformance::shell(folder, script, &[]);
}

/// The names of the rows that say something else than they should. What is refused changes nothing, so all rows find one
/// folder.
fn wrong(folder: &Path, rows: &[Row]) -> BTreeSet<String> {
    furnish(folder);
    let wrong = |(what, attempt, errno): &&Row| {
        let found = attempt(folder).err();
        if found != Some(*errno) {
            println!("{what}: expected {errno:?}, found {found:?}");
        }
        found != Some(*errno)
    };
    rows.iter().filter(wrong).map(|(what, ..)| (*what).to_owned()).collect()
}

#[test]
fn bad_input_is_refused_with_the_errno_that_the_standard_names() {
    let cluster = Cluster::up();
    open_to_others(&cluster.mount());
    let tables: [(&str, &[Row]); 5] = [
        ("names", &names::ROWS),
        ("calls", &calls::ROWS),
        ("ranges", &ranges::ROWS),
        ("others", &others::ROWS),
        ("locks", &locks::ROWS),
    ];
    let mut found = BTreeSet::new();
    for (name, rows) in tables {
        found.extend(wrong(&cluster.mount().join(name), rows));
        println!("{name}: {} rows", rows.len());
    }
    let faults = differences(&exceptions("bad input"), &found);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What the host's own filesystem says to the same input: the table is about Linux, not about this filesystem. How long
/// files may be is each filesystem's own.
#[test]
fn the_hosts_own_filesystem_says_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    open_to_others(folder.path());
    let tables: [&[Row]; 4] = [&names::ROWS, &calls::ROWS, &others::ROWS, &locks::ROWS];
    for (number, rows) in tables.into_iter().enumerate() {
        let found = wrong(&folder.path().join(format!("table-{number}")), rows);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// 65,000 names of one file, and not one more than the filesystem keeps.
#[test]
fn a_file_has_65_000_names_and_then_emlink() {
    if !is_long() {
        println!("only with WEFT_TEST_LONG=1");
        return;
    }
    let cluster = Cluster::up();
    let folder = cluster.mount().join("links");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("0"), "x").expect("written");
    let link = |number: u32| fs::hard_link(folder.join("0"), folder.join(number.to_string()));
    let last = (1..70_000).find(|number| link(*number).is_err()).expect("there is a limit");
    let error = link(last).expect_err("refused again").raw_os_error();
    assert_eq!((last, error), (65_000, Some(Errno::MLINK.raw_os_error())));
}
