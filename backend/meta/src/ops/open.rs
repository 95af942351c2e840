//! `Open`: attributes and data key of a regular file.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply, Opened};

use crate::{Context, Transaction, data_keys, inodes};

pub(crate) fn run(tx: &dyn Transaction, cx: &Context<'_>, inode: Inode) -> Result<MetaReply, MetaError> {
    let row = inodes::file(tx, inode)?;
    let key = data_keys::grant(tx, cx.keys, row.key.ok_or(MetaError::Damaged)?)?;
    Ok(MetaReply::Opened(Opened { attributes: row.attributes, key }))
}
