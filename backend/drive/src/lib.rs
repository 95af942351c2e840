//! One device: records in, records out; and the service that serves it.
//!
//! A [`Store`] keeps shards of extents on a [`Device`] as a log of checksummed records; a [`Reader`] gives back
//! verified bytes beside it. Neither knows a network or an async runtime. A [`Drive`] is a store on threads of its
//! own that makes many puts durable with one flush; a [`DriveProcess`] serves it over the network.

pub mod custody;
mod drive;
mod keeper;
mod key;
mod ledger;
pub mod local;
pub mod offline;
mod process;
mod reader;
mod record;
mod scan;
mod segment;
mod service;
mod store;
mod summary;
mod superblock;

pub use drive::{AnyDevice, Drive, DriveCounters, DriveError, DriveSettings, DriveThreads};
pub use key::ItemKey;
pub use process::{DriveConfig, DriveProcess, NewDevice, StartError, StoreEar};
pub use reader::{Damage, ReadError, Reader, Usage};
pub use record::MAX_ITEM_BYTES;
pub use segment::MIN_DEVICE_BYTES;
pub use store::{
    DeleteError, DeviceFailed, FormatError, FormatOptions, OpenError, PutError, PutItemError, Store, Stored,
};
pub use superblock::{DriveIdentity, FORMAT_VERSION, HeaderSalt, SuperblockError};
