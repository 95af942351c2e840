//! Mounting: the IO thread, the map, the session.

use core::time::Duration;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use weft_layout::ClusterMap;
use weft_transport::{Pool, PoolSettings};
use weft_types::Timestamp;
use weft_wire::compute::{OpenSession, SessionOpened};

use crate::backend::{Backend, Failure};
use crate::mounted::{Labels, Parts};
use crate::remote::{Process, Remote};
use crate::session::Session;
use crate::{Core, CoreConfig, MountError};

/// How long management is waited for.
const MANAGEMENT: Duration = Duration::from_secs(10);
/// How long compute is waited for: it may be taking over the metadata.
const COMPUTE: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

impl Core {
    /// Opens a session and starts the IO thread. Blocks: do not call it on a runtime's thread.
    ///
    /// # Errors
    /// [`MountError`]; nothing is left running then.
    pub fn mount(config: CoreConfig) -> Result<Arc<Self>, MountError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(MountError::Thread)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let core = runtime.block_on(open(config, handle, stop))?;
        run(runtime, stopped)?;
        Ok(core)
    }
}

/// Drives the runtime on a thread of its own until the core is gone.
fn run(runtime: Runtime, stopped: oneshot::Receiver<()>) -> Result<(), MountError> {
    let io = move || {
        // Never sent: the sender is dropped.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_timeout(Duration::from_secs(1));
    };
    let thread = std::thread::Builder::new().name("weft-io".to_owned()).spawn(io);
    thread.map(drop).map_err(MountError::Thread)
}

async fn open(
    config: CoreConfig,
    runtime: Handle,
    stop: oneshot::Sender<()>,
) -> Result<Arc<Core>, MountError> {
    let pool = Pool::new(runtime.clone(), &config.credentials, PoolSettings::default())
        .map_err(MountError::Transport)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let process = Process {
        container: config.container.clone(),
        pid: config.holder.pid,
        started: Timestamp::from_unix(started),
    };
    let remote = Arc::new(Remote::new(pool, config.management, process));
    let map = fetch_map(&remote, &config).await?;
    remote.install(&map);
    let asked = Instant::now();
    let opened = open_session(&remote, &config, asked).await?;
    let backend: Arc<dyn Backend> = remote;
    let labels = Labels { filesystem: config.filesystem, holder: config.holder };
    let (session, asked) = opened;
    let session = Session::new(Arc::clone(&backend), &session, config.read_only, asked);
    let (memory, access_times) = (config.memory, config.access_times);
    let parts = Parts { backend, session, map, memory, labels, sealing_threads: true, access_times };
    Ok(Core::start(parts, runtime, Some(stop)))
}

async fn fetch_map(remote: &Remote, config: &CoreConfig) -> Result<ClusterMap, MountError> {
    let unanswered = |reason: String| MountError::Management { address: config.management.address, reason };
    match remote.map(None, MANAGEMENT).await {
        Ok(reply) => {
            let map = reply.map.ok_or_else(|| unanswered("it sent no map".to_owned()))?;
            map.validate().map_err(MountError::Map)?;
            if map.computes.is_empty() { Err(MountError::NoCompute) } else { Ok(map) }
        }
        Err(failure) => Err(unanswered(describe(&failure).to_owned())),
    }
}

/// Asks for a session until there is an answer. The lease counts from before the attempt that was answered.
async fn open_session(
    remote: &Remote,
    config: &CoreConfig,
    begun: Instant,
) -> Result<(SessionOpened, Instant), MountError> {
    let call = OpenSession {
        filesystem: config.filesystem.clone(),
        read_only: config.read_only,
        holder: config.holder.clone(),
        replaces: None,
    };
    loop {
        let asked = Instant::now();
        match remote.to_compute(&call, ATTEMPT).await {
            Ok(opened) => return Ok((opened, asked)),
            Err(Failure::Refused(refusal)) => return Err(MountError::Refused(refusal)),
            Err(Failure::Broken) => {
                return Err(MountError::Compute { reason: describe(&Failure::<()>::Broken).to_owned() });
            }
            Err(failure) if begun.elapsed() > COMPUTE => {
                return Err(MountError::Compute { reason: describe(&failure).to_owned() });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

const fn describe<R>(failure: &Failure<R>) -> &'static str {
    match failure {
        Failure::Refused(_) => "it refuses",
        Failure::Busy => "it does not serve now",
        Failure::Unreachable => "there is no connection",
        Failure::TimedOut => "no answer came in time",
        Failure::Broken => "it speaks another protocol or refuses this identity",
    }
}
