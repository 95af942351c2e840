//! Peers that do not keep to the protocol: each is told so, and nobody else notices.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use weft_transport::{Bulk, CallError, PoolSettings, ProtocolError, ServerSettings};
use weft_types::Role;
use weft_wire::frame::{AnswerHeader, BODY_BYTES_MAX, BULK_BYTES_MAX, FrameError};
use weft_wire::{Call, Fault, Features, ProtocolVersion, Welcome};

use crate::net::{LONG, authority, issue, pair, pool, say};
use crate::raw::{RawClient, answer, frame, raw_server, request};
use crate::words::{Echo, Unheard};

fn header(tag: u16, deadline_ms: u32, body: u32, bulk: u32) -> Vec<u8> {
    let mut out = vec![0; 16];
    out[..2].copy_from_slice(&tag.to_le_bytes());
    out[4..8].copy_from_slice(&deadline_ms.to_le_bytes());
    out[8..12].copy_from_slice(&body.to_le_bytes());
    out[12..].copy_from_slice(&bulk.to_le_bytes());
    out
}

#[tokio::test]
async fn malformed_requests_are_told_so_and_the_connection_goes_on() {
    let pair = pair(ServerSettings::default());
    let client = RawClient::introduced(&pair.frontend, pair.server.peer).await;
    let echo = Echo::TAG.0;
    let good = request(&say("a"));
    let rows: [(&str, Vec<u8>, Fault); 11] = [
        ("nothing", vec![], Fault::Malformed),
        ("half a header", good[..7].to_vec(), Fault::Malformed),
        ("no body", good[..16].to_vec(), Fault::Malformed),
        ("half a body", good[..18].to_vec(), Fault::Malformed),
        ("a byte too many", [good.as_slice(), &[0]].concat(), Fault::Malformed),
        ("a body that is no CBOR", frame(Echo::TAG, 1000, &[0xff; 9]), Fault::Malformed),
        (
            "two values in a body",
            frame(Echo::TAG, 1000, &[&good[16..], &good[16..]].concat()),
            Fault::Malformed,
        ),
        ("a body over its bound", header(echo, 1000, BODY_BYTES_MAX + 1, 0), Fault::Malformed),
        ("a bulk over its bound", header(echo, 1000, 0, BULK_BYTES_MAX + 1), Fault::Malformed),
        ("lengths that overflow", header(echo, 1000, u32::MAX, u32::MAX), Fault::Malformed),
        ("no time", frame(Echo::TAG, 0, &good[16..]), Fault::DeadlinePassed),
    ];
    for (what, bytes, fault) in rows {
        let (header, body) = client.ask(&bytes).await;
        assert_eq!((header.status, body.len()), (fault.code(), 0), "{what}");
        let (header, _) = client.ask(&good).await;
        assert_eq!(header.status, AnswerHeader::DONE, "after {what}");
    }
    let (header, _) = client.ask(&frame(Unheard::TAG, 1000, &[0xff; 100_000])).await;
    assert_eq!(header.status, Fault::UnknownCall.code());
}

/// As a liar announces 5 MiB, sends a little, and falls silent: its deadline ends it, and its room is free again.
#[tokio::test]
async fn a_request_that_never_arrives_ends_by_its_deadline() {
    let settings = ServerSettings { calls_per_connection: 1, ..ServerSettings::default() };
    let pair = pair(settings);
    let client = RawClient::introduced(&pair.frontend, pair.server.peer).await;
    let (mut send, mut recv) = client.connection.open_bi().await.expect("a stream");
    send.write_all(&header(Echo::TAG.0, 100, BODY_BYTES_MAX, BULK_BYTES_MAX)).await.expect("written");
    let bytes = recv.read_to_end(64).await.expect("an answer");
    let header = AnswerHeader::decode(&bytes.try_into().expect("a header")).expect("acceptable");
    assert_eq!(header.status, Fault::DeadlinePassed.code());
    // The place is given back just after the answer is written.
    let again = loop {
        let (header, _) = client.ask(&request(&say("a"))).await;
        if header.status != Fault::Overloaded.code() {
            break header;
        }
    };
    assert_eq!(again.status, AnswerHeader::DONE);
}

#[tokio::test]
async fn any_bytes_are_answered() {
    let pair = pair(ServerSettings::default());
    let client = RawClient::introduced(&pair.frontend, pair.server.peer).await;
    let mut runner = TestRunner::deterministic();
    let requests = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        // A header that leads into the handler, with any body.
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|body| frame(Echo::TAG, 1000, &body)),
    ];
    for _ in 0..300 {
        let bytes = requests.new_tree(&mut runner).expect("a value").current();
        client.ask(&bytes).await;
    }
    let (header, _) = client.ask(&request(&say("a"))).await;
    assert_eq!(header.status, AnswerHeader::DONE);
}

#[tokio::test]
async fn a_caller_survives_any_answer() {
    let authority = authority(1);
    let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
    let welcome =
        Welcome { version: ProtocolVersion::LATEST, features: Features::OURS, software: "raw".into() };
    let welcome = answer(AnswerHeader::DONE, &minicbor::to_vec(&welcome).expect("encodes"));
    let mut over = answer(AnswerHeader::DONE, &[]);
    over[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    type Check = fn(&ProtocolError) -> bool;
    let rows: [(&str, Vec<u8>, Check); 5] = [
        ("nothing", vec![], |e| matches!(e, ProtocolError::Length)),
        ("a byte too many", [answer(0, &[0x80]), vec![0]].concat(), |e| matches!(e, ProtocolError::Length)),
        ("a bulk over its bound", over, |e| {
            matches!(e, ProtocolError::Header(FrameError::BulkTooLong(u32::MAX)))
        }),
        ("a reply that is none", answer(0, &[0xff]), |e| matches!(e, ProtocolError::Decode(_))),
        ("a refusal that is none", answer(1, &[0xff]), |e| matches!(e, ProtocolError::Decode(_))),
    ];
    for (what, bytes, expected) in rows {
        let peer = raw_server(&drive, welcome.clone(), bytes);
        let pool = pool(&frontend, PoolSettings::default());
        let error = pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("garbage");
        let CallError::Protocol { source, .. } = &error else { panic!("{what}: {error:?}") };
        assert!(expected(source), "{what}: {source:?}");
        assert!(error.outcome_unknown() && !error.is_retryable(), "{what}");
    }
    let peer = raw_server(&drive, welcome, answer(999, &[]));
    let pool = pool(&frontend, PoolSettings::default());
    let error = pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("a fault");
    assert!(matches!(error, CallError::Fault(Fault::Internal)), "a fault of a newer peer: {error:?}");
}
