//! The published exerciser `fsx`: random operations on one file, every read compared with what must be there.

use std::fs;
use std::path::Path;
use std::process::Command;

use weft_conformance::exceptions::exceptions;
use weft_conformance::{is_long, suite};
use weft_e2e::{Cluster, run};

/// How often each operation comes. Nothing is left at 0: what the mount refuses so far is listed in `docs/posix.md`.
const WEIGHTS: [(&str, u32); 14] = [
    ("close_open", 2),
    ("read", 10),
    ("write", 10),
    ("mapread", 10),
    ("mapwrite", 10),
    ("invalidate", 2),
    ("truncate", 5),
    ("fsync", 1),
    ("fdatasync", 1),
    ("posix_fallocate", 5),
    ("punch_hole", 10),
    ("sendfile", 5),
    ("posix_fadvise", 2),
    ("copy_file_range", 10),
];

/// The file lies within one extent of 4 MiB, or, for the first seed alone since that takes longer, spans several.
const SHAPES: [&str; 2] = ["flen = 262144\nopsize.max = 65536\n", "flen = 9000000\nopsize.max = 300000\n"];

fn configuration(shape: &str) -> String {
    let off = exceptions("fsx");
    let weights = WEIGHTS.iter().map(|(operation, weight)| {
        let weight = if off.contains(*operation) { 0 } else { *weight };
        format!("{operation} = {weight}\n")
    });
    format!("{shape}[weights]\n{}", weights.collect::<String>())
}

#[test]
fn no_read_differs_from_what_was_written() {
    let (seeds, operations) = if is_long() { (5, 100_000) } else { (2, 5_000) };
    let cluster = Cluster::up();
    for seed in 1..=seeds {
        let shape = SHAPES[usize::from(seed == 1)];
        let config = cluster.scratch().join(format!("fsx-{seed}.toml"));
        fs::write(&config, configuration(shape)).expect("written");
        let file = cluster.mount().join(format!("fsx-{seed}"));
        exercise(&config, seed, operations, cluster.scratch(), &file);
        fs::remove_file(&file).expect("removed");
    }
}

fn exercise(config: &Path, seed: usize, operations: u32, artifacts: &Path, file: &Path) {
    println!("fsx: seed {seed}, {operations} operations");
    let mut command = Command::new(suite("fsx"));
    command.arg("-f").arg(config).args(["-S", &seed.to_string(), "-N", &operations.to_string()]);
    let outcome = run(command.arg("-P").arg(artifacts).arg(file).env("RUST_BACKTRACE", "0")).success();
    assert!(outcome.stdout.contains("A-OK") || outcome.stderr.contains("A-OK"), "{outcome:?}");
}

/// What is listed as off is refused: an exception that no longer is one fails here.
#[test]
fn what_is_off_is_refused() {
    let cluster = Cluster::up();
    for operation in exceptions("fsx") {
        assert!(WEIGHTS.iter().any(|(name, _)| *name == operation), "{operation} is no operation of fsx");
        let config = cluster.scratch().join(format!("fsx-{operation}.toml"));
        fs::write(
            &config,
            format!("[weights]\nwrite = 10\nread = 0\nmapread = 0\nmapwrite = 0\n{operation} = 10\n"),
        )
        .expect("written");
        let mut command = Command::new(suite("fsx"));
        command.arg("-f").arg(&config).args(["-S", "1", "-N", "100"]).arg("-P").arg(cluster.scratch());
        let outcome = run(command.arg(cluster.mount().join(&operation)).env("RUST_BACKTRACE", "0"));
        assert_ne!(outcome.code, 0, "{operation} is listed as an exception and works: switch it on");
    }
}
