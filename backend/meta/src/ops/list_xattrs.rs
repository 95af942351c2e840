//! `ListXattrs`: the names of an inode's extended attributes.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply};

use crate::row::{RowKey, XattrRow, range};
use crate::transaction::scan;
use crate::{Transaction, inodes, limits};

pub(crate) fn run(tx: &dyn Transaction, inode: Inode) -> Result<MetaReply, MetaError> {
    inodes::find(tx, inode)?;
    // Every name is a byte and a NUL at least, and together they are bounded.
    let most = limits::XATTR_LIST_BYTES_MAX as usize / 2;
    let rows: Vec<(RowKey, XattrRow)> = scan(tx, &range::xattrs(inode), most)?;
    let names = rows.into_iter().flat_map(|(_, row)| row.xattrs).map(|xattr| xattr.name);
    Ok(MetaReply::Names(names.collect()))
}
