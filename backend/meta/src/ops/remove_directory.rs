//! `RemoveDirectory`: an empty directory goes.

use weft_types::Inode;
use weft_wire::meta::{FileKind, MetaError, MetaReply, Name};

use crate::{Context, Transaction, dentries, inodes};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: &Name,
) -> Result<MetaReply, MetaError> {
    inodes::directory(tx, parent)?;
    let entry = dentries::get(tx, cx, parent, name)?;
    if entry.kind != FileKind::Directory {
        return Err(MetaError::NotDirectory);
    }
    let row = inodes::known(tx, entry.inode)?;
    if row.entries > 0 {
        return Err(MetaError::NotEmpty);
    }
    inodes::detach(tx, cx, parent, name, entry.kind)?;
    Ok(MetaReply::Removed(inodes::lose_name(tx, cx, row)?))
}
