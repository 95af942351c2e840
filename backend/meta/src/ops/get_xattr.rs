//! `GetXattr`: the value of an extended attribute. Also finds the row of one, for the other operations on them.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply, XATTR_NAME_BYTES_MAX};

use crate::row::{RowKey, XattrRow};
use crate::transaction::load;
use crate::{Context, Transaction, inodes};

pub(crate) fn run(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    name: &[u8],
) -> Result<MetaReply, MetaError> {
    check_name(name)?;
    inodes::find(tx, inode)?;
    let row: XattrRow = load(tx, key(cx, inode, name))?.unwrap_or_default();
    let xattr = row.xattrs.into_iter().find(|xattr| xattr.name[..] == *name);
    Ok(MetaReply::Value(xattr.ok_or(MetaError::NoAttribute)?.value))
}

/// Whether a name can be an extended attribute's.
pub(crate) fn check_name(name: &[u8]) -> Result<(), MetaError> {
    if name.len() > XATTR_NAME_BYTES_MAX {
        return Err(MetaError::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) { Err(MetaError::Invalid) } else { Ok(()) }
}

/// The row that an extended attribute is in. The NUL keeps its hash apart from those of file names.
pub(crate) fn key(cx: &Context<'_>, inode: Inode, name: &[u8]) -> RowKey {
    RowKey::Xattr { inode, hash: cx.names.hash(inode, &[&[0], name].concat()) }
}
