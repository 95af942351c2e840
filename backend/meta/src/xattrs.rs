//! Extended attributes as rows, counted by their inodes.

use minicbor::bytes::ByteVec;
use weft_types::Inode;
use weft_wire::meta::{MetaError, XATTR_NAME_BYTES_MAX};

use crate::row::{InodeRow, RowKey, Xattr, XattrRow};
use crate::transaction::{load, store};
use crate::{Context, Transaction, limits};

/// Whether a name can be an extended attribute's.
pub(crate) fn check_name(name: &[u8]) -> Result<(), MetaError> {
    if name.len() > XATTR_NAME_BYTES_MAX {
        return Err(MetaError::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) { Err(MetaError::Invalid) } else { Ok(()) }
}

/// The row that an extended attribute is in. The NUL keeps its hash apart from those of file names.
fn key(cx: &Context<'_>, inode: Inode, name: &[u8]) -> RowKey {
    RowKey::Xattr { inode, hash: cx.names.hash(inode, &[&[0], name].concat()) }
}

/// The value of an extended attribute.
pub(crate) fn find(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    inode: &InodeRow,
    name: &[u8],
) -> Result<Option<ByteVec>, MetaError> {
    if inode.xattr_bytes == 0 {
        return Ok(None);
    }
    let row: XattrRow = load(tx, key(cx, inode.attributes.inode, name))?.unwrap_or_default();
    Ok(row.xattrs.into_iter().find(|xattr| xattr.name[..] == *name).map(|xattr| xattr.value))
}

/// Makes or replaces an extended attribute. The inode's own row is the caller's to store.
pub(crate) fn put(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: &mut InodeRow,
    xattr: Xattr,
) -> Result<(), MetaError> {
    let key = key(cx, inode.attributes.inode, &xattr.name);
    let mut row: XattrRow = load(tx, key)?.unwrap_or_default();
    count(inode, &xattr);
    match row.xattrs.binary_search_by(|other| other.name[..].cmp(&xattr.name[..])) {
        Ok(at) => uncount(inode, &core::mem::replace(&mut row.xattrs[at], xattr))?,
        Err(at) => row.xattrs.insert(at, xattr),
    }
    store(tx, key, &row);
    let fits = inode.xattr_name_bytes <= limits::XATTR_LIST_BYTES_MAX
        && inode.xattr_bytes <= limits::XATTRS_BYTES_MAX;
    if fits { Ok(()) } else { Err(MetaError::AttributeTooLong) }
}

/// Takes an extended attribute off; answers whether there was one. The inode's own row is the caller's to store.
pub(crate) fn take(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: &mut InodeRow,
    name: &[u8],
) -> Result<bool, MetaError> {
    let key = key(cx, inode.attributes.inode, name);
    let mut row: XattrRow = load(tx, key)?.unwrap_or_default();
    let Some(at) = row.xattrs.iter().position(|xattr| xattr.name[..] == *name) else { return Ok(false) };
    uncount(inode, &row.xattrs.remove(at))?;
    if row.xattrs.is_empty() {
        tx.delete(key);
    } else {
        store(tx, key, &row);
    }
    Ok(true)
}

/// Bytes of the name with its NUL, and of name and value. Both are bounded far below 32 bits.
fn bytes_of(xattr: &Xattr) -> (u32, u32) {
    let (name, value) = (xattr.name.len() as u32, xattr.value.len() as u32);
    (name + 1, name + value)
}

/// An inode has got an extended attribute.
fn count(inode: &mut InodeRow, xattr: &Xattr) {
    let (name, both) = bytes_of(xattr);
    inode.xattr_name_bytes = inode.xattr_name_bytes.saturating_add(name);
    inode.xattr_bytes = inode.xattr_bytes.saturating_add(both);
    inode.attributes.no_xattrs = false;
}

/// An inode has lost an extended attribute.
fn uncount(inode: &mut InodeRow, xattr: &Xattr) -> Result<(), MetaError> {
    let (name, both) = bytes_of(xattr);
    inode.xattr_name_bytes = inode.xattr_name_bytes.checked_sub(name).ok_or(MetaError::Damaged)?;
    inode.xattr_bytes = inode.xattr_bytes.checked_sub(both).ok_or(MetaError::Damaged)?;
    inode.attributes.no_xattrs = inode.xattr_name_bytes == 0;
    Ok(())
}
