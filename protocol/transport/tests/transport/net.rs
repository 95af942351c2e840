//! A cluster of one server and its callers.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc as events, oneshot};
use tokio::task::JoinHandle;
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{CallContext, Failure, PathSettings, Peer, Pool, PoolSettings};
use weft_transport::{Router, Server, ServerSettings};
use weft_types::{ClusterId, NodeId, Role, Timestamp};

use crate::words::{Echo, EchoRefusal, Echoed, Wait, WaitCancellably};

/// Far more than anything takes; a test that reaches it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"))
}

pub(crate) fn authority(cluster: u8) -> ClusterAuthority {
    ClusterAuthority::create(ClusterId::from_bytes([cluster; 16]), now()).expect("created")
}

pub(crate) fn issue(authority: &ClusterAuthority, role: Role, node: u8) -> Credentials {
    let identity = NodeIdentity { cluster: authority.cluster(), role, node: NodeId::from_bytes([node; 16]) };
    authority.issue(identity, Validity::of_a_node(now()).expect("dates")).expect("issued")
}

pub(crate) fn pool(credentials: &Credentials, settings: PoolSettings) -> Pool {
    Pool::new(Handle::current(), credentials, settings).expect("a pool")
}

/// Settings under which a dead peer is noticed as fast as a test wants.
pub(crate) fn nervous() -> PoolSettings {
    let path = PathSettings { keep_alive: Duration::from_millis(50), ..PathSettings::default() };
    PoolSettings {
        path,
        silence_max: Duration::from_millis(400),
        dial_timeout: Duration::from_millis(400),
        ..PoolSettings::default()
    }
}

/// What the handlers tell the test, and what the test tells them.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) events: events::UnboundedSender<Event>,
    pub(crate) release: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Began(SocketAddr),
    Finished,
    Dropped,
}

struct Guard {
    events: events::UnboundedSender<Event>,
    finished: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let event = if self.finished { Event::Finished } else { Event::Dropped };
        // The test may be over.
        let _ = self.events.send(event);
    }
}

impl Stage {
    pub(crate) fn new() -> (Self, events::UnboundedReceiver<Event>) {
        let (events, receiver) = events::unbounded_channel();
        (Self { events, release: Arc::default() }, receiver)
    }

    async fn wait(self, context: CallContext) {
        let mut guard = Guard { events: self.events.clone(), finished: false };
        // The test may be over.
        let _ = self.events.send(Event::Began(context.address));
        self.release.notified().await;
        guard.finished = true;
    }
}

/// Answers the tests' calls of frontends.
pub(crate) fn router(stage: &Stage) -> Router {
    let (waiting, cancellable) = (stage.clone(), stage.clone());
    Router::new()
        .on::<Echo, _, _>(&[Role::Frontend], echo)
        .on::<Wait, _, _>(&[Role::Frontend], move |context, call, _| {
            let stage = waiting.clone();
            async move {
                stage.wait(context).await;
                Ok((call, Bytes::new()))
            }
        })
        .on_cancellable::<WaitCancellably, _, _>(&[Role::Frontend], move |context, call, _| {
            let stage = cancellable.clone();
            async move {
                stage.wait(context).await;
                Ok((call, Bytes::new()))
            }
        })
}

async fn echo(_: CallContext, call: Echo, bulk: Bytes) -> Result<(Echoed, Bytes), Failure<EchoRefusal>> {
    match call.text.strip_prefix("fault ") {
        Some(code) => {
            let code = code.parse().expect("a code");
            return Err(weft_wire::Fault::from_code(code).into());
        }
        None if call.text == "quiet" => return Err(Failure::Refused(EchoRefusal::Quiet { until: 7 })),
        None => {}
    }
    let bulk_bytes = u64::try_from(bulk.len()).expect("fits");
    Ok((Echoed { text: call.text, bulk_bytes }, bulk))
}

pub(crate) fn say(text: &str) -> Echo {
    Echo { text: text.to_owned() }
}

/// A server in a task of the test's own runtime.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) fn start(credentials: &Credentials, router: Router, settings: ServerSettings) -> Running {
    let server = Server::bind(ANY_PORT.into(), credentials, router, settings).expect("bound");
    let peer = Peer { identity: credentials.identity(), address: server.address() };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(async move {
        // A test that drops the sender stops the server too.
        let _ = stopped.await;
    }));
    Running { peer, stop, task }
}

/// One server with default settings, a caller of role frontend, and the stage between them.
pub(crate) struct Pair {
    pub(crate) server: Running,
    pub(crate) pool: Pool,
    pub(crate) stage: Stage,
    pub(crate) events: events::UnboundedReceiver<Event>,
    pub(crate) authority: ClusterAuthority,
    pub(crate) frontend: Credentials,
}

pub(crate) fn pair(settings: ServerSettings) -> Pair {
    let authority = authority(1);
    let (drive, frontend) = (issue(&authority, Role::Drive, 2), issue(&authority, Role::Frontend, 3));
    let (stage, events) = Stage::new();
    let server = start(&drive, router(&stage), settings);
    let pool = pool(&frontend, PoolSettings::default());
    Pair { server, pool, stage, events, authority, frontend }
}

impl Pair {
    pub(crate) async fn began(&mut self) -> SocketAddr {
        match self.events.recv().await {
            Some(Event::Began(address)) => address,
            other => panic!("expected a call to begin, saw {other:?}"),
        }
    }
}

/// A server on a thread and in a runtime of its own, which can die without a word.
pub(crate) struct Mortal {
    pub(crate) peer: Peer,
    pub(crate) events: events::UnboundedReceiver<Event>,
    kill: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Mortal {
    pub(crate) fn start(credentials: Arc<Credentials>, address: SocketAddr) -> Self {
        let (kill, killed) = oneshot::channel::<()>();
        let (bound, address_of) = mpsc::channel();
        let (stage, events) = Stage::new();
        let identity = credentials.identity();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("built");
            runtime.block_on(async {
                let settings = ServerSettings::default();
                let server = Server::bind(address, &credentials, router(&stage), settings).expect("bound");
                bound.send(server.address()).expect("the test waits");
                tokio::spawn(server.serve(core::future::pending()));
                killed.await.expect("killed by the test");
            });
            // Nothing is polled any more, so nothing can say goodbye; the socket is closed as a killed process's is.
            drop(runtime);
        });
        let address = address_of.recv().expect("bound");
        Self { peer: Peer { identity, address }, events, kill, thread }
    }

    /// Meanwhile the test's own runtime takes what the server sent before.
    pub(crate) async fn kill(self) {
        self.kill.send(()).expect("alive");
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        joined.expect("not cancelled").expect("died quietly");
    }
}
