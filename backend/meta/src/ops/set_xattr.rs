//! `SetXattr`: an extended attribute is made or gets another value.

use weft_wire::meta::{MetaError, MetaReply, SetXattr, XATTR_VALUE_BYTES_MAX, XattrMode};

use super::get_xattr::{check_name, key};
use crate::row::{InodeRow, Xattr, XattrRow};
use crate::transaction::{load, store};
use crate::{Context, Transaction, inodes, limits};

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &SetXattr) -> Result<MetaReply, MetaError> {
    check_name(&op.name)?;
    if op.value.len() > XATTR_VALUE_BYTES_MAX {
        return Err(MetaError::AttributeTooLong);
    }
    let mut inode = inodes::find(tx, op.inode)?;
    let key = key(cx, op.inode, &op.name);
    let mut row: XattrRow = load(tx, key)?.unwrap_or_default();
    let xattr = Xattr { name: op.name.clone(), value: op.value.clone() };
    let place = row.xattrs.binary_search_by(|other| other.name[..].cmp(&op.name[..]));
    match (place, op.mode) {
        (Ok(_), XattrMode::Create) => return Err(MetaError::Exists),
        (Err(_), XattrMode::Replace) => return Err(MetaError::NoAttribute),
        (Ok(at), _) => {
            uncount(&mut inode, &row.xattrs[at])?;
            row.xattrs[at] = xattr.clone();
        }
        (Err(at), _) => row.xattrs.insert(at, xattr.clone()),
    }
    count(&mut inode, &xattr)?;
    store(tx, key, &row);
    inodes::save_changed(tx, &mut inode, cx.now);
    Ok(MetaReply::Done)
}

/// Bytes of the name with its NUL, and of name and value. Both are bounded far below 32 bits.
fn bytes_of(xattr: &Xattr) -> (u32, u32) {
    let (name, value) = (xattr.name.len() as u32, xattr.value.len() as u32);
    (name + 1, name + value)
}

/// An inode has got an extended attribute, if there is room.
fn count(inode: &mut InodeRow, xattr: &Xattr) -> Result<(), MetaError> {
    let (name, both) = bytes_of(xattr);
    inode.xattr_name_bytes = inode.xattr_name_bytes.saturating_add(name);
    inode.xattr_bytes = inode.xattr_bytes.saturating_add(both);
    let fits = inode.xattr_name_bytes <= limits::XATTR_LIST_BYTES_MAX
        && inode.xattr_bytes <= limits::XATTRS_BYTES_MAX;
    if fits { Ok(()) } else { Err(MetaError::AttributeTooLong) }
}

/// An inode has lost an extended attribute.
pub(crate) fn uncount(inode: &mut InodeRow, xattr: &Xattr) -> Result<(), MetaError> {
    let (name, both) = bytes_of(xattr);
    inode.xattr_name_bytes = inode.xattr_name_bytes.checked_sub(name).ok_or(MetaError::Damaged)?;
    inode.xattr_bytes = inode.xattr_bytes.checked_sub(both).ok_or(MetaError::Damaged)?;
    Ok(())
}
