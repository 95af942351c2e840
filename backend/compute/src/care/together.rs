//! Several futures at a time, without spawning any.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Runs futures, at most `limit` at a time, begun in their order; answers what they came to in the same order. For few at a
/// time: each of them is polled whenever one is woken.
pub(super) async fn together<F: Future>(
    limit: usize,
    futures: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    let mut waiting = futures.into_iter().enumerate();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut done: Vec<(usize, F::Output)> = Vec::new();
    loop {
        while running.len() < limit.max(1) {
            let Some((at, future)) = waiting.next() else { break };
            running.push((at, Box::pin(future)));
        }
        if running.is_empty() {
            break;
        }
        let finished = poll_fn(|cx| {
            let mut finished = Vec::new();
            running.retain_mut(|(at, future)| match future.as_mut().poll(cx) {
                Poll::Ready(output) => {
                    finished.push((*at, output));
                    false
                }
                Poll::Pending => true,
            });
            if finished.is_empty() { Poll::Pending } else { Poll::Ready(finished) }
        });
        let finished = finished.await;
        done.extend(finished);
    }
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn no_more_than_the_limit_run_and_answers_keep_their_order() {
        let (running, most) = (Cell::new(0), Cell::new(0));
        let futures = (0_u64..20).map(|number| {
            let (running, most) = (&running, &most);
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                for _ in 0..(20 - number) {
                    tokio::task::yield_now().await;
                }
                running.set(running.get() - 1);
                number
            }
        });
        assert_eq!(together(3, futures).await, (0..20).collect::<Vec<_>>());
        assert_eq!((running.get(), most.get()), (0, 3));
        assert_eq!(together(0, [async { 7 }]).await, [7], "at least one at a time");
    }
}
