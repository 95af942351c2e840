//! One call on one stream: what is written and what is read.

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Decoder, Encode};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, VarInt};
use tokio::io::AsyncReadExt;
use weft_wire::frame::{
    AnswerHeader, BODY_BYTES_MAX, BULK_BYTES_MAX, FrameError, HEADER_BYTES, RequestHeader,
};
use weft_wire::{Call, CallTag, Fault};

use crate::router::Failure;
use crate::{Bulk, ProtocolError};

/// The caller no longer wants the answer.
pub(crate) const CANCELLED: VarInt = VarInt::from_u32(1);
/// The rest of the request is not wanted: the answer is already known.
pub(crate) const NOT_WANTED: VarInt = VarInt::from_u32(2);

/// A request as it goes out, but for its deadline.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    tag: CallTag,
    body: Bytes,
    bulk: Bulk,
}

impl Request {
    pub(crate) fn encode<C: Call>(call: &C, bulk: Bulk) -> Result<Self, ProtocolError> {
        let body = minicbor::to_vec(call).map_err(|error| ProtocolError::Encode(error.to_string()))?;
        lengths(&body, bulk.len()).map_err(ProtocolError::RequestTooLong)?;
        Ok(Self { tag: C::TAG, body: body.into(), bulk })
    }

    /// All bytes of the request, in pieces.
    pub(crate) fn pieces(&self, deadline_ms: u32) -> Vec<Bytes> {
        let length = |bytes: usize| u32::try_from(bytes).expect("checked when encoded");
        let (body, bulk) = (length(self.body.len()), length(self.bulk.len()));
        let header = RequestHeader { tag: self.tag, deadline_ms, body, bulk }.encode();
        let mut front = BytesMut::with_capacity(HEADER_BYTES + self.body.len());
        front.put_slice(&header);
        front.put_slice(&self.body);
        let mut pieces = Vec::with_capacity(1 + self.bulk.pieces().len());
        pieces.push(front.freeze());
        pieces.extend(self.bulk.pieces().iter().filter(|piece| !piece.is_empty()).cloned());
        pieces
    }
}

/// An answer between the operation and the wire.
#[derive(Debug)]
pub(crate) enum Answer {
    Done { body: Bytes, bulk: Bytes },
    Refused { body: Bytes },
    Fault(Fault),
}

impl Answer {
    /// The wire form of what a handler said.
    pub(crate) fn of<C: Call>(outcome: Result<(C::Reply, Bytes), Failure<C::Refusal>>) -> Self {
        let answer = match outcome {
            Ok((reply, bulk)) => body_of(&reply).map(|body| Self::Done { body, bulk }),
            Err(Failure::Refused(refusal)) => body_of(&refusal).map(|body| Self::Refused { body }),
            Err(Failure::Fault(fault)) => Some(Self::Fault(fault)),
        };
        answer.filter(Self::fits).unwrap_or_else(|| {
            tracing::error!(call = %C::TAG, "an answer has no wire form within its bounds");
            Self::Fault(Fault::Internal)
        })
    }

    fn fits(&self) -> bool {
        let (_, body, bulk) = self.parts();
        lengths(body, bulk.len()).is_ok()
    }

    fn parts(&self) -> (u16, &[u8], &[u8]) {
        match self {
            Self::Done { body, bulk } => (AnswerHeader::DONE, body, bulk),
            Self::Refused { body } => (AnswerHeader::REFUSED, body, &[]),
            Self::Fault(fault) => (fault.code(), &[], &[]),
        }
    }

    /// All bytes of the answer, in pieces.
    pub(crate) fn into_pieces(self) -> Vec<Bytes> {
        let (status, body, bulk) = self.parts();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("bounded when made");
        let header = AnswerHeader { status, body: length(body), bulk: length(bulk) }.encode();
        let mut front = BytesMut::with_capacity(HEADER_BYTES + body.len());
        front.put_slice(&header);
        front.put_slice(body);
        let mut pieces = vec![front.freeze()];
        match self {
            Self::Done { bulk, .. } if !bulk.is_empty() => pieces.push(bulk),
            _ => {}
        }
        pieces
    }

    /// Reads an answer to its end.
    pub(crate) async fn read(recv: &mut RecvStream) -> Result<Self, ReceiveError> {
        let header = AnswerHeader::decode(&read_header(recv).await?).map_err(ReceiveError::Header)?;
        let body = read_run(recv, header.body).await?;
        let bulk = read_run(recv, header.bulk).await?;
        read_end(recv).await?;
        Ok(match header.status {
            AnswerHeader::DONE => Self::Done { body, bulk },
            AnswerHeader::REFUSED => Self::Refused { body },
            code => Self::Fault(Fault::from_code(code)),
        })
    }
}

fn body_of<T: Encode<()>>(value: &T) -> Option<Bytes> {
    minicbor::to_vec(value).ok().map(Bytes::from)
}

fn lengths(body: &[u8], bulk: usize) -> Result<(), FrameError> {
    let saturated = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let (body, bulk) = (saturated(body.len()), saturated(bulk));
    if body > BODY_BYTES_MAX {
        return Err(FrameError::BodyTooLong(body));
    }
    if bulk > BULK_BYTES_MAX {
        return Err(FrameError::BulkTooLong(bulk));
    }
    Ok(())
}

/// Decodes one value that is the whole body.
pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(body: &[u8]) -> Result<T, minicbor::decode::Error> {
    let mut decoder = Decoder::new(body);
    let value = decoder.decode()?;
    if decoder.position() == body.len() {
        Ok(value)
    } else {
        Err(minicbor::decode::Error::message("bytes after the body"))
    }
}

/// Why nothing acceptable came out of a stream.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The header announces more than its bounds.
    Header(FrameError),
    /// Fewer or more bytes than announced.
    Length,
    /// The sender broke off with this code.
    Reset(VarInt),
    /// The connection is gone.
    Lost(quinn::ConnectionError),
}

impl From<ReadError> for ReceiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code),
            ReadError::ConnectionLost(error) => Self::Lost(error),
            // Not of the peer's making: we stop, misuse or resume a stream nowhere before reading from it.
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                Self::Length
            }
        }
    }
}

/// The fixed front of a request or an answer.
pub(crate) async fn read_header(recv: &mut RecvStream) -> Result<[u8; HEADER_BYTES], ReceiveError> {
    let mut header = [0; HEADER_BYTES];
    recv.read_exact(&mut header).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => ReceiveError::Length,
        ReadExactError::ReadError(error) => error.into(),
    })?;
    Ok(header)
}

/// Exactly this many bytes, in one buffer of that size. The caller has checked the length against its bound.
pub(crate) async fn read_run(recv: &mut RecvStream, length: u32) -> Result<Bytes, ReceiveError> {
    let length = usize::try_from(length).expect("32 bits fit");
    let mut run = BytesMut::with_capacity(length);
    while run.len() < length {
        let missing = length - run.len();
        let read = recv.read_buf(&mut (&mut run).limit(missing)).await;
        if read.map_err(|error| receive_error(&error))? == 0 {
            return Err(ReceiveError::Length);
        }
    }
    Ok(run.freeze())
}

/// The stream ends here.
pub(crate) async fn read_end(recv: &mut RecvStream) -> Result<(), ReceiveError> {
    match recv.read_chunk(1, true).await? {
        None => Ok(()),
        Some(_) => Err(ReceiveError::Length),
    }
}

/// quinn hands its errors through `io::Error` when it is read as a byte source.
fn receive_error(error: &std::io::Error) -> ReceiveError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ReadError>())
        .cloned()
        .map_or(ReceiveError::Length, ReceiveError::from)
}

/// Both halves of a call's stream at the caller. Dropped before the answer is whole, it tells the peer to stop.
pub(crate) struct CallStream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) answered: bool,
}

impl Drop for CallStream {
    fn drop(&mut self) {
        if !self.answered {
            // Either half may be finished or stopped already; then there is nothing to tell.
            let _ = self.send.reset(CANCELLED);
            let _ = self.recv.stop(CANCELLED);
        }
    }
}
