//! The local index: a metadata shard's rows as they are after a position of its log.

mod reserve;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use weft_keys::EpochSalt;
use weft_types::{Epoch, FilesystemId, KeyVersion, MetadataShard, Position};
use weft_wire::log::LogKey;

use crate::{Batch, Room};
use reserve::{Reserve, Reserved};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Epoch to salt (32 bytes) and version of the metadata key (4 bytes, little-endian).
const SALTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("salts");
/// One row: format, filesystem, shard, epoch and sequence applied.
const STATE: TableDefinition<'_, &str, State> = TableDefinition::new("state");
const STATE_ROW: &str = "state";
type State = (u16, [u8; 16], u16, u64, u64);

const FORMAT: u16 = 2;
const CACHE_BYTES: usize = 32 << 20;

/// Why an index did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file is not what was written, or the store failed on it. Rebuild it from the log.
    #[error("the index {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// The device failed or is full; open the index again.
    #[error("the index {} cannot be read or written", path.display())]
    Device {
        /// The file.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A batch does not follow what was applied.
    #[error("batch {given} was to be applied after {applied}")]
    OutOfOrder {
        /// The batch.
        given: Position,
        /// What the index has.
        applied: Position,
    },
}

/// Why an index cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenIndexError {
    /// It belongs to another metadata shard.
    #[error("{} is the index of shard {} of filesystem {}, not of shard {} of filesystem {}", path.display(),
        found.shard, found.filesystem, expected.shard, expected.filesystem)]
    OtherShard {
        /// The file.
        path: PathBuf,
        /// The shard it belongs to.
        found: LogKey,
        /// The shard it was opened for.
        expected: LogKey,
    },
    /// It was written by another version of the software.
    #[error("{} has format {found}, and this version reads format {FORMAT}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// It cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A row: key and sealed value.
pub type Row = (Vec<u8>, Vec<u8>);
/// The salt of an ownership, and the version of the metadata key that it sealed under.
pub type Salt = (Epoch, EpochSalt, KeyVersion);

/// The rows of a metadata shard as they are after [`applied`](Self::applied), in one file.
///
/// A cache: it may lag behind the log after a crash, and the log says how to catch up. Rows are kept as sealed as
/// they are in the log. Its memory is bounded. Reading and applying may go on at the same time.
pub struct Index {
    path: PathBuf,
    log: LogKey,
    database: Database,
    reserve: Arc<Reserve>,
    applied: Mutex<Position>,
}

impl Index {
    /// Opens the index at `path`, or makes an empty one. After a crash it stands at the last durable apply. Beside it a
    /// file `<path>.reserve` keeps 32 MiB of the disk for it, as far as there is room.
    ///
    /// # Errors
    /// [`OpenIndexError`]
    pub fn open(path: &Path, log: LogKey) -> Result<Self, OpenIndexError> {
        let (database, reserve) = guard(path, || open_reserved(path))?;
        let index = Self { path: path.to_path_buf(), log, database, reserve, applied: Mutex::default() };
        match guard(path, || index.read_state())? {
            None => guard(path, || index.write_empty())?,
            Some((found, ..)) if found != FORMAT => {
                return Err(OpenIndexError::OtherFormat { path: path.to_path_buf(), found });
            }
            Some((_, filesystem, shard, epoch, seq)) => {
                let (filesystem, shard) = (FilesystemId::from_bytes(filesystem), MetadataShard::new(shard));
                let found = LogKey { filesystem, shard };
                if found != log {
                    return Err(OpenIndexError::OtherShard {
                        path: path.to_path_buf(),
                        found,
                        expected: log,
                    });
                }
                *index.lock() = Position { epoch: Epoch::new(epoch), seq };
            }
        }
        Ok(index)
    }

    /// The last batch that the rows reflect.
    pub fn applied(&self) -> Position {
        *self.lock()
    }

    /// How much room the host's disk has for it: less than [`Room::Ample`] when it lives on its reserve.
    pub fn room(&self) -> Room {
        self.reserve.room()
    }

    /// Fills the reserve again, as far as the disk has room. Blocks for a few system calls.
    ///
    /// # Errors
    /// The host's, except that of a full disk.
    pub fn refill_reserve(&self) -> std::io::Result<()> {
        self.reserve.refill()
    }

    /// Whose index it is.
    pub const fn key(&self) -> LogKey {
        self.log
    }

    /// The rows as they are now, whatever is applied later.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn snapshot(&self) -> Result<Snapshot, IndexError> {
        let transaction = guard(&self.path, || Ok(self.database.begin_read()?))?;
        let (.., epoch, seq) = guard(&self.path, || {
            let table = transaction.open_table(STATE)?;
            let state = table.get(STATE_ROW)?.map(|row| row.value());
            state.ok_or_else(|| redb::Error::Corrupted("the index has no state".to_owned()))
        })?;
        let position = Position { epoch: Epoch::new(epoch), seq };
        Ok(Snapshot { path: self.path.clone(), position, transaction })
    }

    /// Puts rows of a checkpoint into an index that is being filled: it is of no use before [`filled`](Self::filled).
    pub(crate) fn fill(&self, rows: &[Row]) -> Result<(), IndexError> {
        guard(&self.path, || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            {
                let mut table = transaction.open_table(ROWS)?;
                for (key, value) in rows {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        })
    }

    /// All rows of a checkpoint are in: makes them durable, as the rows after `position`.
    pub(crate) fn filled(&self, position: Position, salts: &[Salt]) -> Result<(), IndexError> {
        let mut held = self.lock();
        guard(&self.path, || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let mut table = transaction.open_table(SALTS)?;
                for (epoch, salt, version) in salts {
                    table.insert(epoch.get(), salt_value(*salt, *version).as_slice())?;
                }
            }
            self.write_state(&transaction, position)?;
            Ok(transaction.commit()?)
        })?;
        *held = position;
        Ok(())
    }

    /// Applies batches that are durable in the log and follow [`applied`](Self::applied), all or none. With `durable`
    /// they, and all before them, outlive a crash when it returns; otherwise a crash may undo them.
    ///
    /// # Errors
    /// [`IndexError`]; after an error of the device, open the index again.
    pub fn apply(&self, batches: &[Batch], durable: bool) -> Result<(), IndexError> {
        let mut held = self.lock();
        let mut applied = *held;
        for batch in batches {
            let given = batch.position;
            if given.seq != applied.seq + 1 || given.epoch < applied.epoch {
                return Err(IndexError::OutOfOrder { given, applied });
            }
            applied = given;
        }
        guard(&self.path, || self.write(batches, applied, durable))?;
        *held = applied;
        Ok(())
    }

    /// The sealed value under a key.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        guard(&self.path, || {
            let table = self.database.begin_read()?.open_table(ROWS)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    /// At most `limit` rows from key `from` on, up to but not including `until`, in the order of their keys.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn scan(&self, from: &[u8], until: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, IndexError> {
        guard(&self.path, || {
            let table = self.database.begin_read()?.open_table(ROWS)?;
            let range = match until {
                Some(until) if until <= from => return Ok(Vec::new()),
                Some(until) => table.range(from..until)?,
                None => table.range(from..)?,
            };
            let mut rows = Vec::new();
            for found in range.take(limit) {
                let (key, value) = found?;
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(rows)
        })
    }

    /// The salts of all ownerships that wrote a batch, and the versions of the metadata key that they sealed under.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn salts(&self) -> Result<Vec<Salt>, IndexError> {
        guard(&self.path, || read_salts(&self.database.begin_read()?))
    }

    /// Checks every page of the file.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] when it is not whole.
    pub fn check(&mut self) -> Result<(), IndexError> {
        let whole = guard(&self.path, || match self.database.check_integrity() {
            Ok(whole) => Ok(whole),
            Err(error) => Err(error.into()),
        })?;
        let reason = "its pages do not belong together".to_owned();
        if whole { Ok(()) } else { Err(IndexError::Damaged { path: self.path.clone(), reason }) }
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_state(&self) -> Result<Option<State>, redb::Error> {
        let table = match self.database.begin_read()?.open_table(STATE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            // An earlier format had other fields.
            Err(TableError::TableTypeMismatch { .. }) => {
                return Ok(Some((0, [0; 16], 0, 0, 0)));
            }
            Err(error) => return Err(error.into()),
        };
        let state = table.get(STATE_ROW)?.map(|row| row.value());
        state.map(Some).ok_or_else(|| redb::Error::Corrupted("the index has no state".to_owned()))
    }

    /// All tables, so that reading finds them.
    fn write_empty(&self) -> Result<(), redb::Error> {
        self.write(&[], Position::default(), true)
    }

    fn write(&self, batches: &[Batch], applied: Position, durable: bool) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
        // Durable commits are rare, and a repair that reads the whole file would delay the next start.
        transaction.set_quick_repair(durable);
        {
            let mut rows = transaction.open_table(ROWS)?;
            let mut salts = transaction.open_table(SALTS)?;
            for batch in batches {
                let salt = salt_value(batch.salt, batch.key_version);
                let epoch = batch.position.epoch.get();
                if salts.get(epoch)?.is_none_or(|known| known.value() != salt) {
                    salts.insert(epoch, salt.as_slice())?;
                }
                for row in &batch.rows {
                    match &row.value {
                        Some(value) => rows.insert(row.key.as_slice(), value.as_slice())?,
                        None => rows.remove(row.key.as_slice())?,
                    };
                }
            }
        }
        self.write_state(&transaction, applied)?;
        transaction.commit()?;
        Ok(())
    }

    fn write_state(
        &self,
        transaction: &redb::WriteTransaction,
        applied: Position,
    ) -> Result<(), redb::Error> {
        let LogKey { filesystem, shard } = self.log;
        let state = (FORMAT, filesystem.to_bytes(), shard.get(), applied.epoch.get(), applied.seq);
        transaction.open_table(STATE)?.insert(STATE_ROW, state)?;
        Ok(())
    }
}

/// A file of one name serves an index and the one that is made anew in its place, which are not open together.
fn open_reserved(path: &Path) -> Result<(Database, Arc<Reserve>), redb::Error> {
    let reserve = Arc::new(Reserve::open(&path.with_extension("reserve"))?);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let store = Reserved::new(FileBackend::new(file)?, Arc::clone(&reserve));
    let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(store)?;
    Ok((database, reserve))
}

fn salt_value(salt: EpochSalt, version: KeyVersion) -> Vec<u8> {
    let mut value = salt.to_bytes().to_vec();
    value.extend_from_slice(&version.get().to_le_bytes());
    value
}

fn read_salts(transaction: &redb::ReadTransaction) -> Result<Vec<Salt>, redb::Error> {
    let table = transaction.open_table(SALTS)?;
    let mut salts = Vec::new();
    for found in table.iter()? {
        let (epoch, value) = found?;
        let (salt, version) = value
            .value()
            .split_first_chunk::<32>()
            .and_then(|(salt, version)| Some((salt, version.first_chunk::<4>()?)))
            .ok_or_else(|| redb::Error::Corrupted("a salt has the wrong length".to_owned()))?;
        let version = KeyVersion::new(u32::from_le_bytes(*version));
        salts.push((Epoch::new(epoch.value()), EpochSalt::from_bytes(*salt), version));
    }
    Ok(salts)
}

/// The rows of an index as they were at one position. Keeps the pages that later applies replace: let go of it soon.
pub struct Snapshot {
    path: PathBuf,
    position: Position,
    transaction: redb::ReadTransaction,
}

impl Snapshot {
    /// The last batch that the rows reflect.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The salts of all ownerships that wrote a batch.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn salts(&self) -> Result<Vec<Salt>, IndexError> {
        guard(&self.path, || read_salts(&self.transaction))
    }

    /// Rows behind key `after`, or from the first one on, in order: about `bytes` of them, none only at the end.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn rows(&self, after: Option<&[u8]>, bytes: usize) -> Result<Vec<Row>, IndexError> {
        guard(&self.path, || {
            let table = self.transaction.open_table(ROWS)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut rows = Vec::new();
            let mut left = bytes;
            for found in table.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = found?;
                let row = (key.value().to_vec(), value.value().to_vec());
                left = left.saturating_sub(row.0.len() + row.1.len());
                rows.push(row);
                if left == 0 {
                    break;
                }
            }
            Ok(rows)
        })
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({}, at {})", self.path.display(), self.position)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({}, applied {})", self.path.display(), self.applied())
    }
}

/// Runs an access of the store. It may panic on a file that something else has written to; a cache that is broken
/// must not end the process.
fn guard<T>(path: &Path, access: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, IndexError> {
    let damaged = |reason: String| IndexError::Damaged { path: path.to_path_buf(), reason };
    match catch_unwind(AssertUnwindSafe(access)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error {
            // What the store says of a file that is too short or not its own.
            redb::Error::Io(io) if matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                damaged(io.to_string())
            }
            redb::Error::Io(_)
            | redb::Error::PreviousIo
            | redb::Error::DatabaseAlreadyOpen
            | redb::Error::Unsupported => {
                IndexError::Device { path: path.to_path_buf(), source: Box::new(error) }
            }
            other => damaged(other.to_string()),
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
            Err(damaged(format!("the store gave up on it: {text}")))
        }
    }
}

#[cfg(test)]
mod tests;
