//! Several calls at the same time, without tasks.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

type Call<'a, K, T> = (K, Pin<Box<dyn Future<Output = T> + Send + 'a>>);

/// Futures that make progress together, each with a key. They are polled in the order in which they were added, so
/// that what happens does not depend on anything but them. Those that are not done when this is dropped are given up.
pub(super) struct Together<'a, K, T> {
    calls: Vec<Call<'a, K, T>>,
}

impl<'a, K, T> Together<'a, K, T> {
    pub(super) const fn new() -> Self {
        Self { calls: Vec::new() }
    }

    pub(super) fn add(&mut self, key: K, call: impl Future<Output = T> + Send + 'a) {
        self.calls.push((key, Box::pin(call)));
    }

    /// The next that is done; `None` when all are.
    pub(super) async fn next(&mut self) -> Option<(K, T)> {
        if self.calls.is_empty() {
            return None;
        }
        poll_fn(|context| {
            for at in 0..self.calls.len() {
                if let Poll::Ready(done) = self.calls[at].1.as_mut().poll(context) {
                    let (key, _) = self.calls.remove(at);
                    return Poll::Ready(Some((key, done)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// All results, in the order in which they came.
    pub(super) async fn all(mut self) -> Vec<(K, T)> {
        let mut results = Vec::with_capacity(self.calls.len());
        while let Some(result) = self.next().await {
            results.push(result);
        }
        results
    }

    /// The keys of those that are not done.
    pub(super) fn left(self) -> Vec<K> {
        self.calls.into_iter().map(|(key, _)| key).collect()
    }
}
