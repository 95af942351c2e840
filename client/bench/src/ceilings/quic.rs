//! The transport of a cluster between two threads of this process, over the loopback interface.

use core::time::Duration;
use std::sync::mpsc;
use std::thread;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use minicbor::{Decode, Encode};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{Bulk, CallContext, Failure, Peer, Pool, PoolSettings, Router, Server, ServerSettings};
use weft_types::{ClusterId, NodeId, Role, Timestamp};
use weft_wire::{Call, CallTag, NoRefusal};

use super::WIDTHS;
use crate::error::Cause;
use crate::parameters::{FILE, REQUEST};
use crate::statistics::per_second;

/// Large requests under way at once: as many as keep both ends moving.
const BULK_WIDTH: usize = 4;
/// How long one call may take; none comes near it.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the transport gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quic {
    /// The largest UDP payload that was found to pass, in bytes.
    pub(crate) mtu: u16,
    /// MB/s to the caller.
    pub(crate) get: f64,
    /// MB/s from the caller.
    pub(crate) put: f64,
    /// Calls per second that 4 KiB answer, by how many are under way at once.
    pub(crate) calls: [f64; WIDTHS.len()],
}

/// Asks for so many bytes, and may bring some.
#[derive(Debug, Clone, Copy, Encode, Decode)]
struct Exchange {
    #[n(0)]
    answer_bytes: u32,
}

#[derive(Debug, Clone, Copy, Encode, Decode)]
struct Exchanged {}

impl Call for Exchange {
    const TAG: CallTag = CallTag(0x7101);
    type Reply = Exchanged;
    type Refusal = NoRefusal;
}

/// What one call moves.
#[derive(Clone)]
struct Load {
    width: usize,
    answer_bytes: usize,
    request: Bytes,
}

pub(super) fn measure(bound: Duration) -> Result<Quic, Cause> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now = Timestamp::from_unix(since);
    let authority = ClusterAuthority::create(ClusterId::from_bytes([1; 16]), now)?;
    let issue = |role, node| -> Result<Credentials, Cause> {
        let identity =
            NodeIdentity { cluster: authority.cluster(), role, node: NodeId::from_bytes([node; 16]) };
        Ok(authority.issue(identity, Validity::of_a_node(now)?)?)
    };
    let (drive, frontend) = (issue(Role::Drive, 2)?, issue(Role::Frontend, 3)?);
    let (peer, stop, server) = serve(drive)?;
    let runtime = runtime()?;
    let measured = runtime.block_on(call_all(&frontend, peer, bound));
    // It may have ended by itself, and then nobody listens.
    let _ = stop.send(());
    server.join().map_err(|_| "the server's thread failed")?;
    measured
}

/// A server on a thread of its own, as a drive is.
fn serve(credentials: Credentials) -> Result<(Peer, oneshot::Sender<()>, thread::JoinHandle<()>), Cause> {
    let identity = credentials.identity();
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    let body = move || {
        let bound = runtime().and_then(|runtime| {
            let server = {
                let _entered = runtime.enter();
                let router = Router::new().on::<Exchange, _, _>(&[Role::Frontend], answer(REQUEST));
                Server::bind(([127, 0, 0, 1], 0).into(), &credentials, router, ServerSettings::default())?
            };
            Ok((runtime, server))
        });
        match bound {
            Ok((runtime, server)) => {
                let _ = tell.send(Ok(server.address()));
                runtime.block_on(server.serve(async {
                    let _ = stopped.await;
                }));
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    };
    let server = thread::Builder::new().name("quic-ceiling".to_owned()).spawn(body)?;
    let address = told.recv().map_err(|_| "the server's thread failed")??;
    Ok((Peer { identity, address }, stop, server))
}

type Answer = core::future::Ready<Result<(Exchanged, Bytes), Failure<NoRefusal>>>;

/// Answers from bytes that are there already.
fn answer(most: usize) -> impl Fn(CallContext, Exchange, Bytes) -> Answer {
    let bytes = Bytes::from(vec![0x5a; most]);
    move |_, call, _| {
        let len = bytes.len().min(call.answer_bytes as usize);
        core::future::ready(Ok((Exchanged {}, bytes.slice(..len))))
    }
}

fn runtime() -> Result<Runtime, Cause> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

async fn call_all(credentials: &Credentials, peer: Peer, bound: Duration) -> Result<Quic, Cause> {
    let pool = Pool::new(Handle::current(), credentials, PoolSettings::default())?;
    let get = Load { width: BULK_WIDTH, answer_bytes: REQUEST, request: Bytes::new() };
    let put = Load { width: BULK_WIDTH, answer_bytes: 0, request: vec![0x5a; REQUEST].into() };
    // The path's datagram size is found while something moves.
    rate(&pool, peer, get.clone(), bound / 4).await?;
    let megabytes = |calls: f64| calls * REQUEST as f64 / 1e6;
    let get = megabytes(rate(&pool, peer, get, bound).await?);
    let put = megabytes(rate(&pool, peer, put, bound).await?);
    let mut calls = [0.0; WIDTHS.len()];
    for (width, rate_of) in WIDTHS.into_iter().zip(&mut calls) {
        let small = Load { width, answer_bytes: FILE, request: Bytes::new() };
        *rate_of = rate(&pool, peer, small, bound).await?;
    }
    let mtu = pool.paths().iter().map(|path| path.mtu).max().unwrap_or_default();
    pool.close().await;
    Ok(Quic { mtu, get, put, calls })
}

/// Calls per second.
async fn rate(pool: &Pool, peer: Peer, load: Load, bound: Duration) -> Result<f64, Cause> {
    let start = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..load.width {
        let (pool, load) = (pool.clone(), load.clone());
        callers.spawn(async move {
            let call = Exchange { answer_bytes: u32::try_from(load.answer_bytes).unwrap_or(u32::MAX) };
            let mut done = 0_u64;
            while start.elapsed() < bound {
                pool.call(&peer, &call, Bulk::from(load.request.clone()), DEADLINE).await?;
                done += 1;
            }
            Ok::<_, Cause>(done)
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(per_second(done, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_all_widths_have_a_rate() {
        let quic = measure(Duration::from_millis(20)).expect("measured");
        assert!(quic.get > 0.0 && quic.put > 0.0 && quic.calls.iter().all(|rate| *rate > 0.0), "{quic:?}");
        assert!(quic.mtu >= 1200);
    }
}
