//! What a call brings back.

use core::time::Duration;

use bytes::Bytes;
use weft_transport::{Bulk, CallError, ServerSettings};
use weft_types::Role;
use weft_wire::Fault;

use crate::net::{Event, LONG, issue, pair, pool, say};
use crate::words::{EchoRefusal, Echoed, Unheard, Wait, WaitCancellably};

#[tokio::test]
async fn body_and_bulk_go_there_and_back() {
    let pair = pair(ServerSettings::default());
    for length in [0, 1, 4096, 1 << 20, 4 << 20] {
        let bulk: Bytes = (0..length).map(|i: u32| (i % 251) as u8).collect();
        let sent = bulk.clone();
        let (reply, back) = pair.pool.call(&pair.server.peer, &say("a"), sent, LONG).await.expect("answered");
        assert_eq!(reply, Echoed { text: "a".into(), bulk_bytes: length.into() });
        assert!(back == bulk, "{length} bytes differ");
    }
}

#[tokio::test]
async fn pieces_arrive_as_one_run() {
    let pair = pair(ServerSettings::default());
    let pieces: Vec<_> = ["ab", "", "cde"].map(Bytes::from).into();
    let bulk = Bulk::from(pieces);
    assert_eq!((bulk.len(), bulk.is_empty()), (5, false));
    let (_, back) = pair.pool.call(&pair.server.peer, &say("a"), bulk, LONG).await.expect("answered");
    assert_eq!(back, "abcde");
}

#[tokio::test]
async fn a_refusal_keeps_its_reason() {
    let pair = pair(ServerSettings::default());
    let error =
        pair.pool.call(&pair.server.peer, &say("quiet"), Bulk::none(), LONG).await.expect_err("refused");
    assert!(matches!(error, CallError::Refused(EchoRefusal::Quiet { until: 7 })), "{error:?}");
    assert!(!error.is_retryable() && !error.outcome_unknown());
}

#[tokio::test]
async fn every_fault_arrives_as_itself() {
    let pair = pair(ServerSettings::default());
    for code in 2..=8 {
        let call = say(&format!("fault {code}"));
        let error = pair.pool.call(&pair.server.peer, &call, Bulk::none(), LONG).await.expect_err("a fault");
        let fault = Fault::from_code(code);
        assert!(matches!(&error, CallError::Fault(found) if *found == fault), "{error:?}");
        assert_eq!(error.is_retryable(), fault.is_retryable(), "{fault:?}");
        assert_eq!(error.outcome_unknown(), fault == Fault::Internal, "{fault:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_registered_is_unknown() {
    let pair = pair(ServerSettings::default());
    let error =
        pair.pool.call(&pair.server.peer, &Unheard {}, Bulk::none(), LONG).await.expect_err("unknown");
    assert!(matches!(error, CallError::Fault(Fault::UnknownCall)), "{error:?}");
}

#[tokio::test]
async fn a_role_that_is_not_named_may_not_call() {
    let pair = pair(ServerSettings::default());
    for role in [Role::Drive, Role::Compute, Role::Management, Role::Admin] {
        let other = pool(&issue(&pair.authority, role, 9), Default::default());
        let bulk = Bytes::from(vec![0; 1 << 20]);
        let error = other.call(&pair.server.peer, &say("a"), bulk, LONG).await.expect_err("refused");
        assert!(matches!(error, CallError::Fault(Fault::Unauthorised)), "{role}: {error:?}");
    }
}

#[tokio::test]
async fn a_request_over_its_bound_is_not_sent() {
    let pair = pair(ServerSettings::default());
    let bulk = Bytes::from(vec![0; (4 << 20) + 1]);
    let error = pair.pool.call(&pair.server.peer, &say("a"), bulk, LONG).await.expect_err("too long");
    assert!(matches!(error, CallError::Protocol { .. }) && !error.outcome_unknown(), "{error:?}");
    let body = say(&"x".repeat(1 << 20));
    let error = pair.pool.call(&pair.server.peer, &body, Bulk::none(), LONG).await.expect_err("too long");
    assert!(matches!(error, CallError::Protocol { .. }) && !error.is_retryable(), "{error:?}");
    assert!(pair.pool.paths().is_empty(), "nobody was called");
}

#[tokio::test]
async fn a_call_ends_by_its_deadline() {
    let mut pair = pair(ServerSettings::default());
    let peer = pair.server.peer;
    let short = Duration::from_millis(100);
    let error = pair.pool.call(&peer, &Wait {}, Bulk::none(), short).await.expect_err("nobody answers");
    assert!(matches!(error, CallError::TimedOut { sent: true, .. }), "{error:?}");
    assert!(error.outcome_unknown() && !error.is_retryable());
    pair.began().await;
    pair.pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("the connection goes on");
}

#[tokio::test]
async fn a_caller_who_gives_up_ends_cancellable_work() {
    let mut pair = pair(ServerSettings::default());
    let peer = pair.server.peer;
    let call = tokio::spawn(pair.pool.call(&peer, &WaitCancellably {}, Bulk::none(), LONG));
    pair.began().await;
    call.abort();
    assert_eq!(pair.events.recv().await, Some(Event::Dropped));
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_end_other_work() {
    let mut pair = pair(ServerSettings::default());
    let peer = pair.server.peer;
    let call = tokio::spawn(pair.pool.call(&peer, &Wait {}, Bulk::none(), LONG));
    pair.began().await;
    call.abort();
    // By the time another call is answered, the server has heard of the first one's end.
    pair.pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("answered");
    pair.stage.release.notify_one();
    assert_eq!(pair.events.recv().await, Some(Event::Finished));
}

#[tokio::test]
async fn callers_share_one_connection() {
    let mut pair = pair(ServerSettings::default());
    let peer = pair.server.peer;
    let calls: Vec<_> =
        (0..50).map(|_| tokio::spawn(pair.pool.call(&peer, &Wait {}, Bulk::none(), LONG))).collect();
    let mut addresses = Vec::new();
    for _ in &calls {
        addresses.push(pair.began().await);
    }
    pair.stage.release.notify_waiters();
    for call in calls {
        call.await.expect("not cancelled").expect("answered");
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 1);
    assert_eq!(pair.pool.paths().len(), 1);
}

#[test]
fn a_call_may_be_polled_outside_of_any_runtime() {
    let (give, take) = std::sync::mpsc::channel();
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("built");
        runtime.block_on(async {
            let pair = pair(ServerSettings::default());
            give.send((pair.pool.clone(), pair.server.peer)).expect("the test waits");
            finished.await.expect("the test says so");
        });
    });
    let (pool, peer) = take.recv().expect("started");
    let (reply, _) = block_on(pool.call(&peer, &say("a"), Bulk::none(), LONG)).expect("answered");
    assert_eq!(reply.text, "a");
    done.send(()).expect("the runtime waits");
    thread.join().expect("ended");
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
