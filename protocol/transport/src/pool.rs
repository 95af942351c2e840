//! The calling side: connections on demand, shared by all callers of a process.

mod backoff;
mod channel;
mod dial;
mod link;

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quinn::ConnectionError;
use tokio::runtime::Handle;
use weft_pki::{Credentials, NodeIdentity};
use weft_wire::Call;

use crate::endpoint::PathSettings;
use crate::stream::{self, Answer, Request};
use crate::{BindError, Bulk, CallError, DialError, Peer, ProtocolError};
use dial::Dialer;
use link::Link;

/// A longer deadline is cut to this.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A peer that nobody called for so long is forgotten: it may have moved to another address.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How a pool connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections to each peer, at least one. Calls take them in turn.
    pub connections_per_peer: usize,
    /// How long one attempt to connect may take, hello included.
    pub dial_timeout: Duration,
    /// The pause after the first failed attempt to connect; it doubles with each further one. A random half of it is
    /// left out, so that callers of a restarted peer do not come in step.
    pub backoff_min: Duration,
    /// The longest pause between attempts to connect.
    pub backoff_max: Duration,
    /// A connection over which nothing came for so long is given up, and calls on it end.
    pub silence_max: Duration,
    /// After so many calls in a row without an answer in time, new calls take a new connection.
    pub timeouts_max: u32,
    /// How connections are tuned.
    pub path: PathSettings,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            connections_per_peer: 1,
            dial_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            silence_max: Duration::from_secs(4),
            timeouts_max: 3,
            path: PathSettings::default(),
        }
    }
}

/// Makes calls to peers. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    when_down: WhenDown,
}

/// One open connection as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathReport {
    /// Whom it leads to.
    pub peer: Peer,
    /// The largest UDP payload found to pass, in bytes.
    pub mtu: u16,
    /// How long a packet and its acknowledgement take, smoothed.
    pub round_trip: Duration,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets lost, and their contents sent again.
    pub packets_lost: u64,
}

/// What a call does while its peer is known to be down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenDown {
    Wait,
    Fail,
}

#[derive(Debug)]
struct Shared {
    dialer: Arc<Dialer>,
    identity: NodeIdentity,
    links: Mutex<HashMap<Peer, Arc<Link>>>,
}

impl Pool {
    /// A pool whose connections are driven by the runtime of `handle`. Calls may be polled anywhere, but cost least on
    /// that runtime's own thread.
    pub fn new(handle: Handle, credentials: &Credentials, settings: PoolSettings) -> Result<Self, BindError> {
        let dialer = Arc::new(Dialer::new(handle, credentials, settings)?);
        let shared = Shared { dialer, identity: credentials.identity(), links: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), when_down: WhenDown::Wait })
    }

    /// As whom calls are made.
    pub fn identity(&self) -> NodeIdentity {
        self.shared.identity
    }

    /// The same pool for calls that have somewhere else to go: while a peer is known to be down, they fail as
    /// [`Unreachable`](CallError::Unreachable) at once. Otherwise calls wait for their peer up to their deadline.
    #[must_use]
    pub fn failing_fast(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), when_down: WhenDown::Fail }
    }

    /// Makes a call. Connects when necessary; a request that certainly did not reach the peer is sent again within
    /// the deadline when its connection breaks. Dropping the future tells the peer to stop.
    ///
    /// The deadline counts from now. While it is not polled, an answer that has begun to arrive holds up others on
    /// the same connection.
    pub fn call<C, B>(
        &self,
        peer: &Peer,
        call: &C,
        bulk: B,
        deadline: Duration,
    ) -> impl Future<Output = Result<(C::Reply, Bytes), CallError<C::Refusal>>> + Send + use<C, B>
    where
        C: Call,
        B: Into<Bulk>,
    {
        let request = Request::encode(call, bulk.into());
        let deadline = Instant::now() + deadline.min(DEADLINE_MAX);
        let (shared, peer, when_down) = (Arc::clone(&self.shared), *peer, self.when_down);
        async move {
            let answer = match request {
                Ok(request) => shared.exchange(peer, &request, deadline, when_down).await,
                Err(error) => Err(Failure::Protocol(error)),
            };
            match answer {
                Ok(answer) => conclude::<C>(peer, answer),
                Err(failure) => Err(failure.of_call(peer)),
            }
        }
    }

    /// The connections that are open now, for operators.
    pub fn paths(&self) -> Vec<PathReport> {
        self.shared.links().values().flat_map(|link| link.paths()).collect()
    }

    /// Closes all connections and waits shortly until the peers know. Calls at work end as lost.
    pub async fn close(&self) {
        self.shared.links().clear();
        self.shared.dialer.close().await;
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, HashMap<Peer, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's link; links that nobody used for a while are dropped when a new one is made.
    fn link(&self, peer: Peer) -> Arc<Link> {
        let now = Instant::now();
        let mut links = self.links();
        if let Some(link) = links.get(&peer) {
            link.touch(now);
            return Arc::clone(link);
        }
        links.retain(|_, link| link.idle_since(now) < FORGET_AFTER);
        let link = Arc::new(Link::new(peer, Arc::clone(&self.dialer), now));
        links.insert(peer, Arc::clone(&link));
        link
    }

    async fn exchange(
        &self,
        peer: Peer,
        request: &Request,
        deadline: Instant,
        when_down: WhenDown,
    ) -> Result<Answer, Failure> {
        let link = self.link(peer);
        let mut again = true;
        loop {
            let channel = link.channel(deadline, when_down).await?;
            match channel.exchange(request, deadline).await {
                Err(Failure::Lost { sent: false, .. }) if again => again = false,
                outcome => return outcome,
            }
        }
    }
}

/// Why a call brought no answer of its peer.
#[derive(Debug)]
enum Failure {
    Unreachable(Arc<DialError>),
    Lost { sent: bool, source: ConnectionError },
    TimedOut { sent: bool },
    Protocol(ProtocolError),
}

impl Failure {
    fn of_call<R: fmt::Debug>(self, peer: Peer) -> CallError<R> {
        match self {
            Self::Unreachable(source) => match &*source {
                DialError::Version(refusal) => CallError::Version { peer, source: *refusal },
                _ => CallError::Unreachable { peer, source },
            },
            Self::Lost { sent, source } => CallError::Lost { peer, sent, source },
            Self::TimedOut { sent } => CallError::TimedOut { peer, sent },
            Self::Protocol(source) => CallError::Protocol { peer, source: Box::new(source) },
        }
    }
}

/// What a whole answer says.
fn conclude<C: Call>(peer: Peer, answer: Answer) -> Result<(C::Reply, Bytes), CallError<C::Refusal>> {
    let undecodable = |error| CallError::Protocol { peer, source: Box::new(ProtocolError::Decode(error)) };
    match answer {
        Answer::Done { body, bulk } => Ok((stream::decode(&body).map_err(undecodable)?, bulk)),
        Answer::Refused { body } => Err(CallError::Refused(stream::decode(&body).map_err(undecodable)?)),
        Answer::Fault(fault) => Err(CallError::Fault(fault)),
    }
}
