//! Calls to management, as the administrator.

use core::net::SocketAddr;
use core::time::Duration;
use std::error::Error;
use std::io;
use std::path::PathBuf;

use tokio::runtime::{Builder, Runtime};
use weft_pki::{Credentials, CredentialsError, NodeIdentity};
use weft_transport::{BindError, Bulk, CallError, Peer, Pool, PoolSettings};
use weft_types::Role;
use weft_wire::management::{GetStatus, Status};
use weft_wire::{Call, NoRefusal};

use crate::cluster::Cluster;
use crate::error::chain;
use crate::host::files::{self, FileError};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why management was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The administrator's certificate cannot be read.
    #[error(transparent)]
    Credentials(#[from] FileError),
    /// It is no certificate.
    #[error("{} cannot be used", path.display())]
    BadCredentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CredentialsError,
    },
    /// This process cannot run calls.
    #[error("calls cannot be made from this process")]
    Runtime(#[source] io::Error),
    /// The transport cannot be set up.
    #[error("calls cannot be made from this process")]
    Transport(#[source] BindError),
    /// Nothing of the cluster that could answer runs.
    #[error("the cluster is stopped: its management process does not run")]
    Stopped,
    /// Management gave no answer.
    #[error("management at {address} does not answer: {reason}")]
    NoAnswer {
        /// Where it should be.
        address: SocketAddr,
        /// What happened instead.
        reason: String,
    },
}

impl AdminError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Credentials(_) | Self::BadCredentials { .. } => "restore it from a backup",
            Self::Runtime(_) | Self::Transport(_) => return None,
            Self::Stopped => "start it with `weft up`",
            Self::NoAnswer { .. } => {
                "look at `weft container list` and `weft logs`; `weft up` starts what is missing"
            }
        };
        Some(step.to_owned())
    }
}

/// A way to management.
pub(crate) struct Admin {
    runtime: Runtime,
    pool: Pool,
    management: Peer,
}

impl Admin {
    /// Prepares calls; nothing is sent yet.
    ///
    /// # Errors
    /// [`AdminError`] when the process that should answer does not run, or the certificate cannot be used.
    pub(crate) fn new(cluster: &Cluster) -> Result<Self, AdminError> {
        let container = cluster.management_container().map(|name| cluster.container(name)).transpose()?;
        if container.is_some_and(|container| container.process.is_none()) {
            return Err(AdminError::Stopped);
        }
        let path = cluster.dir.admin_credentials();
        let text = files::read_existing(&path)?;
        let credentials = Credentials::from_pem(&String::from_utf8_lossy(&text))
            .map_err(|source| AdminError::BadCredentials { path, source })?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(AdminError::Runtime)?;
        let pool = Pool::new(runtime.handle().clone(), &credentials, PoolSettings::default());
        let pool = pool.map_err(AdminError::Transport)?;
        Ok(Self { runtime, pool, management: management(cluster) })
    }

    /// Makes a call. The inner result is management's own answer.
    ///
    /// # Errors
    /// [`AdminError::NoAnswer`]
    pub(crate) fn call<C: Call>(&self, call: &C) -> Result<Result<C::Reply, C::Refusal>, AdminError>
    where
        C::Refusal: 'static,
    {
        let exchange = self.pool.call(&self.management, call, Bulk::default(), PATIENCE);
        match self.runtime.block_on(exchange) {
            Ok((reply, _)) => Ok(Ok(reply)),
            Err(CallError::Refused(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(self.no_answer(&error)),
        }
    }

    /// The state of the cluster.
    ///
    /// # Errors
    /// [`AdminError::NoAnswer`]
    pub(crate) fn status(&self) -> Result<Status, AdminError> {
        self.ask(&GetStatus {})
    }

    /// Makes a call that cannot be refused.
    ///
    /// # Errors
    /// [`AdminError::NoAnswer`]
    pub(crate) fn ask<C: Call<Refusal = NoRefusal>>(&self, call: &C) -> Result<C::Reply, AdminError> {
        self.call(call)?.map_err(|_| self.wrong_answer("it refused what cannot be refused"))
    }

    /// An answer of management that cannot be.
    pub(crate) fn wrong_answer(&self, reason: &str) -> AdminError {
        AdminError::NoAnswer { address: self.management.address, reason: reason.to_owned() }
    }

    fn no_answer(&self, error: &dyn Error) -> AdminError {
        AdminError::NoAnswer { address: self.management.address, reason: chain(error) }
    }
}

/// The management process as calls name it.
pub(crate) fn management(cluster: &Cluster) -> Peer {
    let management = cluster.file.management;
    let identity =
        NodeIdentity { cluster: cluster.file.cluster, role: Role::Management, node: management.node };
    Peer { identity, address: management.address }
}
