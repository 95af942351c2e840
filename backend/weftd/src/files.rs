//! Files of a cluster: read within bounds, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use weft_resources::{Document, DocumentError, parse, to_json};

/// Longest file that is read as a resource or as credentials, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Readable by its owner alone.
const PRIVATE: u32 = 0o600;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The host does not give it.
    #[error("cannot read the {kind} {}", path.display())]
    Read {
        /// What it is.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The host does not take it.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// Reads a resource file.
pub(crate) fn read_document<D: Document>(path: &Path) -> Result<D, FileError> {
    Ok(parse(path, &read(D::KIND, path)?)?)
}

/// Reads a small file of this kind.
pub(crate) fn read(kind: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| FileError::Read { kind, path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Writes a resource file; see [`write`].
pub(crate) fn write_document<D: Document>(path: &Path, document: &D) -> Result<(), FileError> {
    write(path, to_json(document).as_bytes())
}

/// Writes a file that only its owner can read. Durable on return; whenever the host stops, the file has the old bytes
/// or the new ones.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let temporary = temporary(path);
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(PRIVATE).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    written().map_err(failed)
}

/// The name under which a file is written before it is whole.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Makes a folder with this mode.
pub(crate) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
