//! Servers that die without a word, and come back.

use core::time::Duration;
use std::net::UdpSocket;
use std::sync::Arc;

use weft_transport::{Bulk, CallError, DialError, Peer, PoolSettings};
use weft_types::Role;

use crate::net::{ANY_PORT, Event, LONG, Mortal, authority, issue, nervous, pool, say};
use crate::words::Wait;

struct Scene {
    drive: Arc<weft_pki::Credentials>,
    frontend: weft_pki::Credentials,
}

fn scene() -> Scene {
    let authority = authority(1);
    Scene {
        drive: Arc::new(issue(&authority, Role::Drive, 2)),
        frontend: issue(&authority, Role::Frontend, 3),
    }
}

#[tokio::test]
async fn a_restarted_server_disowns_its_predecessors_connections() {
    let Scene { drive, frontend } = scene();
    // No other way of noticing can come first.
    let patient = PoolSettings { silence_max: LONG, timeouts_max: u32::MAX, ..PoolSettings::default() };
    let pool = pool(&frontend, patient);
    let first = Mortal::start(Arc::clone(&drive), ANY_PORT.into());
    let peer = first.peer;
    pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("answered");
    first.kill().await;
    let second = Mortal::start(drive, peer.address);
    let error = pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("disowned");
    let reset = matches!(error, CallError::Lost { sent: true, source: quinn::ConnectionError::Reset, .. });
    assert!(reset, "{error:?}");
    pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("a new connection");
    second.kill().await;
}

#[tokio::test]
async fn calls_at_work_end_when_their_server_dies() {
    let Scene { drive, frontend } = scene();
    let pool = pool(&frontend, nervous());
    let mut server = Mortal::start(drive, ANY_PORT.into());
    let call = tokio::spawn(pool.call(&server.peer, &Wait {}, Bulk::none(), LONG));
    assert!(matches!(server.events.recv().await, Some(Event::Began(_))));
    server.kill().await;
    let error = call.await.expect("not cancelled").expect_err("nobody is left");
    assert!(matches!(error, CallError::Lost { sent: true, .. }), "{error:?}");
    assert!(error.outcome_unknown() && !error.is_retryable());
}

#[tokio::test]
async fn one_call_that_is_not_even_acknowledged_gives_the_connection_up() {
    let Scene { drive, frontend } = scene();
    let patient = PoolSettings { silence_max: LONG, ..PoolSettings::default() };
    let pool = pool(&frontend, patient);
    let first = Mortal::start(Arc::clone(&drive), ANY_PORT.into());
    let peer = first.peer;
    pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("answered");
    first.kill().await;
    // What it sent before is read meanwhile; so short a silence says nothing.
    let short = Duration::from_millis(100);
    pool.call(&peer, &say("a"), Bulk::none(), short).await.expect_err("nobody answers");
    assert_eq!(pool.paths().len(), 1, "it is used again");
    let deadline = Duration::from_millis(600);
    let error = pool.call(&peer, &say("a"), Bulk::none(), deadline).await.expect_err("nobody answers");
    assert!(matches!(error, CallError::TimedOut { sent: true, .. }), "{error:?}");
    assert!(pool.paths().is_empty(), "the silent connection is not used again: {:?}", pool.paths());
    let second = Mortal::start(drive, peer.address);
    pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect("a new connection");
    second.kill().await;
}

#[tokio::test]
async fn calls_in_a_row_without_an_answer_move_new_calls_to_a_new_connection() {
    let Scene { drive, frontend } = scene();
    let pool = pool(&frontend, PoolSettings { timeouts_max: 2, ..PoolSettings::default() });
    let server = Mortal::start(drive, ANY_PORT.into());
    let wait = || pool.call(&server.peer, &Wait {}, Bulk::none(), Duration::from_millis(50));
    let answer = || pool.call(&server.peer, &say("a"), Bulk::none(), LONG);
    answer().await.expect("answered");
    for _ in 0..2 {
        // An answer in between shows that the connection is well.
        wait().await.expect_err("no answer");
        answer().await.expect("answered");
    }
    let before = pool.paths();
    assert_eq!(before.len(), 1);
    for _ in 0..2 {
        let error = wait().await.expect_err("no answer");
        assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    }
    assert!(pool.paths().is_empty(), "its connection is not used again");
    answer().await.expect("a new connection");
    assert!(pool.paths()[0].packets_sent < before[0].packets_sent, "a new connection has sent less");
    server.kill().await;
}

#[tokio::test]
async fn a_peer_that_is_down_is_unreachable() {
    let Scene { drive, frontend } = scene();
    let pool = pool(&frontend, PoolSettings { backoff_min: LONG, backoff_max: LONG, ..nervous() });
    // Somebody holds the port and says nothing.
    let mute = UdpSocket::bind(std::net::SocketAddr::from(ANY_PORT)).expect("bound");
    let peer = Peer { identity: drive.identity(), address: mute.local_addr().expect("bound") };
    let error = pool.failing_fast().call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("down");
    let CallError::Unreachable { source: first, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**first, DialError::NoAnswer(_)), "{first:?}");
    assert!(error.is_retryable() && !error.outcome_unknown());
    // Known to be down now: the same error, without another attempt.
    let error = pool.failing_fast().call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("down");
    let CallError::Unreachable { source: second, .. } = error else { panic!("{error:?}") };
    assert!(Arc::ptr_eq(first, &second));
    // One that waits does so up to its deadline, and then says why.
    let short = Duration::from_millis(50);
    let error = pool.call(&peer, &say("a"), Bulk::none(), short).await.expect_err("down");
    let CallError::Unreachable { source: third, .. } = error else { panic!("{error:?}") };
    assert!(Arc::ptr_eq(first, &third));
}

#[tokio::test]
async fn whoever_fails_fast_does_not_wait_for_a_further_attempt() {
    let Scene { drive, frontend } = scene();
    let at_once = Duration::from_nanos(1);
    let pool = pool(&frontend, PoolSettings { backoff_min: at_once, backoff_max: at_once, ..nervous() });
    let mute = UdpSocket::bind(std::net::SocketAddr::from(ANY_PORT)).expect("bound");
    let address = mute.local_addr().expect("bound");
    let peer = Peer { identity: drive.identity(), address };
    let fails = || async {
        let outcome = pool.failing_fast().call(&peer, &say("a"), Bulk::none(), LONG).await;
        let Err(CallError::Unreachable { source, .. }) = outcome else { panic!("{outcome:?}") };
        source
    };
    let first = fails().await;
    // It is time for the next attempt, which this call begins, and others find under way.
    assert!(Arc::ptr_eq(&first, &fails().await));
    assert!(Arc::ptr_eq(&first, &fails().await));
    // The attempts go on without anybody who waits.
    drop(mute);
    let server = Mortal::start(drive, address);
    while pool.failing_fast().call(&peer, &say("a"), Bulk::none(), LONG).await.is_err() {
        tokio::task::yield_now().await;
    }
    server.kill().await;
}

#[tokio::test]
async fn a_call_waits_for_its_peer_to_come_up() {
    let Scene { drive, frontend } = scene();
    let pool = pool(&frontend, nervous());
    let mute = UdpSocket::bind(std::net::SocketAddr::from(ANY_PORT)).expect("bound");
    let address = mute.local_addr().expect("bound");
    let peer = Peer { identity: drive.identity(), address };
    let call = tokio::spawn(pool.call(&peer, &say("a"), Bulk::none(), LONG));
    let failed = pool.failing_fast().call(&peer, &say("a"), Bulk::none(), LONG).await;
    assert!(matches!(failed, Err(CallError::Unreachable { .. })), "{failed:?}");
    drop(mute);
    let server = Mortal::start(drive, address);
    call.await.expect("not cancelled").expect("answered in the end");
    server.kill().await;
}
