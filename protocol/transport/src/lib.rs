//! QUIC transport: mutual TLS, connection pool, RPC with deadlines and cancellation.
//!
//! A [`Server`] answers the calls of a [`Router`]; a [`Pool`] makes calls to [`Peer`]s. One call is one
//! bidirectional stream, framed as `weft-wire` says. Endpoint, driver and handlers are meant to live on one
//! thread, in a current-thread runtime: waking across threads costs three times as much as the call itself.

mod bulk;
mod endpoint;
mod error;
mod peer;
mod pool;
mod router;
mod server;
mod socket;
mod stream;

pub use bulk::Bulk;
pub use endpoint::PathSettings;
pub use error::{BindError, CallError, DialError, ProtocolError};
pub use peer::Peer;
pub use pool::{PathReport, Pool, PoolSettings};
pub use router::{CallContext, Failure, Router};
pub use server::{Server, ServerSettings};

/// What each side tells the other of its software, for logs.
const SOFTWARE: &str = concat!("weft/", env!("CARGO_PKG_VERSION"));
