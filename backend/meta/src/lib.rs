//! Pure: inodes, dentries, extents and sessions as operations on a transaction.
//!
//! A filesystem's metadata is a set of rows, each a typed [`RowKey`] and a CBOR value. Everything here reads and
//! writes rows through a [`Transaction`]; the runner makes the changes durable, all of them or none, and seals
//! what [`RowKey::sealing`] says.
//!
//! # How a runner drives it
//! - [`format()`] makes the rows of an empty filesystem.
//! - [`session::open`] before anything else of a session; [`execute`] refuses what no open session asks.
//! - Mutations ([`is_mutation`]) are answered exactly once: [`slot::replay`] first, then [`execute`], then
//!   [`slot::record`] in the same transaction. Of a refused mutation only the record is kept. [`touched()`] says what
//!   became of the directories, for the answer.
//! - [`needs()`] says before what other sessions must forget first.
//! - Anything that can touch very many rows leaves a work row: call [`continue_work`], each time in a transaction
//!   of its own, until it answers [`Progress::Done`]. Do so before the next operation and after a takeover.
//! - [`reclaim::dead_extents`] lists what to delete from the drives, [`reclaim::forget`] takes it off the list.
//! - [`session::closing`] lists ended sessions that drives may still take shards of, until
//!   [`session::closed_everywhere`]; from then on what they left behind can be told from what they are about to commit
//!   ([`session::state`], [`reclaim::state`]).
//! - [`placed`] says where shards of extents lie, page by page, and records that they have moved.

mod access_lists;
mod acl;
mod context;
mod counters;
mod data_keys;
mod dentries;
pub mod drop;
mod execute;
mod extents;
mod inodes;
pub mod limits;
mod map;
mod needs;
mod ops;
pub mod placed;
pub mod reclaim;
mod row;
pub mod session;
pub mod slot;
mod touched;
mod transaction;
mod work;
mod xattrs;

pub use context::{Context, GroupEpochs, KeyMaker, NameHasher, NewKey, SpaceView};
pub use execute::{execute, format, is_mutation};

pub use needs::needs;
pub use row::{
    ClosingRow, CountersRow, DataKeyRow, DentryRow, ExtentRow, InodeRow, MapRow, NamedInode, OrphanRow,
    ReapingRow, RowKey, RowKeyError, Sealing, SessionRow, SlotRow, SymlinkRow, Xattr, XattrRow,
};
pub use touched::{inherited, touched};
pub use transaction::Transaction;
pub use work::{Progress, continue_work};

#[cfg(test)]
mod tests;
