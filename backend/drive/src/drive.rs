//! A store at work: a thread that writes in groups, threads that read, and a handle for async callers.
//!
//! Whatever waits when the writer comes round is applied together and made durable by one flush of the device; only
//! then are its callers answered. Readers go on meanwhile. All queues are bounded; a full one refuses.

use core::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use weft_wire::drive::{ShardHeader, ShardKey};
use weft_wire::management::{DeviceReport, DriveReport};

use weft_device::Device;
use crate::reader::{ReadError, Reader, Usage};
use crate::store::{DeleteError, PutError, Store, Stored};
use crate::superblock::DriveIdentity;

mod threads;

use threads::{ReadJob, ReadWork, WriteJob};

/// The longest range that is read on the caller's thread: copying and verifying it takes a few microseconds.
const AT_ONCE_BYTES: u32 = 64 << 10;

/// Any device.
pub type AnyDevice = Arc<dyn Device>;

/// How much a drive takes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveSettings {
    /// Threads that read.
    pub readers: usize,
    /// Puts and deletions that may wait.
    pub writes_waiting: usize,
    /// Reads that may wait.
    pub reads_waiting: usize,
    /// Bytes of reads under way, counted until their answers are sent. More wait.
    pub read_bytes: usize,
}

impl Default for DriveSettings {
    fn default() -> Self {
        Self { readers: 2, writes_waiting: 512, reads_waiting: 1024, read_bytes: 256 << 20 }
    }
}

/// Why a drive did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E: fmt::Debug + std::error::Error + 'static> {
    /// Too much waits already; nothing was done.
    #[error("the drive is overloaded")]
    Overloaded,
    /// The drive was closed before, or nothing is known of what became of it.
    #[error("the drive is closed")]
    Closed,
    /// The operation failed.
    #[error(transparent)]
    Failed(E),
}

/// What a drive did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriveCounters {
    /// Shards put, those that were there before included.
    pub puts: u64,
    /// Their bytes.
    pub put_bytes: u64,
    /// Ranges read.
    pub gets: u64,
    /// Their bytes.
    pub get_bytes: u64,
    /// Shards deleted.
    pub deletes: u64,
    /// Reads of shards that were not there.
    pub not_found: u64,
    /// Puts, reads and deletions refused because too many waited.
    pub overloaded: u64,
}

#[derive(Debug, Default)]
struct Counts {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    deletes: AtomicU64,
    not_found: AtomicU64,
    overloaded: AtomicU64,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

#[derive(Debug)]
struct Shared {
    identity: DriveIdentity,
    writes: SyncSender<WriteJob>,
    reads: SyncSender<ReadJob>,
    reader: Reader<AnyDevice>,
    read_bytes: Arc<Semaphore>,
    read_bytes_max: usize,
    counts: Counts,
    failure: Arc<Mutex<Option<String>>>,
    closed: AtomicBool,
}

/// A drive at work. Cheap to clone. The device stays open, and locked, until the drive is closed and all clones are
/// dropped.
#[derive(Debug, Clone)]
pub struct Drive {
    shared: Arc<Shared>,
}

/// The threads of a drive.
#[derive(Debug)]
pub struct DriveThreads {
    drive: Drive,
    threads: Vec<JoinHandle<()>>,
}

impl Drive {
    /// Starts the threads of a store.
    ///
    /// # Errors
    /// The host's, when it gives no thread.
    pub fn start(
        store: Store<AnyDevice>,
        identity: DriveIdentity,
        settings: DriveSettings,
    ) -> io::Result<(Self, DriveThreads)> {
        let (writes, waiting_writes) = sync_channel(settings.writes_waiting);
        let (reads, waiting_reads) = sync_channel(settings.reads_waiting);
        let (reader, failure) = (store.reader(), Arc::new(Mutex::new(None)));
        let mut threads = threads::readers(settings.readers.max(1), &reader, waiting_reads)?;
        threads.push(threads::writer(store, waiting_writes, Arc::clone(&failure))?);
        let shared = Shared {
            identity,
            writes,
            reads,
            reader,
            read_bytes: Arc::new(Semaphore::new(settings.read_bytes)),
            read_bytes_max: settings.read_bytes,
            counts: Counts::default(),
            failure,
            closed: AtomicBool::new(false),
        };
        let drive = Self { shared: Arc::new(shared) };
        Ok((drive.clone(), DriveThreads { drive, threads }))
    }

    /// Stores a shard. Durable on return. Once begun it is finished, also when the caller does not wait for it.
    ///
    /// # Errors
    /// [`DriveError`] with a [`PutError`].
    pub async fn put(&self, header: ShardHeader, payload: Bytes) -> Result<Stored, DriveError<PutError>> {
        let bytes = payload.len() as u64;
        let (done, outcome) = oneshot::channel();
        self.enqueue(&self.shared.writes, WriteJob::Put { header, payload, done })?;
        let stored = outcome.await.map_err(|_| DriveError::Closed)?.map_err(DriveError::Failed)?;
        add(&self.shared.counts.puts, 1);
        add(&self.shared.counts.put_bytes, bytes);
        Ok(stored)
    }

    /// Deletes shards; says how many were there. Durable on return. Once begun it is finished, also when the caller
    /// does not wait for it.
    ///
    /// # Errors
    /// [`DriveError`] with a [`DeleteError`]: some shards may be gone.
    pub async fn delete(&self, keys: Vec<ShardKey>) -> Result<u32, DriveError<DeleteError>> {
        let (done, outcome) = oneshot::channel();
        self.enqueue(&self.shared.writes, WriteJob::Delete { keys, done })?;
        let deleted = outcome.await.map_err(|_| DriveError::Closed)?.map_err(DriveError::Failed)?;
        add(&self.shared.counts.deletes, deleted.into());
        Ok(deleted)
    }

    /// Reads bytes of a shard, verified. Waits while answers that are not sent yet hold too many bytes.
    ///
    /// A short range that the host has in memory is read at once, by the caller's thread: handing it to another and
    /// back costs ten times the read.
    ///
    /// # Errors
    /// [`DriveError`] with a [`ReadError`].
    pub async fn read(&self, key: ShardKey, range: Range<u32>) -> Result<Bytes, DriveError<ReadError>> {
        // A range that no shard has is refused by the reader; it must not wait for room that there never is.
        let room = range.end.saturating_sub(range.start).min(crate::record::MAX_PAYLOAD_BYTES);
        let room = room.min(u32::try_from(self.shared.read_bytes_max).unwrap_or(u32::MAX));
        let budget = Arc::clone(&self.shared.read_bytes);
        let permit = budget.acquire_many_owned(room).await.map_err(|_| DriveError::Closed)?;
        let at_once = if room <= AT_ONCE_BYTES && !self.shared.closed.load(Ordering::Relaxed) {
            self.shared.reader.read_at_once(key, range.clone())
        } else {
            None
        };
        let bytes = match at_once {
            Some(bytes) => bytes,
            None => self.on_reader(move |reader| reader.read(key, range)).await?,
        };
        add(&self.shared.counts.gets, 1);
        add(&self.shared.counts.get_bytes, bytes.len() as u64);
        Ok(Bytes::from_owner(Answer { bytes, _permit: permit }))
    }

    /// What is kept with a shard.
    ///
    /// # Errors
    /// [`DriveError`] with a [`ReadError`].
    pub async fn describe(&self, key: ShardKey) -> Result<ShardHeader, DriveError<ReadError>> {
        self.on_reader(move |reader| reader.describe(key)).await
    }

    /// The keys after `after`, or from the first on, in order: at most `limit`. Does not touch the device.
    pub fn list(&self, after: Option<ShardKey>, limit: usize) -> Vec<ShardKey> {
        self.shared.reader.list(after, limit)
    }

    /// The drive's account now. Does not touch the device.
    pub fn usage(&self) -> Usage {
        self.shared.reader.usage()
    }

    /// What it did since it was opened.
    pub fn counters(&self) -> DriveCounters {
        let counts = &self.shared.counts;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DriveCounters {
            puts: of(&counts.puts),
            put_bytes: of(&counts.put_bytes),
            gets: of(&counts.gets),
            get_bytes: of(&counts.get_bytes),
            deletes: of(&counts.deletes),
            not_found: of(&counts.not_found),
            overloaded: of(&counts.overloaded),
        }
    }

    /// Whose the device is.
    pub fn identity(&self) -> DriveIdentity {
        self.shared.identity
    }

    /// What a drive tells management with every heartbeat.
    pub fn report(&self) -> DriveReport {
        let (identity, usage, counters) = (self.identity(), self.usage(), self.counters());
        let damage = usage.damage;
        DriveReport {
            drive: identity.drive,
            incarnation: identity.incarnation,
            capacity: usage.capacity,
            used: usage.used,
            shards: usage.shards,
            damaged: damage.superblocks + damage.records + damage.reads,
            puts: counters.puts,
            gets: counters.gets,
            warning: threads::locked(&self.shared.failure).clone(),
            writable: usage.writable,
            device: DeviceReport::default(),
        }
    }

    async fn on_reader<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<AnyDevice>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, DriveError<ReadError>> {
        let (done, outcome) = oneshot::channel();
        let job: ReadWork = Box::new(move |reader| {
            // Nobody reads for a caller that has gone.
            if !done.is_closed() {
                let _ = done.send(read(reader));
            }
        });
        self.enqueue(&self.shared.reads, ReadJob::Run(job))?;
        let outcome = outcome.await.map_err(|_| DriveError::Closed)?;
        outcome.map_err(|error| {
            add(&self.shared.counts.not_found, u64::from(matches!(error, ReadError::Absent)));
            DriveError::Failed(error)
        })
    }

    fn enqueue<J, E>(&self, queue: &SyncSender<J>, job: J) -> Result<(), DriveError<E>>
    where
        E: fmt::Debug + std::error::Error + 'static,
    {
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => {
                add(&self.shared.counts.overloaded, 1);
                DriveError::Overloaded
            }
            TrySendError::Disconnected(_) => DriveError::Closed,
        })
    }
}

impl DriveThreads {
    /// Finishes what waits, and ends the threads. Later calls on any handle of the drive find it closed.
    pub fn close(self) {
        self.drive.shared.closed.store(true, Ordering::Relaxed);
        for _ in 1..self.threads.len() {
            // A send fails when the threads are gone already.
            let _ = self.drive.shared.reads.send(ReadJob::Stop);
        }
        let _ = self.drive.shared.writes.send(WriteJob::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the drive panicked");
            }
        }
    }
}

/// Read bytes that count as under way until they are dropped.
struct Answer {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
