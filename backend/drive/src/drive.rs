//! A store at work: a thread that writes in groups and cleans between them, and a handle for async callers.
//!
//! Whatever waits when the writer comes round is applied together and made durable by one flush of the device; only
//! then are its callers answered. Reads go to the device at once, by its own threads. All that may wait is bounded;
//! what goes beyond is refused.

use core::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use weft_wire::drive::{ShardHeader, ShardKey};
use weft_wire::management::{DeviceReport, DriveReport};

use crate::key::ItemKey;
use crate::reader::{ReadError, Reader, Usage};
use crate::record::MAX_ITEM_BYTES;
use crate::store::{DeleteError, PutError, PutItemError, Store, Stored};
use crate::superblock::DriveIdentity;
use weft_device::{Device, IoMode};

mod threads;

use threads::{Change, Job, Over, Waiting};

/// The longest range that is read on the caller's thread: copying and verifying it takes a few microseconds.
const AT_ONCE_BYTES: u32 = 64 << 10;

/// How often room for the word to stop is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Any device.
pub type AnyDevice = Arc<dyn Device>;

/// How much a drive takes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveSettings {
    /// Puts and deletions that may wait.
    pub writes_waiting: usize,
    /// Bytes of puts that may wait, from 8 MiB on.
    pub write_bytes: usize,
    /// Reads that may wait or be under way.
    pub reads_waiting: usize,
    /// Bytes of reads under way, counted until their answers are sent. More wait.
    pub read_bytes: usize,
    /// How long a call waits at most before it is told that nothing is known of it. More than the device takes to find
    /// that it stalls, which calls are told of at once.
    pub patience: Duration,
}

/// Bytes of puts that wait unless it is said otherwise; what goes beyond is refused. With the bytes of
/// [answers](READ_BYTES), 38 MiB of free read buffers and 48 MiB of records to be written a drive's buffers have 214 MiB
/// at most.
const WRITE_BYTES: usize = 80 << 20;
/// Bytes of answers that are not sent yet unless it is said otherwise; what goes beyond waits.
const READ_BYTES: usize = 48 << 20;

impl Default for DriveSettings {
    fn default() -> Self {
        Self {
            writes_waiting: 512,
            write_bytes: WRITE_BYTES,
            reads_waiting: 1024,
            read_bytes: READ_BYTES,
            patience: Duration::from_secs(60),
        }
    }
}

/// Why a drive did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E: fmt::Debug + std::error::Error + 'static> {
    /// Too much waits already; nothing was done.
    #[error("the drive is overloaded")]
    Overloaded,
    /// The drive was closed before, or its device does not answer: nothing is known of what became of it.
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
    /// Items put.
    pub item_puts: u64,
    /// Their bytes.
    pub item_bytes: u64,
    /// Reads of shards and items that were not there.
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
    item_puts: AtomicU64,
    item_bytes: AtomicU64,
    not_found: AtomicU64,
    overloaded: AtomicU64,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// How the device is reached, as the one who opened it said.
#[derive(Debug, Default)]
struct Medium {
    mode: Option<IoMode>,
    warning: Option<String>,
}

#[derive(Debug)]
struct Shared {
    identity: DriveIdentity,
    writes: SyncSender<Job>,
    reader: Reader<AnyDevice>,
    write_bytes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    read_bytes: Arc<Semaphore>,
    settings: DriveSettings,
    counts: Counts,
    medium: Mutex<Medium>,
    failure: Arc<Mutex<Option<String>>>,
    /// The device holds up the writer: nothing that waits for it is answered, and nothing more is taken.
    stalled: watch::Receiver<bool>,
    closed: AtomicBool,
}

/// A drive at work. Cheap to clone. The device stays open, and locked, until the drive is closed and all clones are
/// dropped.
#[derive(Debug, Clone)]
pub struct Drive {
    shared: Arc<Shared>,
}

/// The thread of a drive.
#[derive(Debug)]
pub struct DriveThreads {
    drive: Drive,
    writer: JoinHandle<()>,
    /// The thread ended, or is held up.
    over: Receiver<Over>,
}

impl Drive {
    /// Starts the thread of a store.
    ///
    /// # Errors
    /// The host's, when it gives no thread.
    pub fn start(
        store: Store<AnyDevice>,
        identity: DriveIdentity,
        settings: DriveSettings,
    ) -> io::Result<(Self, DriveThreads)> {
        let (writes, waiting) = sync_channel(settings.writes_waiting);
        let (reader, failure) = (store.reader(), Arc::new(Mutex::new(None)));
        let (ends, over) = channel();
        let (held_up, stalled) = watch::channel(false);
        let (sender, noted) = (ends.clone(), Arc::clone(&failure));
        store.on_stall(Box::new(move || {
            threads::note(&noted, || "the device does not answer".to_owned());
            held_up.send_replace(true);
            // Nobody listens once the drive is closed.
            let _ = sender.send(Over::Stalled);
        }));
        let writer = threads::writer(store, waiting, Arc::clone(&failure), ends)?;
        let shared = Shared {
            identity,
            writes,
            reader,
            write_bytes: Arc::new(Semaphore::new(settings.write_bytes)),
            reads: Arc::new(Semaphore::new(settings.reads_waiting)),
            read_bytes: Arc::new(Semaphore::new(settings.read_bytes)),
            settings,
            counts: Counts::default(),
            medium: Mutex::default(),
            failure,
            stalled,
            closed: AtomicBool::new(false),
        };
        let drive = Self { shared: Arc::new(shared) };
        Ok((drive.clone(), DriveThreads { drive, writer, over }))
    }

    /// Says how the device is reached, for reports; `warning` is for whoever runs the host.
    pub fn tell_medium(&self, mode: IoMode, warning: Option<String>) {
        *threads::locked(&self.shared.medium) = Medium { mode: Some(mode), warning };
    }

    /// Stores a shard. Durable on return. Once begun it is finished, also when the caller does not wait for it.
    ///
    /// # Errors
    /// [`DriveError`] with a [`PutError`].
    pub async fn put(&self, header: ShardHeader, payload: Bytes) -> Result<Stored, DriveError<PutError>> {
        let bytes = payload.len();
        let (done, outcome) = oneshot::channel();
        self.enqueue(Change::Put { header, payload, done }, bytes)?;
        let stored = self.written(outcome).await?;
        add(&self.shared.counts.puts, 1);
        add(&self.shared.counts.put_bytes, bytes as u64);
        Ok(stored)
    }

    /// Deletes shards; says how many were there. Durable on return. Once begun it is finished, also when the caller
    /// does not wait for it.
    ///
    /// # Errors
    /// [`DriveError`] with a [`DeleteError`]: some shards may be gone.
    pub async fn delete(&self, keys: Vec<ShardKey>) -> Result<u32, DriveError<DeleteError>> {
        let (done, outcome) = oneshot::channel();
        self.enqueue(Change::Delete { keys, done }, 0)?;
        let deleted = self.written(outcome).await?;
        add(&self.shared.counts.deletes, deleted.into());
        Ok(deleted)
    }

    /// Stores an item, which replaces the one of its key. Durable on return. Once begun it is finished, also when the
    /// caller does not wait for it. Of two at the same time either may come first.
    ///
    /// # Errors
    /// [`DriveError`] with a [`PutItemError`].
    pub async fn put_item(&self, key: ItemKey, value: Bytes) -> Result<(), DriveError<PutItemError>> {
        let bytes = value.len();
        let (done, outcome) = oneshot::channel();
        self.enqueue(Change::PutItem { key, value, done }, bytes)?;
        self.written(outcome).await?;
        add(&self.shared.counts.item_puts, 1);
        add(&self.shared.counts.item_bytes, bytes as u64);
        Ok(())
    }

    /// Deletes items; says how many were there. Durable on return. Once begun it is finished, also when the caller
    /// does not wait for it.
    ///
    /// # Errors
    /// [`DriveError`] with a [`DeleteError`]: some items may be gone.
    pub async fn delete_items(&self, keys: Vec<ItemKey>) -> Result<u32, DriveError<DeleteError>> {
        let (done, outcome) = oneshot::channel();
        self.enqueue(Change::DeleteItems { keys, done }, 0)?;
        self.written(outcome).await
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
        let room = range.end.saturating_sub(range.start).min(MAX_ITEM_BYTES);
        let permit = self.room_for(room).await?;
        let at_once = if room <= AT_ONCE_BYTES && !self.shared.closed.load(Ordering::Relaxed) {
            self.shared.reader.read_at_once(key, range.clone())
        } else {
            None
        };
        let bytes = match at_once {
            Some(bytes) => bytes,
            None => self.reading(|reader, done| reader.read_then(key, range, done)).await?,
        };
        add(&self.shared.counts.gets, 1);
        add(&self.shared.counts.get_bytes, bytes.len() as u64);
        Ok(Bytes::from_owner(Answer { bytes, _permit: permit }))
    }

    /// The value of an item, verified. Waits while answers that are not sent yet hold too many bytes.
    ///
    /// # Errors
    /// [`DriveError`] with a [`ReadError`].
    pub async fn read_item(&self, key: ItemKey) -> Result<Bytes, DriveError<ReadError>> {
        let len = self.shared.reader.item_bytes(&key).unwrap_or(0);
        let permit = self.room_for(len).await?;
        let bytes = self.reading(|reader, done| reader.read_item_then(key, done)).await?;
        Ok(Bytes::from_owner(Answer { bytes, _permit: permit }))
    }

    /// The items whose keys begin with `prefix` and come after `after`, in order, with the bytes of their values: at
    /// most `limit`. Does not touch the device.
    pub fn list_items(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)> {
        self.shared.reader.list_items(prefix, after, limit)
    }

    /// A reader of the store, for whoever reads before the drive is served. Waits for the device.
    pub fn reader(&self) -> Reader<AnyDevice> {
        self.shared.reader.clone()
    }

    /// What is kept with a shard.
    ///
    /// # Errors
    /// [`DriveError`] with a [`ReadError`].
    pub async fn describe(&self, key: ShardKey) -> Result<ShardHeader, DriveError<ReadError>> {
        self.reading(|reader, done| reader.describe_then(key, done)).await
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
            item_puts: of(&counts.item_puts),
            item_bytes: of(&counts.item_bytes),
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
        let (medium, io) = (threads::locked(&self.shared.medium), self.shared.reader.io_counters());
        DriveReport {
            drive: identity.drive,
            incarnation: identity.incarnation,
            capacity: usage.capacity,
            used: usage.used,
            shards: usage.shards,
            damaged: damage.superblocks + damage.records + damage.reads,
            puts: counters.puts,
            gets: counters.gets,
            warning: threads::locked(&self.shared.failure).clone().or_else(|| medium.warning.clone()),
            writable: usage.writable,
            device: DeviceReport {
                mode: medium.mode.map(|mode| mode.to_string()).unwrap_or_default(),
                errors: io.errors,
                stalls: io.stalls,
                stuck: io.stuck,
            },
        }
    }

    async fn room_for<E>(&self, bytes: u32) -> Result<OwnedSemaphorePermit, DriveError<E>>
    where
        E: fmt::Debug + std::error::Error + 'static,
    {
        let room = bytes.min(u32::try_from(self.shared.settings.read_bytes).unwrap_or(u32::MAX));
        let budget = Arc::clone(&self.shared.read_bytes);
        budget.acquire_many_owned(room).await.map_err(|_| DriveError::Closed)
    }

    /// Begins a read and waits for its outcome.
    async fn reading<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&Reader<AnyDevice>, ReadDone<T>),
    ) -> Result<T, DriveError<ReadError>> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(DriveError::Closed);
        }
        // Counted until the device is done with it, whether or not anybody waits.
        let slot = Arc::clone(&self.shared.reads).try_acquire_owned().map_err(|_| self.overloaded())?;
        let (done, outcome) = oneshot::channel();
        begin(
            &self.shared.reader,
            Box::new(move |read| {
                drop(slot);
                drop(done.send(read));
            }),
        );
        self.outcome(outcome).await.inspect_err(|error| {
            let absent = matches!(error, DriveError::Failed(ReadError::Absent));
            add(&self.shared.counts.not_found, u64::from(absent));
        })
    }

    /// Waits for the outcome of a write, unless the device holds up the writer.
    async fn written<T, E>(&self, outcome: oneshot::Receiver<Result<T, E>>) -> Result<T, DriveError<E>>
    where
        E: fmt::Debug + std::error::Error + 'static,
    {
        let mut stalled = self.shared.stalled.clone();
        tokio::select! {
            biased;
            outcome = self.outcome(outcome) => outcome,
            Ok(_) = stalled.wait_for(|stalled| *stalled) => Err(DriveError::Closed),
        }
    }

    async fn outcome<T, E>(&self, outcome: oneshot::Receiver<Result<T, E>>) -> Result<T, DriveError<E>>
    where
        E: fmt::Debug + std::error::Error + 'static,
    {
        let patience = self.shared.settings.patience;
        match tokio::time::timeout(patience, outcome).await {
            Ok(Ok(outcome)) => outcome.map_err(DriveError::Failed),
            Ok(Err(_)) => Err(DriveError::Closed),
            Err(_) => {
                threads::note(&self.shared.failure, || {
                    format!("the device has not answered for {} seconds", patience.as_secs())
                });
                Err(DriveError::Closed)
            }
        }
    }

    fn overloaded<E: fmt::Debug + std::error::Error + 'static>(&self) -> DriveError<E> {
        add(&self.shared.counts.overloaded, 1);
        DriveError::Overloaded
    }

    /// Lets a change wait for the writer; `bytes` are those that it holds meanwhile.
    fn enqueue<E>(&self, change: Change, bytes: usize) -> Result<(), DriveError<E>>
    where
        E: fmt::Debug + std::error::Error + 'static,
    {
        if *self.shared.stalled.borrow() {
            return Err(DriveError::Closed);
        }
        let held = u32::try_from(bytes).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.shared.write_bytes);
        let held = budget.try_acquire_many_owned(held).map_err(|_| self.overloaded())?;
        let waiting = Waiting { change, held, runtime: Handle::try_current().ok() };
        self.shared.writes.try_send(Job::Change(waiting)).map_err(|error| match error {
            TrySendError::Full(_) => self.overloaded(),
            TrySendError::Disconnected(_) => DriveError::Closed,
        })
    }
}

/// Takes the outcome of a read.
type ReadDone<T> = Box<dyn FnOnce(Result<T, ReadError>) + Send>;

impl DriveThreads {
    /// Finishes what waits, and ends the thread, unless the device holds it up: then it is left behind. Later calls on
    /// any handle of the drive find it closed.
    pub fn close(self) {
        self.drive.shared.closed.store(true, Ordering::Relaxed);
        let over = loop {
            match self.drive.shared.writes.try_send(Job::Stop) {
                // There is room soon, or the device holds the thread up.
                Err(TrySendError::Full(_)) => match self.over.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    over => break over.ok(),
                },
                // It fails when the thread is gone already.
                Ok(()) | Err(TrySendError::Disconnected(_)) => break self.over.recv().ok(),
            }
        };
        if matches!(over, Some(Over::Stalled)) {
            tracing::error!("the device holds up the thread of the drive, which is left behind");
        } else if self.writer.join().is_err() {
            tracing::error!("the thread of the drive panicked");
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
