//! How commands fail: one line for people, `CAUSE; NEXT STEP`.

use std::error::Error;

use crate::admin::AdminError;
use crate::cluster::ClusterError;
use crate::commands::bench::BenchCommandError;
use crate::commands::down::DownError;
use crate::commands::filesystem::FilesystemError;
use crate::commands::logs::LogsError;
use crate::commands::mount::MountCommandError;
use crate::commands::recover::RecoverError;
use crate::commands::resources::ResourcesError;
use crate::commands::umount::UmountError;
use crate::commands::up::UpError;
use crate::frontend::FrontendError;
use crate::host::files::FileError;
use crate::output::OutputError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is no cluster, or it cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Management was not reached.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The answer cannot be printed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// `weft up`
    #[error(transparent)]
    Up(#[from] UpError),
    /// `weft down`
    #[error(transparent)]
    Down(#[from] DownError),
    /// `weft mount`
    #[error(transparent)]
    Mount(#[from] MountCommandError),
    /// `weft umount`
    #[error(transparent)]
    Umount(#[from] UmountError),
    /// `weft fs`
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// `weft logs`
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// `weft cluster recover`
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// `weft bench`
    #[error(transparent)]
    Bench(#[from] BenchCommandError),
    /// `weft resources`
    #[error(transparent)]
    Resources(#[from] ResourcesError),
    /// The process behind a mount
    #[error(transparent)]
    Frontend(#[from] FrontendError),
    /// A program cannot be run in a session of its own.
    #[error("cannot run {program}")]
    Detached {
        /// The program.
        program: String,
        /// What the host said.
        #[source]
        source: std::io::Error,
    },
}

impl CommandError {
    /// What to do about it, where the cause does not say so itself.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Cluster(error) => error.next_step(),
            Self::Admin(error) => error.next_step(),
            Self::Up(error) => error.next_step(),
            Self::Down(error) => error.next_step(),
            Self::Mount(error) => error.next_step(),
            Self::Umount(error) => error.next_step(),
            Self::Filesystem(error) => error.next_step(),
            Self::Frontend(error) => error.next_step(),
            Self::Recover(error) => error.next_step(),
            Self::Bench(error) => error.next_step(),
            Self::File(_) | Self::Output(_) | Self::Logs(_) | Self::Resources(_) | Self::Detached { .. } => {
                None
            }
        }
    }

    /// The whole of it in one line.
    pub(crate) fn line(&self) -> String {
        with_next_step(self, self.next_step())
    }
}

/// Cause and next step in one line.
pub(crate) fn with_next_step(error: &dyn Error, next_step: Option<String>) -> String {
    match next_step {
        Some(step) => format!("{}; {step}", chain(error)),
        None => chain(error),
    }
}

/// An error and its causes in one line. A cause that is said already is not said again.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = one_line(&error.to_string());
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("middle: inner\nwith a second line")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn a_chain_is_one_line_and_says_nothing_twice() {
        assert_eq!(chain(&Outer(Middle(Inner))), "outer: middle: inner with a second line");
    }

    #[test]
    fn an_error_names_cause_and_next_step() {
        let error = CommandError::from(ClusterError::Absent(PathBuf::from("/srv/none")));
        assert!(error.line().starts_with("there is no cluster in /srv/none; form one with `weft up`"));
    }
}
