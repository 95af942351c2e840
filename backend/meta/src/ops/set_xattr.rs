//! `SetXattr`: an extended attribute is made or gets another value.

use weft_wire::meta::{MetaError, MetaReply, SetXattr, XATTR_VALUE_BYTES_MAX, XattrMode};

use crate::row::Xattr;
use crate::{Context, Transaction, access_lists, inodes, xattrs};

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &SetXattr) -> Result<MetaReply, MetaError> {
    xattrs::check_name(&op.name)?;
    if op.value.len() > XATTR_VALUE_BYTES_MAX {
        return Err(MetaError::AttributeTooLong);
    }
    let mut inode = inodes::find(tx, op.inode)?;
    match (xattrs::find(tx, cx, &inode, &op.name)?.is_some(), op.mode) {
        (true, XattrMode::Create | XattrMode::CreateAndReplace) => return Err(MetaError::Exists),
        (false, XattrMode::Replace | XattrMode::CreateAndReplace) => return Err(MetaError::NoAttribute),
        _ => {}
    }
    if access_lists::is_name(&op.name) {
        access_lists::set(tx, cx, &mut inode, op)?;
    } else {
        xattrs::put(tx, cx, &mut inode, Xattr { name: op.name.clone(), value: op.value.clone() })?;
    }
    inodes::save_changed(tx, &mut inode, cx.now);
    Ok(MetaReply::Done)
}
