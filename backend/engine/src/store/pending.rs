//! Futures that are polled in turn: few, in a fixed order, without a runtime's help.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Calls under way, each with its output.
pub(super) struct Pending<T> {
    calls: Vec<Boxed<T>>,
}

impl<T> Pending<T> {
    pub(super) const fn new() -> Self {
        Self { calls: Vec::new() }
    }

    pub(super) fn push(&mut self, call: impl Future<Output = T> + Send + 'static) {
        self.calls.push(Box::pin(call));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The output of the first that is done; never done while there are none. May be dropped and called again.
    pub(super) fn next(&mut self) -> impl Future<Output = T> + '_ {
        poll_fn(|context| {
            for at in 0..self.calls.len() {
                if let Poll::Ready(output) = self.calls[at].as_mut().poll(context) {
                    drop(self.calls.remove(at));
                    return Poll::Ready(output);
                }
            }
            Poll::Pending
        })
    }
}
