//! The published suite `pjdfstest`: every case that applies to Linux passes, but for those listed in `docs/posix.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use weft_conformance::exceptions::{differences, exceptions};
use weft_conformance::{open_to_others, suite};
use weft_e2e::{Cluster, run};

/// Cases of version 0.2.2 that Linux has; the rest of the suite (file flags, NFSv4 ACLs) is not compiled for it.
const CASES_MIN: usize = 390;

/// Everything that Linux has is on. Times have a nanosecond, so a short nap tells two moments apart. The users are two
/// that every Debian has, each with its group.
const CONFIGURATION: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.02
allow_remount = REMOUNT

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

#[test]
fn every_case_that_linux_can_pass_passes() {
    let cluster = Cluster::up();
    open_to_others(&cluster.mount());
    let text = run_suite(&cluster, false, &[]);
    // The cases that make the mount read-only come by themselves: files that others have just closed without a name are
    // released a moment later, and until then the kernel says that the mount is busy.
    let read_only = run_suite(&cluster, true, &["erofs"]);
    let mut results = results(&text);
    results.extend(self::results(&read_only));
    let text = text + &read_only;
    let of = |wanted: Outcome| results.iter().filter(move |(_, outcome)| **outcome == wanted);
    let names = |wanted| of(wanted).map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    println!("pjdfstest: {} cases, skipped: {:?}", results.len(), names(Outcome::Skipped));
    assert!(results.len() >= CASES_MIN, "the suite's output was not understood:\n{text}");
    let faults = differences(&exceptions("pjdfstest"), &names(Outcome::Failed));
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), details(&text));
}

/// What the suite prints for the cases whose names contain one of the patterns; all when there is none.
fn run_suite(cluster: &Cluster, remount: bool, patterns: &[&str]) -> String {
    let configuration = cluster.scratch().join("pjdfstest.toml");
    fs::write(&configuration, CONFIGURATION.replace("REMOUNT", &remount.to_string())).expect("written");
    // EXDEV wants a filesystem that is another one.
    let second = cluster.scratch().join("second");
    fs::create_dir_all(&second).expect("made");
    let folder = cluster.mount().join("pjdfstest");
    fs::create_dir_all(&folder).expect("made");
    let mut command = Command::new(suite("pjdfstest"));
    command
        .arg("-c")
        .arg(&configuration)
        .arg("-p")
        .arg(&folder)
        .arg("-s")
        .arg(&second)
        .arg("--")
        .args(patterns);
    // Its exit code says whether there were failures, which the table decides here.
    run(command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "0")).stdout
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// One line for each case: its name, spaces, a word.
fn results(text: &str) -> BTreeMap<String, Outcome> {
    let row = |line: &str| {
        let (name, word) = line.split_once(' ')?;
        let outcome = match word.trim() {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed,
            "skipped" => Outcome::Skipped,
            _ => return None,
        };
        Some((name.to_owned(), outcome))
    };
    text.lines().filter_map(row).collect()
}

/// What the suite says of each failure: the indented lines after it.
fn details(text: &str) -> String {
    let mut out = String::new();
    let mut failed = false;
    for line in text.lines() {
        failed = if line.starts_with('\t') { failed } else { line.ends_with("FAILED") };
        if failed {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[test]
fn the_suites_lines_are_read() {
    let text = "link::a::b          ok\nopen::c      FAILED\n\tassertion failed\nrmdir::d   skipped\n\twhy\n\n\
                Summary: 1 failed, 1 skipped, 1 passed, 0 expected failures, 3 total\n";
    let found = results(text);
    assert_eq!(found.len(), 3);
    assert_eq!(found["open::c"], Outcome::Failed);
    assert_eq!(found["rmdir::d"], Outcome::Skipped);
    assert_eq!(details(text), "open::c      FAILED\n\tassertion failed\n");
}
