//! Files of a cluster: read within bounds, replaced as a whole, locked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use weft_resources::{Document, DocumentError, parse, to_json};

/// Longest file that is read as a whole, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a file of the cluster was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The host does not give it.
    #[error("cannot read {}", path.display())]
    Read {
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

/// Reads a file that may not be there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Reads a file that must be there.
pub(crate) fn read_existing(path: &Path) -> Result<Vec<u8>, FileError> {
    let missing = || FileError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
    read(path)?.ok_or_else(missing)
}

/// Reads a resource file that may not be there.
pub(crate) fn read_document<D: Document>(path: &Path) -> Result<Option<D>, FileError> {
    match read(path)? {
        Some(text) => Ok(Some(parse(path, &text)?)),
        None => Ok(None),
    }
}

/// Writes a resource file: readers see the old text or the new one. It need not outlast the host's next boot.
pub(crate) fn write_document<D: Document>(path: &Path, document: &D) -> Result<(), FileError> {
    write(path, to_json(document).as_bytes())
}

/// Writes a file as [`write_document`] does.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    };
    written().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| FileError::Write { path: path.to_owned(), source }),
    }
}

/// A file that is locked until this is dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Locks a file for this process alone; `None` when another holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>, FileError> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_holders_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let first = try_lock(&path).expect("a file").expect("free");
        assert!(try_lock(&path).expect("a file").is_none());
        drop(first);
        assert!(try_lock(&path).expect("a file").is_some());
    }

    #[test]
    fn a_missing_file_is_no_error_unless_it_must_exist() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing");
        assert!(read(&path).expect("no error").is_none());
        remove(&path).expect("nothing to do");
        let error = read_existing(&path).expect_err("missing").to_string();
        assert!(error.contains("missing"), "{error}");
        write(&path, b"here").expect("written");
        assert_eq!(read(&path).expect("read").as_deref(), Some(&b"here"[..]));
    }
}
