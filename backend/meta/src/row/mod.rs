//! Rows: the keys that order them and the values behind the keys.

mod key;
mod value;

pub(crate) use key::range;
pub use key::{RowKey, RowKeyError, Sealing};
pub use value::{
    ClosingRow, CountersRow, DataKeyRow, DentryRow, ExtentRow, InodeRow, MapRow, NamedInode, OrphanRow,
    ReapingRow, SessionRow, SlotRow, SymlinkRow, Xattr, XattrRow,
};
