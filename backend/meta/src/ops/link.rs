//! `Link`: another name for an inode.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply, Name};

use crate::row::NamedInode;
use crate::{Context, Transaction, dentries, inodes, limits};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    parent: Inode,
    name: &Name,
) -> Result<MetaReply, MetaError> {
    let mut row = inodes::find(tx, inode)?;
    inodes::living_directory(tx, parent)?;
    if dentries::find(tx, cx, parent, name)?.is_some() {
        return Err(MetaError::Exists);
    }
    if row.is_directory() {
        return Err(MetaError::NotPermitted);
    }
    match row.attributes.links {
        // An orphan is on its way out: a name would outlive it.
        0 => return Err(MetaError::NotFound),
        limits::LINKS_MAX.. => return Err(MetaError::TooManyLinks),
        _ => row.attributes.links += 1,
    }
    inodes::save_changed(tx, &mut row, cx.now);
    inodes::attach(tx, cx, parent, NamedInode { name: name.clone(), inode, kind: row.attributes.kind })?;
    Ok(MetaReply::Attributes(row.attributes))
}
