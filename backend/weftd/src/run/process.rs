//! One process of a container, on a thread of its own.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, watch};
use weft_kms::{KmsConfig, KmsError};
use weft_pki::{Credentials, CredentialsError, NodeIdentity};
use weft_resources::{DrivePeer, Kms, Process};
use weft_transport::{BindError, Peer, Router, Server, ServerSettings};
use weft_types::Role;

use super::{Place, compute, drive, management};
use crate::files::{self, FileError};

/// Why a process did not start, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// Its certificate and key cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// They are damaged.
    #[error("{} holds no usable certificate and key", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CredentialsError,
    },
    /// They are somebody else's.
    #[error("{} is of {found}, and this is {expected}", path.display())]
    OtherIdentity {
        /// The file.
        path: PathBuf,
        /// Whom they prove.
        found: Box<NodeIdentity>,
        /// Whom they should prove.
        expected: Box<NodeIdentity>,
    },
    /// They do not carry the cluster's authority.
    #[error("the credentials do not carry the cluster's authority")]
    Authority(#[source] CredentialsError),
    /// Its address cannot be had, or its credentials not be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The KMS cannot be used.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The drive does not open.
    #[error(transparent)]
    Drive(#[from] weft_drive::StartError),
    /// Management does not open its store.
    #[error(transparent)]
    Management(#[from] weft_management::StartError),
    /// Another management process has taken the store over.
    #[error(transparent)]
    Fenced(#[from] weft_engine::store::Fenced),
    /// Compute cannot use its state.
    #[error(transparent)]
    Compute(#[from] weft_compute::StartError),
    /// The host gives no runtime.
    #[error("the host gives no event loop")]
    Runtime(#[source] std::io::Error),
    /// It ended although nobody told it to.
    #[error("it ended without being told to")]
    Ended,
}

/// What a process tells the thread that watches it.
pub(crate) enum Event {
    /// It serves.
    Ready,
    /// It has ended; an end before it was told to is an error too.
    Ended(usize, Result<(), ProcessError>),
}

/// A process that was started.
pub(crate) struct Started {
    pub(crate) role: Role,
    stop: watch::Sender<bool>,
    pub(crate) thread: JoinHandle<()>,
}

impl Started {
    /// Starts a process on a thread of its own.
    pub(crate) fn spawn(place: Place, events: mpsc::UnboundedSender<Event>) -> std::io::Result<Self> {
        let role = place.process().role();
        let (stop, stopped) = watch::channel(false);
        let session = Session { place, stopped, events: events.clone() };
        let main = move || {
            let index = session.place.index;
            let told = session.stopped.clone();
            let outcome =
                session.run().and_then(|()| if *told.borrow() { Ok(()) } else { Err(ProcessError::Ended) });
            // Nobody listens any more when the container has given up.
            let _ = events.send(Event::Ended(index, outcome));
        };
        let thread = thread::Builder::new().name(role.to_string()).spawn(main)?;
        Ok(Self { role, stop, thread })
    }

    /// Tells it to stop.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// What a running process has of its container.
pub(crate) struct Session {
    pub(crate) place: Place,
    stopped: watch::Receiver<bool>,
    events: mpsc::UnboundedSender<Event>,
}

impl Session {
    fn run(self) -> Result<(), ProcessError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ProcessError::Runtime)?;
        let container = self.place.container.clone();
        let index = self.place.index;
        runtime.block_on(async move {
            match &container.processes[index] {
                Process::Drive(process) => drive::serve(&self, process).await,
                Process::Management(process) => management::serve(&self, process).await,
                Process::Compute(process) => compute::serve(&self, process).await,
                // Refused before anything is started.
                Process::Frontend(_) => Err(ProcessError::Ended),
            }
        })
    }

    /// Says that the process serves.
    pub(crate) fn ready(&self) {
        let _ = self.events.send(Event::Ready);
    }

    /// Done once the process is told to stop.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.stopped.clone();
        async move {
            // The sender goes only with the whole container.
            let _ = stopped.wait_for(|told| *told).await;
        }
    }

    /// Who the process is.
    pub(crate) fn identity(&self) -> NodeIdentity {
        let process = self.place.process();
        NodeIdentity { cluster: self.place.container.cluster, role: process.role(), node: process.node() }
    }

    /// The process's certificate and key.
    pub(crate) fn credentials(&self) -> Result<Credentials, ProcessError> {
        let path = self.place.dir.resolve(self.place.process().credentials());
        let text = files::read("certificate and key", &path)?;
        let credentials = Credentials::from_pem(&String::from_utf8_lossy(&text))
            .map_err(|source| ProcessError::Credentials { path: path.clone(), source })?;
        let (found, expected) = (credentials.identity(), self.identity());
        if found != expected {
            let (found, expected) = (Box::new(found), Box::new(expected));
            return Err(ProcessError::OtherIdentity { path, found, expected });
        }
        Ok(credentials)
    }

    /// Takes the process's address.
    pub(crate) fn bind(
        &self,
        listen: core::net::SocketAddr,
        credentials: &Credentials,
        router: Router,
    ) -> Result<Server, ProcessError> {
        Ok(Server::bind(listen, credentials, router, ServerSettings::default())?)
    }

    /// The management process.
    pub(crate) fn management(&self) -> Peer {
        let container = &self.place.container;
        let (cluster, node) = (container.cluster, container.management.node);
        let identity = NodeIdentity { cluster, role: Role::Management, node };
        Peer { identity, address: container.management.address }
    }

    /// A drive of the cluster.
    pub(crate) fn drive(&self, drive: &DrivePeer) -> Peer {
        let cluster = self.place.container.cluster;
        let identity = NodeIdentity { cluster, role: Role::Drive, node: drive.node };
        Peer { identity, address: drive.address }
    }

    /// What wraps the cluster's keys.
    pub(crate) fn kms(&self) -> KmsConfig {
        match &self.place.container.kms {
            Kms::Local { key_file } => KmsConfig::Local { key_file: self.place.dir.resolve(key_file) },
        }
    }
}
