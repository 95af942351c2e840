//! A whole cluster of production cores on one thread, with simulated network, clocks and devices.
//!
//! [`simulate`] runs one schedule: drives ([`weft_drive::local`]) over media that lose and tear what was not flushed,
//! management over a store on those drives, owners that are taken over from each other, and clients. What goes wrong, and
//! when, is drawn from the seed, and everything else follows from it: a schedule that fails does so each time that it is
//! run, message by message and byte by byte, in any process. Keys, nonces and ids are drawn from the seed too; only
//! signatures are not, whose bytes nobody keeps.
//!
//! Looked at all along: what was acknowledged is there, and right; no answer is older than what was acknowledged before it
//! was asked for; nothing is done twice; no key and nonce seal two texts; no shard is deleted that is needed. When faults
//! stop, everything works again within bounded time.

mod checks;
mod compute;
mod dice;
mod drives;
mod files;
mod frontend;
mod history;
mod keys;
mod manager;
mod media;
mod nemesis;
mod net;
mod raw;
mod simulate;
mod trace;
mod world;
mod writer;

pub use simulate::{Bug, Options, Report, simulate};
pub use trace::{Invariant, Told, Violation};
