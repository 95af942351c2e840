//! Requests whose callers may be sent signals while they wait.
//!
//! The kernel tells of the first signal alone, by FUSE_INTERRUPT, and then waits for the answer whatever comes. Of requests
//! that it sends in the background for a caller that waits for all of them (direct reads and writes) it tells nothing. As
//! on a local filesystem, only what ends the process should end an operation: so after the first signal, and of what
//! takes long, the caller is looked at until the request is answered, ten times a second.

mod table;

use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::protocol::Unique;
use crate::signals::Fate;
use table::Table;

/// How often the callers of requests are looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// Which signals end a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Any: what is waited for may take for ever, such as a lock.
    UntilSignal,
    /// Those that end the process.
    UntilKilled,
}

/// The requests that are under way and not answered.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Flights {
    /// A request goes on behind the thread that read it; the receiver hears when its caller gives up.
    pub(crate) fn begin(&self, unique: Unique, thread: u32, patience: Patience) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let wakes = self.lock().begin(unique, thread, patience, Instant::now(), tell);
        if wakes {
            self.changed.notify_one();
        }
        told
    }

    /// The kernel says that the caller was sent a signal.
    pub(crate) fn interrupt(&self, unique: Unique) {
        if self.lock().interrupt(unique) {
            self.changed.notify_one();
        }
    }

    /// The request is answered.
    pub(crate) fn end(&self, unique: Unique) {
        self.lock().end(unique);
    }

    /// Looks at callers on a thread of its own, until [`stop`](Self::stop).
    pub(crate) fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        let flights = Arc::clone(self);
        let thread = std::thread::Builder::new().name("fuse-signals".to_owned());
        thread.spawn(move || flights.watch_on()).map(drop)
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    fn watch_on(&self) {
        let mut table = self.lock();
        while !table.stopped {
            if table.rests() {
                table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let watched = table.watched(Instant::now());
            // Requests are begun and answered meanwhile.
            drop(table);
            let gives_up = watched.into_iter().filter(|watched| watched.gives_up(Fate::of(watched.thread)));
            let given_up: Vec<_> = gives_up.map(|watched| watched.unique).collect();
            table = self.lock();
            for unique in given_up {
                table.give_up(unique);
            }
            let waited = self.changed.wait_timeout(table, GLANCE);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
