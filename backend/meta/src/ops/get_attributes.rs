//! `GetAttributes`: what `stat` shows.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply};

use crate::{Transaction, inodes};

pub(crate) fn run(tx: &dyn Transaction, inode: Inode) -> Result<MetaReply, MetaError> {
    Ok(MetaReply::Attributes(inodes::find(tx, inode)?.attributes))
}
