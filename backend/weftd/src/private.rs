//! Drives that only this process reaches: for the moments when a cluster is recovered and none of it runs.

use core::net::{Ipv4Addr, SocketAddr};

use tokio::sync::watch;
use tokio::task::JoinSet;
use weft_drive::{DriveIdentity, DriveProcess};
use weft_pki::{AuthorityError, ClusterAuthority, Credentials, NodeIdentity, Validity, ValidityError};
use weft_transport::{BindError, Peer, Server, ServerSettings};
use weft_types::{ClusterId, DriveId, NodeId, Role, Timestamp};

use crate::random;

/// Why they are not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateError {
    /// No certificates for this command alone.
    #[error("the certificates for this command cannot be made")]
    Authority(#[from] AuthorityError),
    /// The host's clock says what no certificate can.
    #[error("the certificates for this command cannot be dated")]
    Validity(#[from] ValidityError),
    /// The host gives no port.
    #[error("the drives cannot be reached on this host")]
    Bind(#[from] BindError),
}

/// Drives on ports of the loopback that the host chose, for certificates of an authority that is forgotten with this.
pub(crate) struct PrivateDrives {
    credentials: Credentials,
    peers: Vec<(Peer, DriveId)>,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
}

impl PrivateDrives {
    /// Serves drives of a cluster; to be called within the runtime that runs them.
    ///
    /// # Errors
    /// [`PrivateError`]
    pub(crate) fn serve(
        cluster: ClusterId,
        drives: Vec<(DriveIdentity, DriveProcess)>,
        now: Timestamp,
    ) -> Result<Self, PrivateError> {
        let authority = ClusterAuthority::create(cluster, now)?;
        let validity = Validity::of_a_node(now)?;
        let issue = |role| {
            let identity = NodeIdentity { cluster, role, node: NodeId::from_bytes(random::bytes()) };
            Ok::<_, PrivateError>((identity, authority.issue(identity, validity)?))
        };
        let (stop, stopped) = watch::channel(false);
        let (mut peers, mut serving) = (Vec::new(), JoinSet::new());
        for (drive, process) in drives {
            let (identity, credentials) = issue(Role::Drive)?;
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let router = process.router(&authority.verifier());
            let server = Server::bind(listen, &credentials, router, ServerSettings::default())?;
            peers.push((Peer { identity, address: server.address() }, drive.drive));
            let mut stopped = stopped.clone();
            serving.spawn(async move {
                let told = async move {
                    let _ = stopped.wait_for(|told| *told).await;
                };
                process.serve(server, told).await;
            });
        }
        let (_, credentials) = issue(Role::Management)?;
        Ok(Self { credentials, peers, stop, serving })
    }

    /// The drives, for callers with [`credentials`](Self::credentials).
    pub(crate) fn peers(&self) -> Vec<(Peer, DriveId)> {
        self.peers.clone()
    }

    /// A management process's, as these drives know it.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Closes the drives; their devices can be opened again on return.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        while self.serving.join_next().await.is_some() {}
    }
}
