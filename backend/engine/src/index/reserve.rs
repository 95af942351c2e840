//! Room on the host's disk that the index has for itself when others have filled it.
//!
//! The store ends for good with the first write that finds no space, and an owner without its index cannot serve. So a
//! file beside the index holds allocated room: a write that finds none takes some of it, and whoever commits hears that
//! room is short before the rest is gone too.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate};

use crate::Room;

/// Bytes of a full reserve: what waits to be applied when changes are refused is at most 8 MiB of batches, and the
/// store writes whole pages for rows.
pub(super) const RESERVE_BYTES: u64 = 32 << 20;
/// Bytes that are given back, or taken again, at once.
const STEP: u64 = 1 << 20;

/// The file that holds the room.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    held: Mutex<u64>,
    /// The same, for those who must not wait for the disk.
    told: AtomicU64,
}

impl Reserve {
    /// Opens the file, or makes it, and fills it as far as the disk has room.
    ///
    /// # Errors
    /// The host's, except that of a full disk.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let held = file.metadata()?.len() / STEP * STEP;
        let held = held.min(RESERVE_BYTES);
        let reserve = Self { file, held: Mutex::new(held), told: AtomicU64::new(held) };
        reserve.refill()?;
        Ok(reserve)
    }

    /// Takes room again, as far as there is any.
    ///
    /// # Errors
    /// The host's, except that of a full disk.
    pub(super) fn refill(&self) -> io::Result<()> {
        let mut held = self.lock();
        while *held < RESERVE_BYTES {
            match fallocate(&self.file, FallocateFlags::empty(), *held, STEP).map_err(io::Error::from) {
                Ok(()) => *held += STEP,
                Err(error) if is_full(&error) => break,
                // The host's filesystem cannot set room aside.
                Err(error) if error.kind() == ErrorKind::Unsupported => *held = RESERVE_BYTES,
                Err(error) => return Err(error),
            }
            self.told.store(*held, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives some room to the disk; false: none is left.
    fn give_back(&self) -> io::Result<bool> {
        let mut held = self.lock();
        let Some(less) = held.checked_sub(STEP) else { return Ok(false) };
        if *held == RESERVE_BYTES {
            tracing::warn!("the host's disk is full: the index lives on its reserve");
        }
        self.file.set_len(less)?;
        *held = less;
        self.told.store(less, Ordering::Relaxed);
        Ok(true)
    }

    /// How much of it there is.
    pub(super) fn room(&self) -> Room {
        match self.told.load(Ordering::Relaxed) {
            RESERVE_BYTES.. => Room::Ample,
            held if held >= RESERVE_BYTES / 2 => Room::Reserve,
            _ => Room::None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A file of the store whose writes take room from the reserve when the disk has none.
#[derive(Debug)]
pub(super) struct Reserved<B> {
    file: B,
    reserve: Arc<Reserve>,
}

impl<B> Reserved<B> {
    pub(super) const fn new(file: B, reserve: Arc<Reserve>) -> Self {
        Self { file, reserve }
    }

    fn with_room(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match write() {
                Err(error) if is_full(&error) => {
                    if !self.reserve.give_back()? {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

impl<B: StorageBackend> StorageBackend for Reserved<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_room(|| self.file.set_len(len))
    }

    // Not tried again: what a failed flush has written is unknown.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_room(|| self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableDatabase, TableDefinition};

    use super::*;

    const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

    /// A disk of a size, on which nothing is but the reserve and what was ever written to the store.
    #[derive(Debug)]
    struct Disk {
        file: InMemoryBackend,
        reserve: Arc<Reserve>,
        size: Arc<AtomicU64>,
        written: Arc<AtomicU64>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.file.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let after = self.written.load(Relaxed) + data.len() as u64;
            if after + *self.reserve.lock() > self.size.load(Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.written.store(after, Relaxed);
            self.file.write(offset, data)
        }
    }

    fn put(database: &Database, key: u64) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(ROWS)?.insert(key, [7; 9000].as_slice())?;
        Ok(transaction.commit()?)
    }

    #[test]
    fn a_store_on_a_full_disk_lives_on_the_reserve_until_it_is_filled_again() {
        let dir = tempfile::tempdir().expect("works");
        let reserve = Arc::new(Reserve::open(&dir.path().join("reserve")).expect("works"));
        assert_eq!(reserve.room(), Room::Ample);
        let (size, written) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let disk = Disk {
            file: InMemoryBackend::new(),
            reserve: Arc::clone(&reserve),
            size: Arc::clone(&size),
            written: Arc::clone(&written),
        };
        let store = Reserved::new(disk, Arc::clone(&reserve));
        let database = Database::builder().create_with_backend(store).expect("works");
        put(&database, 1).expect("works");
        assert_eq!(reserve.room(), Room::Ample);
        size.store(written.load(Relaxed) + RESERVE_BYTES, Relaxed);
        put(&database, 2).expect("works");
        assert_eq!(reserve.room(), Room::Reserve, "whoever commits hears of it");
        size.store(u64::MAX, Relaxed);
        reserve.refill().expect("works");
        assert_eq!(reserve.room(), Room::Ample);
        put(&database, 3).expect("works");
        let read = database.begin_read().expect("works").open_table(ROWS).expect("works");
        assert!((1..=3).all(|key| read.get(key).expect("works").is_some()));
    }

    #[test]
    fn what_was_given_back_is_missing_until_there_is_room() {
        let dir = tempfile::tempdir().expect("works");
        let path = dir.path().join("reserve");
        let reserve = Reserve::open(&path).expect("works");
        let allocated = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(&path).expect("works").blocks() * 512
        };
        assert!(allocated() >= RESERVE_BYTES, "not only its length: {}", allocated());
        let given = (0..).take_while(|_| reserve.give_back().expect("works")).count() as u64;
        assert_eq!((given * STEP, reserve.room(), allocated()), (RESERVE_BYTES, Room::None, 0));
        drop(reserve);
        assert_eq!(Reserve::open(&path).expect("works").room(), Room::Ample);
    }
}
