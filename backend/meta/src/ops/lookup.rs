//! `Lookup`: the inode behind a name, or the parent of a directory.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply, Name};

use crate::{Context, Transaction, dentries, inodes};

pub(crate) fn run(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: Option<&Name>,
) -> Result<MetaReply, MetaError> {
    let directory = inodes::directory(tx, parent)?;
    let row = match name {
        Some(name) => inodes::known(tx, dentries::get(tx, cx, parent, name)?.inode)?,
        // The parent of a removed directory may be gone as well.
        None => inodes::find(tx, directory.parent.ok_or(MetaError::Damaged)?)?,
    };
    Ok(MetaReply::Attributes(row.attributes))
}
