//! `RemoveXattr`: an extended attribute goes.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply};

use crate::{Context, Transaction, access_lists, inodes, xattrs};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    name: &[u8],
) -> Result<MetaReply, MetaError> {
    xattrs::check_name(name)?;
    let mut row = inodes::find(tx, inode)?;
    // Every inode has an access list: one that is no more than a mode is not stored, and cannot be missing.
    if !xattrs::take(tx, cx, &mut row, name)? && !access_lists::is_name(name) {
        return Err(MetaError::NoAttribute);
    }
    inodes::save_changed(tx, &mut row, cx.now);
    Ok(MetaReply::Done)
}
