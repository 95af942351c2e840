//! Why a call, a connection or a server failed.

use core::fmt;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use quinn::ConnectionError;
use weft_pki::tls::TlsError;
use weft_pki::{IdentityError, NodeIdentity};
use weft_wire::frame::FrameError;
use weft_wire::{Fault, HelloRefusal};

use crate::Peer;

/// Why a call brought no reply. `R` is the operation's own refusal.
#[derive(Debug, thiserror::Error)]
pub enum CallError<R: fmt::Debug> {
    /// The operation said no.
    #[error("the peer refused the operation: {0:?}")]
    Refused(R),
    /// The peer's RPC layer gave no answer.
    #[error("the peer did not carry out the call")]
    Fault(#[source] Fault),
    /// There is no connection, and nothing was sent.
    #[error("no connection to {peer}")]
    Unreachable {
        /// Who was called.
        peer: Peer,
        /// Why the last attempt to connect failed.
        #[source]
        source: Arc<DialError>,
    },
    /// The connection broke before the answer came.
    #[error("the connection to {peer} broke during the call")]
    Lost {
        /// Who was called.
        peer: Peer,
        /// Whether the whole request had been handed to the network.
        sent: bool,
        /// How it broke.
        #[source]
        source: ConnectionError,
    },
    /// No answer within the deadline.
    #[error("{peer} did not answer in time")]
    TimedOut {
        /// Who was called.
        peer: Peer,
        /// Whether the whole request had been handed to the network.
        sent: bool,
    },
    /// One of the sides does not keep to the protocol.
    #[error("the call to {peer} broke the protocol")]
    Protocol {
        /// Who was called.
        peer: Peer,
        /// How.
        #[source]
        source: Box<ProtocolError>,
    },
    /// The two sides speak no common version.
    #[error("{peer} speaks another version of the protocol")]
    Version {
        /// Who was called.
        peer: Peer,
        /// Which versions it speaks.
        #[source]
        source: HelloRefusal,
    },
}

impl<R: fmt::Debug> CallError<R> {
    /// Whether the peer may or may not have carried out the call. When false, it certainly did nothing.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Fault(fault) => *fault == Fault::Internal,
            Self::Lost { sent, .. } | Self::TimedOut { sent, .. } => *sent,
            Self::Protocol { source, .. } => source.outcome_unknown(),
            Self::Refused(_) | Self::Unreachable { .. } | Self::Version { .. } => false,
        }
    }

    /// Whether the same call may succeed later, and certainly did nothing so far.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.is_retryable(),
            Self::Unreachable { source, .. } => source.is_transient(),
            Self::Lost { sent, .. } | Self::TimedOut { sent, .. } => !sent,
            Self::Refused(_) | Self::Protocol { .. } | Self::Version { .. } => false,
        }
    }
}

/// How a call broke the protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// This side's body or bulk is over its bound; nothing was sent.
    #[error("the request is too long to send")]
    RequestTooLong(#[source] FrameError),
    /// This side's body has no wire form; nothing was sent.
    #[error("the request cannot be encoded: {0}")]
    Encode(String),
    /// The answer's header announces more than its bounds.
    #[error("the answer's header is not acceptable")]
    Header(#[source] FrameError),
    /// The answer ended early, or was longer than announced.
    #[error("the answer does not have the announced length")]
    Length,
    /// The peer broke off its answer with this code.
    #[error("the peer broke off its answer with code {0}")]
    BrokenOff(u64),
    /// The answer's body does not decode.
    #[error("the answer does not decode")]
    Decode(#[source] minicbor::decode::Error),
}

impl ProtocolError {
    const fn outcome_unknown(&self) -> bool {
        !matches!(self, Self::RequestTooLong(_) | Self::Encode(_))
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No local socket for this kind of address.
    #[error("no UDP socket can be opened")]
    Socket(#[source] io::Error),
    /// The address or the name cannot be connected to at all.
    #[error("the address cannot be connected to")]
    Address(#[source] quinn::ConnectError),
    /// The handshake failed, or the connection broke right after it.
    #[error("the connection could not be made")]
    Handshake(#[source] ConnectionError),
    /// Nobody answered.
    #[error("nobody answered within {0:?}")]
    NoAnswer(Duration),
    /// Another node answered.
    #[error("expected {expected}, found {found}")]
    OtherNode {
        /// Who should answer.
        expected: Box<NodeIdentity>,
        /// Who did.
        found: Box<NodeIdentity>,
    },
    /// The peer's certificate names no node.
    #[error("the peer's certificate names no node")]
    NoIdentity(#[source] IdentityError),
    /// The peer gave no answer to the hello.
    #[error("the peer did not answer the hello")]
    HelloFault(#[source] Fault),
    /// The peer's answer to the hello broke the protocol.
    #[error("the peer's answer to the hello broke the protocol")]
    HelloAnswer(#[source] ProtocolError),
    /// No common version.
    #[error("no common protocol version")]
    Version(#[source] HelloRefusal),
    /// The connection broke before it carried a single answer.
    #[error("the connection broke before its first answer")]
    Unproven,
}

/// QUIC's transport error codes for a failed TLS handshake: 0x100 plus the TLS alert.
const CRYPTO_ERRORS: core::ops::Range<u64> = 0x100..0x200;

impl DialError {
    /// Whether another attempt may succeed without anyone changing a certificate, a name or a version.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Socket(_) | Self::NoAnswer(_) | Self::Unproven => true,
            Self::Handshake(error) => !is_crypto_error(error),
            Self::HelloFault(fault) => fault.is_retryable(),
            Self::Address(_)
            | Self::OtherNode { .. }
            | Self::NoIdentity(_)
            | Self::HelloAnswer(_)
            | Self::Version(_) => false,
        }
    }
}

fn is_crypto_error(error: &ConnectionError) -> bool {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        _ => return false,
    };
    CRYPTO_ERRORS.contains(&u64::from(code))
}

/// Why a server or a pool cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The credentials cannot be used.
    #[error("the credentials cannot be used")]
    Credentials(#[from] TlsError),
    /// The TLS configuration lacks the cipher suite of QUIC's first packets.
    #[error("the TLS configuration cannot be used for QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The address is in use, or not of this host.
    #[error("cannot listen on {address}")]
    Address {
        /// Where the server should listen.
        address: core::net::SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
