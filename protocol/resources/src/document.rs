//! A resource file as text: format first, then the contents, and errors that a person can act on.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A resource that is kept as one JSON file. Its text has a field `format`.
pub trait Document: Serialize + DeserializeOwned {
    /// What people call it, such as `container file`.
    const KIND: &'static str;
    /// The format that this build writes, and the newest it reads. Starts at 1.
    const FORMAT: u32;
    /// The oldest format that this build reads.
    const OLDEST: u32 = 1;
    /// What to do when the file cannot be used.
    const REMEDY: &'static str;
}

/// Why a resource file is refused. One line each: file, cause, next step.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A newer version wrote it.
    #[error(
        "{}: this {kind} was written by a newer weft (format {found}, this build reads {reads}); \
         use that version of weft or a later one", path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// Its format.
        found: u32,
        /// The newest format this build reads.
        reads: u32,
    },
    /// It ends too early: a write was cut short, or the file was truncated.
    #[error("{}: this {kind} is cut off after {bytes} bytes; {remedy}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// Its length.
        bytes: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// Not JSON, or not this resource.
    #[error("{}: this is not a valid {kind} ({fault}); {remedy}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
        /// What to do.
        remedy: &'static str,
        /// What is wrong and where. In the text, not a source: it is half of the one line that a person needs.
        fault: serde_json::Error,
    },
    /// A version that was never released, or whose files are no longer read, wrote it.
    #[error(
        "{}: this {kind} was written by an older weft (format {found}, this build reads {reads}); \
         use that version of weft, or form the cluster again", path.display()
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// Its format.
        found: u32,
        /// The oldest format this build reads.
        reads: u32,
    },
    /// Its format number was never given.
    #[error("{}: this {kind} has format {found}, which does not exist; {remedy}", path.display())]
    NoSuchFormat {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// Its format.
        found: u32,
        /// What to do.
        remedy: &'static str,
    },
}

/// All that is believed of a file before its format is known.
#[derive(serde::Deserialize)]
struct Head {
    format: u32,
}

/// Reads the text of a resource file. `path` is named in errors and not opened.
///
/// # Errors
/// [`DocumentError`]; the format is looked at before anything else, so a newer file is never called damaged.
pub fn parse<D: Document>(path: &Path, text: &[u8]) -> Result<D, DocumentError> {
    let fault = |fault: serde_json::Error| {
        let (path, kind, remedy) = (path.to_owned(), D::KIND, D::REMEDY);
        match fault.classify() {
            serde_json::error::Category::Eof => {
                DocumentError::Truncated { path, kind, bytes: text.len(), remedy }
            }
            _ => DocumentError::Malformed { path, kind, remedy, fault },
        }
    };
    let Head { format } = serde_json::from_slice(text).map_err(fault)?;
    let (path_named, kind) = (|| path.to_owned(), D::KIND);
    match format {
        0 => Err(DocumentError::NoSuchFormat { path: path_named(), kind, found: 0, remedy: D::REMEDY }),
        found if found > D::FORMAT => {
            Err(DocumentError::NewerFormat { path: path_named(), kind, found, reads: D::FORMAT })
        }
        found if found < D::OLDEST => {
            Err(DocumentError::OlderFormat { path: path_named(), kind, found, reads: D::OLDEST })
        }
        _ => serde_json::from_slice(text).map_err(fault),
    }
}

/// The text of a resource file, for people too: indented, with a line feed at its end.
pub fn to_json<D: Document>(document: &D) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("resources have text keys and no cycles");
    text.push('\n');
    text
}
