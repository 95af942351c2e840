//! Messages between frontends and backend: numbered fields, versions, golden bytes.
//!
//! A call is one bidirectional QUIC stream: a fixed [header](frame), a CBOR body whose fields are numbered, and
//! at most one run of bulk bytes that is never copied into the body. Numbers are never reused: an unknown field is
//! skipped, an unknown call or operation is refused by its number.

mod call;
pub mod coherence;
pub mod compute;
pub mod drive;
pub mod frame;
pub mod grant;
pub mod locks;
pub mod log;
pub mod management;
pub mod meta;
pub mod ownership;
mod secret;
pub mod store;
mod version;

pub use call::{Call, CallTag, Fault, NoRefusal};
pub use secret::KeyBytes;
pub use version::{Feature, Features, Hello, HelloRefusal, ProtocolVersion, Welcome};
