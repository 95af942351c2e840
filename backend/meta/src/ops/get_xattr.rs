//! `GetXattr`: the value of an extended attribute.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply};

use crate::{Context, Transaction, inodes, xattrs};

pub(crate) fn run(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    name: &[u8],
) -> Result<MetaReply, MetaError> {
    xattrs::check_name(name)?;
    let row = inodes::find(tx, inode)?;
    xattrs::find(tx, cx, &row, name)?.map(MetaReply::Value).ok_or(MetaError::NoAttribute)
}
