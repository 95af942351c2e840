//! One established connection to a peer, and whether it is still worth using.

use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::time::Instant;

use quinn::{Connection, VarInt, WriteError};
use tokio::runtime::Handle;

use super::{Failure, PathReport, PoolSettings};
use crate::stream::{Answer, CallStream, ReceiveError, Request};
use crate::{Peer, ProtocolError};

/// The code of an orderly close.
const CLOSED: VarInt = VarInt::from_u32(0);
/// The code with which a connection is given up that nothing comes over any more.
const SILENT: VarInt = VarInt::from_u32(1);
/// A living peer acknowledges a request's packets well within this, even when its handler is slow.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(500);

/// How often a connection is looked at within its longest silence.
const LOOKS_PER_SILENCE: u32 = 4;

/// A connection on which the hello was said.
#[derive(Debug)]
pub(super) struct Channel {
    connection: Connection,
    handle: Handle,
    timeouts_max: u32,
    /// Calls in a row that timed out.
    timeouts: AtomicU32,
    /// Whether any call was answered.
    proven: AtomicBool,
}

impl Channel {
    pub(super) fn new(connection: Connection, handle: Handle, settings: &PoolSettings) -> Self {
        handle.spawn(watch(connection.clone(), settings.silence_max));
        Self {
            connection,
            handle,
            timeouts_max: settings.timeouts_max,
            timeouts: AtomicU32::new(0),
            proven: AtomicBool::new(false),
        }
    }

    /// Whether new calls should take it.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.close_reason().is_none() && self.timeouts.load(Ordering::Relaxed) < self.timeouts_max
    }

    /// Whether any call was answered on it.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// How the connection does.
    pub(super) fn report(&self, peer: Peer) -> PathReport {
        let path = self.connection.stats().path;
        PathReport {
            peer,
            mtu: path.current_mtu,
            round_trip: path.rtt,
            packets_sent: path.sent_packets,
            packets_lost: path.lost_packets,
        }
    }

    /// Says the hello, which proves nothing yet.
    pub(super) async fn hello(&self, request: &Request, deadline: Instant) -> Result<Answer, Failure> {
        attempt(&self.connection, request, deadline, &AtomicBool::new(false)).await
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn exchange(&self, request: &Request, deadline: Instant) -> Result<Answer, Failure> {
        let began = Instant::now();
        let heard_before = heard(&self.connection);
        let sent = AtomicBool::new(false);
        let attempt = attempt(&self.connection, request, deadline, &sent);
        match until(&self.handle, deadline, attempt).await {
            Some(Ok(answer)) => {
                self.timeouts.store(0, Ordering::Relaxed);
                self.proven.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Some(Err(failure)) => Err(failure),
            None => {
                self.timeouts.fetch_add(1, Ordering::Relaxed);
                if began.elapsed() >= ACKNOWLEDGED_WITHIN && heard(&self.connection) == heard_before {
                    self.connection.close(SILENT, b"silent");
                }
                Err(Failure::TimedOut { sent: sent.into_inner() })
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.connection.close(CLOSED, b"done");
    }
}

/// Datagrams that came over the connection so far.
fn heard(connection: &Connection) -> u64 {
    connection.stats().udp_rx.datagrams
}

/// Gives the connection up when nothing comes over it, keep-alives included, for `silence_max`.
///
/// A host that died sends nothing, not even a refusal, and QUIC's own idle timeout must be long enough for a busy
/// peer's worst moment; a new connection to a busy peer costs little.
///
/// Looks are counted rather than time: a thread that was held up itself has not heard anyone either.
async fn watch(connection: Connection, silence_max: Duration) {
    let (mut last, mut silent_looks) = (heard(&connection), 0);
    while silent_looks < LOOKS_PER_SILENCE {
        tokio::select! {
            _ = connection.closed() => return,
            () = tokio::time::sleep(silence_max / LOOKS_PER_SILENCE) => {}
        }
        let now = heard(&connection);
        silent_looks = if now == last { silent_looks + 1 } else { 0 };
        last = now;
    }
    tracing::debug!(address = %connection.remote_address(), "gave up a silent connection");
    connection.close(SILENT, b"silent");
}

async fn attempt(
    connection: &Connection,
    request: &Request,
    deadline: Instant,
    sent: &AtomicBool,
) -> Result<Answer, Failure> {
    let lost = |source| Failure::Lost { sent: sent.load(Ordering::Relaxed), source };
    let (send, recv) = connection.open_bi().await.map_err(lost)?;
    let mut stream = CallStream { send, recv, answered: false };
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    let mut pieces = request.pieces(u32::try_from(left).unwrap_or(u32::MAX));
    match stream.send.write_all_chunks(&mut pieces).await {
        Ok(()) => {
            sent.store(true, Ordering::Relaxed);
            // It fails only when the peer wants no more: then its answer is on the way.
            let _ = stream.send.finish();
        }
        Err(WriteError::ConnectionLost(source)) => return Err(lost(source)),
        // The peer has its answer already, such as that it is overloaded.
        Err(WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected) => {}
    }
    let answer = Answer::read(&mut stream.recv).await.map_err(|error| match error {
        ReceiveError::Lost(source) => lost(source),
        error => Failure::Protocol(protocol_error(error)),
    })?;
    stream.answered = true;
    Ok(answer)
}

fn protocol_error(error: ReceiveError) -> ProtocolError {
    match error {
        ReceiveError::Header(error) => ProtocolError::Header(error),
        ReceiveError::Reset(code) => ProtocolError::BrokenOff(code.into_inner()),
        ReceiveError::Length | ReceiveError::Lost(_) => ProtocolError::Length,
    }
}

/// The future's output, unless `deadline` comes first. The timer belongs to the runtime of `handle`, so that the
/// future may be polled outside of any.
pub(super) async fn until<F: Future>(handle: &Handle, deadline: Instant, future: F) -> Option<F::Output> {
    let sleep = {
        let _entered = handle.enter();
        tokio::time::sleep_until(deadline.into())
    };
    let (mut sleep, mut future) = (pin!(sleep), pin!(future));
    tokio::select! {
        biased;
        output = &mut future => Some(output),
        () = &mut sleep => None,
    }
}
