//! How much a server, and one connection of it, takes on at once.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_wire::Fault;

use super::ServerSettings;

/// What is left for calls, of the whole server.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) settings: ServerSettings,
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    stopping: AtomicBool,
}

/// What is left for calls of one connection, within the server's.
#[derive(Debug)]
pub(super) struct Share {
    server: Arc<Limits>,
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Gives back what a call took when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _taken: [OwnedSemaphorePermit; 2],
}

impl Limits {
    pub(super) fn new(settings: ServerSettings) -> Self {
        Self {
            settings,
            calls: Arc::new(Semaphore::new(settings.calls)),
            bytes: Arc::new(Semaphore::new(settings.request_bytes)),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on no call is admitted.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits until no call is at work.
    pub(super) async fn idle(&self) {
        let all = u32::try_from(self.settings.calls).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = self.calls.acquire_many(all).await;
    }
}

impl Share {
    pub(super) fn new(server: Arc<Limits>) -> Self {
        let settings = server.settings;
        Self {
            calls: Arc::new(Semaphore::new(settings.calls_per_connection)),
            bytes: Arc::new(Semaphore::new(settings.request_bytes_per_connection)),
            server,
        }
    }

    pub(super) fn server(&self) -> &Limits {
        &self.server
    }

    /// Takes one call's place, or says why there is none.
    pub(super) fn admit(&self) -> Result<Permit, Fault> {
        if self.server.is_stopping() {
            return Err(Fault::NotServing);
        }
        take([&self.calls, &self.server.calls], 1)
    }

    /// Takes the room for a request of this many bytes. It is refused rather than waited for: while it waited, its
    /// unread bytes would fill the connection's window, and those requests that have room could not arrive.
    pub(super) fn reserve(&self, bytes: u32) -> Result<Permit, Fault> {
        take([&self.bytes, &self.server.bytes], bytes)
    }
}

fn take([own, all]: [&Arc<Semaphore>; 2], count: u32) -> Result<Permit, Fault> {
    let take =
        |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(count).map_err(|_| Fault::Overloaded);
    Ok(Permit { _taken: [take(own)?, take(all)?] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(calls: usize, per_connection: usize) -> Arc<Limits> {
        Arc::new(Limits::new(ServerSettings {
            calls,
            calls_per_connection: per_connection,
            request_bytes: calls * 10,
            request_bytes_per_connection: per_connection * 10,
            ..ServerSettings::default()
        }))
    }

    #[test]
    fn one_connection_cannot_take_all() {
        let server = limits(3, 2);
        let (greedy, modest) = (Share::new(Arc::clone(&server)), Share::new(server));
        let held = [greedy.admit().expect("room"), greedy.admit().expect("room")];
        assert_eq!(greedy.admit().err(), Some(Fault::Overloaded));
        let _other = modest.admit().expect("room for another");
        assert_eq!(modest.admit().err(), Some(Fault::Overloaded), "the server's own bound");
        drop(held);
        modest.admit().expect("room again");
    }

    #[test]
    fn bytes_refused_by_the_server_are_given_back_to_the_connection() {
        let server = limits(1, 2);
        let share = Share::new(server);
        assert_eq!(share.reserve(11).err(), Some(Fault::Overloaded));
        let all = share.reserve(10).expect("room");
        assert_eq!(share.reserve(1).err(), Some(Fault::Overloaded));
        drop(all);
        share.reserve(10).expect("room again");
    }

    #[test]
    fn a_stopping_server_admits_nothing() {
        let server = limits(1, 1);
        let share = Share::new(Arc::clone(&server));
        server.stop();
        assert_eq!(share.admit().err(), Some(Fault::NotServing));
    }
}
