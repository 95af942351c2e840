//! What both sides must agree on before anything else.

use minicbor::{Decode, Encode};
use weft_transport::{Bulk, CallError, PoolSettings, ServerSettings};
use weft_types::Role;
use weft_wire::frame::AnswerHeader;
use weft_wire::{CallTag, Fault, Features, Hello, HelloRefusal, ProtocolVersion, Welcome};

use crate::net::{LONG, authority, issue, pair, pool, say};
use crate::raw::{RawClient, answer, frame, raw_server, request};

#[derive(Encode, Decode)]
#[cbor(map)]
struct FutureHello {
    #[n(0)]
    oldest: ProtocolVersion,
    #[n(1)]
    newest: ProtocolVersion,
    #[n(2)]
    features: Features,
    #[n(3)]
    software: String,
    #[n(50)]
    mood: Vec<String>,
}

#[tokio::test]
async fn a_hello_with_fields_of_the_future_is_accepted() {
    let pair = pair(ServerSettings::default());
    let client = RawClient::connect(&pair.frontend, pair.server.peer).await;
    let hello = FutureHello {
        oldest: ProtocolVersion(1),
        newest: ProtocolVersion(99),
        features: Features::OURS,
        software: "weft/99".into(),
        mood: vec!["curious".into()],
    };
    let body = minicbor::to_vec(&hello).expect("encodes");
    let (header, body) = client.ask(&frame(CallTag::HELLO, 1000, &body)).await;
    assert_eq!(header.status, AnswerHeader::DONE);
    let welcome: Welcome = minicbor::decode(&body).expect("decodes");
    assert_eq!((welcome.version, welcome.features), (ProtocolVersion::LATEST, Features::OURS));
    let (header, _) = client.ask(&request(&say("a"))).await;
    assert_eq!(header.status, AnswerHeader::DONE);
}

#[tokio::test]
async fn a_peer_without_a_common_version_is_told_which_there_are() {
    let pair = pair(ServerSettings::default());
    let client = RawClient::connect(&pair.frontend, pair.server.peer).await;
    let hello = Hello { oldest: ProtocolVersion(98), newest: ProtocolVersion(99), ..Hello::ours("raw", 1) };
    let (header, body) = client.ask(&request(&hello)).await;
    assert_eq!(header.status, AnswerHeader::REFUSED);
    let refusal: HelloRefusal = minicbor::decode(&body).expect("decodes");
    let (oldest, newest) = (ProtocolVersion::OLDEST, ProtocolVersion::LATEST);
    assert_eq!(refusal, HelloRefusal::NoCommonVersion { oldest, newest });
    let (header, _) = client.ask(&request(&say("a"))).await;
    assert_eq!(header.status, Fault::Malformed.code(), "nothing was agreed on");
}

#[tokio::test]
async fn no_call_is_answered_before_the_hello() {
    let pair = pair(ServerSettings::default());
    let client = RawClient::connect(&pair.frontend, pair.server.peer).await;
    let (header, _) = client.ask(&request(&say("a"))).await;
    assert_eq!(header.status, Fault::Malformed.code());
}

#[tokio::test]
async fn a_server_without_a_common_version_is_named_to_the_caller() {
    let authority = authority(1);
    let refusal = HelloRefusal::NoCommonVersion { oldest: ProtocolVersion(7), newest: ProtocolVersion(8) };
    let body = minicbor::to_vec(refusal).expect("encodes");
    let peer =
        raw_server(&issue(&authority, Role::Drive, 2), answer(AnswerHeader::REFUSED, &body), Vec::new());
    let pool = pool(&issue(&authority, Role::Frontend, 3), PoolSettings::default());
    let error = pool.call(&peer, &say("a"), Bulk::none(), LONG).await.expect_err("no version");
    assert!(matches!(error, CallError::Version { source, .. } if source == refusal), "{error:?}");
    assert!(!error.is_retryable() && !error.outcome_unknown());
}
