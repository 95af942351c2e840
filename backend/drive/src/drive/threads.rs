//! The threads of a drive.

use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use tokio::sync::oneshot;
use weft_wire::drive::{ShardHeader, ShardKey};

use super::AnyDevice;
use crate::reader::Reader;
use crate::store::{DeleteError, DeviceFailed, PutError, Store, Stored};

/// The most jobs under one flush: the first of them waits for all.
const GROUP_JOBS: usize = 256;
/// The most bytes of puts under one flush.
const GROUP_BYTES: usize = 32 << 20;

/// What waits for the writer.
pub(super) enum WriteJob {
    Put { header: ShardHeader, payload: Bytes, done: oneshot::Sender<Result<Stored, PutError>> },
    Delete { keys: Vec<ShardKey>, done: oneshot::Sender<Result<u32, DeleteError>> },
    Stop,
}

/// Something to be done with a reader.
pub(super) type ReadWork = Box<dyn FnOnce(&Reader<AnyDevice>) + Send>;

/// What waits for a reader.
pub(super) enum ReadJob {
    Run(ReadWork),
    Stop,
}

/// What was applied and is not durable yet.
enum Applied {
    Put(oneshot::Sender<Result<Stored, PutError>>, Result<Stored, PutError>),
    Delete(oneshot::Sender<Result<u32, DeleteError>>, Result<u32, DeleteError>),
}

/// The state behind a lock that a panicking thread may have held: every state of it is complete.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the threads that read.
pub(super) fn readers(
    count: usize,
    reader: &Reader<AnyDevice>,
    queue: Receiver<ReadJob>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let queue = Arc::new(Mutex::new(queue));
    let start = |number| {
        let (reader, queue) = (reader.clone(), Arc::clone(&queue));
        Builder::new().name(format!("drive-read-{number}")).spawn(move || {
            loop {
                // One thread at a time waits for the next job, under the lock; the others wait for that one.
                let job = locked(&queue).recv();
                let Ok(ReadJob::Run(job)) = job else { return };
                job(&reader);
            }
        })
    };
    (0..count).map(start).collect()
}

/// Starts the thread that writes. `failure` tells what is wrong once the device has failed.
pub(super) fn writer(
    store: Store<AnyDevice>,
    queue: Receiver<WriteJob>,
    failure: Arc<Mutex<Option<String>>>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("drive-write".to_owned()).spawn(move || {
        let mut store = store;
        while let Ok(job) = queue.recv() {
            let (group, stop) = apply_group(&mut store, job, &queue);
            let flushed = store.flush();
            if let Err(error) = &flushed {
                report(error, &failure);
            }
            group.into_iter().for_each(|applied| applied.answer(flushed.is_ok()));
            if stop {
                return;
            }
        }
    })
}

/// Applies a job and what waits behind it; also says whether the thread is to stop.
fn apply_group(
    store: &mut Store<AnyDevice>,
    first: WriteJob,
    queue: &Receiver<WriteJob>,
) -> (Vec<Applied>, bool) {
    let (mut group, mut bytes, mut next) = (Vec::new(), 0, Some(first));
    while let Some(job) = next {
        match job {
            WriteJob::Put { header, payload, done } => {
                bytes += payload.len();
                group.push(Applied::Put(done, store.put(&header, payload)));
            }
            WriteJob::Delete { keys, done } => {
                let deleted =
                    keys.into_iter().try_fold(0, |sum, key| Ok(sum + u32::from(store.delete(key)?)));
                group.push(Applied::Delete(done, deleted));
            }
            WriteJob::Stop => return (group, true),
        }
        let full = group.len() >= GROUP_JOBS || bytes >= GROUP_BYTES;
        next = if full { None } else { queue.try_recv().ok() };
    }
    (group, false)
}

fn report(error: &DeviceFailed, failure: &Mutex<Option<String>>) {
    let mut failure = locked(failure);
    if failure.is_none() {
        tracing::error!(error = error as &dyn std::error::Error, "the device failed");
        let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        *failure = Some(format!("{error}{cause}; start the drive again once the device is sound"));
    }
}

impl Applied {
    /// A caller that does not wait any more is not told.
    fn answer(self, durable: bool) {
        match self {
            Self::Put(done, outcome) if durable || outcome.is_err() => drop(done.send(outcome)),
            Self::Put(done, _) => drop(done.send(Err(DeviceFailed::Earlier.into()))),
            Self::Delete(done, outcome) if durable || outcome.is_err() => drop(done.send(outcome)),
            Self::Delete(done, _) => drop(done.send(Err(DeviceFailed::Earlier.into()))),
        }
    }
}
