//! The cluster store of an embedded cluster: one sealed file, in two generations.
//!
//! | bytes | field (numbers little-endian) |
//! |---|---|
//! | 0..8 | magic `WEFTSTOR` |
//! | 8..10 | format, 1 |
//! | 10..12 | zero |
//! | 12..16 | bytes of the header |
//! | 16..24 | bytes of the body |
//! | 24.. | header, in clear: CBOR of [`StoreHeader`] |
//! | then | body: sealed by the cluster key |
//! | last 4 | CRC32C of all before |
//!
//! Version `v` is in `store-0` if `v` is even, else in `store-1`: writing a version replaces the one before the last.

mod codec;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use weft_keys::{ClusterKey, KmsWrapped, Nonce, OpenStoreError};
use weft_types::{ClusterId, StoreVersion};
use zeroize::Zeroizing;

use crate::directory;

const LOCK: &str = "store.lock";
const TEMPORARY: &str = "store.new";

/// What a store file says in clear.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct StoreHeader {
    /// The cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// The version of the content; the first is 1.
    #[n(1)]
    pub version: StoreVersion,
    /// The KMS that wraps the cluster key: `local`, `vault` or `aws-kms`.
    #[n(2)]
    pub kms_provider: String,
    /// Which of its keys.
    #[n(3)]
    pub kms_key: String,
    /// The cluster key as that KMS wrapped it.
    #[n(4)]
    pub cluster_key: KmsWrapped,
}

/// One of the two files, whole by its checksum.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its header.
    pub header: StoreHeader,
    sealed: Vec<u8>,
}

/// A file that is there and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDamage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What a store holds.
#[derive(Debug)]
pub struct OpenedStore {
    /// The store, to be written to.
    pub file: StoreFile,
    /// Its content, wiped on drop.
    pub content: Zeroizing<Vec<u8>>,
    /// The other file is damaged: tell a person. If it held the newer version, its changes are lost.
    pub damage: Option<StoreDamage>,
}

/// Why a store was not read or written. One line, with what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("there is no cluster store in {}; make a cluster first", dir.display())]
    Absent {
        /// Where it would be.
        dir: PathBuf,
    },
    /// There is one.
    #[error("there is a cluster store in {} already; choose another directory, or destroy that cluster", dir.display())]
    Exists {
        /// Where it is.
        dir: PathBuf,
    },
    /// Another process has it open.
    #[error("the cluster store in {} is in use by another process; stop that one first", dir.display())]
    InUse {
        /// Where it is.
        dir: PathBuf,
    },
    /// No file is whole.
    #[error("the cluster store {} is damaged ({}); restore it from a copy", damage.path.display(), damage.reason)]
    Damaged {
        /// The file, and what is wrong with it.
        damage: StoreDamage,
    },
    /// Written by a newer version of the software.
    #[error("the cluster store {} has format {found}, this version reads format {known}: upgrade first", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// The newest format that is known.
        known: u16,
    },
    /// It is another cluster's.
    #[error("{} holds cluster {found}, not cluster {expected}; choose the directory of that cluster", dir.display())]
    OtherCluster {
        /// Where it is.
        dir: PathBuf,
        /// The cluster whose store it is.
        found: ClusterId,
        /// The cluster that was meant.
        expected: ClusterId,
    },
    /// The content does not open under this key.
    #[error("the cluster store in {} does not open; it is damaged, or the KMS gave another key", dir.display())]
    Sealed {
        /// Where it is.
        dir: PathBuf,
        /// What the seal says.
        #[source]
        source: OpenStoreError,
    },
    /// The content has changed since it was read.
    #[error("the cluster store is at version {found}, not {expected}; read it again")]
    Changed {
        /// The version that was to be replaced.
        expected: StoreVersion,
        /// The version that it has.
        found: StoreVersion,
    },
    /// The content is over the bound.
    #[error("a cluster store of {bytes} bytes is over the bound of {max}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The host has no room. Nothing has changed.
    #[error("no space left for the cluster store in {}; make room on that filesystem", dir.display())]
    NoSpace {
        /// Where it is.
        dir: PathBuf,
    },
    /// The device failed. Whether a change is durable is unknown: open the store again.
    #[error("the cluster store {} cannot be read or written", path.display())]
    Device {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The open cluster store. One process has it at a time.
#[derive(Debug)]
pub struct StoreFile {
    dir: PathBuf,
    header: StoreHeader,
    key: ClusterKey,
    _lock: File,
}

impl StoreFile {
    /// Makes the store of a new cluster: version 1, whatever the header says. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Exists`], or an error of writing; then there is none.
    pub fn create(
        dir: &Path,
        header: StoreHeader,
        key: ClusterKey,
        content: &[u8],
        nonce: Nonce,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|source| device(dir, source))?;
        let lock = lock(dir)?;
        if [0, 1].iter().any(|parity| path(dir, *parity).exists()) {
            return Err(StoreError::Exists { dir: dir.to_path_buf() });
        }
        let header = StoreHeader { version: StoreVersion::default(), ..header };
        let mut file = Self { dir: dir.to_path_buf(), header, key, _lock: lock };
        file.replace(StoreVersion::default(), content, nonce)?;
        Ok(file)
    }

    /// What is in a directory: the newest whole generation, whose header says how to get the cluster key, and the
    /// damage of the other file. Reads without taking the store.
    ///
    /// # Errors
    /// [`StoreError::Absent`], [`StoreError::Damaged`], [`StoreError::NewerFormat`], or an error of reading.
    pub fn inspect(dir: &Path) -> Result<(Generation, Option<StoreDamage>), StoreError> {
        let mut newest: Option<Generation> = None;
        let mut damage = None;
        for parity in [0, 1] {
            match read(&path(dir, parity), parity)? {
                Found::Nothing => {}
                Found::Damaged(found) => damage = Some(found),
                Found::Whole(found) => {
                    let newer =
                        newest.as_ref().is_none_or(|known| known.header.version < found.header.version);
                    newest = if newer { Some(found) } else { newest };
                }
            }
        }
        match (newest, damage) {
            (Some(newest), damage) => Ok((newest, damage)),
            (None, Some(damage)) => Err(StoreError::Damaged { damage }),
            (None, None) => Err(StoreError::Absent { dir: dir.to_path_buf() }),
        }
    }

    /// Opens the store of a cluster with the cluster key. If the newer generation is damaged, this is the older one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn open(dir: &Path, cluster: ClusterId, key: ClusterKey) -> Result<OpenedStore, StoreError> {
        // Looked for before the lock file is made: a directory without a store stays as it is.
        Self::inspect(dir)?;
        let lock = lock(dir)?;
        let (newest, damage) = Self::inspect(dir)?;
        let Generation { header, sealed } = newest;
        if header.cluster != cluster {
            let (found, expected) = (header.cluster, cluster);
            return Err(StoreError::OtherCluster { dir: dir.to_path_buf(), found, expected });
        }
        let content = key
            .open_store(cluster, header.version, &sealed)
            .map_err(|source| StoreError::Sealed { dir: dir.to_path_buf(), source })?;
        if let Some(StoreDamage { path, reason }) = &damage {
            tracing::error!(file = %path.display(), reason, version = %header.version, "the cluster store is damaged");
        }
        Ok(OpenedStore { file: Self { dir: dir.to_path_buf(), header, key, _lock: lock }, content, damage })
    }

    /// What the store says in clear.
    pub const fn header(&self) -> &StoreHeader {
        &self.header
    }

    /// Puts new content in the place of version `expected` and returns its version, the next. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Changed`], or an error of writing.
    pub fn replace(
        &mut self,
        expected: StoreVersion,
        content: &[u8],
        nonce: Nonce,
    ) -> Result<StoreVersion, StoreError> {
        let found = self.header.version;
        if found != expected {
            return Err(StoreError::Changed { expected, found });
        }
        let (bytes, max) = (content.len(), codec::BODY_BYTES_MAX);
        if bytes > max {
            return Err(StoreError::TooLarge { bytes, max });
        }
        let header = StoreHeader { version: expected.next(), ..self.header.clone() };
        let sealed = self.key.seal_store(header.cluster, header.version, content, nonce);
        let target = path(&self.dir, header.version.get() % 2);
        write(&self.dir, &target, &codec::encode(&header, &sealed)).map_err(|source| {
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    StoreError::NoSpace { dir: self.dir.clone() }
                }
                _ => device(&target, source),
            }
        })?;
        self.header = header;
        Ok(self.header.version)
    }
}

enum Found {
    Nothing,
    Damaged(StoreDamage),
    Whole(Generation),
}

fn read(path: &Path, parity: u64) -> Result<Found, StoreError> {
    let bytes = match File::open(path).and_then(codec::read_bounded) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(device(path, source)),
    };
    let damaged = |reason: String| Ok(Found::Damaged(StoreDamage { path: path.to_path_buf(), reason }));
    match codec::decode(&bytes) {
        Ok((header, _)) if header.version.get() % 2 != parity => {
            damaged(format!("it holds version {}, which belongs into the other file", header.version))
        }
        Ok((header, sealed)) => Ok(Found::Whole(Generation { header, sealed: sealed.to_vec() })),
        Err(codec::DecodeError::NewerFormat(found)) => {
            Err(StoreError::NewerFormat { path: path.to_path_buf(), found, known: codec::FORMAT })
        }
        Err(error) => damaged(error.to_string()),
    }
}

/// Writes a file whole or not at all.
fn write(dir: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // What was written so far would only take up room.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, target)?;
    directory::sync(dir)
}

fn path(dir: &Path, parity: u64) -> PathBuf {
    dir.join(format!("store-{parity}"))
}

fn device(path: &Path, source: io::Error) -> StoreError {
    StoreError::Device { path: path.to_path_buf(), source }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|source| device(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { dir: dir.to_path_buf() }),
        Err(fs::TryLockError::Error(source)) => Err(device(&path, source)),
    }
}

#[cfg(test)]
mod tests;
