//! One stream of a server: one request, one answer.

use core::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::time::timeout_at;
use weft_wire::frame::RequestHeader;
use weft_wire::{CallTag, Fault, Hello, Welcome};

use super::limits::Permit;
use super::session::Session;
use crate::router::{CallContext, Failure, Route};
use crate::stream::{self, Answer, CANCELLED, NOT_WANTED, ReceiveError};

/// How long a peer may take to fetch an answer after its deadline.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// Why a request is not carried out.
enum Reject {
    /// The caller is told.
    Fault(Fault),
    /// The caller gave up, or is gone: nobody is left to tell.
    Gone,
}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ReceiveError> for Reject {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Header(_) | ReceiveError::Length => Self::Fault(Fault::Malformed),
            ReceiveError::Reset(_) | ReceiveError::Lost(_) => Self::Gone,
        }
    }
}

/// Reads the request, does what it asks, and writes the answer.
pub(super) async fn serve(session: &Session, mut send: SendStream, mut recv: RecvStream) {
    let latest = Instant::now() + session.share.server().settings.deadline_max;
    let header = match timeout_at(latest.into(), read_header(&mut recv)).await {
        Ok(Ok(header)) => header,
        Ok(Err(reject)) => return reject.answer(send, recv, latest).await,
        Err(_) => return Reject::from(Fault::DeadlinePassed).answer(send, recv, latest).await,
    };
    let deadline = latest.min(Instant::now() + Duration::from_millis(header.deadline_ms.into()));
    let outcome = if header.tag == CallTag::HELLO {
        hello(session, header, &mut recv, deadline).await
    } else {
        call(session, header, &mut send, &mut recv, deadline).await
    };
    match outcome {
        Ok(answer) => write(session, send, answer, deadline).await,
        Err(reject) => reject.answer(send, recv, deadline).await,
    }
}

/// Answers without looking at the request.
pub(super) async fn refuse(send: SendStream, recv: RecvStream, fault: Fault) {
    Reject::Fault(fault).answer(send, recv, Instant::now()).await;
}

impl Reject {
    async fn answer(self, mut send: SendStream, mut recv: RecvStream, deadline: Instant) {
        // The rest of the request may be finished already; then there is nothing to stop.
        let _ = recv.stop(NOT_WANTED);
        match self {
            Self::Fault(fault) => write_pieces(&mut send, Answer::Fault(fault), deadline).await,
            Self::Gone => drop(send.reset(CANCELLED)),
        }
    }
}

async fn read_header(recv: &mut RecvStream) -> Result<RequestHeader, Reject> {
    let bytes = stream::read_header(recv).await?;
    RequestHeader::decode(&bytes).map_err(|_| Fault::Malformed.into())
}

/// The first call on a connection.
async fn hello(
    session: &Session,
    header: RequestHeader,
    recv: &mut RecvStream,
    deadline: Instant,
) -> Result<Answer, Reject> {
    let (_permit, body, bulk) = receive(session, header, recv, deadline).await?;
    let hello: Hello = stream::decode(&body).map_err(|_| Fault::Malformed)?;
    if !bulk.is_empty() {
        return Err(Fault::Malformed.into());
    }
    let outcome = hello.answer(crate::SOFTWARE);
    if let Ok(welcome) = &outcome {
        // A second hello is answered alike and changes nothing.
        session.agreed.get_or_init(|| welcome.clone());
    }
    Ok(Answer::of::<Hello>(outcome.map(|welcome| (welcome, Bytes::new())).map_err(Failure::Refused)))
}

async fn call(
    session: &Session,
    header: RequestHeader,
    send: &mut SendStream,
    recv: &mut RecvStream,
    deadline: Instant,
) -> Result<Answer, Reject> {
    let (route, agreed) = authorise(session, header)?;
    let (_permit, body, bulk) = receive(session, header, recv, deadline).await?;
    let context = CallContext {
        peer: session.peer,
        address: session.address(),
        deadline,
        version: agreed.version,
        features: agreed.features,
    };
    if Instant::now() >= deadline {
        return Err(Fault::DeadlinePassed.into());
    }
    let work = route.begin(context, &body, bulk)?;
    if !route.cancellable {
        return Ok(work.await);
    }
    tokio::select! {
        biased;
        answer = work => Ok(answer),
        _ = send.stopped() => Err(Reject::Gone),
        () = tokio::time::sleep_until(deadline.into()) => Err(Fault::DeadlinePassed.into()),
    }
}

/// Decides on the header alone, before anything is allocated.
fn authorise(session: &Session, header: RequestHeader) -> Result<(&Route, &Welcome), Fault> {
    let agreed = session.agreed.get().ok_or(Fault::Malformed)?;
    let route = session.router.route(header.tag).ok_or(Fault::UnknownCall)?;
    if !route.allows(session.peer.role) {
        tracing::warn!(peer = %session.peer, call = %header.tag, "refused: not for this role");
        return Err(Fault::Unauthorised);
    }
    Ok((route, agreed))
}

/// Reads body and bulk. The permit holds their room.
async fn receive(
    session: &Session,
    header: RequestHeader,
    recv: &mut RecvStream,
    deadline: Instant,
) -> Result<(Permit, Bytes, Bytes), Reject> {
    let permit = session.share.reserve(header.body + header.bulk)?;
    let runs = async {
        let body = stream::read_run(recv, header.body).await?;
        let bulk = stream::read_run(recv, header.bulk).await?;
        stream::read_end(recv).await?;
        Ok::<_, Reject>((body, bulk))
    };
    let (body, bulk) = timeout_at(deadline.into(), runs).await.map_err(|_| Fault::DeadlinePassed)??;
    Ok((permit, body, bulk))
}

async fn write(session: &Session, mut send: SendStream, answer: Answer, deadline: Instant) {
    write_pieces(&mut send, answer, deadline).await;
    if session.share.server().is_stopping() {
        // The connection is about to be closed, which would overtake the answer.
        let _ = timeout_at((Instant::now() + ANSWER_GRACE).into(), send.stopped()).await;
    }
}

async fn write_pieces(send: &mut SendStream, answer: Answer, deadline: Instant) {
    let until = deadline.max(Instant::now()) + ANSWER_GRACE;
    let mut pieces = answer.into_pieces();
    match timeout_at(until.into(), send.write_all_chunks(&mut pieces)).await {
        Ok(Ok(())) => drop(send.finish()),
        // The caller gave up, is gone, or does not fetch its answer.
        Ok(Err(_)) | Err(_) => drop(send.reset(CANCELLED)),
    }
}
