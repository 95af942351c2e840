//! The answer to one request.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::IoSlice;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::channel::Channel;
use crate::interrupts::{Flights, Patience};
use crate::protocol::{Answer, Header, Unique, answer_header};

/// Answers one request, once: whoever drops it unanswered has answered `EIO`.
#[derive(Debug)]
#[must_use = "its caller waits"]
pub struct Reply {
    unique: Unique,
    thread: u32,
    /// By which the request was read: it is known there alone.
    channel: Arc<Channel>,
    flights: Arc<Flights>,
    in_flight: bool,
    answered: bool,
}

impl Reply {
    pub(crate) const fn new(header: &Header, channel: Arc<Channel>, flights: Arc<Flights>) -> Self {
        let Header { unique, thread, .. } = *header;
        Self { unique, thread, channel, flights, in_flight: false, answered: false }
    }

    /// Completes when the caller does not wait any more; then `EINTR` is the answer. Asked for before the
    /// thread that read the request goes on to the next one, and not twice.
    pub fn interrupted(&mut self, patience: Patience) -> Interrupted {
        self.in_flight = true;
        Interrupted(self.flights.begin(self.unique, self.thread, patience))
    }

    /// Answers by fixed fields.
    pub fn answer(mut self, answer: &Answer) {
        self.send(None, &[answer.as_bytes()]);
    }

    /// It is done, and there is nothing more to say.
    pub fn ok(mut self) {
        self.send(None, &[]);
    }

    /// Answers by bytes, in several parts that need not lie next to each other.
    pub fn data(mut self, parts: &[&[u8]]) {
        self.send(None, parts);
    }

    /// It is not done.
    pub fn error(mut self, error: Errno) {
        self.send(Some(error), &[]);
    }

    fn send(&mut self, error: Option<Errno>, parts: &[&[u8]]) {
        self.answered = true;
        if self.in_flight {
            self.flights.end(self.unique);
        }
        let header = answer_header(self.unique, error, parts.iter().map(|part| part.len()).sum());
        let sent = match parts {
            [] => self.channel.send(&[IoSlice::new(&header)]),
            [part] => self.channel.send(&[IoSlice::new(&header), IoSlice::new(part)]),
            parts => {
                let mut all = Vec::with_capacity(1 + parts.len());
                all.push(IoSlice::new(&header));
                all.extend(parts.iter().map(|part| IoSlice::new(part)));
                self.channel.send(&all)
            }
        };
        match sent {
            // Nobody waits any more: the connection was cut.
            Ok(()) | Err(Errno::NOENT | Errno::NODEV | Errno::CONNABORTED | Errno::NOTCONN) => {}
            Err(refusal) => {
                tracing::error!(request = %self.unique, %refusal, "the kernel does not take an answer");
                // Of what is not taken at all its caller would wait for ever; else this one is not known any more.
                let _ = self.channel.send(&[IoSlice::new(&answer_header(self.unique, Some(Errno::IO), 0))]);
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            tracing::debug!(request = %self.unique, "a request was dropped unanswered");
            self.send(Some(Errno::IO), &[]);
        }
    }
}

/// Completes when a request's caller is not to be waited for any more.
#[derive(Debug)]
pub struct Interrupted(oneshot::Receiver<()>);

impl Future for Interrupted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(()) => Poll::Ready(()),
            // It was answered.
            Err(_) => Poll::Pending,
        }
    }
}
