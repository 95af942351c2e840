//! What a server refuses to take on.

use core::time::Duration;

use bytes::Bytes;
use weft_transport::{Bulk, CallError, ServerSettings};
use weft_wire::Fault;

use crate::net::{Event, LONG, pair, say};
use crate::words::{Wait, WaitCancellably};

#[tokio::test]
async fn calls_beyond_the_bound_are_refused_and_the_others_finish() {
    let bounds = [
        ServerSettings { calls_per_connection: 2, ..ServerSettings::default() },
        ServerSettings { calls: 2, ..ServerSettings::default() },
    ];
    for settings in bounds {
        let mut pair = pair(settings);
        let peer = pair.server.peer;
        let held: Vec<_> =
            (0..2).map(|_| tokio::spawn(pair.pool.call(&peer, &Wait {}, Bulk::none(), LONG))).collect();
        pair.began().await;
        pair.began().await;
        for bulk in [Bytes::new(), Bytes::from(vec![0; 4 << 20])] {
            let error = pair.pool.call(&peer, &say("a"), bulk, LONG).await.expect_err("no room");
            assert!(matches!(error, CallError::Fault(Fault::Overloaded)), "{error:?}");
            assert!(error.is_retryable());
        }
        pair.stage.release.notify_waiters();
        for call in held {
            call.await.expect("not cancelled").expect("answered");
        }
        pair.pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("room again");
    }
}

#[tokio::test]
async fn bytes_beyond_the_bound_are_refused() {
    let settings = ServerSettings { request_bytes_per_connection: 1 << 20, ..ServerSettings::default() };
    let pair = pair(settings);
    let call = |bytes: usize| pair.pool.call(&pair.server.peer, &say("a"), Bytes::from(vec![7; bytes]), LONG);
    for _ in 0..3 {
        let error = call(1 << 20).await.expect_err("body and bulk are over");
        assert!(matches!(error, CallError::Fault(Fault::Overloaded)), "{error:?}");
        call((1 << 20) - 100).await.expect("room");
    }
}

#[tokio::test]
async fn no_work_outlasts_the_servers_own_deadline() {
    let settings = ServerSettings { deadline_max: Duration::from_millis(50), ..ServerSettings::default() };
    let mut pair = pair(settings);
    let peer = pair.server.peer;
    let error = pair.pool.call(&peer, &WaitCancellably {}, Bulk::none(), LONG).await.expect_err("too long");
    assert!(matches!(error, CallError::Fault(Fault::DeadlinePassed)), "{error:?}");
    pair.began().await;
    assert_eq!(pair.events.recv().await, Some(Event::Dropped));
}

#[tokio::test]
async fn a_stopping_server_finishes_its_work_and_takes_no_more() {
    let mut pair = pair(ServerSettings::default());
    let peer = pair.server.peer;
    let held = tokio::spawn(pair.pool.call(&peer, &Wait {}, Bulk::none(), LONG));
    pair.began().await;
    pair.server.stop.send(()).expect("serving");
    tokio::task::yield_now().await;
    let error = loop {
        match pair.pool.call(&peer, &say("a"), Bulk::none(), LONG).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CallError::Fault(Fault::NotServing)), "{error:?}");
    pair.stage.release.notify_one();
    held.await.expect("not cancelled").expect("answered");
    pair.server.task.await.expect("stopped");
}
