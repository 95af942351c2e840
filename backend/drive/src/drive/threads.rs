//! The thread of a drive.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use weft_wire::drive::{ShardHeader, ShardKey};

use super::AnyDevice;
use crate::key::ItemKey;
use crate::store::{DeleteError, DeviceFailed, PutError, PutItemError, Store, Stored};

/// The most changes under one flush: the first of them waits for all.
const GROUP_CHANGES: usize = 256;
/// The most bytes of puts under one flush.
const GROUP_BYTES: usize = 32 << 20;

/// Who waits for an outcome.
type Waits<T, E> = oneshot::Sender<Result<T, E>>;

/// What is to be written.
pub(super) enum Change {
    Put { header: ShardHeader, payload: Bytes, done: Waits<Stored, PutError> },
    Delete { keys: Vec<ShardKey>, done: Waits<u32, DeleteError> },
    PutItem { key: ItemKey, value: Bytes, done: Waits<(), PutItemError> },
    DeleteItems { keys: Vec<ItemKey>, done: Waits<u32, DeleteError> },
}

/// What waits for the writer.
pub(super) enum Job {
    /// The bytes that it holds are given back when it is done.
    Change(Change, OwnedSemaphorePermit),
    Stop,
}

/// What was applied and is not durable yet: answers once it is told whether it is.
type Applied = Box<dyn FnOnce(Flushed)>;

/// The state behind a lock that a panicking thread may have held: every state of it is complete.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what is wrong with the drive, unless something is already.
pub(super) fn note(failure: &Mutex<Option<String>>, what: impl FnOnce() -> String) {
    let mut failure = locked(failure);
    if failure.is_none() {
        let what = what();
        tracing::error!("{what}");
        *failure = Some(what);
    }
}

/// Starts the thread that writes. `failure` tells what is wrong once the device has failed.
pub(super) fn writer(
    store: Store<AnyDevice>,
    queue: Receiver<Job>,
    failure: Arc<Mutex<Option<String>>>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("drive-write".to_owned()).spawn(move || {
        let mut store = store;
        while let Some((change, held)) = next(&mut store, &queue, &failure) {
            let (group, stop) = apply_group(&mut store, change, held, &queue);
            let flushed = store.flush();
            tell(&flushed, &failure);
            let outcome = Flushed::of(&flushed);
            group.into_iter().for_each(|answer| answer(outcome));
            if stop {
                break;
            }
            // A little of it between any two groups; it is durable with the next.
            tell(&store.clean(false), &failure);
        }
        tell(&store.vouch(), &failure);
    })
}

/// Waits for a change, cleaning meanwhile; `None` when the thread is to stop.
fn next(
    store: &mut Store<AnyDevice>,
    queue: &Receiver<Job>,
    failure: &Mutex<Option<String>>,
) -> Option<(Change, OwnedSemaphorePermit)> {
    let job = loop {
        match queue.try_recv() {
            Ok(job) => break job,
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        let cleaned = store.clean(true);
        tell(&cleaned, failure);
        if !matches!(cleaned, Ok(true)) {
            break queue.recv().ok()?;
        }
    };
    match job {
        Job::Change(change, held) => Some((change, held)),
        Job::Stop => None,
    }
}

/// Applies a change and what waits behind it; also says whether the thread is to stop.
fn apply_group(
    store: &mut Store<AnyDevice>,
    first: Change,
    held: OwnedSemaphorePermit,
    queue: &Receiver<Job>,
) -> (Vec<Applied>, bool) {
    let mut bytes = held.num_permits();
    let mut group = vec![apply(store, first, held)];
    while group.len() < GROUP_CHANGES && bytes < GROUP_BYTES {
        match queue.try_recv() {
            Ok(Job::Change(change, held)) => {
                bytes += held.num_permits();
                group.push(apply(store, change, held));
            }
            Ok(Job::Stop) => return (group, true),
            Err(_) => break,
        }
    }
    (group, false)
}

fn apply(store: &mut Store<AnyDevice>, change: Change, held: OwnedSemaphorePermit) -> Applied {
    match change {
        Change::Put { header, payload, done } => later(done, held, store.put(&header, payload)),
        Change::Delete { keys, done } => {
            let deleted = keys.into_iter().try_fold(0, |sum, key| Ok(sum + u32::from(store.delete(key)?)));
            later(done, held, deleted)
        }
        Change::PutItem { key, value, done } => later(done, held, store.put_item(&key, &value)),
        Change::DeleteItems { keys, done } => later(done, held, store.delete_items(&keys)),
    }
}

/// What became of a group.
#[derive(Debug, Clone, Copy)]
enum Flushed {
    /// It outlasts a loss of power.
    Durable,
    /// The medium had no space for it: nothing of it is there.
    Full,
    /// Nothing is known.
    Failed,
}

impl Flushed {
    fn of(flushed: &Result<(), DeviceFailed>) -> Self {
        match flushed {
            Ok(()) => Self::Durable,
            Err(error) if is_full(error) => Self::Full,
            Err(_) => Self::Failed,
        }
    }
}

fn is_full(error: &DeviceFailed) -> bool {
    matches!(error, DeviceFailed::Now(cause) if cause.kind() == io::ErrorKind::StorageFull)
}

/// Answers when it is known whether the outcome is durable. A caller that does not wait any more is not told.
fn later<T, E>(done: Waits<T, E>, held: OwnedSemaphorePermit, outcome: Result<T, E>) -> Applied
where
    T: 'static,
    E: From<DeviceFailed> + 'static,
{
    Box::new(move |flushed| {
        let outcome = match flushed {
            Flushed::Durable => outcome,
            Flushed::Full => outcome.and(Err(DeviceFailed::Now(io::ErrorKind::StorageFull.into()).into())),
            Flushed::Failed => outcome.and(Err(DeviceFailed::Earlier.into())),
        };
        drop(held);
        drop(done.send(outcome));
    })
}

fn tell<T>(outcome: &Result<T, DeviceFailed>, failure: &Mutex<Option<String>>) {
    let Err(error) = outcome else { return };
    // A medium without space takes what is smaller, or later: its callers hear of it.
    if is_full(error) {
        return;
    }
    note(failure, || {
        let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{error}{cause}; start the drive again once the device is sound")
    });
}
