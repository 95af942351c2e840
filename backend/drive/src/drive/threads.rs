//! The thread of a drive.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
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

/// How long nothing must come before what is not urgent is cleaned: between two writes of a caller that waits for each,
/// cleaning would only be in its way.
const QUIET: Duration = Duration::from_millis(100);

/// What waits for the writer.
pub(super) enum Job {
    Change(Waiting),
    Stop,
}

/// A change that waits for the writer.
pub(super) struct Waiting {
    pub(super) change: Change,
    /// The bytes that it holds; they are given back when it is done.
    pub(super) held: OwnedSemaphorePermit,
    /// Where its caller waits.
    pub(super) runtime: Option<Handle>,
}

/// Why nobody needs to wait for the writer any more.
#[derive(Debug)]
pub(super) enum Over {
    Ended,
    /// The device holds it up.
    Stalled,
}

/// Tells that the thread ended, however it did.
struct Ended(Sender<Over>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody listens when the drive is left behind.
        let _ = self.0.send(Over::Ended);
    }
}

/// Answers once it is told whether what was applied is durable.
type Answer = Box<dyn FnOnce(Flushed) + Send>;

/// What was applied and is not durable yet.
struct Applied {
    answer: Answer,
    runtime: Option<Handle>,
}

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
    ends: Sender<Over>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("drive-write".to_owned()).spawn(move || {
        let (mut store, _ended) = (store, Ended(ends));
        while let Some(first) = next(&mut store, &queue, &failure) {
            let (group, stop) = apply_group(&mut store, first, &queue);
            let flushed = store.flush();
            tell(&flushed, &failure);
            answer(group, Flushed::of(&flushed));
            if stop {
                break;
            }
            // A little of it between any two groups; it is durable with the next.
            tell(&store.clean(false), &failure);
        }
        tell(&store.vouch(), &failure);
    })
}

/// Waits for a change, cleaning when none comes; `None` when the thread is to stop.
fn next(
    store: &mut Store<AnyDevice>,
    queue: &Receiver<Job>,
    failure: &Mutex<Option<String>>,
) -> Option<Waiting> {
    let mut come = queue.recv_timeout(QUIET);
    while matches!(come, Err(RecvTimeoutError::Timeout)) {
        let cleaned = store.clean(true);
        tell(&cleaned, failure);
        come = match cleaned {
            Ok(true) => queue.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
            _ => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
    }
    match come {
        Ok(Job::Change(waiting)) => Some(waiting),
        Ok(Job::Stop) | Err(_) => None,
    }
}

/// Answers a group. Callers of one runtime are answered there, with one wake-up for all of them.
fn answer(group: Vec<Applied>, outcome: Flushed) {
    let home = group.first().and_then(|first| first.runtime.clone()).filter(|_| group.len() > 1);
    let Some(home) = home else {
        return group.into_iter().for_each(|applied| (applied.answer)(outcome));
    };
    let is_home = |applied: &Applied| applied.runtime.as_ref().is_some_and(|other| other.id() == home.id());
    let (there, elsewhere): (Vec<_>, Vec<_>) = group.into_iter().partition(is_home);
    elsewhere.into_iter().for_each(|applied| (applied.answer)(outcome));
    home.spawn(async move { there.into_iter().for_each(|applied| (applied.answer)(outcome)) });
}

/// Applies a change and what waits behind it; also says whether the thread is to stop.
fn apply_group(store: &mut Store<AnyDevice>, first: Waiting, queue: &Receiver<Job>) -> (Vec<Applied>, bool) {
    let mut bytes = first.held.num_permits();
    let mut group = vec![apply(store, first)];
    while group.len() < GROUP_CHANGES && bytes < GROUP_BYTES {
        match queue.try_recv() {
            Ok(Job::Change(waiting)) => {
                bytes += waiting.held.num_permits();
                group.push(apply(store, waiting));
            }
            Ok(Job::Stop) => return (group, true),
            Err(_) => break,
        }
    }
    (group, false)
}

fn apply(store: &mut Store<AnyDevice>, Waiting { change, held, runtime }: Waiting) -> Applied {
    let answer = match change {
        Change::Put { header, payload, done } => later(done, held, store.put(&header, payload)),
        Change::Delete { keys, done } => {
            let deleted = keys.into_iter().try_fold(0, |sum, key| Ok(sum + u32::from(store.delete(key)?)));
            later(done, held, deleted)
        }
        Change::PutItem { key, value, done } => later(done, held, store.put_item(&key, &value)),
        Change::DeleteItems { keys, done } => later(done, held, store.delete_items(&keys)),
    };
    Applied { answer, runtime }
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
fn later<T, E>(done: Waits<T, E>, held: OwnedSemaphorePermit, outcome: Result<T, E>) -> Answer
where
    T: Send + 'static,
    E: From<DeviceFailed> + Send + 'static,
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
