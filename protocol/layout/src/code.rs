//! The erasure code: parity from data, and lost shards from any N that are left.

mod codec;
mod engine;

pub use codec::{Codec, CodecError};
