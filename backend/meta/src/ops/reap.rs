//! `Reap`: the session has closed inodes that have no name any more.

use weft_types::Inode;
use weft_wire::meta::{ENTRIES_MAX, MetaError, MetaReply};

use crate::work::{self, Budget};
use crate::{Context, Transaction};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inodes: &[Inode],
) -> Result<MetaReply, MetaError> {
    if inodes.len() > ENTRIES_MAX {
        return Err(MetaError::Invalid);
    }
    let mut budget = Budget::inline();
    for inode in inodes {
        if work::collect(tx, cx.session, *inode)? {
            work::reap(tx, cx.now, *inode, &mut budget)?;
        }
    }
    Ok(MetaReply::Done)
}
