//! The published suites: programs of a pinned version, installed by `make test-tools` into `target/tools`.

use std::path::PathBuf;

/// The program of a suite.
///
/// # Panics
/// When it is not installed: a suite that is missing has not passed.
pub fn suite(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("this test has a path");
    while folder.pop() {
        let program = folder.join("tools/bin").join(name);
        if program.exists() {
            return program;
        }
    }
    panic!("{name} is not installed: run `make test-tools` first");
}

/// Whether the longer counts are asked for.
pub fn is_long() -> bool {
    std::env::var_os("WEFT_TEST_LONG").is_some()
}
