//! Asking the `weftd` beside this program for something that is done at once.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::launch::{self, LaunchError};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeftdError {
    /// `weftd` is missing.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// `weftd` said no, in one line with the next step.
    #[error("{0}")]
    Refused(String),
    /// `weftd` did not say what it did.
    #[error("weftd did not say what it did")]
    Answer(#[source] serde_json::Error),
}

impl WeftdError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Launch(error) => error.next_step(),
            Self::Refused(_) | Self::Answer(_) => None,
        }
    }
}

/// Runs `weftd COMMAND` on a spec and takes its answer.
///
/// # Errors
/// [`WeftdError`]
pub(crate) fn ask<A: DeserializeOwned>(command: &str, spec: &impl Serialize) -> Result<A, WeftdError> {
    let weftd = launch::sibling("weftd")?;
    let failed = |source: io::Error| LaunchError::Run { program: weftd.clone(), source };
    let mut program = Command::new(&weftd);
    program
        .args([command, "--spec", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = program.spawn().map_err(failed)?;
    let text = serde_json::to_vec(spec).expect("a spec has text keys");
    if let Some(mut stdin) = child.stdin.take() {
        // When it does not listen, what it says is more than that.
        let _ = stdin.write_all(&text);
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
        let reason = lines().rev().find_map(launch::error_of).or_else(|| lines().next_back());
        let reason = reason.map_or_else(|| format!("weftd ended with {}", output.status), str::to_owned);
        return Err(WeftdError::Refused(reason));
    }
    serde_json::from_slice(&output.stdout).map_err(WeftdError::Answer)
}
