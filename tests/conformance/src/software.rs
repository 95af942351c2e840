//! Programs of the system as the tests use them.

use std::path::Path;

use weft_e2e::{Outcome, program, run};

/// Panics unless every one of these programs is there: a test whose tool is missing has not passed.
///
/// # Panics
/// Names what is missing.
pub fn needs(programs: &[&str]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    let missing: Vec<_> = programs.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "not installed: {missing:?}; run `make test-packages` first");
}

/// Runs a shell script that stops at the first failure, in a folder, with arguments `$1`, `$2`, ...
///
/// # Panics
/// With everything that it said, when it fails.
#[track_caller]
pub fn shell(folder: &Path, script: &str, arguments: &[&str]) -> Outcome {
    let mut command = program("bash", &["-euo", "pipefail", "-c", script, "bash"]);
    run(command.args(arguments).current_dir(folder)).success()
}
