//! `RemoveXattr`: an extended attribute goes.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply};

use super::get_xattr::{check_name, key};
use super::set_xattr::uncount;
use crate::row::XattrRow;
use crate::transaction::{load, store};
use crate::{Context, Transaction, inodes};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    name: &[u8],
) -> Result<MetaReply, MetaError> {
    check_name(name)?;
    let mut inode_row = inodes::find(tx, inode)?;
    let key = key(cx, inode, name);
    let mut row: XattrRow = load(tx, key)?.unwrap_or_default();
    let at = row.xattrs.iter().position(|xattr| xattr.name[..] == *name).ok_or(MetaError::NoAttribute)?;
    uncount(&mut inode_row, &row.xattrs.remove(at))?;
    if row.xattrs.is_empty() {
        tx.delete(key);
    } else {
        store(tx, key, &row);
    }
    inodes::save_changed(tx, &mut inode_row, cx.now);
    Ok(MetaReply::Done)
}
