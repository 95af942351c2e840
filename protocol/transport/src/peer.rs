//! Whom a call goes to.

use core::fmt;
use core::net::SocketAddr;

use quinn::Connection;
use rustls_pki_types::CertificateDer;
use weft_pki::{IdentityError, NodeIdentity};

/// A node and where it listens. The node must prove that it is this one; another node at the address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Who must answer.
    pub identity: NodeIdentity,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.identity.role, self.identity.node.short(), self.address)
    }
}

/// Who a connection's peer is: `None` when it presented no certificate.
pub(crate) fn identity(connection: &Connection) -> Option<Result<NodeIdentity, IdentityError>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(NodeIdentity::from_chain(&chain))
}
