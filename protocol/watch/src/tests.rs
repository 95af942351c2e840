//! Nobody waits in vain, and nobody overtakes.

use std::sync::{Arc, Mutex};

use tokio::task::{JoinSet, yield_now};

use super::*;

fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

#[test]
fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
    on_one_thread(async {
        let sender = Sender::new(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = JoinSet::new();
        for number in 0..100 {
            let (mut receiver, woken) = (sender.subscribe(), Arc::clone(&woken));
            waiting.spawn(async move {
                receiver.wait_for(|value| *value > 0).await.expect("it is open");
                woken.lock().expect("nobody panics").push(number);
            });
        }
        // All come to wait.
        for _ in 0..100 {
            yield_now().await;
        }
        sender.send_replace(1);
        while waiting.join_next().await.is_some() {}
        let woken = woken.lock().expect("nobody panics");
        assert!(woken.iter().copied().eq(0..100), "{woken:?}");
    });
}

#[test]
fn what_changed_since_it_was_seen_is_told_once() {
    on_one_thread(async {
        let sender = Sender::new(0);
        let mut receiver = sender.subscribe();
        sender.send_modify(|value| *value += 1);
        assert_eq!(sender.send_replace(5), 1);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), 5);
        assert!(!sender.send_if_modified(|_| false));
        drop(sender);
        assert_eq!(receiver.changed().await, Err(Closed));
    });
}

#[test]
fn the_last_change_is_seen_after_the_sender_is_gone() {
    on_one_thread(async {
        let sender = Sender::new(0);
        let (mut late, mut later) = (sender.subscribe(), sender.subscribe());
        sender.send_replace(1);
        drop(sender);
        assert_eq!(late.changed().await, Ok(()));
        assert_eq!(late.changed().await, Err(Closed));
        assert_eq!(later.wait_for(|value| *value == 1).await.as_deref(), Ok(&1));
        assert!(later.wait_for(|value| *value == 2).await.is_err());
    });
}

#[test]
fn who_waits_learns_that_the_sender_is_gone() {
    on_one_thread(async {
        let sender = Sender::new(0);
        let mut receiver = sender.subscribe();
        let waiting = tokio::spawn(async move { receiver.wait_for(|value| *value > 0).await.is_err() });
        yield_now().await;
        drop(sender);
        assert!(waiting.await.expect("it ends"));
    });
}

#[test]
fn nobody_waits_in_vain_on_many_threads() {
    const CHANGES: u64 = 20_000;
    let sender = Sender::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut receiver = sender.subscribe();
            scope.spawn(move || {
                on_one_thread(async {
                    for least in 1..=CHANGES {
                        receiver.wait_for(|value| *value >= least).await.expect("it is open");
                    }
                    let mut changes = receiver.clone();
                    while changes.changed().await.is_ok() {}
                });
            });
        }
        scope.spawn(move || (0..CHANGES).for_each(|_| sender.send_modify(|value| *value += 1)));
    });
}
