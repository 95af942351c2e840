//! Why a bench ends before it is done.

use std::io;
use std::path::PathBuf;

use weft_types::ByteCount;

use crate::parameters::Need;

/// Anything that a ground or a ceiling may fail with.
pub type Cause = Box<dyn core::error::Error + Send + Sync>;

/// Why a bench ended before it was done. Its own directory is removed all the same.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The path is nowhere, or cannot be looked at.
    #[error("{} cannot be used", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The path is a file.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It would not fit.
    #[error("{} has {free} free, and the bench needs {need}", path.display())]
    NoRoom {
        /// The path.
        path: PathBuf,
        /// What is free.
        free: ByteCount,
        /// What is needed.
        need: Need,
    },
    /// An operation failed while it was measured, or before or after it.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The filesystem gave other bytes than were written.
    #[error("wrong bytes in {} at {offset}: the filesystem lost or mixed up what was written", path.display())]
    WrongBytes {
        /// The file.
        path: PathBuf,
        /// The first wrong block.
        offset: u64,
    },
    /// A directory did not list what was made in it.
    #[error("{} lists {found} files, and {made} were made", path.display())]
    WrongListing {
        /// The directory.
        path: PathBuf,
        /// Names listed.
        found: u64,
        /// Files made.
        made: u64,
    },
    /// A file has another length than was written.
    #[error("{} has {found} bytes, and {made} were written", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length written.
        made: u64,
    },
    /// Somebody said so.
    #[error("interrupted")]
    Interrupted,
    /// What lies under the path was stopped to be cold, and did not come back.
    #[error("the cluster did not come back after it was stopped to be measured cold")]
    Ground(#[source] Cause),
    /// A ceiling was not measured.
    #[error("the ceiling of {what} cannot be measured")]
    Ceiling {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A thread of the bench itself failed: a defect.
    #[error("a thread of the bench failed")]
    Thread,
}

impl BenchError {
    /// What to do about it.
    pub fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Path { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "name a directory that exists"
            }
            Self::NotADirectory(_) => "name a directory",
            Self::NoRoom { .. } => {
                "use a smaller --size, fewer --files or --runs, or only some workloads with --only"
            }
            Self::WrongBytes { .. } | Self::WrongListing { .. } | Self::WrongLength { .. } => {
                "see `weft status` and `weft logs`; run again with --keep to look at the files"
            }
            Self::Ground(_) => "see `weft logs`, then start it with `weft up`",
            Self::Ceiling { .. } => "leave the ceilings out with --no-ceilings",
            Self::Path { .. } | Self::Io { .. } | Self::Interrupted | Self::Thread => return None,
        };
        Some(step.to_owned())
    }
}

/// Names an operation and its file for an error of the host.
pub(crate) trait During<T> {
    /// The error, with what was attempted.
    fn during(self, what: &'static str, path: &std::path::Path) -> Result<T, BenchError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &'static str, path: &std::path::Path) -> Result<T, BenchError> {
        self.map_err(|source| BenchError::Io { what, path: path.to_owned(), source: source.into() })
    }
}
