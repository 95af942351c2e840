//! Running programs and keeping what they say.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How a program ended and what it printed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Panics with everything the program said unless it succeeded.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.code, 0, "{} failed\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        self
    }

    /// Panics unless the program exited with this code and said one clear line: every word of `words` is in it.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{} does not say {word:?}: {}", self.line, self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{} panicked: {}", self.line, self.stderr);
        self
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Outcome {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{line}: {e}"));
    Outcome {
        line,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program of the system with its arguments.
pub fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

/// The `weft` that was built with these tests.
pub fn weft_binary() -> PathBuf {
    beside_this_test("weft")
}

/// The `weftd` that was built with these tests.
pub fn weftd_binary() -> PathBuf {
    beside_this_test("weftd")
}

fn beside_this_test(name: &str) -> PathBuf {
    let folder = std::env::var_os("WEFT_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("this test has a path");
        let deps = test.parent().expect("a test is in deps/");
        deps.parent().expect("deps/ is in the profile's folder").to_owned()
    });
    let binary = folder.join(name);
    assert!(binary.exists(), "{} is not built: run `cargo build --workspace --bins` first", binary.display());
    binary
}
